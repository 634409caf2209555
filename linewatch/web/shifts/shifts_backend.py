"""Implements `Shifts`: reports are kept in a folder, and worked out by a process beside the line."""

import time
from collections.abc import Callable, Sequence
from datetime import date
from itertools import islice
from types import TracebackType
from typing import Self

from linewatch.errors import LinewatchError
from linewatch.reporting.calendar import Calendar, Shift
from linewatch.reporting.figures import ShiftFigures
from linewatch.reporting.kept import KeptReports
from linewatch.reporting.worker import job_of
from linewatch.runtime.side_process import SideProcess
from linewatch.settings import Settings
from linewatch.storage.journal import Journal
from linewatch.web.shifts.interface import KeptReport, ShiftRow

ROWS_MAX = 21  # A week of three shifts a day.
AT_ONCE = 3  # Shifts of the list in one job, so that a report that is asked for comes soon.
NICE = 19
FRESH_MS = 30_000  # Figures of a running shift are renewed after this, and after
FRESH_MS_PER_PART = 1  # so much more for each inspection: a long shift takes long to read.
RETRY_S = 30.0


class ShiftReports:
    """Thread-safe. Close it, which ends the process."""

    def __init__(
        self,
        settings: Settings,
        journal: Journal,
        *,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._settings = settings
        self._now_ms = now_ms
        self._calendar = Calendar(settings.shifts.starts)
        self._kept = KeptReports(settings.shifts_folder)
        self._reader = journal.reader()
        self._process = SideProcess("linewatch.reporting.worker", settings.shifts_folder, NICE)
        self._asked_s: dict[Shift, float] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process, and read no more."""
        self._process.close()
        self._reader.close()

    def recent(self) -> Sequence[ShiftRow]:
        """Return the shifts since the journal begins, at most ROWS_MAX, and let missing figures be made."""
        now_ms = self._now_ms()
        rows: list[ShiftRow] = []
        wanted: list[Shift] = []
        for shift in islice(self._calendar.begun(now_ms), ROWS_MAX):
            if not self._is_known(shift, now_ms):
                break
            figures = self._kept.read(shift)
            if figures is None or not self._is_fresh(shift, figures, now_ms):
                wanted.append(shift)
            rows.append(ShiftRow(shift, now_ms < shift.until_ms, figures))
        # Missing ones first, then those that are old.
        missing = {row.shift for row in rows if row.figures is None}
        self._work_out(sorted(wanted, key=lambda shift: shift not in missing)[:AT_ONCE])
        return rows

    def find(self, day: date, name: str) -> Shift | None:
        """Return a shift that has begun, and not ended before the journal begins; None if there is none."""
        shift = self._calendar.find(day, name)
        return shift if shift is not None and self._is_known(shift, self._now_ms()) else None

    def report(self, shift: Shift) -> KeptReport | None:
        """Return a report, and let it be worked out anew where that is needed."""
        figures = self._kept.read(shift)
        if figures is not None and self._is_fresh(shift, figures, self._now_ms()):
            return KeptReport(figures, renewing=False)
        started = self._work_out([shift])
        asked_s = self._asked_s.get(shift)
        if figures is None and not started and asked_s is not None and not self._process.running:
            raise LinewatchError("the report could not be worked out; see the log of the station")
        return None if figures is None else KeptReport(figures, renewing=True)

    def picture(self, shift: Shift, number: int) -> bytes:
        """Return the heatmap of a report's product as JPEG; b"" if there is none."""
        return self._kept.picture(shift, number)

    def _is_known(self, shift: Shift, now_ms: int) -> bool:
        """Whether there is something to report, perhaps from before retention removed its verdicts."""
        begin_ms = self._reader.oldest_ms() or now_ms
        known = begin_ms < shift.until_ms or now_ms < shift.until_ms or self._kept.read(shift) is not None
        return shift.since_ms <= now_ms and known

    def _is_fresh(self, shift: Shift, figures: ShiftFigures, now_ms: int) -> bool:
        """Whether the figures cannot have changed; of a running shift, whether they are new enough."""
        if not figures.complete:
            return now_ms - figures.made_ms < FRESH_MS + FRESH_MS_PER_PART * figures.inspections
        if self._reader.last_review() == figures.last_review:
            return True
        return not self._reader.reviewed_after(figures.last_review, shift.since_ms, shift.until_ms)

    def _work_out(self, shifts: Sequence[Shift]) -> bool:
        """Start the process unless it runs, or failed with the first of the shifts a moment ago."""
        if not shifts:
            return False
        now_s = time.monotonic()
        asked_s = self._asked_s.get(shifts[0])
        if asked_s is not None and now_s - asked_s < RETRY_S and self._kept.read(shifts[0]) is None:
            return False
        if not self._process.start(job_of(self._settings, shifts)):
            return False
        self._asked_s = dict.fromkeys(shifts, now_s)
        return True
