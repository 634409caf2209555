"""Parts and marks are counted once each, with the test that the part belongs to, whatever happens between."""

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from linewatch.domain import Reason, Result
from linewatch.errors import StorageFull
from linewatch.storage.journal import Journal
from linewatch.storage.promise import counts as module
from linewatch.storage.promise.counts import ROWS_AT_ONCE, PromiseCounts
from linewatch.storage.promise.draw import Draw
from tests.storage.test_journal import DAY_MS, record

NOON_MS = 1_790_000_000_000 // DAY_MS * DAY_MS + DAY_MS // 2
ALL = 1.0  # The share drawn.


class Clock:
    """A clock that the test sets."""

    now_ms = NOON_MS

    def __call__(self) -> int:
        """Return the time."""
        return self.now_ms


@pytest.fixture
def clock() -> Clock:
    """Return a clock at noon."""
    return Clock()


@pytest.fixture
def journal(tmp_path: Path, clock: Clock) -> Iterator[Journal]:
    """Open a new journal."""
    with Journal.open(tmp_path / "journal.db", clock_ms=clock) as opened:
        yield opened


@pytest.fixture
def counts(journal: Journal) -> PromiseCounts:
    """Count a journal of which no part is drawn."""
    return PromiseCounts(journal, 0.0, 30)


def fail(journal: Journal, *sequences: int, **facts: object) -> None:
    """Record parts that fail."""
    record(journal, *sequences, result=Result.FAIL, reason=Reason.ABOVE_THRESHOLD, raw=2.5, **facts)


def mark(journal: Journal, seq: int, actual: str, who: str = "anna") -> None:
    """Mark one part of this boot."""
    assert journal.review(journal.boot, seq, actual, "", who)


def periods(counts: PromiseCounts, product: str = "bottle") -> list[dict[str, int]]:
    """Count what is new, and return what is not 0 in the periods of the product's newest test."""
    counts.step()
    test = counts.newest_test(product)
    assert test is not None
    return [
        {name: count for name, count in each.counts.items() if count} for each in counts.periods(test.test)
    ]


def total(counts: PromiseCounts, product: str = "bottle") -> dict[str, int]:
    """Return the sums over all periods of the newest test."""
    found: Counter[str] = Counter()
    for period in periods(counts, product):
        found.update(period)
    return dict(found)


def test_parts_and_marks_are_counted_once(journal: Journal, counts: PromiseCounts) -> None:
    """By result; an ERROR is no judgement, and a second step or process adds nothing."""
    record(journal, 1, 2)
    fail(journal, 3, 4, 5)
    record(journal, 6, result=Result.UNSURE, reason=Reason.NEAR_THRESHOLD)
    record(journal, 7, result=Result.ERROR, reason=Reason.CAMERA_LOST, threshold=0.0)
    for seq, actual in ((3, "good"), (4, "defect"), (6, "good"), (1, "defect"), (7, "good")):
        mark(journal, seq, actual)

    expected = {
        "passed": 2, "failed": 3, "unsure": 1,
        "failed_good": 1, "failed_defect": 1, "unsure_good": 1, "passed_defect": 1,
    }  # fmt: skip
    assert counts.step() == {"bottle"}
    assert total(counts) == expected
    assert counts.step() == set()
    assert total(PromiseCounts(journal, 0.0, 30)) == expected


def test_the_last_mark_of_a_part_counts(journal: Journal, counts: PromiseCounts) -> None:
    """Whether it repeats the one before, changes it, or is another user's, counted at once or later."""
    fail(journal, 1, 2)
    mark(journal, 1, "good")
    mark(journal, 1, "good")
    assert total(counts) == {"failed": 2, "failed_good": 1}
    mark(journal, 1, "defect", "ben")
    mark(journal, 2, "defect")
    assert total(counts) == {"failed": 2, "failed_defect": 2}
    mark(journal, 1, "good")
    mark(journal, 2, "good", "ben")
    mark(journal, 2, "defect")
    assert total(counts) == {"failed": 2, "failed_good": 1, "failed_defect": 1}


def test_a_new_model_or_threshold_begins_a_new_test(journal: Journal, counts: PromiseCounts) -> None:
    """A mark counts with the test that its part belongs to; going back to a model continues its test."""
    fail(journal, 1, 2)
    fail(journal, 3, model="91c27f3a")
    assert total(counts) == {"failed": 1}
    first = counts.newest_test("bottle")
    mark(journal, 1, "good")
    assert total(counts) == {"failed": 1}, "another model's part"
    fail(journal, 4)
    assert total(counts) == {"failed": 3, "failed_good": 1}
    fail(journal, 5, threshold=1.9)
    mark(journal, 2, "good")
    mark(journal, 5, "defect")
    assert total(counts) == {"failed": 1, "failed_defect": 1}
    assert first is not None and first.model == "91c27f3a"
    assert counts.step() == set()


