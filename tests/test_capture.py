import threading
import time
from collections.abc import Callable, Iterator

import pytest

from linewatch.capture import Capture, FreeRun, Occasions, Trigger, Triggered
from linewatch.domain import Frame, Reason, State
from linewatch.lane import Lane
from linewatch.metrics import Metrics
from linewatch.stages import Stage
from linewatch.station import Station
from tests.fakes import ScriptedSource, frame

Step = Frame | str | Callable[[], Frame]


class Rig:
    """A capture stage over a scripted source, run on the test's own thread."""

    def __init__(self, *script: Step, live: bool = False, occasions: Occasions | None = None) -> None:
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
            lambda: self.source, self.occasions, self.frames, self.station, self.metrics, self.stop
        )
        capture.run(Stage("capture", capture.run))
        return list(self.frames.items(lambda: None, 0.01))


@pytest.fixture(autouse=True)
def _no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linewatch.capture.BACKOFF_FIRST_S", 0.001)


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


def test_a_trigger_gets_the_first_frame_captured_after_it() -> None:
    """A frame older than its trigger does not show the part."""
    triggers = Lane[Trigger]("triggers", 1)
    now = time.monotonic_ns()
    old, new = frame(1, captured_ns=now - 1), frame(2, captured_ns=now + 1)
    triggers.offer(Trigger(17, "A1", now))
    rig = Rig(old, old, new, live=True, occasions=Triggered(triggers))

    exposed = rig.run()

    assert [(f.seq, f.trigger, f.part) for f in exposed] == [(1, 17, "A1")]
    assert exposed[0].captured_ns == new.captured_ns


def test_an_exposure_that_comes_after_its_trigger_expired_is_late_and_not_judged() -> None:
    """A camera's hiccup must not show the next part under this one's number."""
    triggers = Lane[Trigger]("triggers", 1)
    now = time.monotonic_ns()
    triggers.offer(Trigger(17, "A1", now, now + 1_000_000))
    rig = Rig(frame(captured_ns=now + 2_000_000), live=True, occasions=Triggered(triggers))

    exposed = rig.run()

    assert [(f.trigger, f.fault, f.image is None) for f in exposed] == [(17, Reason.LATE, True)]


def test_a_part_triggered_while_the_camera_is_lost_gets_its_error() -> None:
    """The PLC hears of every part it asked for, camera or not."""
    triggers = Lane[Trigger]("triggers", 1)
    triggers.offer(Trigger(5, "B2", time.monotonic_ns()))
    rig = Rig("lost", live=True, occasions=Triggered(triggers))

    exposed = rig.run()

    assert [(f.seq, f.trigger, f.part, f.fault) for f in exposed] == [(1, 5, "B2", Reason.CAMERA_LOST)]
    assert exposed[0].image is None
