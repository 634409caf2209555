"""Every exposure is answered for by its deadline."""

import pytest

from linewatch.domain import Frame
from linewatch.line.outstanding import Outstanding

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