def test_regions_have_thresholds_of_their_own(journal: Journal, counts: PromiseCounts) -> None:
    """They are one test until one of them changes."""
    fail(journal, 1, region="thread", threshold=1.0)
    fail(journal, 2)
    fail(journal, 3, region="neck", threshold=4.0)
    assert total(counts) == {"failed": 3}
    test = counts.newest_test("bottle")
    assert test is not None and set(test.limits) == {1.0, 2.0, 4.0}
    fail(journal, 4, region="thread", threshold=1.0)
    assert total(PromiseCounts(journal, 0.0, 30)) == {"failed": 4}
    fail(journal, 5, region="thread", threshold=1.1)
    assert total(counts) == {"failed": 1}


def test_products_have_tests_of_their_own(journal: Journal, counts: PromiseCounts) -> None:
    """A changeover ends none."""
    fail(journal, 1)
    fail(journal, 2, 3, product="screw", model="aaaa1111")
    fail(journal, 4)
    assert counts.step() == {"bottle", "screw"}
    assert total(counts) == {"failed": 2} == total(counts, "screw")


def test_a_day_is_a_period_and_a_jump_of_the_clock_confuses_nothing(
    journal: Journal, counts: PromiseCounts, clock: Clock
) -> None:
    """A part marked days later counts with its own day, also where the clock was set back between."""
    fail(journal, 1)
    clock.now_ms = NOON_MS + 40 * DAY_MS
    fail(journal, 2, 3)
    clock.now_ms = NOON_MS - 5 * DAY_MS
    fail(journal, 4)
    counts.step()
    clock.now_ms = NOON_MS
    mark(journal, 1, "good")
    mark(journal, 3, "defect")
    fail(journal, 5)
    mark(journal, 4, "good")

    assert periods(counts) == [
        {"failed": 1, "failed_good": 1},
        {"failed": 2, "failed_defect": 1},
        {"failed": 1, "failed_good": 1},
        {"failed": 1},
    ]


def test_a_journal_of_before_is_counted_from_now_on(tmp_path: Path) -> None:
    """Its parts and their marks are left out, whenever they are marked: how many there were is not known."""
    path = tmp_path / "journal.db"
    with Journal.open(path) as journal:
        fail(journal, 1, 2)
        mark(journal, 1, "good")
        old_boot = journal.boot
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for table in ("progress", "tests", "periods", "alarms"):
            db.execute(f"DROP TABLE promise_{table}")
        db.execute("DROP TABLE reinspections")
        db.execute("PRAGMA user_version = 6")

    with Journal.open(path) as journal:
        counts = PromiseCounts(journal, ALL, 30)
        assert counts.step() == set()
        assert counts.newest_test("bottle") is None
        assert journal.review(old_boot, 2, "good", "", "anna")
        fail(journal, 1)
        mark(journal, 1, "good")
        assert total(counts) == {"failed": 1, "failed_good": 1}
        assert len(journal.reader().reviews(9)) == 3


def test_counts_outlive_the_rows(journal: Journal, counts: PromiseCounts, clock: Clock) -> None:
    """Retention removes rows, and takes what can no longer be inspected from the queue."""
    drawn = PromiseCounts(journal, ALL, 30)
    record(journal, 1, 2, image="a.jpg")
    fail(journal, 3)
    mark(journal, 3, "good")
    drawn.step()
    assert drawn.waiting() == 2
    clock.now_ms += 31 * DAY_MS
    drawn.step()
    assert drawn.waiting() == 0 and drawn.queue(9) == [], "their images are gone"
    clock.now_ms -= 31 * DAY_MS
    drawn.step()
    assert drawn.waiting() == 2, "the clock was wrong"
    clock.now_ms += 31 * DAY_MS
    batch = journal.reader().undelivered(9)
    assert batch is not None
    journal.mark_delivered(batch)
    record(journal, 4, image="b.jpg")
    journal.maintain(clock.now_ms - DAY_MS)

    assert drawn.step() == {"bottle"}
    assert [one.seq for one in drawn.queue(9)] == [4]
    assert total(counts) == {"passed": 3, "failed": 1, "failed_good": 1, "drawn": 3}


def test_many_rows_are_counted_in_short_steps(journal: Journal, counts: PromiseCounts) -> None:
    """And marks of parts that are not counted yet wait for them."""
    many = range(1, ROWS_AT_ONCE * 2 + 2)
    record(journal, *many)
    fail(journal, len(many) + 1)
    mark(journal, len(many) + 1, "good")

    assert total(counts) == {"passed": len(many), "failed": 1, "failed_good": 1}


