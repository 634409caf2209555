"""The record stage: makes each verdict durable, then public.

Order: a FAIL's heatmap, the journal row, the live verdict; frames are written beside the line. So the
heatmap that a verdict names exists when the verdict arrives, and what the PLC reads is in the journal.
No verdict is late for the disk: when it does not answer in time, a FAIL goes out without its heatmap, a
PASS becomes an ERROR, and the row follows as published.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from linewatch.domain import Exposure, Image, Inspection, Result, Verdict, admit, verdict_of, view_name
from linewatch.errors import StorageFull
from linewatch.line.metrics import Metrics
from linewatch.line.station import Station
from linewatch.vision.heatmap import draw_heatmap

log = logging.getLogger(__name__)

HEATMAP_SIDE_PX = 640  # For people; drawn while the PLC waits.


class VerdictLog(Protocol):
    """Makes verdicts durable; the journal's writer. Only `settled` waits."""

    def append(self, verdict: Verdict) -> None:
        """Queue one row for its commit."""

    def settled(self, timeout_s: float) -> bool:
        """Wait until everything queued is committed or refused; return whether it is."""

    def amend(self, verdict: Verdict) -> None:
        """Replace the row queued last, which has not been published."""

    def release(self, boot: int, seq: int) -> None:
        """Allow delivery to the history up to this row, once it is committed."""


class VerdictPublisher(Protocol):
    """Where verdicts are published; the live MQTT link."""

    def publish_verdict(self, verdict: Verdict) -> bool:
        """Publish now or never; return whether it was published."""


class HeatmapStore(Protocol):
    """Keeps heatmaps; the heatmaps' writer."""

    def heatmap_name(self, verdict: Verdict) -> str:
        """Return the path for a part's heatmap, "" for a result that has none."""

    def write(self, name: str, image: Image, timeout_s: float) -> None:
        """Write one image atomically. Raises StorageFull, also when the disk does not answer in time."""


class FrameStore(Protocol):
    """Writes frames beside the line; the evidence writer. Never blocks."""

    def frame_name(self, verdict: Verdict, nbytes: int) -> str:
        """Return the path of the part's frame, "" if it will not be kept."""

    def offer(self, result: Result, frames: Sequence[tuple[str, Image]]) -> None:
        """Queue the frames that `frame_name` named."""


@dataclass(frozen=True, slots=True)
class Latest:
    """The last part, for the live page."""

    verdict: Verdict
    inspection: Inspection


