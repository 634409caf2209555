import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from linewatch.acquisition.sources import open_source
from linewatch.acquisition.sources.opencv import (
    READERS_MAX,
    LiveSource,
    VideoFile,
    open_rtsp,
    strip_credentials,
)
from linewatch.acquisition.sources.simulator.source import Simulator
from linewatch.domain import Frame, Image
from linewatch.errors import CameraLost, ConfigError
from linewatch.settings import SourceSettings

SERVER = Path(__file__).parents[1] / "rtsp_server.py"
SYSTEM_PYTHON = "/usr/bin/python3"


def write_video(path: Path, frames: int) -> None:
    """Record grey frames; each is 10 levels brighter than the one before."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    assert writer.isOpened()
    for number in range(frames):
        writer.write(np.full((48, 64, 3), 10 * number, np.uint8))
    writer.release()


def levels(source: VideoFile, count: int) -> list[int]:
    """Return the numbers of the next frames, -1 for the end."""
    frames = [source.read() for _ in range(count)]
    return [
        -1 if frame is None or frame.image is None else round(float(frame.image.mean()) / 10)
        for frame in frames
    ]


# --- video files


def test_a_video_gives_every_frame_once_and_then_ends(tmp_path: Path) -> None:
    """Nothing is dropped from a recording, however fast or slow it is read."""
    write_video(tmp_path / "line.avi", 12)

    with VideoFile(tmp_path / "line.avi") as source:
        assert levels(source, 14) == [*range(12), -1, -1]
        assert not source.live


def test_a_video_in_a_loop_starts_again(tmp_path: Path) -> None:
    """With `loop`, the recording never ends; opening again starts at the first frame."""
    write_video(tmp_path / "line.avi", 3)
    settings = SourceSettings(kind="video", uri=str(tmp_path / "line.avi"), loop=True)
    source = open_source(settings)
    assert isinstance(source, VideoFile)

    for _ in range(2):
        with source:
            assert levels(source, 8) == [0, 1, 2, 0, 1, 2, 0, 1]


def test_a_video_that_was_cut_off_ends_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The remaining frames are inspected, and the log says how many are missing."""
    writer = cv2.VideoWriter(str(tmp_path / "whole.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (320, 240))
    rng = np.random.default_rng(1)
    for _ in range(20):
        writer.write(rng.integers(0, 256, (240, 320, 3), np.uint8))
    writer.release()
    data = (tmp_path / "whole.avi").read_bytes()
    (tmp_path / "cut.avi").write_bytes(data[: len(data) // 2])

    with VideoFile(tmp_path / "cut.avi") as source:
        read = 0
        while source.read() is not None:
            read += 1

    assert 0 < read < 20
    assert "video_cut_off" in caplog.text


@pytest.mark.parametrize("content", [None, b"", b"this is no video", b"RIFF\0\0\0\0AVI LIST"])
def test_a_file_that_is_no_video_is_one_sentence(
    tmp_path: Path, content: bytes | None, capfd: pytest.CaptureFixture[str]
) -> None:
    """A missing or undecodable file raises ConfigError; no library prints to stderr."""
    path = tmp_path / "line.mp4"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ConfigError) as caught, VideoFile(path) as source:
        source.read()

    assert repr(str(path)) in str(caught.value)
    assert capfd.readouterr().err == ""


# --- live sources over a scripted driver


class Driver:
    """A fake cv2.VideoCapture that delivers images on demand and blocks in between."""

    def __init__(self) -> None:
        self.opened = True
        self.released = threading.Event()
        self._images: list[Image | None] = []
        self._changed = threading.Condition()

    def deliver(self, *images: Image | None) -> None:
        """Let the next reads return these; None is a failed read."""
        with self._changed:
            self._images += images
            self._changed.notify_all()

    def wait_read(self) -> None:
        """Wait until everything delivered was read."""
        with self._changed:
            assert self._changed.wait_for(lambda: not self._images, 5)

    def isOpened(self) -> bool:  # noqa: N802
        """Return whether it opened."""
        return self.opened

    def read(self) -> tuple[bool, Any]:
        """Block until an image is delivered."""
        with self._changed:
            self._changed.wait_for(lambda: self._images)
            image = self._images.pop(0)
            self._changed.notify_all()
            return image is not None, image

    def release(self) -> None:
        """Record that it was released."""
        self.released.set()


@pytest.fixture
def driver() -> Iterator[Driver]:
    """Return a driver; at the end, unblock a reader that still waits in it."""
    driver = Driver()
    yield driver
    driver.deliver(None)


def live(driver: Driver, *, name: str = "0", read_timeout_s: float = 5.0) -> LiveSource:
    """Open the driver as a camera."""
    return LiveSource(name, lambda: driver, open_timeout_s=5.0, read_timeout_s=read_timeout_s)


def grey(level: int) -> Image:
    """Return a uniform image of this grey level."""
    return np.full((4, 4, 3), level, np.uint8)


def shown(frame: Frame | None) -> int:
    """Return the grey level of a frame."""
    assert frame is not None and frame.image is not None
    return int(frame.image[0, 0, 0])


def test_only_the_newest_frame_is_kept(driver: Driver) -> None:
    """Frames that arrived between two reads are skipped, and no frame is returned twice."""
    with live(driver) as source:
        driver.deliver(grey(1), grey(2), grey(3))
        driver.wait_read()
        driver.deliver(grey(4))
        driver.wait_read()
        level = shown(source.read())
        if level == 3:  # The reader had not stored frame 4 yet.
            level = shown(source.read())
        driver.deliver(grey(5))

        assert (level, shown(source.read())) == (4, 5)


def test_a_frame_is_stamped_when_it_arrives_not_when_it_is_read(driver: Driver) -> None:
    """The age of a frame includes the time it waited to be read."""
    with live(driver) as source:
        before_ns = time.monotonic_ns()
        driver.deliver(grey(1), None)
        assert driver.released.wait(5)
        arrived_ns = time.monotonic_ns()
        frame = source.read()

    assert frame is not None
    assert before_ns <= frame.captured_ns <= arrived_ns
    assert abs(frame.captured_ms - time.time() * 1000) < 5000


def test_a_silent_camera_is_lost_after_the_time_out(driver: Driver) -> None:
    """A read that hangs in the driver does not block the caller, and its reader is left behind."""
    started = time.monotonic()
    with pytest.raises(CameraLost, match=r"camera '0': no frame for 0\.2 s"), live(
        driver, read_timeout_s=0.2
    ) as source:  # fmt: skip
        driver.deliver(grey(1))
        source.read()
        source.read()

    assert time.monotonic() - started < 4
    assert not driver.released.is_set()


def test_a_failed_read_is_a_lost_camera_and_releases_it(driver: Driver) -> None:
    """The stream's last frame still counts; then the device is released, ready to be opened again."""
    with live(driver) as source:
        driver.deliver(grey(7), None)
        assert driver.released.wait(5)

        assert shown(source.read()) == 7
        with pytest.raises(CameraLost, match="the stream ended"):
            source.read()


def test_leaving_releases_the_camera(driver: Driver) -> None:
    """After the with block another program can have the device."""
    with live(driver) as source:
        driver.deliver(grey(1))
        source.read()
        driver.deliver(grey(2))

    assert driver.released.wait(5)


def test_a_camera_that_cannot_be_opened_is_lost(driver: Driver) -> None:
    """Another attempt may succeed, so this is not a ConfigError."""
    driver.opened = False

    with pytest.raises(CameraLost, match="cannot be opened"), live(driver):
        pass

    assert driver.released.wait(5)


def test_a_driver_that_hangs_while_opening_is_left_behind() -> None:
    """Opening times out; with a few hung readers it is not tried again."""
    unblock = threading.Event()

    def hang() -> Driver:
        unblock.wait()
        driver = Driver()
        driver.opened = False
        return driver

    source = LiveSource("hung", hang, open_timeout_s=0.05, read_timeout_s=1.0)
    try:
        for _ in range(READERS_MAX):
            with pytest.raises(CameraLost, match=r"did not open within 0\.05 s"), source:
                pass
        with pytest.raises(CameraLost, match=r"hangs in 4 calls; restart"), source:
            pass
    finally:
        unblock.set()


def test_an_absent_camera_is_lost(capfd: pytest.CaptureFixture[str]) -> None:
    """Another attempt may succeed; OpenCV's messages stay out of the log."""
    for uri in ("63", "/dev/video63"):
        with pytest.raises(CameraLost, match=f"camera '{uri}': cannot be opened"), open_source(
            SourceSettings(kind="camera", uri=uri)
        ):  # fmt: skip
            pass

    assert capfd.readouterr().err == ""


# --- RTSP


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("rtsp://10.0.0.5/line1", "rtsp://10.0.0.5/line1"),
        ("rtsp://admin:S3cret@10.0.0.5:8554/line1?token=S3cret", "rtsp://10.0.0.5:8554/line1"),
        ("rtsps://admin:S3cret%40x@cam.plant/", "rtsps://cam.plant/"),
        ("rtsp://u:S3cret@[fd00::5]:554/x#S3cret", "rtsp://[fd00::5]:554/x"),
        ("rtsp://u:S3cret%2F%40%3F%23%3A@cam:554/x", "rtsp://cam:554/x"),
        ("rtsp://u:S3c@ret:@cam/x", "rtsp://cam/x"),
        ("rtsp://cam:554/x@1", "rtsp://cam:554/..."),
        ("rtsp://[fd00::5]:554/x@1", "rtsp://[fd00::5]:554/..."),
        ("rtsp://u:12/S3cret@cam/x", "rtsp://u:12/..."),
        ("rtsp://cam/x?user=u@S3cret", "rtsp://cam/..."),
    ],
)
def test_a_password_in_an_address_is_never_shown(uri: str, name: str) -> None:
    """The source's name, used in messages, leaves out user, password and query."""
    assert strip_credentials(uri) == name
    assert open_source(SourceSettings(kind="rtsp", uri=uri)).name == name


@pytest.mark.parametrize(
    "uri",
    [
        "rtsp://u:S3c/ret@cam/x",
        "rtsp://u:S3c?ret@10.0.0.5:554/x",
        "rtsp://u:S3c#ret@[fd00::5]/x",
        "RTSP://u:#S3cret@cam.plant/x",
        "rtsp://u:12/S3cret@10.0.0.5/x",
        "rtsp://u:12#S3cret@cam.plant:554",
    ],
)
def test_a_password_that_cuts_the_address_is_explained(uri: str) -> None:
    """A slash in a password would send the rest of it to a name server as a host."""
    with pytest.raises(ConfigError, match="percent-encoded, as %2F, %3F or %23") as caught:
        open_source(SourceSettings(kind="rtsp", uri=uri))

    assert "S3c" not in str(caught.value)


@pytest.mark.parametrize("kind", ["folder", "video", "camera", "simulator", "gige"])
def test_an_address_of_another_kind_is_not_repeated(kind: Any) -> None:
    """The wrong kind for a network address is named without the address."""
    with pytest.raises(ConfigError, match=r'source\.kind "\w+" does not take') as caught:
        open_source(SourceSettings(kind=kind, uri="rtsp://u:S3cret@cam/x"))

    assert "S3cret" not in str(caught.value)


@pytest.mark.parametrize("uri", ["http://u:S3cret@cam/x", "S3cret", "rtsp://", "rtsp://u:S3cret@h:99999/x"])
def test_a_wrong_rtsp_address_is_not_repeated(uri: str) -> None:
    """The sentence shows an example; the wrong address may contain a password."""
    with pytest.raises(ConfigError, match="write rtsp://host:554/path") as caught:
        open_source(SourceSettings(kind="rtsp", uri=uri))

    assert "S3cret" not in str(caught.value)


class Server:
    """A real RTSP server in a child process."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.port = "0"
        self.start()

    def start(self) -> None:
        """Start on the same port as before."""
        command = [SYSTEM_PYTHON, str(SERVER), self.port, self.kind]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.process.stdout is not None
        self.port = self.process.stdout.readline().strip()
        assert self.port.isdecimal()

    def end(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def source(self, read_timeout_s: float = 2.0) -> LiveSource:
        """Return a source for its address, with a password in it."""
        uri = f"rtsp://user:S3cret@127.0.0.1:{self.port}/line1"
        return open_rtsp(uri, open_timeout_s=5.0, read_timeout_s=read_timeout_s)


def has(*elements: str) -> bool:
    """Return whether this machine can run the server with these GStreamer elements."""
    script = (
        "import sys, gi; gi.require_version('GstRtspServer', '1.0')\n"
        "from gi.repository import Gst, GstRtspServer; Gst.init(None)\n"
        "sys.exit(not all(Gst.ElementFactory.find(name) for name in sys.argv[1:]))"
    )
    python = Path(SYSTEM_PYTHON)
    command = [SYSTEM_PYTHON, "-c", script, "appsrc", *elements]
    return python.exists() and not subprocess.run(command, capture_output=True, check=False).returncode


@pytest.fixture(params=["mjpeg", "h264"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Run a camera that sends 25 frames a second, each with the time it was made."""
    if request.param == "mjpeg" and not has("jpegenc", "rtpjpegpay"):
        pytest.skip("apt-get install python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-{base,good}")
    if request.param == "h264" and not has("openh264enc", "h264parse", "rtph264pay"):
        pytest.skip("apt-get install gstreamer1.0-plugins-bad, which has the H.264 encoder")
    server = Server(request.param)
    yield server
    server.end()


def true_age_ms(frame: Frame | None) -> int:
    """Return the age of the image when it was stamped; its pixels encode the time it was made."""
    assert frame is not None and frame.image is not None
    made_ms = sum(1 << bit for bit in range(24) if frame.image[6, 12 * bit + 6].mean() > 128)
    age_ms = (frame.captured_ns // 1_000_000 - made_ms) % 2**24
    return age_ms - 2**24 if age_ms > 2**23 else age_ms


def read_until_lost(source: LiveSource) -> str:
    """Read until the camera is lost; return the message."""
    with pytest.raises(CameraLost) as caught:
        for _ in range(200):
            source.read()
    return str(caught.value)


def test_rtsp_frames_are_fresh(server: Server) -> None:
    """From the first frame on, and after a pause, frames are not delayed by a buffer."""
    with server.source() as source:
        ages_ms = [true_age_ms(source.read()) for _ in range(10)]
        threading.Event().wait(0.5)  # A busy consumer: 12 frames arrive in the meantime.
        source.read()
        ages_ms.append(true_age_ms(source.read()))

    # H.264 is complete only when the next frame begins: 40 ms. The rest is for a busy machine.
    assert max(ages_ms) < 200, ages_ms


def test_rtsp_survives_the_server_being_killed_and_started_again(server: Server) -> None:
    """A lost camera is noticed at once; a new source works as soon as the camera is back."""
    with server.source() as source:
        source.read()
        server.end()
        started = time.monotonic()
        message = read_until_lost(source)
        assert time.monotonic() - started < 2.5
    assert "S3cret" not in message and f"rtsp://127.0.0.1:{server.port}/line1" in message

    with pytest.raises(CameraLost, match="cannot be opened"), server.source():
        pass

    server.start()
    with server.source() as source:
        assert max(true_age_ms(source.read()) for _ in range(5)) < 200


def test_rtsp_notices_a_camera_that_hangs(server: Server) -> None:
    """A camera that stops sending without closing the connection is lost after the time-out."""
    with server.source(read_timeout_s=0.5) as source:
        source.read()
        os.kill(server.process.pid, signal.SIGSTOP)
        started = time.monotonic()
        read_until_lost(source)
        assert time.monotonic() - started < 2.5

    os.kill(server.process.pid, signal.SIGCONT)
    with server.source() as source:
        assert true_age_ms(source.read()) < 200


HANG_AND_EXIT = """
import os, signal, sys, threading
import linewatch
from linewatch.errors import CameraLost
from linewatch.acquisition.sources.opencv import open_rtsp

server = int(sys.argv[2])
try:
    with open_rtsp(sys.argv[1], open_timeout_s=4.0, read_timeout_s=0.3) as source:
        source.read()
        os.kill(server, signal.SIGSTOP)
        while True:
            source.read()
except CameraLost:
    os.kill(server, signal.SIGKILL)  # The hung read returns while this process ends.
"""


def test_a_process_ends_cleanly_under_a_hung_camera(server: Server) -> None:
    """A reader that returns from OpenCV during shutdown does not abort the process."""
    uri = f"rtsp://127.0.0.1:{server.port}/line1"
    command = [sys.executable, "-c", HANG_AND_EXIT, uri, str(server.process.pid)]

    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    assert (done.returncode, done.stderr) == (0, "")


# --- the factory


def test_the_settings_choose_the_source() -> None:
    """The default is the simulator; a missing address raises ConfigError."""
    assert isinstance(open_source(SourceSettings()), Simulator)
    for kind in ("folder", "video", "camera", "rtsp", "gige"):
        with pytest.raises(ConfigError, match=r"source\.uri is empty; "):
            open_source(SourceSettings.model_validate({"kind": kind}))
