"""The signatures stage: keep what `linewatch recall` needs of every scored part, beside the line."""

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Self

import numpy as np

from linewatch.domain import Inspection, Scored, Verdict
from linewatch.errors import StorageFull
from linewatch.runtime.lane import Lane, LaneClosed
from linewatch.runtime.stages import Stage
from linewatch.settings import Settings
from linewatch.storage.signatures import SignatureStore, folder_of
from linewatch.vision.signature import Signature, summarise

log = logging.getLogger(__name__)

WAITING_MAX = 1000  # Parts, about 6 KB each.
WRITE_EVERY_S = 1.0
SWEEP_EVERY_S = 60.0
_NO_PLACE = np.zeros((2, 3))


class SignatureWriter:
    """Writes signatures in batches. `offer` belongs to the record stage and never waits; `run` is a stage.

    Without a `store` nothing is kept. A part that finds no room in the queue, or whose batch the disk
    refuses, has its verdict in the journal but cannot be found by its appearance: `lost` counts it.
    """

    def __init__(
        self,
        store: SignatureStore | None,
        retention_days: float,
        *,
        lost: Callable[[float], None] = lambda _parts: None,
        kept: Callable[[float], None] = lambda _bytes: None,
        failed: Callable[[StorageFull], None] = lambda _trouble: None,
        restored: Callable[[], None] = lambda: None,
        utc_s: Callable[[], float] = time.time,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._retention_days = retention_days
        self._lost, self._kept, self._failed, self._restored = lost, kept, failed, restored
        self._utc_s = utc_s
        self._clock_s = clock_s
        self._waiting = Lane[tuple[Verdict, Scored]]("signatures", WAITING_MAX)
        self._written_s = self._swept_s = -SWEEP_EVERY_S

    @classmethod
    def beside(cls, settings: Settings, **links: Any) -> Self:
        """Return the writer of a station's signatures, in the folder beside its journal.

        `links` are the other arguments of the constructor.
        """
        journal = settings.journal
        store = SignatureStore(
            folder_of(journal.path), journal.signatures_bytes_max, settings.evidence.free_bytes_min
        )
        return cls(store if journal.signatures else None, journal.retention_days, **links)

    def offer(self, verdict: Verdict, inspection: Inspection) -> None:
        """Queue a recorded part."""
        if self._store is None or inspection.scored is None or not verdict.model:
            return
        scored = replace(inspection.scored, placement=_NO_PLACE, defects=())  # Nothing that holds the frame.
        if not self._waiting.offer((verdict, scored)):
            self._lost(1)

    def close(self) -> None:
        """Take no more; `run` ends once everything is written."""
        self._waiting.close()

    def run(self, stage: Stage) -> None:
        """Write what is queued about once a second until `close`, then what is left."""
        batch: list[tuple[Verdict, Signature]] = []
        try:
            while True:
                try:
                    item = self._waiting.take(WRITE_EVERY_S)
                except LaneClosed:
                    self._write(batch)
                    return
                stage.beat()
                if item is not None:
                    batch.append((item[0], summarise(item[1])))
                now_s = self._clock_s()
                if batch and (now_s - self._written_s >= WRITE_EVERY_S or len(batch) >= WAITING_MAX):
                    with stage.working():
                        self._write(batch)
                    batch, self._written_s = [], now_s
                if now_s - self._swept_s >= SWEEP_EVERY_S:
                    with stage.working():
                        self._sweep()
                    self._swept_s = now_s
        finally:
            self._waiting.abandon()

    def _write(self, batch: list[tuple[Verdict, Signature]]) -> None:
        if not batch or self._store is None:
            return
        try:
            self._store.append(batch, round(1000 * self._utc_s()))
        except StorageFull as trouble:
            self._lost(len(batch))
            self._failed(trouble)
        else:
            self._restored()

    def _sweep(self) -> None:
        if self._store is None:
            return
        try:
            self._kept(self._store.sweep(round(1000 * self._utc_s()), self._retention_days))
        except StorageFull as trouble:
            self._failed(trouble)
