"""Implements `Records` on the journal."""

from collections.abc import Iterator

from linewatch.storage.audit.reading import AuditConditions
from linewatch.storage.journal import Journal
from linewatch.web.cache import TimedCache
from linewatch.web.records.interface import Act, ActsWanted, AuditState

VERIFIED_S = 30.0


class RecordsBackend:
    """Thread-safe; its reader is its own, so that a long read blocks neither the line nor another page."""

    def __init__(self, journal: Journal) -> None:
        self._reader = journal.reader()
        self._state = TimedCache(self._verify, VERIFIED_S)

    def acts(self, wanted: ActsWanted) -> Iterator[Act]:
        """Yield rows of the audit, newest first."""
        conditions = AuditConditions(
            since_ms=wanted.since_ms,
            until_ms=wanted.until_ms,
            who=wanted.who,
            action=wanted.action,
            product=wanted.product,
            before_row=wanted.before,
        )
        for found in self._reader.audit_entries(conditions):
            yield Act(found.row, found.at_ms, found.who, found.action, found.product, found.facts, found.hash)

    def audit_state(self) -> AuditState:
        """Return the outcome of verifying the audit, at most half a minute old."""
        return self._state.get()

    def _verify(self) -> AuditState:
        found = self._reader.verify_audit()
        return AuditState(found.head.row, found.head.hash, found.broken_row, found.trouble)
