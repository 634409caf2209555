"""The figures of a shift, against values worked out by hand."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from linewatch.domain import Reason, Result, State
from linewatch.reporting.calendar import Shift
from linewatch.reporting.figures import ShiftFigures
from linewatch.reporting.report import ShiftReport, make_report
from linewatch.storage.journal import Journal
from linewatch.storage.journal_reader import JournalFile, JournalReader
from tests.shift_journal import HOUR_MS, fill, keep_frame, produce
from tests.storage.test_journal import verdict

SINCE_MS = 1_795_759_200_000
SHIFT = Shift(date(2026, 11, 27), "early", SINCE_MS, SINCE_MS + 8 * HOUR_MS)
AFTER_MS = SHIFT.until_ms + HOUR_MS


def report(folder: Path, now_ms: int = AFTER_MS, **asked: str) -> ShiftReport:
    """Return the report of SHIFT."""
    with JournalReader(JournalFile(folder / "journal.db")) as reader:
        return make_report(
            reader, "cell4", folder / "evidence", SHIFT, now_ms, rest=lambda _seconds: None, **asked
        )


def test_every_figure_by_hand(tmp_path: Path) -> None:
    """Eight verdicts of two products, a part inspected twice, two reviews; others around the shift."""
    at = SINCE_MS + 1000
    rows = [
        verdict(1, 1, captured_ms=SINCE_MS - 1, result=Result.FAIL, reason=Reason.ABOVE_THRESHOLD),
        verdict(1, 2, captured_ms=at, part="A", result=Result.FAIL, reason=Reason.ABOVE_THRESHOLD,
                box=(10, 10, 20, 20), latency_ms=10, region="neck"),
        verdict(1, 3, captured_ms=at + 1, part="A", latency_ms=20),
        verdict(1, 4, captured_ms=at + 2, part="B", latency_ms=30),
        verdict(1, 5, captured_ms=at + 3, part="", latency_ms=40, model="0000ffff"),
        verdict(1, 6, captured_ms=at + 4, part="", result=Result.UNSURE, reason=Reason.NEAR_THRESHOLD),
        verdict(1, 7, captured_ms=at + 5, part="C", result=Result.ERROR, reason=Reason.STALE, late=True),
        verdict(1, 8, captured_ms=at + 6, part="D", latency_ms=50),
        verdict(1, 9, captured_ms=at + 7, part="A", product="screw", latency_ms=5),
        verdict(1, 10, captured_ms=SHIFT.until_ms, part="E", result=Result.FAIL),
    ]  # fmt: skip
    fill(tmp_path / "journal.db", rows)
    with Journal.open(tmp_path / "journal.db") as journal:
        journal.review(1, 2, "good", "", "anna")
        journal.review(1, 4, "defect", "", "anna")

    made = report(tmp_path).figures
    bottle, screw = made.products

    assert (made.inspections, made.first_pass.passed, made.first_pass.parts) == (8, 4, 7)
    assert (bottle.product, bottle.inspections, screw.product, screw.inspections) == ("bottle", 7, "screw", 1)
    assert bottle.results == {Result.PASS: 4, Result.FAIL: 1, Result.UNSURE: 1, Result.ERROR: 1}
    # Judged are 4 PASS, 1 FAIL, 1 UNSURE; Wilson's interval of 1 in 6.
    assert bottle.defect_rate.value == pytest.approx(1 / 6) and bottle.defect_rate.judged == 6
    assert (bottle.defect_rate.low, bottle.defect_rate.high) == pytest.approx((0.0301, 0.5635), abs=1e-4)
    assert not bottle.defect_rate.from_blocks
    # A failed at first; B, D and the first part without an id passed; C and the second one did not.
    assert (bottle.first_pass.passed, bottle.first_pass.parts) == (3, 6)
    assert [(one.reason, one.parts) for one in bottle.reasons] == [
        (Reason.ABOVE_THRESHOLD, 1), (Reason.NEAR_THRESHOLD, 1), (Reason.STALE, 1),
    ]  # fmt: skip
    assert [(one.name, one.parts) for one in bottle.regions] == [("neck", 1)]
    assert [(one.name, one.parts) for one in bottle.models] == [("7f3a91c2", 6), ("0000ffff", 1)]
    assert (bottle.latency_ms.median, bottle.latency_ms.p95, bottle.latency_ms.late) == (20, 50, 1)
    assert (bottle.reviews.rejects, bottle.reviews.reviewed, bottle.reviews.good) == (2, 1, 1)
    assert bottle.reviews.passed_defect == 1
    assert bottle.defects_placed == 1 and bottle.frame is None


def test_states_cover_the_whole_shift(tmp_path: Path) -> None:
    """Ready for 4 h, down for 1 h, off for 1 h, impaired for 2 h: up for three quarters."""
    at = SINCE_MS
    states = [
        (State.READY, at - HOUR_MS, at + 4 * HOUR_MS, ""),
        (State.FAULT, at + 4 * HOUR_MS, at + 5 * HOUR_MS, "the camera is lost"),
        (State.DEGRADED, at + 6 * HOUR_MS, at + 9 * HOUR_MS, ""),
    ]
    fill(tmp_path / "journal.db", [], states)

    made = report(tmp_path).figures

    assert {share.state: share.share for share in made.shares} == {
        State.READY: 0.5, State.FAULT: 0.125, None: 0.125, State.DEGRADED: 0.25,
    }  # fmt: skip
    assert made.uptime == 0.75
    assert [one.state for one in made.states] == [State.READY, State.FAULT, None, State.DEGRADED]
    assert made.states[0].since_ms == at and made.states[-1].until_ms == SHIFT.until_ms
    assert made.states[1].reason == "the camera is lost"


def test_a_running_shift_is_that_far(tmp_path: Path) -> None:
    """The present state, journaled some seconds ago, lasts until now; the time to come does not count."""
    now_ms = SINCE_MS + 2 * HOUR_MS
    fill(tmp_path / "journal.db", [], [(State.READY, SINCE_MS, now_ms - 8000, "")])

    made = report(tmp_path, now_ms).figures

    assert (made.complete, made.uptime, made.states[-1].until_ms) == (False, 1.0, now_ms)
    assert not report(tmp_path, SHIFT.until_ms + 1000).figures.complete
    assert report(tmp_path, AFTER_MS).figures.complete


def test_the_daemon_killed_in_a_running_shift_is_off(tmp_path: Path) -> None:
    """A state that was not journaled for long does not last until now."""
    now_ms = SINCE_MS + 2 * HOUR_MS
    fill(tmp_path / "journal.db", [], [(State.READY, SINCE_MS, SINCE_MS + HOUR_MS, "")])

    assert report(tmp_path, now_ms).figures.uptime == 0.5


def test_an_empty_shift(tmp_path: Path) -> None:
    """Nothing was made, and nothing ran."""
    fill(tmp_path / "journal.db", [])

    made = report(tmp_path).figures

    assert (made.inspections, made.products, made.uptime) == (0, [], 0.0)
    assert (made.defect_rate.judged, made.defect_rate.high) == (0, 1.0)
    assert [share.state for share in made.shares] == [None]


def test_against_a_second_count(tmp_path: Path) -> None:
    """A simulated shift of several thousand parts in many steps, counted again in one pass over the rows."""
    rows = list(produce(SHIFT.since_ms, SHIFT.until_ms, 6000, seed=4))
    rows += produce(SHIFT.since_ms, SHIFT.until_ms, 700, product="screw", first=20_000, seed=5)
    rows.sort(key=lambda one: one.captured_ms)
    fill(tmp_path / "journal.db", [replace(one, seq=seq) for seq, one in enumerate(rows, 1)])

    made = report(tmp_path).figures

    for product, found in zip(("bottle", "screw"), made.products, strict=True):
        own = [one for one in rows if one.product == product]
        judged = [one for one in own if one.result is not Result.ERROR]
        first: dict[str, bool] = {}
        for one in own:
            first.setdefault(one.part, one.result is Result.PASS)
        assert found.inspections == len(own)
        assert found.defect_rate.value == sum(one.result is Result.FAIL for one in judged) / len(judged)
        assert (found.first_pass.passed, found.first_pass.parts) == (sum(first.values()), len(first))
        assert found.latency_ms.median == sorted(one.latency_ms for one in own)[-(-len(own) // 2) - 1]
        assert found.defect_rate.from_blocks and found.defect_rate.effective < len(judged)


def test_a_product_that_ran_for_a_part_of_the_shift_has_its_own_blocks(tmp_path: Path) -> None:
    """Two hours of eight are enough to see that its defects come in runs."""
    rows = produce(SHIFT.since_ms, SHIFT.since_ms + 2 * HOUR_MS, 3000, seed=4)
    fill(tmp_path / "journal.db", rows)

    assert report(tmp_path).figures.products[0].defect_rate.from_blocks


def test_changes_without_reviews_in_their_order(tmp_path: Path) -> None:
    """Acts of the shift alone, with who did what; a start names the settings that changed."""
    now = [SHIFT.since_ms - 1]
    with Journal.open(tmp_path / "journal.db", clock_ms=lambda: now[0]) as journal:
        journal.audit("eve", "paused", {})
        now[0] = SHIFT.since_ms + 5
        journal.audit(
            "anna", "model_activated", {"product": "bottle", "from": "a/1", "to": "a/2", "why": "w"}
        )
        journal.audit("linewatch", "started", {"changed": {"source.fps": [1, 2]}})
        journal.audit("anna", "part_reviewed", {"boot": 1, "seq": 2})
        now[0] = SHIFT.until_ms
        journal.audit("eve", "resumed", {})

    made = report(tmp_path).figures

    assert [(act.who, act.action, act.before, act.after, act.why) for act in made.changes] == [
        ("anna", "model_activated", "a/1", "a/2", "w"),
        ("linewatch", "started", "", "", "source.fps"),
    ]
    assert (made.reviews, made.changes_left_out) == (1, 0)
    assert made.audit.startswith("5:")


def test_one_product_alone(tmp_path: Path) -> None:
    """Its figures, not those of the others."""
    rows = [verdict(1, 1, captured_ms=SINCE_MS), verdict(1, 2, captured_ms=SINCE_MS + 1, product="screw")]
    fill(tmp_path / "journal.db", rows)

    made = report(tmp_path, product="screw").figures

    assert ([one.product for one in made.products], made.inspections, made.product) == (["screw"], 1, "screw")


def test_the_heatmap_is_over_a_frame_of_the_product(tmp_path: Path) -> None:
    """Of this shift, of a good part first; else the newest kept one."""
    name = keep_frame(tmp_path / "evidence")
    bad = verdict(1, 2, captured_ms=SINCE_MS, result=Result.FAIL, box=(10, 10, 20, 20), image="gone.jpg")
    fill(
        tmp_path / "journal.db",
        [verdict(1, 1, captured_ms=SINCE_MS - HOUR_MS, image=name), replace(bad, image="")],
    )

    made = report(tmp_path)

    assert made.figures.products[0].frame == (320, 320)
    assert made.pictures[0][:3] == b"\xff\xd8\xff"


def test_figures_survive_being_kept(tmp_path: Path) -> None:
    """What is read from the file is what was written."""
    fill(tmp_path / "journal.db", produce(SHIFT.since_ms, SHIFT.until_ms, 500))
    made = report(tmp_path).figures

    assert ShiftFigures.model_validate_json(made.model_dump_json()) == made
