import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from linewatch.acquisition.sources.folder import FolderSource
from linewatch.acquisition.triggers import CommandTriggered, FreeRun, TriggerMode, TriggerRequest
from linewatch.domain import Frame, Reason, State
from linewatch.errors import ConfigError
from linewatch.line.capture import Capture
from linewatch.line.metrics import Metrics
from linewatch.line.station import Station
from linewatch.runtime.lane import Lane
from linewatch.runtime.stages import Stage
from tests.fakes import ScriptedSource, frame

PATIENCE_S = 5.0

Step = Frame | str | Callable[[], Frame]


class Rig:
    """A capture stage over a scripted source, run on the test's own thread."""

    def __init__(self, *script: Step, live: bool = False, occasions: TriggerMode | None = None) -> None:
        self.source = ScriptedSource(self._then_stop(script), live=live)
        self.stop = threading.Event()
        self.metrics = Metrics("test")
        self.station = Station("test", 1, "demo", self.metrics)
        self.station.intend(State.READY)
        self.frames = Lane[Frame]("frames", 100)
        self.occasions = occasions or FreeRun(0)

    def _then_stop(self, script: tuple[Step, ...]) -> Iterator[Step]:
        yield from script

    def run(self) -> list[Frame]:
        """Capture until the script ends; return what was put on the belt."""
        capture = Capture(
            lambda: self.source,
            self.occasions,
            self.frames,
            self.station,
            self.metrics,
            self.stop,
            silent_s=0.05,
        )
        capture.run(Stage("capture", capture.run))
        return list(self.frames.items(lambda: None, 0.01))


@pytest.fixture(autouse=True)
def _no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linewatch.line.capture.BACKOFF_FIRST_S", 0.001)


def test_every_frame_is_numbered_without_gaps() -> None:
    """Frames leave in order, from 1."""
    assert [f.seq for f in Rig(*(frame() for _ in range(5))).run()] == [1, 2, 3, 4, 5]


def test_a_lost_camera_is_opened_again_and_numbering_goes_on() -> None:
    """A loss is reported once, the way back once, and no number is used twice or left out."""
    rig = Rig(frame(), "lost", "lost", frame(), frame())

    assert [f.seq for f in rig.run()] == [1, 2, 3]
    assert rig.source.opened == 3
    assert [event["event"] for event in rig.station.events] == ["camera_lost", "camera_back"]
    assert rig.station.snapshot().state is State.READY


def test_a_camera_that_is_away_puts_the_station_in_fault() -> None:
    """While no frame comes the PLC sees FAULT with the reason."""
    rig = Rig(frame(), "lost")
    seen: list[State] = []
    rig.station.event = lambda name, **_: seen.append(rig.station.snapshot().state)  # type: ignore[method-assign]  # spies on the edge

    rig.run()

    assert seen == [State.FAULT]
    assert "unplugged" in rig.station.snapshot().camera_trouble


def test_frames_between_two_turns_of_a_camera_are_no_exposures() -> None:
    """A free-running camera faster than the cap is read all the time but exposed at the cap."""
    now = time.monotonic_ns()
    script = [frame(captured_ns=now + i * 10_000_000) for i in range(1, 100)]  # 100 fps for a second

    exposed = Rig(*script, live=True, occasions=FreeRun(10)).run()

    assert 9 <= len(exposed) <= 11


def test_a_recording_waits_for_a_place_in_the_line() -> None:
    """A picture is read only when the line has room: none grows late in a queue."""
    places = threading.Semaphore(2)
    rig = Rig(*(frame(n) for n in range(1, 6)), occasions=FreeRun(0, places=places))
    running = threading.Thread(target=rig.run)
    running.start()

    wait_until(lambda: len(rig.frames) == 2)
    assert rig.source.read_count == 2
    places.release()
    wait_until(lambda: len(rig.frames) == 3)
    assert rig.source.read_count == 3
    places.release(3)
    running.join(30)

    assert not running.is_alive()
    assert rig.source.read_count == 5 + 1  # And the end.


def test_a_trigger_gets_the_first_frame_captured_after_it() -> None:
    """A frame older than its trigger does not show the part."""
    triggers = Lane[TriggerRequest]("triggers", 1)
    now = time.monotonic_ns()
    old, new = frame(1, captured_ns=now - 1), frame(2, captured_ns=now + 1)
    triggers.offer(TriggerRequest(17, "A1", now))
    rig = Rig(old, old, new, live=True, occasions=CommandTriggered(triggers, PATIENCE_S))

    exposed = rig.run()

    assert [(f.seq, f.trigger, f.part) for f in exposed] == [(1, 17, "A1")]
    assert exposed[0].captured_ns == new.captured_ns