def test_a_mark_is_found_without_reading_the_verdicts(journal: Journal) -> None:
    """There may be eighty million of them."""
    with closing(sqlite3.connect(journal.path)) as db:
        plan = [step[3] for step in db.execute(f"EXPLAIN QUERY PLAN {module._MARKS}", (0, 9))]

    assert any("SEARCH v USING" in step for step in plan) and not any("SCAN v" in step for step in plan), plan


def test_what_the_disk_refuses_is_counted_later(
    journal: Journal, counts: PromiseCounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is lost and nothing is counted twice."""
    fail(journal, 1)
    mark(journal, 1, "good")

    def full(_write: object) -> None:
        raise StorageFull(journal.path, "the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(journal, "write_relaxed", full)
        with pytest.raises(StorageFull):
            counts.step()
    fail(journal, 2, threshold=1.9)

    assert total(counts) == {"failed": 1}
    fail(journal, 3)
    assert total(counts) == {"failed": 1}, "a threshold set back is another test"


def test_a_replaced_journal_begins_anew(journal: Journal, counts: PromiseCounts, tmp_path: Path) -> None:
    """Its products are reported as changed."""
    key = PromiseCounts(journal, 0.1, 30).draw
    fail(journal, 1)
    counts.step()
    (tmp_path / "journal.db").unlink()
    with pytest.raises(StorageFull):
        journal.maintain(0)

    assert counts.step() == {"bottle"}
    assert counts.newest_test("bottle") is None
    fail(journal, 2, 3)
    assert total(counts) == {"failed": 2}
    drawn = [PromiseCounts(journal, 0.1, 30).draw.takes(1, seq) for seq in range(100)]
    assert drawn == [key.takes(1, seq) for seq in range(100)], (
        "the line goes on drawing with the key of before"
    )


def test_drawn_parts_wait_until_they_are_marked(journal: Journal) -> None:
    """The oldest first, by product; only a PASS with an image, and a mark changed later counts again."""
    counts = PromiseCounts(journal, ALL, 30)
    record(journal, 1, 2, 5, image="a.jpg")
    record(journal, 3)  # Its image was shed.
    fail(journal, 4, image="b.jpg")
    record(journal, 6, product="screw", image="c.jpg")
    counts.step()
    boot = journal.boot

    assert [one.seq for one in counts.queue(9)] == [1, 2, 5, 6]
    assert [one.seq for one in counts.queue(1, (boot, 1))] == [2]
    assert [one.seq for one in counts.queue(9, product="screw")] == [6]
    assert (counts.waiting(), counts.waiting("screw")) == (4, 1)
    mark(journal, 1, "good")
    mark(journal, 2, "defect")
    mark(journal, 3, "defect")
    assert total(counts) == {
        "passed": 4, "failed": 1, "drawn": 3, "passed_good": 1, "passed_defect": 2,
        "drawn_good": 1, "drawn_defect": 1,
    }  # fmt: skip
    assert [one.seq for one in counts.queue(9)] == [5, 6]
    mark(journal, 2, "good")
    assert total(counts)["drawn_good"] == 2 and "drawn_defect" not in total(counts)


def test_the_draw_takes_its_share_and_every_process_the_same(tmp_path: Path) -> None:
    """Which parts depends on the journal's key; a larger share takes the same parts and more."""
    keys = []
    for name in ("a.db", "b.db"):
        with Journal.open(tmp_path / name) as journal:
            key = PromiseCounts(journal, 0.02, 30).draw
        with Journal.open(tmp_path / name) as journal:
            again = PromiseCounts(journal, 0.02, 30).draw
        taken = [seq for seq in range(20_000) if key.takes(7, seq)]
        assert taken == [seq for seq in range(20_000) if again.takes(7, seq)]
        assert 320 <= len(taken) <= 480
        keys.append(taken)

    assert keys[0] != keys[1]
    small, large = Draw(b"k" * 32, 0.1), Draw(b"k" * 32, 0.5)
    assert all(large.takes(1, seq) for seq in range(1000) if small.takes(1, seq))
    assert all(Draw(b"k", 1.0).takes(1, seq) for seq in range(1000))
    assert not any(Draw(b"k", 0.0).takes(1, seq) for seq in range(1000))


def test_alarms_are_kept(journal: Journal, counts: PromiseCounts, clock: Clock) -> None:
    """Over a restart, with the time since when."""
    counts.step()
    counts.begin_alarm("bottle", "escapes", 1)
    again = PromiseCounts(journal, 0.0, 30)
    again.step()
    assert again.alarms("bottle") == {"escapes": (1, clock.now_ms)}
    again.end_alarm("bottle", "escapes")
    assert counts.alarms("bottle") == {}
