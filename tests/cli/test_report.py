"""`linewatch report`: the figures of a shift, and its page."""

import subprocess
import sys
from collections import deque
from pathlib import Path

import cv2
import numpy as np
import pytest

from linewatch.cli.proof.shift_report import ProductTotals, ShiftReport, total
from linewatch.domain import Result, State
from linewatch.storage.audit.chain import Head
from linewatch.storage.journal import Journal
from linewatch.storage.states import StateChange, StateLog, StateSpan, spans
from tests.storage.test_journal import record, verdict

HOUR_MS = 3_600_000


def report(states: list[StateSpan], products: dict[str, ProductTotals] | None = None) -> ShiftReport:
    """Return a report of four hours."""
    return ShiftReport(
        station="<cell>",
        since_ms=0,
        until_ms=4 * HOUR_MS,
        products=products or {},
        states=states,
        changes=[],
        head=Head(0, "0" * 64),
        evidence=Path(),
    )


def test_a_part_that_passed_at_its_second_try_is_no_first_pass() -> None:
    """Rows are newest first; parts without a name are new ones."""
    rows = [
        verdict(1, 4, part=""),
        verdict(1, 3, part="B", latency_ms=30),
        verdict(1, 2, part="A"),
        verdict(1, 1, part="A", result=Result.FAIL),
    ]

    totals = total(rows)["bottle"]

    assert totals.first_pass == (2, 3)
    assert (totals.parts, totals.results[Result.FAIL]) == (4, 1)
    assert (totals.latency_ms(0.5), totals.latency_ms(0.95)) == (0, 30)


def test_time_without_a_state_is_off() -> None:
    """Of four hours two ready, one paused; the daemon did not run in the last."""
    done = report(
        [
            StateSpan(State.READY, "bottle", "", 0, 2 * HOUR_MS),
            StateSpan(State.PAUSED, "bottle", "", 2 * HOUR_MS, 3 * HOUR_MS),
        ]
    )

    assert done.state_shares() == {"READY": 0.5, "PAUSED": 0.25, "off": 0.25}
    assert done.uptime == 0.5
    assert "&lt;cell&gt;" in done.html()


def test_states_are_kept_in_the_journal(tmp_path: Path) -> None:
    """Each lasts until the next, the present one until it was last written; old ones go."""
    now = [0.0]
    with Journal.open(tmp_path / "journal.db", clock_ms=lambda: 5000) as journal, journal.reader() as reader:
        changes = deque(
            [StateChange(1000, State.READY, "bottle", ""), StateChange(4000, State.FAULT, "bottle", "dark")]
        )
        log = StateLog(journal, changes, clock_s=lambda: now[0])
        log.write()
        found = spans(reader.read, 2000, 9000)
        assert [(one.state, one.since_ms, one.until_ms) for one in found] == [
            (State.READY, 2000, 4000),
            (State.FAULT, 4000, 5000),
        ]
        now[0] = 60.0
        log.write(before_ms=4500)
        assert [one.reason for one in spans(reader.read, 0, 9000)] == ["dark"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a journal of two parts, one of them with a defect and its frame."""
    (tmp_path / "var/evidence").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "var/evidence/a.png"), np.full((60, 80, 3), 90, np.uint8))
    with Journal.open(tmp_path / "var/journal.db") as journal:
        record(journal, 1)
        record(journal, 2, result=Result.FAIL, box=(4, 8, 6, 7), image="a.png")
        journal.audit("anna", "model_activated", {"product": "bottle", "from": "a", "to": "b"})
    return tmp_path


def test_the_page_has_figures_places_and_changes(folder: Path) -> None:
    """Without scripts, so that it can be kept and printed."""
    done = subprocess.run(
        [sys.executable, "-m", "linewatch", "report", "--html", "shift.html"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    page = (folder / "shift.html").read_text()

    assert "defect rate 50.00% (95 % interval 1.26% to 98.74%)" in done.stdout
    assert '<rect x="4" y="8" width="6" height="7"/>' in page
    assert "model_activated" in page
    assert "<script" not in page
