"""What the pages of shift reports need: the protocol `Shifts` and the values it returns."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol

from linewatch.reporting.calendar import Shift
from linewatch.reporting.figures import ShiftFigures


@dataclass(frozen=True, slots=True)
class ShiftRow:
    """One shift of the list."""

    shift: Shift
    running: bool
    figures: ShiftFigures | None  # None while they are being worked out.


@dataclass(frozen=True, slots=True)
class KeptReport:
    """The report of a shift as it was last worked out."""

    figures: ShiftFigures
    renewing: bool  # Newer figures are being worked out.


class Shifts(Protocol):
    """Reports that a process beside the line works out; every method answers at once."""

    def recent(self) -> Sequence[ShiftRow]:
        """Return the last shifts, the newest first."""

    def find(self, day: date, name: str) -> Shift | None:
        """Return a shift that has begun, and not ended before the journal begins; None if there is none."""

    def report(self, shift: Shift) -> KeptReport | None:
        """Return a report; None while its first figures are being worked out.

        Raises LinewatchError when that has just failed.
        """

    def picture(self, shift: Shift, number: int) -> bytes:
        """Return the heatmap of a report's product as JPEG; b"" if there is none. `number` is from 0."""
