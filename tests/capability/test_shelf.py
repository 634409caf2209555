"""The folder of a station's studies and sets of parts."""

from dataclasses import replace
from pathlib import Path

import pytest

from linewatch.capability.apart import Result
from linewatch.capability.shelf import DAY_MS, Plan, Reported, Shelf
from linewatch.capability.study import KnownPart, Limits, StudyError
from tests.capability.test_study import PARTS, complete, planned

PLAN = Plan("bottle", 3, "part", every_days=7, created_ms=1_000_000, limits=Limits(0.1, 0.2))


def reported(completed_ms: int) -> Reported:
    """Return what is kept of a result."""
    return Reported("a" * 64, "b" * 64, "capable", completed_ms, "Ann", {"good": 6})


def test_studies_and_their_results_come_back_newest_first(tmp_path: Path) -> None:
    """A file of the command is a study of the page; what is no study is said, and hides no other."""
    shelf = Shelf(tmp_path / "studies")
    first = shelf.add(planned())
    second = shelf.add(complete())
    assert first != second
    assert [one.name for one in shelf.entries()] == [second, first]
    (tmp_path / "studies/broken.json").write_text("{")

    shelf.report(second, Result("<html>", "a" * 64, "capable", {}), reported(5))
    found = {one.name: one for one in Shelf(tmp_path / "studies").entries()}

    assert found[first].study == planned() and found[first].reported is None
    assert found[second].reported == reported(5)
    assert "cannot be read" in found["broken"].trouble
    assert shelf.page(second).read_text() == "<html>"


def test_a_list_follows_the_files(tmp_path: Path) -> None:
    """What another process writes is seen at once, although files are not read again while they stay."""
    shelf, other = Shelf(tmp_path), Shelf(tmp_path)
    name = shelf.add(planned())
    entry = shelf.entry(name)
    assert entry is shelf.entry(name)

    other.save(name, replace(planned(), skipped=3))

    again = shelf.entry(name)
    assert again is not None and again.study is not None and again.study.skipped == 3
    other.remove(name)
    assert shelf.entry(name) is None


def test_a_set_of_parts_is_due_after_its_days(tmp_path: Path) -> None:
    """First since it was made, then since its last complete study; studies of other sets do not count."""
    shelf = Shelf(tmp_path)
    shelf.keep("weekly", PLAN, PARTS)
    (kept,), troubles = shelf.sets()
    assert (kept.plan, kept.parts, troubles) == (PLAN, tuple(PARTS), [])
    assert kept.due_ms == 1_000_000 + 7 * DAY_MS
    assert kept.overdue(kept.due_ms) and not kept.overdue(kept.due_ms - 1)

    for reference, completed_ms in (("weekly", 5 * DAY_MS), ("other", 9 * DAY_MS)):
        name = shelf.add(replace(complete(), reference=reference))
        shelf.report(name, Result("x", "a", "capable", {}), reported(completed_ms))
    (kept,), _ = shelf.sets()

    assert kept.last is not None and kept.due_ms == 12 * DAY_MS


def test_a_set_without_a_schedule_is_never_due(tmp_path: Path) -> None:
    """It is repeated whenever one wants."""
    shelf = Shelf(tmp_path)
    shelf.keep("now_and_then", replace(PLAN, every_days=0), PARTS)
    (kept,), _ = shelf.sets()

    assert kept.due_ms is None and not kept.overdue(10**15)


def test_a_damaged_set_is_one_sentence_and_hides_no_other(tmp_path: Path) -> None:
    """It names the file."""
    shelf = Shelf(tmp_path)
    shelf.keep("good", PLAN, PARTS)
    shelf.keep("bad", PLAN, PARTS)
    (tmp_path / "sets/bad.csv").write_text("part,truth\nA,perhaps\n")

    kept, (trouble,) = shelf.sets()

    assert [one.name for one in kept] == ["good"]
    assert "bad.csv" in trouble
    shelf.forget("bad")
    assert shelf.sets()[1] == []


@pytest.mark.parametrize("name", ["", "../up", "a b", "x" * 33])
def test_a_set_has_a_name_that_is_a_file_name(tmp_path: Path, name: str) -> None:
    """Nothing is written outside of the folder."""
    with pytest.raises(StudyError, match="cannot name a set"):
        Shelf(tmp_path).keep(name, PLAN, [KnownPart("A", "good")])
    assert not list(tmp_path.rglob("*.*"))
