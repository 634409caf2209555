"""What a station keeps is assessed from marks; an alarm is reported once, when it begins and when it ends."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from linewatch.capability.promise_watch import (
    ASSESS_EVERY_S,
    ProductPromises,
    PromiseWatch,
    Standing,
    assess,
)
from linewatch.domain import Reason, Result
from linewatch.errors import StorageFull
from linewatch.settings import PromiseSettings
from linewatch.storage.journal import Journal
from linewatch.storage.promise.counts import Period, PromiseTest
from tests.bundles import models_in, teach
from tests.storage.test_journal import record

TEST = PromiseTest(1, "bottle", "7f3a91c2", (2.0,), 1_790_000_000_000)
ALL = PromiseSettings(false_rejects_max=0.05, escapes_max=0.05, reinspect_share=1.0)


class Station:
    """Keeps the events."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, object]]] = []

    def event(self, name: str, **facts: object) -> None:
        """Keep one event."""
        self.events.append((name, facts))


class Clock:
    """A monotonic clock that the test sets."""

    now_s = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now_s


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """Open a new journal."""
    with Journal.open(tmp_path / "journal.db") as opened:
        yield opened


@pytest.fixture
def station() -> Station:
    """Return what takes the events."""
    return Station()


def fail(journal: Journal, *sequences: int, actual: str = "", **facts: object) -> None:
    """Record parts that fail, and mark them."""
    record(journal, *sequences, result=Result.FAIL, reason=Reason.ABOVE_THRESHOLD, raw=2.5, **facts)
    for seq in sequences if actual else ():
        assert journal.review(journal.boot, seq, actual, "", "anna")


def period(**counts: int) -> list[Period]:
    """Return one period."""
    return [Period(TEST.since_ms, Counter(counts))]


def only(watch: PromiseWatch) -> ProductPromises:
    """Return the promises of the only product."""
    (found,) = watch.products()
    return found


def test_an_unmarked_reject_never_speaks_against_the_promise() -> None:
    """Whichever FAILs are marked, the lower limit counts those known; the upper one all that may be."""
    few = assess(TEST, period(passed=950, failed=50, failed_good=3), false_rejects=0.01)
    half = assess(TEST, period(passed=950, failed=50, failed_good=3, failed_defect=22), false_rejects=0.01)
    whole = assess(TEST, period(passed=950, failed=50, failed_good=3, failed_defect=47), false_rejects=0.01)
    rates = [found.false_rejects for found in (few, half, whole)]

    assert [(rate.known, rate.parts) for rate in rates] == [(3, 1000), (3, 978), (3, 953)]
    assert all(rate.standing is Standing.OPEN for rate in rates)
    assert rates[0].interval.high > 0.05 > rates[1].interval.high > rates[2].interval.high
    assert few.unmarked == 47 and few.false_rejects_if_alike == pytest.approx(50 / 1000)
    assert half.false_rejects_if_alike == pytest.approx(6 / 956)
    assert assess(TEST, period(passed=9)).false_rejects_if_alike is None


def test_no_choice_of_what_to_mark_makes_an_alarm() -> None:
    """Even who marks only false rejects gets none that marking everything would not give."""
    rng = np.random.default_rng(5)
    alarms = 0
    for _ in range(150):
        failed, passed = int(rng.integers(1, 60)), int(rng.integers(500, 5000))
        good = int(rng.integers(0, failed + 1))
        known, defects = int(rng.integers(0, good + 1)), int(rng.integers(0, failed - good + 1))
        promised = float(rng.choice([0.001, 0.005, 0.01]))
        some = period(passed=passed, failed=failed, failed_good=known, failed_defect=defects)
        every = period(passed=passed, failed=failed, failed_good=good, failed_defect=failed - good)
        partly = assess(TEST, some, false_rejects=promised).false_rejects
        wholly = assess(TEST, every, false_rejects=promised).false_rejects
        alarms += partly.standing is Standing.BROKEN
        assert partly.standing is not Standing.BROKEN or wholly.standing is Standing.BROKEN
        assert partly.standing is not Standing.KEPT or wholly.standing is Standing.KEPT
        assert (
            partly.interval.low <= wholly.interval.low <= wholly.interval.high <= partly.interval.high + 1e-9
        )

    assert 10 < alarms < 140


def test_only_drawn_parts_speak_of_escapes() -> None:
    """A defect that a customer found among the PASS parts says nothing of how many there are."""
    found = assess(
        TEST, period(passed=9000, drawn=90, drawn_good=60, drawn_defect=4, passed_defect=30), escapes=0.001
    )

    assert (found.escapes.known, found.escapes.parts) == (4, 64)
    assert found.escapes.standing is Standing.BROKEN
    assert found.escapes_elsewhere == 26
    assert found.false_rejects.standing is Standing.NONE


def test_a_promise_is_kept_when_the_whole_interval_is_below_it() -> None:
    """That takes many parts; until then it is open."""
    few = assess(TEST, period(passed=200, failed=1, failed_defect=1), false_rejects=0.01)
    many = assess(TEST, period(passed=20_000, failed=100, failed_defect=100), false_rejects=0.01)

    assert few.false_rejects.standing is Standing.OPEN
    assert many.false_rejects.standing is Standing.KEPT


