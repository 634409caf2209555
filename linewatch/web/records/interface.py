"""What the pages on records need of the journal: the protocol `Records` and the values it returns."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from linewatch.domain import Verdict

Head = tuple[int, str]
"""The number of a row of the audit, and its hash."""


class RowForm(StrEnum):
    """How rows are written."""

    CSV = "csv"
    JSONL = "jsonl"


@dataclass(frozen=True, slots=True)
class Act:
    """One row of the audit."""

    row: int
    at_ms: int  # UTC milliseconds since 1970.
    who: str
    action: str
    product: str  # "" if the act is on no product.
    facts: Mapping[str, object]
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ActsWanted:
    """Which rows of the audit to return; all conditions hold at once."""

    since_ms: int | None = None
    until_ms: int | None = None
    who: str = ""
    action: str = ""
    product: str = ""
    before: int | None = None  # Only rows before this one.


@dataclass(frozen=True, slots=True)
class AuditState:
    """Whether the audit is as it was written."""

    rows: int  # Intact ones, from the first on.
    hash: str  # Of the last of them.
    broken_row: int = 0  # The first that is not intact; 0: all are.
    trouble: str = ""  # What is wrong with it, one sentence.


class Standing(StrEnum):
    """What the marks say of a promised rate."""

    NONE = "none"  # Nothing was promised.
    OPEN = "open"  # Too few parts or marks to say.
    KEPT = "kept"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True, kw_only=True)
class PromisedRate:
    """One promised rate and what is known of the real one, as shares 0 to 1."""

    promised: float | None  # At most; None: nothing.
    known: int  # Marked cases.
    parts: int  # Of so many.
    low: float  # Limits of the real rate, valid however often they are read.
    high: float
    standing: Standing
    broken_since_ms: int = 0  # UTC milliseconds since 1970; 0: not broken.


@dataclass(frozen=True, slots=True, kw_only=True)
class PromiseState:
    """What is promised of one product, and whether it holds."""

    product: str
    model: str
    since_ms: int  # Since when its parts are counted, UTC milliseconds since 1970.
    false_rejects: PromisedRate
    escapes: PromisedRate
    passed: int  # Parts.
    failed: int
    unsure: int
    failed_good: int  # Of the failed, those marked good,
    failed_defect: int  # and those marked as defects; the others are unmarked.
    unsure_good: int
    drawn: int  # PASS parts drawn for re-inspection.
    waiting: int  # Of these, how many can still be inspected.
    escapes_elsewhere: int  # Marked as defects without having been drawn.
    if_alike: float | None  # The rate of false rejects if unmarked FAILs are like the marked ones.


class Records(Protocol):
    """Reads the journal beside its writer; every method may raise StorageFull."""

    def acts(self, wanted: ActsWanted) -> Iterator[Act]:
        """Yield rows of the audit, newest first."""

    def act_lines(self, wanted: ActsWanted, form: RowForm) -> Iterator[str]:
        """Yield the same rows as lines of a file, as `linewatch audit export` does."""

    def audit_state(self, known: Head | None = None) -> AuditState:
        """Return the outcome of verifying the audit, at most half a minute old; `known` must be in it."""

    def promises(self) -> Sequence[PromiseState]:
        """Return what is promised of each product, with every mark until now, by name."""

    def known_promises(self) -> Sequence[PromiseState]:
        """Return the same as it was a few seconds ago, at no cost."""

    def reinspections(
        self, limit: int, after: tuple[int, int] = (0, 0), product: str = ""
    ) -> Sequence[Verdict]:
        """Return unmarked drawn PASS parts, the oldest first, after the one of (boot, seq)."""

    def reinspections_waiting(self) -> int:
        """Return how many they are."""