def test_an_exposure_that_comes_after_its_trigger_expired_is_late_and_not_judged() -> None:
    """A camera's hiccup must not show the next part under this one's number."""
    triggers = Lane[TriggerRequest]("triggers", 1)
    now = time.monotonic_ns()
    triggers.offer(TriggerRequest(17, "A1", now, now + 1_000_000))
    rig = Rig(frame(captured_ns=now + 2_000_000), live=True, occasions=CommandTriggered(triggers, PATIENCE_S))

    exposed = rig.run()

    assert [(f.trigger, f.fault, f.image is None) for f in exposed] == [(17, Reason.LATE, True)]


def test_a_frame_captured_after_the_next_trigger_is_not_the_part_befores() -> None:
    """Two parts come between two frames: the frame shows the second, the first gets ERROR LATE."""
    triggers = Lane[TriggerRequest]("triggers", 2)
    now = time.monotonic_ns()
    triggers.offer(TriggerRequest(17, "A1", now))
    triggers.offer(TriggerRequest(18, "A2", now + 1))
    script = (frame(captured_ns=now + 2), frame(captured_ns=now + 3))
    rig = Rig(*script, live=True, occasions=CommandTriggered(triggers, PATIENCE_S))

    assert [(f.trigger, f.fault) for f in rig.run()] == [(17, Reason.LATE), (18, Reason.NONE)]


def test_a_part_triggered_while_the_camera_is_lost_gets_its_error() -> None:
    """Every triggered part gets a verdict, camera or not."""
    triggers = Lane[TriggerRequest]("triggers", 1)
    triggers.offer(TriggerRequest(5, "B2", time.monotonic_ns()))
    rig = Rig("lost", live=True, occasions=CommandTriggered(triggers, PATIENCE_S))

    exposed = rig.run()

    assert [(f.seq, f.trigger, f.part, f.fault) for f in exposed] == [(1, 5, "B2", Reason.CAMERA_LOST)]
    assert exposed[0].image is None


def test_a_part_triggered_while_a_read_hangs_gets_its_error_and_the_camera_may_come_back() -> None:
    """A hung camera delays no verdict; the station reports it lost and resumes when it delivers again."""
    triggers = Lane[TriggerRequest]("triggers", 1)
    goes_on = threading.Event()

    def hang() -> Frame:
        assert goes_on.wait(30)
        return frame(7)

    rig = Rig(frame(1), hang, frame(8), live=True, occasions=CommandTriggered(triggers, 0.01))
    exposed: list[Frame] = []
    reasons: list[str] = []

    def ask() -> None:
        wait_until(lambda: "no frame for" in rig.station.snapshot().camera_trouble)
        assert rig.station.snapshot().state is State.FAULT
        triggers.offer(TriggerRequest(5, "B2", time.monotonic_ns()))
        exposed.append(rig.frames.take(30) or frame())
        reasons.append(rig.station.snapshot().camera_trouble)
        goes_on.set()

    asking = threading.Thread(target=ask)
    asking.start()
    rig.run()
    asking.join()

    assert [(f.seq, f.trigger, f.part, f.fault) for f in exposed] == [(1, 5, "B2", Reason.CAMERA_LOST)]
    assert "script" in reasons[0]
    assert rig.station.snapshot().state is State.READY
    assert [event["event"] for event in rig.station.events] == ["camera_lost", "camera_back"]


def test_the_picture_of_a_part_that_was_given_up_is_nobodys() -> None:
    """A recording that hung shows the part before; the next trigger gets the next picture."""
    triggers = Lane[TriggerRequest]("triggers", 1)
    goes_on = threading.Event()

    def hang() -> Frame:
        assert goes_on.wait(30)
        return frame(7)

    rig = Rig(hang, lambda: frame(8), occasions=CommandTriggered(triggers, 0.01))
    triggers.offer(TriggerRequest(1, "A1", time.monotonic_ns()))
    first: list[Frame] = []
    second: list[Frame] = []

    def ask() -> None:
        first.append(rig.frames.take(30) or frame())
        goes_on.set()
        wait_until(lambda: rig.station.snapshot().camera_trouble == "" and rig.source.read_count == 1)
        triggers.offer(TriggerRequest(2, "A2", time.monotonic_ns()))
        second.append(rig.frames.take(30) or frame())
        rig.stop.set()

    asking = threading.Thread(target=ask)
    asking.start()
    rig.run()
    asking.join()

    assert [(f.trigger, f.fault, f.image is None) for f in first] == [(1, Reason.CAMERA_LOST, True)]
    assert [(f.trigger, int(f.image[0, 0, 0])) for f in second if f.image is not None] == [(2, 8)]


