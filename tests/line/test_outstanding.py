"""Every exposure is answered for by its deadline."""

import pytest

from linewatch.domain import Frame, Inspection, Reason, Result
from linewatch.line.outstanding import Outstanding, record_in_time
from linewatch.runtime.lane import Lane
from linewatch.runtime.stages import Stage

MS = 1_000_000


def exposure(seq: int, at_ms: int, view: int = 1) -> Frame:
    """Return an exposure without an image."""
    return Frame(None, captured_ns=at_ms * MS, captured_ms=0, seq=seq, view=view, views=2)


def test_a_part_is_overdue_once_its_time_is_over() -> None:
    """Not a nanosecond earlier; the oldest comes first."""
    owed = Outstanding(190 * MS)
    owed.add(exposure(1, 0))
    owed.add(exposure(2, 100))

    assert owed.overdue(190 * MS - 1) is None
    overdue = owed.overdue(190 * MS)
    assert overdue is not None and overdue.seq == 1
    assert owed.settle(1)
    assert owed.overdue(190 * MS) is None


def test_each_part_is_answered_for_once() -> None:
    """A result that comes after its part was answered for is not recorded again."""
    owed = Outstanding(190 * MS)
    owed.add(exposure(1, 0))
    owed.add(exposure(2, 100))

    assert owed.settle(1)
    assert not owed.settle(1)
    assert owed.settle(2)
    assert not owed.settle(2)


def test_several_views_are_one_part() -> None:
    """Its time runs from the first exposure."""
    owed = Outstanding(190 * MS)
    owed.add(exposure(1, 0))
    owed.add(exposure(1, 50, view=2))

    assert owed.settle(1)
    assert owed.overdue(10_000 * MS) is None


def test_it_says_whether_a_verdict_is_owed() -> None:
    """After each exposure and each recorded verdict: what gives way to the line waits for the last one."""
    said: list[bool] = []
    owed = Outstanding(190 * MS, said.append)
    owed.add(exposure(1, 0))
    owed.add(exposure(2, 100))
    for seq in (1, 2):
        before = len(said)
        owed.settle(seq)
        assert len(said) == before, "it is not published yet"
        owed.recorded()

    assert said == [True, True, True, False]


def test_no_part_is_skipped() -> None:
    """A result that overtakes an older part is a bug."""
    owed = Outstanding(190 * MS)
    owed.add(exposure(1, 0))
    owed.add(exposure(2, 100))

    with pytest.raises(AssertionError, match="part 2 was recorded before part 1"):
        owed.settle(2)


def test_the_wait_ends_when_the_oldest_is_due() -> None:
    """And is never longer than asked for."""
    owed = Outstanding(190 * MS)
    assert owed.wait_s(0, 0.25) == 0.25
    owed.add(exposure(1, 0))
    assert owed.wait_s(0, 0.25) == pytest.approx(0.19)
    assert owed.wait_s(500 * MS, 0.25) == 0.0


def inspection(frame: Frame, result: Result, reason: Reason = Reason.NONE) -> Inspection:
    """Return one inspected part."""
    return Inspection(frame, "demo", 1, "7f3a91c2", 1.0, result, reason, 0)


def give_up(frame: Frame) -> Inspection:
    """Return the ERROR of a part whose time is over."""
    return inspection(frame, Result.ERROR, Reason.LATE)


class Line:
    """The record stage over a lane, with a clock that moves with each look at it."""

    def __init__(self) -> None:
        self.inlet = Lane[Inspection]("inspections", 10)
        self.owed = Outstanding(190 * MS)
        self.now_ms = 0
        self.recorded: list[tuple[int, Result]] = []
        self.script: list[Inspection | None] = []  # What arrives with each look at the clock.

    def run(self) -> list[tuple[int, Result]]:
        """Record until the script ends; return part and result in order."""
        record_in_time(
            Stage("record", lambda _: None),
            self.inlet,
            self.owed,
            self._record,
            give_up,
            clock_ns=self._clock_ns,
        )
        return self.recorded

    def _record(self, one: Inspection) -> None:
        self.recorded.append((one.frame.seq, one.result))

    def _clock_ns(self) -> int:
        self.now_ms += 100
        if not self.script:
            self.inlet.close()
        elif (arrives := self.script.pop(0)) is not None:
            self.inlet.put(arrives)
        return self.now_ms * MS


def test_a_part_without_a_result_is_an_error_when_its_time_is_over() -> None:
    """The engine hangs on part 1: it is answered for, its late PASS is dropped, and part 2 passes."""
    line = Line()
    parts = [exposure(1, 0), exposure(2, 400)]
    for part in parts:
        line.owed.add(part)
    line.script = [None, None, None, *(inspection(part, Result.PASS) for part in parts)]

    assert line.run() == [(1, Result.ERROR), (2, Result.PASS)]


def test_a_result_that_is_there_is_recorded_even_if_its_time_is_over() -> None:
    """Whether it may still pass is decided when it is recorded."""
    line = Line()
    part = exposure(1, -1000)
    line.owed.add(part)
    line.script = [inspection(part, Result.FAIL)]

    assert line.run() == [(1, Result.FAIL)]
