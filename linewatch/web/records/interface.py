"""What the pages on records need of the journal: the protocol `Records` and the values it returns."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol


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


class Records(Protocol):
    """Reads the journal beside its writer; every method may raise StorageFull."""

    def acts(self, wanted: ActsWanted) -> Iterator[Act]:
        """Yield rows of the audit, newest first."""

    def audit_state(self) -> AuditState:
        """Return the outcome of verifying the audit, at most half a minute old."""
