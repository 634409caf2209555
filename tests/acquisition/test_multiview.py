import threading
import time
from pathlib import Path

import pytest

from linewatch.acquisition.multiview import MultiView
from linewatch.acquisition.triggers import CommandTriggered, FreeRun, TriggerRequest
from linewatch.domain import Frame, Inspection, Reason, Result, State
from linewatch.line.capture import Capture
from linewatch.line.metrics import Metrics
from linewatch.line.station import Station
from linewatch.line.view_merger import ViewMerger
from linewatch.runtime.lane import Lane
from linewatch.runtime.stages import Stage
from tests.daemon import Daemon
from tests.fakes import ScriptedSource, frame
from tests.mosquitto import Mosquitto, Subscriber


def exposed(
    *script: Frame | str, triggers: Lane[TriggerRequest] | None = None
) -> list[tuple[int, int, int, Reason]]:
    """Capture with three views; return seq, view, views and fault of what was put on the belt."""
    metrics = Metrics("test")
    station = Station("test", 1, "demo", metrics)
    station.intend(State.READY)
    frames = Lane[Frame]("frames", 100)
    once = FreeRun(0) if triggers is None else CommandTriggered(triggers, 5.0)
    source = ScriptedSource(iter(script), live=triggers is not None)
    views = MultiView(once, 3, 5.0)
    capture = Capture(lambda: source, views, frames, station, metrics, threading.Event(), silent_s=60.0)
    capture.run(Stage("capture", capture.run))
    return [(f.seq, f.view, f.views, f.fault) for f in frames.items(lambda: None, 0.01)]


@pytest.fixture(autouse=True)
def _no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linewatch.line.capture.BACKOFF_FIRST_S", 0.001)


def inspection(view: int, result: Result, raw: float = 0.5, **facts: object) -> Inspection:
    """Return what came of one of three views."""
    known = {
        "frame": frame(seq=7, view=view, views=3, captured_ns=1000 * view, captured_ms=view),
        "product": "demo", "product_index": 1, "model": "m", "threshold": 1.0, "result": result,
        "reason": Reason.NONE if result is Result.PASS else Reason.ABOVE_THRESHOLD, "age_ms": view,
    }  # fmt: skip
    return Inspection(**(known | facts))  # type: ignore[arg-type]


def joined(*inspections: Inspection) -> Inspection:
    """Return the one inspection of a part."""
    views = ViewMerger[Inspection](lambda one: [one])
    given = [part for one in inspections for part in views.inspect(one)]
    assert len(given) == 1
    return given[0]


def test_a_part_has_its_views_under_one_number() -> None:
    """Three frames are one part; the next three the next."""
    assert exposed(*(frame() for _ in range(6))) == [
        (seq, view, 3, Reason.NONE) for seq in (1, 2) for view in (1, 2, 3)
    ]


def test_one_trigger_takes_all_views() -> None:
    """One trigger command is enough; all views carry its id."""
    triggers = Lane[TriggerRequest]("triggers", 1)
    triggers.offer(TriggerRequest(5, "A5", time.monotonic_ns()))

    assert [one[:3] for one in exposed(*(frame() for _ in range(3)), triggers=triggers)] == [
        (1, 1, 3),
        (1, 2, 3),
        (1, 3, 3),
    ]


@pytest.mark.parametrize("reason_to_leave", ["expiry", "next trigger"])
def test_a_view_taken_after_the_part_may_have_left_has_no_picture(reason_to_leave: str) -> None:
    """It may show the next part, whose PASS must not be this one's."""
    triggers = Lane[TriggerRequest]("triggers", 2)
    now = time.monotonic_ns()
    triggers.offer(TriggerRequest(5, "A5", now, now + 15 if reason_to_leave == "expiry" else None))
    if reason_to_leave == "next trigger":
        triggers.offer(TriggerRequest(6, "A6", now + 15))
    script = (frame(captured_ns=now + 10 * number) for number in (1, 2, 3))

    assert exposed(*script, triggers=triggers)[:3] == [
        (1, 1, 3, Reason.NONE),
        (1, 2, 3, Reason.LATE),
        (1, 3, 3, Reason.LATE),
    ]


def test_a_camera_that_is_lost_between_two_views_leaves_a_whole_part() -> None:
    """Missing views have no image, so the part gets its verdict, an ERROR."""
    assert exposed(frame(), "lost", *(frame() for _ in range(3))) == [
        (1, 1, 3, Reason.NONE),
        (1, 2, 3, Reason.CAMERA_LOST),
        (1, 3, 3, Reason.CAMERA_LOST),
        (2, 1, 3, Reason.NONE),
        (2, 2, 3, Reason.NONE),
        (2, 3, 3, Reason.NONE),
    ]


@pytest.mark.parametrize(
    ("results", "worst"),
    [
        ((Result.PASS, Result.PASS, Result.PASS), Result.PASS),
        ((Result.PASS, Result.UNSURE, Result.PASS), Result.UNSURE),
        ((Result.ERROR, Result.UNSURE, Result.PASS), Result.ERROR),
        ((Result.PASS, Result.ERROR, Result.FAIL), Result.FAIL),
    ],
)
def test_the_worst_view_is_the_parts(results: tuple[Result, ...], worst: Result) -> None:
    """A part passes only if all of its views do."""
    part = joined(*(inspection(view, result) for view, result in enumerate(results, 1)))

    assert part.result is worst
    assert results[part.frame.view - 1] is worst
    assert {other.view for other in part.others} == {1, 2, 3} - {part.frame.view}
    assert (part.frame.captured_ns, part.frame.captured_ms, part.age_ms) == (1000, 1, 3)


def test_a_changeover_between_two_views_is_no_pass() -> None:
    """A part of which half was judged by another model was judged by none."""
    part = joined(
        inspection(1, Result.PASS), inspection(2, Result.PASS, model="other"), inspection(3, Result.PASS)
    )

    assert (part.result, part.reason) == (Result.ERROR, Reason.NOT_READY)


def test_a_daemon_gives_one_verdict_for_all_views_and_keeps_their_pictures(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    """Twelve frames are four parts; the picture of the verdict and those of the other views are there."""
    changes = {
        "trigger.views": 3, "source.uri": "defects=0.3&count=12", "source.fps": 0, "evidence.pass_every": 1
    }  # fmt: skip
    with Subscriber(mosquitto.port) as ear, Daemon(tmp_path, mosquitto.port, changes) as daemon:
        assert daemon.end() == 0
        rows = daemon.rows()
    ear.wait(lambda ear: len(ear.on("t/verdict")) == 4)

    assert [row["seq"] for row in rows] == [1, 2, 3, 4]
    for row in rows:
        stem, _, suffix = row["image"].rpartition(".")
        pictures = sorted(daemon.evidence.glob(f"{stem}*.{suffix}"))
        assert len(pictures) == 3
        assert len({path.read_bytes() for path in pictures}) == 3
