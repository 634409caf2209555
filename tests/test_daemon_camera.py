"""Verdicts on triggered parts while the camera is in trouble, with the whole daemon."""

import itertools
import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.acquisition.test_opencv import Server, has
from tests.daemon import Daemon, verdicts
from tests.faulty_camera import PROGRAM, CameraFault
from tests.mosquitto import Mosquitto, Subscriber

TRIGGERED = {"trigger.mode": "mqtt", "limits.deadline_ms": 3000}


class Plc:
    """Triggers parts and waits for their verdicts."""

    def __init__(self, ear: Subscriber) -> None:
        self._ear = ear
        self._rids = itertools.count(1)

    def inspect(self) -> dict[str, Any]:
        """Trigger one part and return its verdict."""
        rid = next(self._rids)
        self._ear.say("t/cmd/trigger", json.dumps({"rid": rid, "part": f"A{rid}"}))
        self._ear.wait(lambda _: self._verdict(rid) is not None, f"the verdict of part A{rid}")
        return self._verdict(rid) or {}

    def inspect_until(self, *ends: tuple[str, int]) -> dict[str, Any]:
        """Trigger parts until one gets one of these results and reasons."""
        for _ in range(100):
            verdict = self.inspect()
            if (verdict["result"], verdict["reason"]) in ends:
                return verdict
        raise AssertionError(f"never {ends}; last {verdict}")

    def state(self) -> dict[str, Any]:
        """Return the state published last."""
        return (verdicts(self._ear.on("t/state")) or [{"state": "", "reason": ""}])[-1]

    def wait_state(self, state: str, reason: str = "") -> None:
        """Wait until a state is published."""
        self._ear.wait(
            lambda _: self.state()["state"] == state and reason in self.state()["reason"], f"{state} {reason}"
        )

    def events(self) -> list[str]:
        """Return the names of the events so far that are about the camera."""
        names = [event["event"] for event in verdicts(self._ear.on("t/event"))]
        return [name for name in names if name.startswith(("camera", "pictures"))]

    def _verdict(self, rid: int) -> dict[str, Any] | None:
        return next((v for v in verdicts(self._ear.on("t/verdict")) if v["trigger"] == rid), None)


@contextmanager
def line(folder: Path, broker: Mosquitto, fault: CameraFault) -> Iterator[tuple[Plc, Daemon]]:
    """Run a triggered line with a faulty camera."""
    with (
        Subscriber(broker.port) as ear,
        Daemon(folder, broker.port, TRIGGERED, PROGRAM, fault.environment) as daemon,
    ):
        plc = Plc(ear)
        plc.wait_state("READY")
        yield plc, daemon


@pytest.mark.parametrize(
    ("kind", "reason", "sentence", "events"),
    [
        ("frozen", 21, "same picture", ["pictures_unfit", "pictures_fit"]),
        ("black", 22, "% of the usual light", ["pictures_unfit", "pictures_fit"]),
        ("gone", 40, "cannot be", ["camera_lost", "camera_back"]),
        ("hung", 40, "no frame for 1.5 s", ["camera_lost", "camera_back"]),
    ],
)
def test_a_part_gets_its_error_while_the_camera_has_a_fault(
    tmp_path: Path, mosquitto: Mosquitto, kind: str, reason: int, sentence: str, events: list[str]
) -> None:
    """Verdicts are ERROR with their reason and the state FAULT; afterwards PASS, without a restart."""
    fault = CameraFault(tmp_path)
    with line(tmp_path, mosquitto, fault) as (plc, daemon):
        plc.inspect_until(("PASS", 0))
        fault.set(kind)
        plc.inspect_until(("ERROR", reason))
        plc.inspect_until(("ERROR", reason))
        plc.wait_state("FAULT", sentence)
        assert daemon.get("/readyz")[0] == 503
        assert plc.inspect()["reason"] == reason

        fault.clear()
        plc.inspect_until(("PASS", 0))
        plc.wait_state("READY")
        assert daemon.stop() == 0
        seen = [(row["boot"], row["seq"]) for row in daemon.rows()]

    assert plc.events() == events
    assert seen == [(1, seq) for seq in range(1, len(seen) + 1)]


def test_a_stop_does_not_wait_for_a_hung_camera(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """The line drains and the daemon exits with 0, however long the driver hangs."""
    fault = CameraFault(tmp_path)
    with line(tmp_path, mosquitto, fault) as (plc, daemon):
        plc.inspect_until(("PASS", 0))
        fault.set("hung")
        plc.inspect_until(("ERROR", 40))
        assert daemon.stop() == 0


def test_a_free_running_line_says_that_its_camera_hangs(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """The state is FAULT without any trigger; the frames after the fault are judged."""
    fault = CameraFault(tmp_path)
    with (
        Subscriber(mosquitto.port) as ear,
        Daemon(tmp_path, mosquitto.port, program=PROGRAM, environment=fault.environment) as daemon,
    ):
        plc = Plc(ear)
        plc.wait_state("READY")
        fault.set("hung")
        plc.wait_state("FAULT", "no frame for 1.5 s")
        judged = len(ear.on("t/verdict"))
        fault.clear()
        plc.wait_state("READY")
        ear.wait(lambda ear: "PASS" in [v["result"] for v in verdicts(ear.on("t/verdict")[judged:])])
        assert daemon.stop() == 0


@pytest.mark.skipif(not has("jpegenc", "rtpjpegpay"), reason="needs Debian's GStreamer RTSP server")
def test_a_network_camera_that_hangs_is_not_waited_for(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """A real RTSP camera is stopped in its tracks: ERROR 40 and FAULT while it sleeps, then it is back."""
    server = Server("mjpeg")
    changes = TRIGGERED | {
        "source.kind": "rtsp",
        "source.uri": f"rtsp://127.0.0.1:{server.port}/line1",
    }
    try:
        with Subscriber(mosquitto.port) as ear, Daemon(tmp_path, mosquitto.port, changes) as daemon:
            plc = Plc(ear)
            plc.wait_state("READY")
            plc.inspect_until(("ERROR", 22))  # It shows no product, but it shows something.
            os.kill(server.process.pid, signal.SIGSTOP)
            plc.inspect_until(("ERROR", 40))
            plc.wait_state("FAULT", "no frame for 1.5 s")
            assert plc.inspect()["reason"] == 40
            os.kill(server.process.pid, signal.SIGCONT)
            plc.inspect_until(("ERROR", 22))
            assert daemon.stop() == 0
    finally:
        server.end()

    assert plc.events()[0] in ("camera_lost", "pictures_unfit")
    assert "camera_back" in plc.events()
