"""Shift reports in memory, as the pages see them."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date

import cv2
import numpy as np

from linewatch.domain import Reason, Result, State
from linewatch.errors import LinewatchError
from linewatch.reporting.calendar import Shift
from linewatch.reporting.figures import Change, ShiftFigures, StateShare, StateTime
from linewatch.reporting.places import DefectMap
from linewatch.reporting.totals import add_up, defect_rate, first_pass, results
from linewatch.web.shifts.interface import KeptReport, ShiftRow
from tests.storage.test_journal import verdict

HOUR_MS = 3_600_000
SINCE_MS = 1_795_759_200_000
EARLY = Shift(date(2026, 11, 27), "early", SINCE_MS, SINCE_MS + 8 * HOUR_MS)
LATE = Shift(date(2026, 11, 27), "late", SINCE_MS + 8 * HOUR_MS, SINCE_MS + 16 * HOUR_MS)
JPEG = cv2.imencode(".jpg", np.full((48, 64, 3), 90, np.uint8))[1].tobytes()


def figures(shift: Shift = EARLY, **changed: object) -> ShiftFigures:
    """Return the figures of four parts of two products, one with a defect, and an act of anna."""
    rows = [
        verdict(1, 1, captured_ms=shift.since_ms),
        verdict(1, 2, captured_ms=shift.since_ms, result=Result.FAIL, reason=Reason.ABOVE_THRESHOLD,
                box=(1, 2, 3, 4)),
        verdict(1, 3, captured_ms=shift.since_ms, product="screw"),
        verdict(1, 4, captured_ms=shift.since_ms, product="screw"),
    ]  # fmt: skip
    products = add_up([(row, None) for row in reversed(rows)], shift.since_ms, shift.until_ms)
    whole = ShiftFigures(
        station="cell4",
        day=shift.day,
        shift=shift.name,
        since_ms=shift.since_ms,
        until_ms=shift.until_ms,
        made_ms=shift.until_ms + HOUR_MS,
        complete=True,
        product="",
        inspections=4,
        results=results(products.values()),
        defect_rate=defect_rate(products.values()),
        first_pass=first_pass(products.values()),
        products=[totals.figures(name, DefectMap()) for name, totals in products.items()],
        uptime=0.75,
        shares=[StateShare(state=State.READY, share=0.75), StateShare(state=None, share=0.25)],
        states=[
            StateTime(
                state=State.READY, since_ms=shift.since_ms, until_ms=shift.since_ms + 6 * HOUR_MS, reason=""
            ),
            StateTime(state=None, since_ms=shift.since_ms + 6 * HOUR_MS, until_ms=shift.until_ms, reason=""),
        ],
        reviews=3,
        changes=[
            Change(at_ms=shift.since_ms, who="anna <b>", action="paused", product="bottle", before="READY",
                   after="PAUSED", why="a jam")
        ],
        changes_left_out=0,
        audit="7:abc",
        last_review=0,
    )  # fmt: skip
    return whole.model_copy(update=changed)


class FakeShifts:
    """An early shift that is complete, and a late one that is awaited; `trouble` is raised for a report."""

    def __init__(self) -> None:
        self.kept: dict[Shift, KeptReport | None] = {EARLY: KeptReport(figures(), renewing=False), LATE: None}
        self.trouble: LinewatchError | None = None

    def recent(self) -> Sequence[ShiftRow]:
        """Return both, the newest first."""
        return [
            ShiftRow(shift, shift == LATE, kept.figures if kept else None)
            for shift, kept in reversed(self.kept.items())
        ]

    def find(self, day: date, name: str) -> Shift | None:
        """Return the shift of this day and name."""
        return next((shift for shift in self.kept if (shift.day, shift.name) == (day, name)), None)

    def report(self, shift: Shift) -> KeptReport | None:
        """Return what is kept, or raise `trouble`."""
        if self.trouble is not None:
            raise self.trouble
        return self.kept[shift]

    def picture(self, shift: Shift, number: int) -> bytes:
        """Return a heatmap for the first product of the early shift."""
        return JPEG if (shift, number) == (EARLY, 0) else b""


def renamed(name: str) -> Shift:
    """Return the early shift under another name."""
    return replace(EARLY, name=name)
