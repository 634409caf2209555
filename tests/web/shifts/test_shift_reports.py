"""Reports worked out by a process beside the line, and kept."""

import json
import sqlite3
import time as clock
from collections.abc import Iterator
from datetime import time
from itertools import islice
from pathlib import Path

import pytest

from linewatch.domain import Result
from linewatch.errors import LinewatchError
from linewatch.reporting.calendar import Calendar, Shift
from linewatch.reporting.kept import KeptReports
from linewatch.reporting.report import ShiftReport
from linewatch.settings import EvidenceSettings, JournalSettings, Settings
from linewatch.shift_settings import ShiftSettings
from linewatch.storage.journal import Journal
from linewatch.web.shifts.interface import KeptReport
from linewatch.web.shifts.shifts_backend import AT_ONCE, FRESH_MS, ROWS_MAX, ShiftReports
from tests.shift_journal import HOUR_MS, fill, produce
from tests.storage.test_journal import verdict
from tests.web.shift_fakes import EARLY, JPEG, figures

WAIT_S = 60.0
DAY_MS = 24 * HOUR_MS
STARTS = {"early": time(6), "late": time(14), "night": time(22)}
NOW_MS = clock.time_ns() // 1_000_000
PAST = next(Calendar(STARTS).begun(NOW_MS - 2 * DAY_MS))
"""A shift that has been complete for a day, whenever the test runs."""