def test_an_alarm_is_told_once_and_ends_when_marks_are_changed(journal: Journal, station: Station) -> None:
    """A restart between neither repeats nor forgets it; the audit has both."""
    watch = PromiseWatch(journal, ALL, Path("models"), 30, events=station)
    record(journal, *range(1, 41))
    fail(journal, *range(41, 71), actual="good")
    watch.step()

    (name, facts) = station.events[0]
    assert name == "promise" and len(station.events) == 1
    assert (facts["broken"], facts["promise"], facts["known"], facts["parts"]) == (1, "false_rejects", 30, 70)
    assert only(watch).false_rejects.standing is Standing.BROKEN

    again = PromiseWatch(journal, ALL, Path("models"), 30, events=station)
    again.step()
    assert len(station.events) == 1
    for seq in range(41, 71):
        journal.review(journal.boot, seq, "defect", "", "ben")
    assert only(again).false_rejects.standing is not Standing.BROKEN
    assert [facts["broken"] for _, facts in station.events] == [1, 0]
    told = [entry.action for entry in journal.reader().audit(99) if entry.action.startswith("promise")]
    assert told == ["promise_alarm_ended", "promise_broken"]


def test_a_new_threshold_ends_the_alarm_and_begins_a_new_test(journal: Journal, station: Station) -> None:
    """And marks of parts judged before no longer count."""
    watch = PromiseWatch(journal, ALL, Path("models"), 30, events=station)
    fail(journal, *range(1, 31), actual="good")
    watch.step()
    fail(journal, 31, threshold=2.2)
    found = only(watch)

    assert (found.false_rejects.known, found.false_rejects.parts) == (0, 1)
    assert [facts["broken"] for _, facts in station.events] == [1, 0]
    fail(journal, *range(32, 62), actual="good", threshold=2.2)
    watch.products()
    assert [facts["broken"] for _, facts in station.events] == [1, 0, 1]


def test_escapes_are_told_too(journal: Journal, station: Station) -> None:
    """Marked parts leave the queue."""
    watch = PromiseWatch(journal, ALL, Path("models"), 30, events=station)
    record(journal, *range(1, 31), image="a.jpg")
    assert len(watch.queue(100)) == 30
    for seq in range(1, 21):
        journal.review(journal.boot, seq, "defect", "", "anna")

    assert len(watch.queue(100)) == 10 == watch.waiting()
    assert only(watch).escapes.standing is Standing.BROKEN
    assert [facts["promise"] for _, facts in station.events] == ["escapes"]


def test_the_promise_is_that_of_the_model_and_its_threshold(journal: Journal, tmp_path: Path) -> None:
    """Not of a threshold by hand, nor where the model is gone; the settings override it."""
    models = models_in(tmp_path)
    bundle, other = teach(models, "bottle"), teach(models, "by_hand")
    record(journal, 1, model=bundle.version, threshold=bundle.calibration.threshold)
    record(journal, 2, model=other.version, threshold=1.9, product="by_hand")
    record(journal, 3, model="00000000", product="removed")

    def promised(settings: PromiseSettings) -> dict[str, tuple[float | None, float | None]]:
        watch = PromiseWatch(journal, settings, models.path, 30)
        return {
            found.test.product: (found.false_rejects.promised, found.escapes.promised)
            for found in watch.products()
        }

    taught = bundle.calibration.false_reject
    nothing = (None, None)
    assert promised(PromiseSettings()) == {"bottle": (taught, None), "by_hand": nothing, "removed": nothing}
    assert set(promised(ALL).values()) == {(0.05, 0.05)}


def test_a_busy_line_is_assessed_now_and_then_and_a_reader_gets_the_newest(
    journal: Journal, station: Station
) -> None:
    """Counting costs little, assessing ten milliseconds."""
    clock = Clock()
    shown: list[int] = []

    def show(_product: str, promise: str, **figures: float) -> None:
        if promise == "false_rejects":
            shown.append(int(figures["waiting"]))

    watch = PromiseWatch(journal, ALL, Path("models"), 30, show=show, clock_s=clock)
    for seq in range(1, 5):
        record(journal, seq, image="a.jpg")
        watch.step()
    assert len(shown) == 1
    assert only(watch).counts["passed"] == 4
    watch.products()
    assert len(shown) == 2, "nothing is new"
    record(journal, 5, image="a.jpg")
    clock.now_s = ASSESS_EVERY_S
    watch.step()
    assert shown == [1, 4, 5]
    assert not station.events


def test_a_replaced_journal_forgets_the_product(journal: Journal, tmp_path: Path) -> None:
    """What is shown is what the file says."""
    watch = PromiseWatch(journal, ALL, Path("models"), 30)
    fail(journal, 1)
    assert len(watch.products()) == 1
    (tmp_path / "journal.db").unlink()
    with pytest.raises(StorageFull):
        journal.maintain(0)

    assert watch.products() == []
    record(journal, 2, product="screw")
    assert only(watch).test.product == "screw"


def test_a_disk_that_refuses_or_hangs_takes_no_page_away(
    journal: Journal, station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages show what was known; the alarm is heard once, and is in the audit once the disk takes it."""
    watch = PromiseWatch(journal, ALL, Path("models"), 30, events=station)
    record(journal, 1, image="a.jpg")
    assert only(watch).counts["passed"] == 1

    def full(*_: object) -> None:
        raise StorageFull(journal.path, "the disk is full")

    fail(journal, *range(2, 32), actual="good")
    with monkeypatch.context() as patch:
        patch.setattr(journal, "audit", full)
        for _ in range(3):
            watch.products()
        assert len(station.events) == 1
        patch.setattr(journal, "write_relaxed", full)
        record(journal, 40)
        assert only(watch).false_rejects.standing is Standing.BROKEN
        assert [one.seq for one in watch.queue(9)] == [1]
    with watch._lock:  # As while another thread waits for the disk.
        assert only(watch).false_rejects.known == 30
    assert only(watch).counts["passed"] == 2
    assert len(station.events) == 1
    assert [entry.action for entry in journal.reader().audit(1)] == ["promise_broken"]