def test_a_camera_that_hangs_while_it_is_opened_again_holds_up_nobody() -> None:
    """Triggered parts get their ERROR while the driver thinks about opening."""
    triggers = Lane[TriggerRequest]("triggers", 1)
    goes_on = threading.Event()
    rig = Rig(frame(1), live=True, occasions=CommandTriggered(triggers, 0.01))
    rig.source.on_open = lambda: goes_on.wait(30)
    triggers.offer(TriggerRequest(1, "A1", time.monotonic_ns()))
    exposed: list[Frame] = []

    def ask() -> None:
        exposed.append(rig.frames.take(30) or frame())
        goes_on.set()

    asking = threading.Thread(target=ask)
    asking.start()
    rig.run()
    asking.join()

    assert [(f.trigger, f.fault) for f in exposed] == [(1, Reason.CAMERA_LOST)]


def test_a_trigger_that_is_accepted_while_the_line_stops_gets_its_word() -> None:
    """Whatever was accepted is answered, also without a camera; afterwards nothing is accepted."""
    triggers = Lane[TriggerRequest]("triggers", 1)
    rig = Rig("lost", live=True, occasions=CommandTriggered(triggers, PATIENCE_S))

    def stop() -> None:
        if rig.source.opened == 1:
            triggers.offer(TriggerRequest(9, "Z", time.monotonic_ns()))
            rig.stop.set()

    rig.source.on_close = stop

    assert [(f.trigger, f.fault) for f in rig.run()] == [(9, Reason.NOT_READY)]
    assert not triggers.offer(TriggerRequest(10, "Z", time.monotonic_ns()))
    assert triggers.closed


def test_a_lost_camera_is_told_before_it_is_let_go_of() -> None:
    """Some drivers take seconds to close what is unplugged; the PLC does not wait for them."""
    rig = Rig(frame(), "lost")
    troubles: list[str] = []

    def close() -> None:
        wait_until(lambda: rig.station.snapshot().state is State.FAULT)
        troubles.append(rig.station.snapshot().camera_trouble)

    rig.source.on_close = close

    rig.run()

    assert "unplugged" in troubles[0]


def test_a_trigger_that_was_accepted_before_a_stop_gets_its_word() -> None:
    """What the PLC was promised is answered, also by a line that ends."""
    triggers = Lane[TriggerRequest]("triggers", 1)
    rig = Rig(live=True, occasions=CommandTriggered(triggers, PATIENCE_S))

    def stop_before_it_is_seen() -> Frame:
        triggers.offer(TriggerRequest(9, "Z", time.monotonic_ns() + 10**12))  # No frame is new enough for it.
        rig.stop.set()
        return frame(1)

    rig.source.script = iter([stop_before_it_is_seen])

    assert [(f.trigger, f.fault) for f in rig.run()] == [(9, Reason.NOT_READY)]


def wait_until(done: Callable[[], bool]) -> None:
    """Look again and again, for as long as a busy machine may need."""
    deadline = time.monotonic() + 30
    while not done():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.002)


def test_a_share_that_is_mounted_later_is_awaited(tmp_path: Path) -> None:
    """A missing folder at an absolute path is a lost camera with its sentence, and not the end."""
    rig, share, opened = Rig(), tmp_path / "share", 0

    def open_folder() -> FolderSource:
        nonlocal opened
        opened += 1
        if opened == 2:
            share.mkdir()  # Mounted, but still empty.
        if opened == 3:
            cv2.imwrite(str(share / "1.png"), np.full((8, 8, 3), 90, np.uint8))
        return FolderSource(share)

    capture = Capture(
        open_folder, rig.occasions, rig.frames, rig.station, rig.metrics, rig.stop, silent_s=0.05
    )
    capture.run(Stage("capture", capture.run))

    assert [frame.part for frame in rig.frames.items(lambda: None, 0.01)] == ["1.png"]
    lost, back = rig.station.events
    assert (lost["event"], back["event"]) == ("camera_lost", "camera_back")
    assert f"source.uri '{share}' does not exist; name a folder" in str(lost["reason"])


def test_a_folder_that_can_never_come_ends_the_line() -> None:
    """A relative path is a mistake in the settings."""
    rig = Rig()
    capture = Capture(
        lambda: FolderSource(Path("nowhere")),
        rig.occasions,
        rig.frames,
        rig.station,
        rig.metrics,
        rig.stop,
        silent_s=0.05,
    )
    with pytest.raises(ConfigError, match="nowhere"):
        capture.run(Stage("capture", capture.run))
