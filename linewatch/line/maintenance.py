"""Periodic maintenance: retention of journal and evidence, and metrics that need the disk."""

import logging
import threading
import time
from collections.abc import Callable, Sequence

from linewatch.errors import StorageFull
from linewatch.line.metrics import Metrics
from linewatch.line.station import Station
from linewatch.runtime import malloc
from linewatch.runtime.stages import Stage
from linewatch.storage.evidence import Evidence
from linewatch.storage.journal import Journal
from linewatch.storage.states import StateLog

log = logging.getLogger(__name__)

STEP_S = 1.0
TRIM_EVERY_S = 60.0  # Otherwise fragmentation keeps resident memory at its highest level.


class Maintenance:
    """Run one small step of each task every second, beside the verdict path.

    `looks` are further tasks of this kind, which must be quick when there is nothing to do.
    """

    def __init__(
        self,
        journal: Journal,
        evidence: Evidence,
        station: Station,
        metrics: Metrics,
        *,
        retention_days: float,
        trial: Callable[[str], None] = lambda _product: None,
        looks: Sequence[Callable[[], object]] = (),
        selftest: Callable[[], None] = lambda: None,
        selftest_every_s: float = 0.0,
        utc_s: Callable[[], float] = time.time,
    ) -> None:
        self._journal = journal
        self._reader = journal.reader()
        self._evidence = evidence
        self._station = station
        self._metrics = metrics
        self._retention_s = retention_days * 86_400
        self._utc_s = utc_s
        self._states = StateLog(journal, station.states)
        self._audit_row = 0  # The newest that was published.
        self._trial = trial
        self._looks = looks
        self._selftest = selftest
        self._selftest_every_s = selftest_every_s  # 0: never.

    def run(self, stage: Stage, stop: threading.Event) -> None:
        """Run steps until `stop`."""
        tested_s = trimmed_s = time.monotonic()
        while not stop.wait(STEP_S):
            with stage.working():
                self.step()
                if 0 < self._selftest_every_s < time.monotonic() - tested_s:
                    self._selftest()
                    tested_s = time.monotonic()
                if time.monotonic() - trimmed_s > TRIM_EVERY_S:
                    malloc.trim()
                    trimmed_s = time.monotonic()

    def _publish_audit(self) -> None:
        """Publish the newest row of the audit: kept elsewhere, it shows when the last rows are removed."""
        head = self._reader.audit_head()
        if head.row != self._audit_row:
            self._audit_row = head.row
            log.info("audit_head row=%d hash=%s", head.row, head.hash)
            self._station.event("audit", row=head.row, hash=head.hash)

    def step(self) -> None:
        """Run one step; storage errors are reported and the step is repeated next time."""
        for look in self._looks:
            look()
        try:
            before_ms = round(1000 * (self._utc_s() - self._retention_s))
            self._trial(self._station.snapshot().product)
            self._journal.maintain(before_ms)
            self._states.write(before_ms)
            self._publish_audit()
            self._metrics.outbox_messages.set(self._journal.undelivered_count())
            self._metrics.outbox_oldest_age.set(self._reader.oldest_undelivered_s())
            if not self._journal.pending:
                self._station.restored("journal")
        except StorageFull as trouble:
            self._station.storage_failed("journal", trouble)
        try:
            self._metrics.evidence_files_deleted.inc(self._evidence.sweep())
            self._metrics.evidence_bytes.set(self._evidence.bytes_kept)
            self._metrics.evidence_days_left.set(self._evidence.days_left())
            self._metrics.disk_free.set(self._evidence.free_bytes())
            if "evidence" in self._station.snapshot().impairments:
                self._evidence.probe()
                self._station.restored("evidence")
        except StorageFull as trouble:
            self._station.storage_failed("evidence", trouble)
