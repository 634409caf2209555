import time
from pathlib import Path

import cv2
import pytest

from tests.acquisition.test_opencv import Server, has
from tests.daemon import Daemon
from tests.mosquitto import Mosquitto, Subscriber


def made_ms(path: Path) -> float:
    """Return when a picture was made, in milliseconds since 1970: it carries the monotonic clock."""
    picture = cv2.imread(str(path))
    assert picture is not None
    stamp = sum(1 << bit for bit in range(24) if picture[6, 12 * bit + 6].mean() > 128)
    now_ms = time.monotonic_ns() // 1_000_000
    return time.time() * 1000 - (now_ms - stamp) % 2**24


def test_verdicts_resume_after_an_rtsp_camera_was_away_and_none_is_of_an_old_frame(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    """Killed and started again, twice: each picture that got a verdict was made just before."""
    if not has("jpegenc", "rtpjpegpay"):
        pytest.skip("apt-get install python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-{base,good}")
    server = Server("mjpeg")
    changes = {
        "source.kind": "rtsp",
        "source.uri": f"rtsp://127.0.0.1:{server.port}/line1",
        "source.fps": 10,
        "evidence.pass_every": 1,
        "evidence.error_first": 1000,  # Its pictures are not of the demo product.
    }
    try:
        with Subscriber(mosquitto.port) as ear, Daemon(tmp_path, mosquitto.port, changes) as daemon:
            for outage in range(3):
                before = len(ear.on("t/verdict"))
                ear.wait(lambda ear, before=before: len(ear.on("t/verdict")) >= before + 10)  # type: ignore[misc]
                if outage < 2:
                    server.end()
                    ear.wait(lambda ear: '"camera":0' in ear.on("t/state")[-1], "the loss")
                    server.start()
            assert daemon.stop() == 0
            rows = daemon.rows()
    finally:
        server.end()

    assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))
    ages_ms = [row["captured_ms"] - made_ms(daemon.evidence / row["image"]) for row in rows if row["image"]]
    assert len(ages_ms) >= 30
    assert max(ages_ms) < 500, max(ages_ms)