class Station:
    """A journal, and its shift reports."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings(
            journal=JournalSettings(path=folder / "var/journal.db"),
            evidence=EvidenceSettings(path=folder / "var/evidence"),
            shifts=ShiftSettings.model_validate(STARTS),
        )
        self.now_ms = NOW_MS
        fill(self.settings.journal.path, produce(PAST.since_ms, PAST.until_ms, 40))
        self.journal = Journal.open(self.settings.journal.path)
        self.reports = ShiftReports(self.settings, self.journal, now_ms=lambda: self.now_ms)

    def wait(self) -> int:
        """Return the exit status of the process once it has ended."""
        return self.reports._process.wait(WAIT_S)

    def report(self, shift: Shift = PAST) -> KeptReport:
        """Return a report once it is worked out."""
        kept = self.reports.report(shift)
        if kept is None or kept.renewing:
            assert self.wait() == 0
            kept = self.reports.report(shift)
        assert kept is not None
        return kept


@pytest.fixture
def station(tmp_path: Path) -> Iterator[Station]:
    """Return a station whose process is ended after the test."""
    opened = Station(tmp_path)
    yield opened
    opened.reports.close()
    opened.journal.close()


def test_a_report_is_awaited_then_kept(station: Station) -> None:
    """Asking never waits for it; the process works it out once."""
    assert station.reports.report(PAST) is None
    assert station.wait() == 0

    kept = station.reports.report(PAST)

    assert kept is not None and kept.figures.inspections == 40
    assert (kept.figures.complete, kept.renewing) == (True, False)


def test_a_complete_shift_is_read_once(station: Station) -> None:
    """Also after a start: the folder has it, and verdicts that retention has removed do not change it."""
    station.report()
    station.journal.write_relaxed(_forget_verdicts)

    with ShiftReports(station.settings, station.journal) as started_anew:
        kept = started_anew.report(PAST)

    assert kept is not None and kept.figures.inspections == 40 and not kept.renewing


def _forget_verdicts(db: sqlite3.Connection) -> None:
    db.execute("DELETE FROM verdicts")


def test_a_review_of_its_parts_renews_it(station: Station) -> None:
    """One of another shift does not; the old figures are shown meanwhile."""
    boot = station.journal.boot
    station.report()
    station.journal.append(verdict(boot, 9_000_000))
    station.journal.release(boot, 9_000_000)
    station.journal.review(boot, 9_000_000, "good", "", "anna")
    assert station.reports.report(PAST) == KeptReport(station.report().figures, renewing=False)

    station.journal.review(1, 1, "defect", "", "anna")
    meanwhile = station.reports.report(PAST)
    assert meanwhile is not None and meanwhile.renewing
    assert meanwhile.figures.products[0].reviews.passed_defect == 0

    assert station.report().figures.products[0].reviews.passed_defect == 1


def test_a_running_shift_is_renewed_now_and_then(station: Station) -> None:
    """Not with every request."""
    running = next(Calendar(STARTS).begun(NOW_MS))
    assert not station.report(running).figures.complete

    station.now_ms = clock.time_ns() // 1_000_000
    first = station.reports.report(running)
    assert first is not None and not first.renewing

    station.now_ms += FRESH_MS + 1000
    second = station.reports.report(running)
    assert second is not None and second.renewing


def test_the_list_goes_back_to_the_journal_s_begin(station: Station) -> None:
    """Figures come a few shifts at a time, the newest first, until all are there."""
    rows = station.reports.recent()
    expected = [
        shift for shift in islice(Calendar(STARTS).begun(NOW_MS), ROWS_MAX) if shift.until_ms > PAST.since_ms
    ]
    assert [row.shift for row in rows] == expected and len(expected) > AT_ONCE
    assert [row.running for row in rows] == [True] + [False] * (len(rows) - 1)

    for _ in range(0, len(rows), AT_ONCE):
        assert station.wait() == 0
        rows = station.reports.recent()

    assert all(row.figures is not None for row in rows)
    assert rows[-1].figures is not None and rows[-1].figures.inspections == 40


def test_other_shift_times_are_other_reports(station: Station) -> None:
    """The figures of the times before are not shown under another name."""
    station.report()
    changed = station.settings.model_copy(update={"shifts": ShiftSettings.model_validate({"one": time(6)})})

    with ShiftReports(changed, station.journal, now_ms=lambda: NOW_MS) as reports:
        day = Calendar({"one": time(6)}).find(PAST.day, "one")
        assert day is not None and reports.report(day) is None
        assert reports.find(PAST.day, "early") is None


def test_a_shift_to_come_is_none(station: Station) -> None:
    """Nor is a day that no clock shows."""
    to_come = Calendar(STARTS).on(PAST.day.replace(year=2099))[0]

    assert station.reports.find(to_come.day, to_come.name) is None
    assert station.reports.find(PAST.day.replace(year=9999), "early") is None
    assert station.reports.find(PAST.day, PAST.name) == PAST


def test_a_shift_before_the_journal_is_none(station: Station) -> None:
    """Who asks for all days of a century starts no process for each; a report that is kept is shown."""
    before = next(Calendar(STARTS).begun(PAST.since_ms - 1))
    assert station.reports.find(before.day, before.name) is None

    KeptReports(station.settings.shifts_folder).write(before, ShiftReport(figures(before), []))
    assert station.reports.find(before.day, before.name) == before
    kept = station.reports.report(before)
    assert kept is not None and not kept.renewing


def test_a_failure_is_said_and_tried_again_later(station: Station) -> None:
    """The disk refuses the file; the process ends with a sentence, and the page does not wait for ever."""
    file = station.settings.shifts_folder / f"{PAST.since_ms}-{PAST.until_ms}.json"
    file.mkdir(parents=True)  # Nothing can be written in its place.

    assert station.reports.report(PAST) is None
    assert station.wait() == 1
    with pytest.raises(LinewatchError, match="could not be worked out"):
        station.reports.report(PAST)


def test_a_damaged_file_is_worked_out_anew(station: Station) -> None:
    """And so is one of another version."""
    station.report()
    file = station.settings.shifts_folder / f"{PAST.since_ms}-{PAST.until_ms}.json"
    changed = json.loads(file.read_text()) | {"unknown": 1}

    for text in ("{", json.dumps(changed)):
        file.write_text(text)
        station.reports._asked_s.clear()
        assert station.report().figures.inspections == 40


def test_old_reports_go_with_the_verdicts(tmp_path: Path) -> None:
    """Figures and heatmaps of shifts that ended before."""
    kept = KeptReports(tmp_path)
    made = figures()
    kept.write(EARLY, ShiftReport(made, [JPEG, b""]))
    assert kept.read(EARLY) == made
    assert (kept.picture(EARLY, 0), kept.picture(EARLY, 1)) == (JPEG, b"")

    kept.remove_before(EARLY.until_ms)
    assert kept.read(EARLY) == made
    kept.remove_before(EARLY.until_ms + 1)
    assert list(tmp_path.iterdir()) == [] and kept.read(EARLY) is None


def test_results_are_enums_again(tmp_path: Path) -> None:
    """What the templates look up by result is found in figures from a file."""
    kept = KeptReports(tmp_path)
    kept.write(EARLY, ShiftReport(figures(), []))

    found = kept.read(EARLY)

    assert found is not None and found.products[0].results[Result.FAIL] == 1
