"""The stages that write to the disk for the record stage; none of them can hold up a verdict."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from linewatch.errors import StorageFull
from linewatch.line.evidence_writer import EvidenceWriter, build_signatures
from linewatch.line.metrics import Metrics
from linewatch.line.station import Station
from linewatch.runtime.stages import Stage
from linewatch.settings import Settings
from linewatch.storage.evidence import Evidence
from linewatch.storage.heatmap_writer import HeatmapWriter
from linewatch.storage.journal import Journal
from linewatch.storage.journal_writer import JournalWriter
from linewatch.storage.signature_writer import SignatureWriter


@dataclass(frozen=True)
class DiskWriters:
    """Each runs in a stage of its own, behind the record stage."""

    journal: JournalWriter
    heatmaps: HeatmapWriter
    frames: EvidenceWriter
    signatures: SignatureWriter

    def stages(self) -> Iterator[tuple[str, Callable[[Stage], None], int]]:
        """Yield name, work and niceness of each stage; verdicts wait for the first two."""
        yield "journal", self.journal.run, 0
        yield "heatmaps", self.heatmaps.run, 0
        yield "evidence", self.frames.run, 10
        yield "signatures", self.signatures.run, 10

    def close(self) -> None:
        """Take no more; each stage ends once it has written what waits."""
        for writer in (self.journal, self.heatmaps, self.frames, self.signatures):
            writer.close()


def build_writers(
    settings: Settings,
    opened: ExitStack,
    journal: Journal,
    evidence: Evidence,
    station: Station,
    metrics: Metrics,
    warn: Callable[[str], None],
    line_busy: Callable[[], bool],
    utc_s: Callable[[], float],
    drawn: Callable[[int, int], bool],
) -> DiskWriters:
    """Return the writers of a station; `opened` is left before the journal is closed."""
    return DiskWriters(
        opened.enter_context(build_journal_writer(journal, station, metrics, warn)),
        HeatmapWriter(evidence),
        EvidenceWriter(evidence, station, metrics, settings.evidence, line_busy, drawn),
        build_signatures(settings, station, metrics, utc_s),
    )


def build_journal_writer(
    journal: Journal, station: Station, metrics: Metrics, warn: Callable[[str], None]
) -> JournalWriter:
    """Return the journal's writer, which reports to station and metrics what the disk does."""

    def failed(trouble: StorageFull) -> None:
        metrics.journal_errors.inc()
        station.storage_failed("journal", trouble)

    return JournalWriter(journal, failed=failed, restored=partial(station.restored, "journal"), warn=warn)
