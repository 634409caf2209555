"""Implements `Records` on the journal."""

from collections.abc import Iterator, Sequence

from linewatch.capability.promise_watch import ProductPromises, Promise, PromiseWatch
from linewatch.domain import Verdict
from linewatch.export.rows import Form, audit_lines
from linewatch.storage.audit import chain
from linewatch.storage.audit.reading import AuditConditions
from linewatch.storage.journal import Journal
from linewatch.web.cache import TimedCache
from linewatch.web.records.interface import (
    Act,
    ActsWanted,
    AuditState,
    Head,
    PromisedRate,
    PromiseState,
    RowForm,
    Standing,
)

VERIFIED_S = 30.0


class RecordsBackend:
    """Thread-safe; its reader is its own, so that a long read blocks neither the line nor another page."""

    def __init__(self, journal: Journal, promises: PromiseWatch | None = None) -> None:
        """Without `promises` there are none."""
        self._promises = promises
        self._reader = journal.reader()
        self._state = TimedCache(self._verify, VERIFIED_S)

    def acts(self, wanted: ActsWanted) -> Iterator[Act]:
        """Yield rows of the audit, newest first."""
        for found in self._reader.audit_entries(_conditions(wanted)):
            yield Act(found.row, found.at_ms, found.who, found.action, found.product, found.facts, found.hash)

    def act_lines(self, wanted: ActsWanted, form: RowForm) -> Iterator[str]:
        """Yield the same rows as lines of a file."""
        return audit_lines(self._reader.audit_entries(_conditions(wanted)), Form(form.value))

    def audit_state(self, known: Head | None = None) -> AuditState:
        """Return the outcome of verifying the audit, at most half a minute old without `known`."""
        return self._state.get() if known is None else self._verify(chain.Head(*known))

    def promises(self) -> Sequence[PromiseState]:
        """Return what is promised of each product, with every mark until now, by name."""
        return [_state_of(found) for found in self._promises.products()] if self._promises else []

    def known_promises(self) -> Sequence[PromiseState]:
        """Return the same as it was a few seconds ago, at no cost."""
        return [_state_of(found) for found in self._promises.known()] if self._promises else []

    def reinspections(
        self, limit: int, after: tuple[int, int] = (0, 0), product: str = ""
    ) -> Sequence[Verdict]:
        """Return unmarked drawn PASS parts, the oldest first, after the one of (boot, seq)."""
        return self._promises.queue(limit, after, product) if self._promises else []

    def reinspections_waiting(self) -> int:
        """Return how many they are."""
        return self._promises.waiting() if self._promises else 0

    def _verify(self, *known: chain.Head) -> AuditState:
        found = self._reader.verify_audit(known)
        return AuditState(found.head.row, found.head.hash, found.broken_row, found.trouble)


def _state_of(found: ProductPromises) -> PromiseState:
    return PromiseState(
        product=found.test.product,
        model=found.test.model,
        since_ms=found.test.since_ms,
        false_rejects=_rate_of(found.false_rejects),
        escapes=_rate_of(found.escapes),
        passed=found.counts["passed"],
        failed=found.counts["failed"],
        unsure=found.counts["unsure"],
        failed_good=found.counts["failed_good"],
        failed_defect=found.counts["failed_defect"],
        unsure_good=found.counts["unsure_good"],
        drawn=found.counts["drawn"],
        waiting=found.waiting,
        escapes_elsewhere=found.escapes_elsewhere,
        if_alike=found.false_rejects_if_alike,
    )


def _rate_of(promise: Promise) -> PromisedRate:
    return PromisedRate(
        promised=promise.promised,
        known=promise.known,
        parts=promise.parts,
        low=promise.interval.low,
        high=promise.interval.high,
        standing=Standing(promise.standing.value),
        broken_since_ms=promise.broken_since_ms,
    )


def _conditions(wanted: ActsWanted) -> AuditConditions:
    return AuditConditions(
        since_ms=wanted.since_ms,
        until_ms=wanted.until_ms,
        who=wanted.who,
        action=wanted.action,
        product=wanted.product,
        before_row=wanted.before,
    )
