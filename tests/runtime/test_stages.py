import os
import threading
from collections.abc import Iterator
from contextlib import nullcontext

import pytest

from linewatch.runtime.lane import Lane
from linewatch.runtime.stages import Stage, StageGroup, StageStalled, consume, transform


def run(*stages: Stage, stop: threading.Event | None = None, stall_s: float = 5, grace_s: float = 5) -> None:
    """Run stages to their end."""
    group = StageGroup(stages, (), stall_s=stall_s, grace_s=grace_s)
    group.run(stop or threading.Event(), threading.Event())


def feed(lane: Lane[int], *numbers: int) -> Stage:
    """Return a stage that puts numbers and ends its stream."""

    def produce(_: Stage) -> None:
        with lane:
            for number in numbers:
                lane.put(number)

    return Stage("feed", produce)


def test_the_end_of_a_stream_runs_down_the_line() -> None:
    """When the first stage ends, the others drain and end, and nothing is lost."""
    a, b = Lane[int]("a", 2), Lane[int]("b", 2)
    seen: list[int] = []

    run(
        feed(a, *range(50)),
        Stage("double", lambda stage: transform(stage, a, lambda n: [n, n], b)),
        Stage("collect", lambda stage: consume(stage, b, seen.append)),
    )

    assert seen == [n for n in range(50) for _ in range(2)]


@pytest.mark.parametrize("failing", ["feed", "work", "collect"])
def test_the_first_failure_ends_every_stage(failing: str) -> None:
    """A bug in any stage is raised by run(), and no thread stays behind."""
    a, b = Lane[int]("a", 1), Lane[int]("b", 1)

    def fail_if(name: str) -> None:
        if name == failing:
            raise ZeroDivisionError(name)

    def produce(_: Stage) -> None:
        with a:
            fail_if("feed")
            while True:
                a.put(1)

    def work(number: int) -> Iterator[int]:
        fail_if("work")
        yield number

    stages = [
        Stage("feed", produce),
        Stage("work", lambda stage: transform(stage, a, work, b)),
        Stage("collect", lambda stage: consume(stage, b, lambda _: fail_if("collect"))),
    ]

    with pytest.raises(ZeroDivisionError, match=failing):
        run(*stages)
    assert not {"feed", "work", "collect"} & {thread.name for thread in threading.enumerate()}


def test_a_stage_that_hangs_on_one_item_is_named() -> None:
    """A stage that exceeds its limit on one item ends the run."""
    lane, release = Lane[int]("a", 1), threading.Event()

    def hang(_: int) -> None:
        release.wait(20)

    with pytest.raises(StageStalled, match="'stuck' holds one item"):
        run(
            feed(lane, 1),
            Stage("stuck", lambda stage: consume(stage, lane, hang)),
            stall_s=0.05,
        )
    release.set()


def test_a_stage_that_does_not_end_is_named() -> None:
    """A stop waits for the grace and no longer."""
    release, stop = threading.Event(), threading.Event()
    stop.set()

    def hang(_: Stage) -> None:
        release.wait(20)

    with pytest.raises(StageStalled, match="deaf"):
        run(Stage("deaf", hang), stop=stop, grace_s=0.05)
    release.set()


def test_a_stage_gives_way_by_its_niceness() -> None:
    """The niceness holds for the stage's thread alone."""
    seen: list[int] = []

    def note(_: Stage) -> None:
        seen.append(os.getpriority(os.PRIO_PROCESS, 0))

    run(Stage("one", note, niceness=3))

    assert seen == [os.getpriority(os.PRIO_PROCESS, 0) + 3]


def test_an_idle_stage_beats() -> None:
    """A stage that waits for work counts progress, so the watchdog sees that its thread runs."""
    lane = Lane[int]("a", 1)
    stage = Stage("idle", lambda stage: consume(stage, lane, lambda _: None))
    thread = threading.Thread(target=stage.run, args=(stage,))
    thread.start()
    while stage.beats == 0 and thread.is_alive():
        thread.join(0.01)
    lane.close()
    thread.join(5)

    assert stage.beats > 0
    assert stage.busy_s() == 0.0


@pytest.mark.parametrize("broken", [False, True])
def test_services_go_on_until_the_line_has_drained(broken: bool) -> None:
    """Services end only after every part was recorded, and know by then whether a stage failed."""
    lane, drained = Lane[int]("a", 1), threading.Event()
    seen: list[int] = []

    def collect(number: int) -> None:
        if broken:
            raise ZeroDivisionError
        seen.append(number)

    heard: list[tuple[int, bool]] = []

    def announce(_: Stage) -> None:
        drained.wait(10)
        heard.append((len(seen), group.failed.is_set()))

    line = [feed(lane, *range(20)), Stage("collect", lambda stage: consume(stage, lane, collect))]
    group = StageGroup(line, [Stage("announce", announce)], stall_s=5, grace_s=5)

    with pytest.raises(ZeroDivisionError) if broken else nullcontext():
        group.run(threading.Event(), drained)

    assert heard == [(0, True) if broken else (20, False)]


def test_a_hurried_stop_still_drains_the_line_and_leaves_the_services() -> None:
    """Every captured frame gets its verdict; the services are not waited for."""
    stop, drained, hurry = threading.Event(), threading.Event(), threading.Event()
    awaited, forgotten = threading.Event(), threading.Event()
    lane, seen, looks = Lane[int]("a", 3), list[int](), list[int]()
    for number in (1, 2, 3):
        lane.put(number)
    lane.close()

    def record(number: int) -> None:
        stop.set()
        hurry.set()
        assert awaited.wait(10), "the group has left while a part was in hand"
        seen.append(number)

    def alive() -> None:
        looks.append(len(seen))
        if hurry.is_set() and len(looks) > 4:  # Whoever does not wait looks only twice.
            awaited.set()

    line = [Stage("record", lambda stage: consume(stage, lane, record))]
    deliver = Stage("deliver", lambda _: assert_set(forgotten))

    StageGroup(line, [deliver], stall_s=5, grace_s=5).run(stop, drained, hurry=hurry, alive=alive)

    assert seen == [1, 2, 3]
    assert drained.is_set() and not forgotten.is_set()
    forgotten.set()


def assert_set(event: threading.Event) -> None:
    """Wait for an event."""
    assert event.wait(10)
