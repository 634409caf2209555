"""The heatmaps stage: write a heatmap while its verdict waits, for as long as the verdict can wait."""

from concurrent.futures import Future
from typing import Protocol

from linewatch.domain import Image, Verdict
from linewatch.errors import StorageFull
from linewatch.runtime.lane import Lane
from linewatch.runtime.stages import Stage, consume
from linewatch.storage.journal_writer import STALLED_S


class HeatmapStore(Protocol):
    """Where heatmaps are kept; the evidence folder."""

    def heatmap_name(self, verdict: Verdict) -> str:
        """Return the path for a part's heatmap, "" for a result that has none."""

    def write(self, name: str, image: Image) -> None:
        """Write one image atomically. Raises StorageFull."""


class HeatmapWriter:
    """Writes one heatmap at a time. `write` belongs to the record stage, `run` is the heatmaps stage."""

    def __init__(self, store: HeatmapStore) -> None:
        self._store = store
        self._tasks = Lane[tuple[str, Image, Future[None]]]("heatmaps", 1)
        self._last: Future[None] | None = None

    def heatmap_name(self, verdict: Verdict) -> str:
        """Return the path for a part's heatmap, "" for a result that has none."""
        return self._store.heatmap_name(verdict)

    def write(self, name: str, image: Image, timeout_s: float) -> None:
        """Write one image atomically.

        Raises StorageFull when the disk refuses it or does not answer in time, at once while it has not
        answered for the heatmap before. What it has not answered may still be written later.
        """
        done: Future[None] = Future()
        if (self._last is not None and not self._last.done()) or not self._tasks.offer((name, image, done)):
            raise StorageFull(name, "the disk has not answered for the heatmap before")
        self._last = done
        try:
            done.result(min(timeout_s, STALLED_S))
        except TimeoutError:
            raise StorageFull(name, "the disk did not answer in time") from None

    def close(self) -> None:
        """Take no more; `run` ends once everything is written."""
        self._tasks.close()

    def run(self, stage: Stage) -> None:
        """Write what `write` queues until `close`."""
        consume(stage, self._tasks, self._write)

    def _write(self, task: tuple[str, Image, "Future[None]"]) -> None:
        name, image, done = task
        try:
            self._store.write(name, image)
        except StorageFull as trouble:
            done.set_exception(trouble)
        else:
            done.set_result(None)