class Recorder:
    """Turn inspections into verdicts, one at a time, in order."""

    def __init__(
        self,
        station: Station,
        journal: VerdictLog,
        link: VerdictPublisher,
        heatmaps: HeatmapStore,
        frames: FrameStore,
        metrics: Metrics,
        *,
        deadline_ms: int,
        answer_within_ns: int,
        afterwards: Sequence[Callable[[Verdict, Inspection], None]] = (),
        places: threading.Semaphore | None = None,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """`answer_within_ns` is how long after its exposure a part must have its result.

        Heatmaps may take until then; half of what is left of the deadline is for the journal, the other half
        for publishing.
        """
        self._station = station
        self._journal = journal
        self._link = link
        self._heatmaps = heatmaps
        self._frames = frames
        self._metrics = metrics
        self._deadline_ns = deadline_ms * 1_000_000
        self._heatmap_within_ns = answer_within_ns
        self._row_within_ns = (answer_within_ns + self._deadline_ns) // 2
        self._afterwards = afterwards  # Must not block.
        self._places = places  # In the line, if limited; one is freed with each part.
        self._clock_ns = clock_ns
        self.latest: Latest | None = None

    def record(self, inspection: Inspection) -> None:
        """Make one inspection's verdict durable, then public."""
        station = self._station.snapshot()
        verdict = verdict_of(inspection, station=station.station, boot=station.boot, now_ns=self._clock_ns())
        verdict = self._with_paths(self._admitted(verdict, inspection), inspection)
        if verdict.heatmap and not self._keep_heatmap(verdict.heatmap, inspection):
            verdict = replace(verdict, heatmap="")
        verdict = self._admitted(verdict, inspection)

        self._journal.append(verdict)
        confirmed = self._journal.settled(self._left_s(inspection, self._row_within_ns))
        with self._station.unchanged():  # No changeover begins between check and publication.
            checked = self._admitted(verdict, inspection, unconfirmed=not confirmed)
            stands = checked.result is verdict.result
            if stands:
                self._link.publish_verdict(verdict)
        if not stands:  # The disk was slow or a changeover began: this PASS must not be published.
            verdict = checked
            self._journal.amend(verdict)  # Also of a refused row: pending rows must be true too.
            confirmed = self._journal.settled(self._left_s(inspection, self._row_within_ns))
            self._link.publish_verdict(verdict)
        if not confirmed:
            self._metrics.journal_rows_late.inc()
        self._journal.release(verdict.boot, verdict.seq)

        self.latest = Latest(verdict, inspection)
        self._station.delivered(verdict)
        self._count(verdict, inspection)
        _log_line(verdict)
        if verdict.image:
            self._frames.offer(verdict.result, _frames(verdict.image, inspection))
        for offer in self._afterwards:
            offer(verdict, inspection)
        if self._places:
            self._places.release()

    def _with_paths(self, verdict: Verdict, inspection: Inspection) -> Verdict:
        """Return the verdict with the paths of the images that will be kept."""
        if inspection.frame.image is None:
            return verdict
        nbytes = inspection.frame.nbytes + sum(other.nbytes for other in inspection.others)
        image = self._frames.frame_name(verdict, nbytes)
        heatmap_name = self._heatmaps.heatmap_name(verdict) if inspection.scored else ""
        return replace(verdict, image=image, heatmap=heatmap_name)

    def _admitted(self, verdict: Verdict, inspection: Inspection, *, unconfirmed: bool = False) -> Verdict:
        """Return the verdict as it may be published now, with its latency until now."""
        exposure = Exposure(
            inspection.frame.captured_ns,
            judged_by=frozenset({(inspection.product, inspection.model)}),
            deadline_ns=self._deadline_ns,
            unconfirmed=unconfirmed,
        )
        now_ns = self._clock_ns()
        latency_ms = inspection.frame.age_ms(now_ns)
        timed = replace(verdict, late=exposure.late(now_ns), latency_ms=latency_ms)
        admitted = admit(timed, exposure, now_ns, self._station.snapshot().standing)
        # The image of an ERROR is always kept, also of what would have been a PASS until now.
        return admitted if admitted is timed or admitted.image else self._with_paths(admitted, inspection)

    def _left_s(self, inspection: Inspection, within_ns: int) -> float:
        """Return how much is left of a time that began with the exposure."""
        return max(0, inspection.frame.captured_ns + within_ns - self._clock_ns()) / 1e9

    def _keep_heatmap(self, name: str, inspection: Inspection) -> bool:
        assert inspection.frame.image is not None and inspection.scored is not None
        drawn = draw_heatmap(inspection.frame.image, inspection.scored, inspection.threshold, HEATMAP_SIDE_PX)
        try:
            self._heatmaps.write(name, drawn, self._left_s(inspection, self._heatmap_within_ns))
        except StorageFull as trouble:
            self._metrics.evidence_write_errors.inc()
            self._station.storage_failed("evidence", trouble)
            return False
        self._station.restored("evidence")
        return True

    def _count(self, verdict: Verdict, inspection: Inspection) -> None:
        self._metrics.inspections.labels(verdict.station, verdict.product, verdict.result).inc()
        self._metrics.capture_to_verdict.observe((self._clock_ns() - inspection.frame.captured_ns) / 1e9)
        if inspection.scored is not None:
            ratio = verdict.raw / verdict.threshold
            self._metrics.score_ratio.labels(verdict.station, verdict.product).observe(ratio)
        if verdict.late:
            self._metrics.deadline_misses.inc()


def _frames(name: str, inspection: Inspection) -> list[tuple[str, Image]]:
    """Return path and image of each view, the deciding one first."""
    frames = [(name, inspection.frame), *((view_name(name, one.view), one) for one in inspection.others)]
    return [(path, frame.image) for path, frame in frames if frame.image is not None]


def _log_line(verdict: Verdict) -> None:
    """Log one line per part."""
    log.info(
        "verdict seq=%d result=%s reason=%d score=%d product=%s model=%s part=%s trigger=%d "
        "age_ms=%d latency_ms=%d box=%s region=%s heatmap=%s",
        verdict.seq,
        verdict.result,
        verdict.reason,
        verdict.score,
        verdict.product,
        verdict.model,
        repr(verdict.part) if verdict.part else "-",  # It may contain blanks and any text.
        verdict.trigger,
        verdict.age_ms,
        verdict.latency_ms,
        ",".join(map(str, verdict.box)),
        repr(verdict.region) if verdict.region else "-",
        verdict.heatmap or "-",
    )
