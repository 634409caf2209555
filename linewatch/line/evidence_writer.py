"""Keep frames beside the line: encoded and written off the verdict's path, bounded in bytes."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from linewatch.domain import Image, Reason, Result, Verdict
from linewatch.errors import StorageFull
from linewatch.line.metrics import Metrics
from linewatch.line.station import Station
from linewatch.runtime.stages import IDLE_S, Stage
from linewatch.settings import EvidenceSettings, Settings
from linewatch.storage.signature_writer import SignatureWriter

SHED_FIRST = (Result.ERROR, Result.PASS, Result.UNSURE, Result.FAIL)
DAY_S = 86_400.0
QUIET_S = 10.0  # Without a shed frame for this long, the queue counts as keeping up again.
YIELD_S = 0.15  # A frame waits so long for a moment without a part in the line before it is encoded.
YIELD_STEP_S = 0.005


class ImageStore(Protocol):
    """Where images are kept; the evidence folder."""

    def frame_name(self, verdict: Verdict) -> str:
        """Return the path that the part's frame would have, "" while the disk refuses."""

    def write(self, name: str, image: Image) -> None:
        """Keep one image, whole or not at all. Raises StorageFull."""


@dataclass(frozen=True, slots=True, eq=False)
class PendingFrames:
    """The frames of one part that wait to be written: (path, image) for each view."""

    result: Result
    frames: tuple[tuple[str, Image], ...]

    @property
    def nbytes(self) -> int:
        """Return how much memory they hold."""
        return sum(image.nbytes for _, image in self.frames)


class ErrorSampler:
    """Lets the first ERROR frames of one cause through, then one every so often: a token bucket per reason.

    A line that is paused or has lost its light gives thousands of ERRORs that all show the same.
    """

    def __init__(self, first: int, every_s: float, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._first = first
        self._every_s = every_s
        self._clock_s = clock_s
        self._tokens: dict[Reason, tuple[float, float]] = {}  # How many were left, and when that was.

    def take(self, reason: Reason) -> bool:
        """Whether the frame of one more ERROR with this reason is kept."""
        now_s = self._clock_s()
        left, at_s = self._tokens.get(reason, (float(self._first), now_s))
        left = min(float(self._first), left + (now_s - at_s) / self._every_s)
        kept = left >= 1
        self._tokens[reason] = (left - 1 if kept else left), now_s
        return kept


class EvidenceWriter:
    """Decides which frames are kept, and writes them in a stage of its own.

    `frame_name` and `offer` belong to the record stage and never wait; `run` is the evidence stage. The
    queue holds at most `queue_bytes_max` of undecoded frames. When it is full, frames are shed in the
    order of `SHED_FIRST`, the oldest first: an ERROR's before a PASS's, a FAIL's last. Shed frames
    are counted and make the station DEGRADED.
    """

    def __init__(
        self,
        images: ImageStore,
        station: Station,
        metrics: Metrics,
        settings: EvidenceSettings,
        line_busy: Callable[[], bool] = lambda: False,
        drawn: Callable[[int, int], bool] = lambda _boot, _seq: False,
        *,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`line_busy` returns whether a part is in the line: verdicts go before frames.

        `drawn` returns whether the part of (boot, seq), if it passes, is inspected again by its frame.
        """
        self._images = images
        self._station = station
        self._metrics = metrics
        self._bytes_max = settings.queue_bytes_max
        self._pass_every = settings.pass_every
        self._errors = ErrorSampler(settings.error_first, settings.error_every_s, clock_s)
        self._line_busy = line_busy
        self._drawn = drawn
        self._clock_s = clock_s
        self._passes = 0
        self._changed = threading.Condition()
        self._waiting: deque[PendingFrames] = deque()
        self._in_hand: PendingFrames | None = None
        self._closed = False
        self._shed_s: float | None = None  # When the last frame was shed, None while the queue keeps up.
        metrics.evidence_queue_bytes.set_function(lambda: self.nbytes)
        metrics.evidence_retention.set(settings.retention_days * DAY_S)

    @property
    def nbytes(self) -> int:
        """Return how much memory waits, the part in hand included."""
        with self._changed:
            return self._nbytes()

    def frame_name(self, verdict: Verdict, nbytes: int) -> str:
        """Return the path of the part's frame, "" if it will not be kept; call it once per result.

        `nbytes` is the size of all its views in memory.
        """
        if not self._wanted(verdict):
            return ""
        name = self._images.frame_name(verdict)
        if name and not self._has_room(verdict.result, nbytes):
            self._count_shed(verdict.result)
            return ""
        return name

    def offer(self, result: Result, frames: Sequence[tuple[str, Image]]) -> None:
        """Queue the frames that `frame_name` named; less valuable ones make room if there is none."""
        item = PendingFrames(result, tuple(frames))
        with self._changed:
            shed = []
            while self._waiting and self._nbytes() + item.nbytes > self._bytes_max:
                shed.append(self._remove_least())
            self._waiting.append(item)
            self._changed.notify_all()
        for victim in shed:
            self._count_shed(victim.result)

    def pending(self, name: str) -> bool:
        """Whether a frame waits to be written, or is being written now."""
        with self._changed:
            items = [*self._waiting, *([self._in_hand] if self._in_hand else [])]
        return any(name == path for item in items for path, _ in item.frames)

    def run(self, stage: Stage) -> None:
        """Write what is queued until `close`, then what is left."""
        while (item := self._take(stage)) is not None:
            with stage.working():
                for name, image in item.frames:
                    self._yield_to_line()
                    self._write(name, image)
            with self._changed:
                self._in_hand = None
            self._recover()

    def close(self) -> None:
        """Take no more; `run` ends once everything is written."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _wanted(self, verdict: Verdict) -> bool:
        if verdict.result is Result.ERROR:
            return self._errors.take(verdict.reason)
        if verdict.result is not Result.PASS:
            return True
        self._passes += 1
        sampled = self._pass_every > 0 and self._passes % self._pass_every == 0
        return sampled or self._drawn(verdict.boot, verdict.seq)

    def _has_room(self, result: Result, nbytes: int) -> bool:
        """Whether the frames fit once everything less valuable is shed."""
        rank = SHED_FIRST.index(result)
        with self._changed:
            kept = sum(item.nbytes for item in self._waiting if SHED_FIRST.index(item.result) >= rank)
            kept += self._in_hand.nbytes if self._in_hand else 0
        return kept == 0 or kept + nbytes <= self._bytes_max

    def _remove_least(self) -> PendingFrames:
        least = min(self._waiting, key=lambda item: SHED_FIRST.index(item.result))  # The oldest of them.
        self._waiting.remove(least)
        return least

    def _take(self, stage: Stage) -> PendingFrames | None:
        """Wait for the next item; None once closed and drained."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._waiting, IDLE_S)
                if self._waiting:
                    self._in_hand = self._waiting.popleft()
                    return self._in_hand
                if self._closed:
                    return None
            stage.beat()
            self._recover()

    def _yield_to_line(self) -> None:
        """Wait until the line has no part, for a bounded time.

        On a saturated line of two cores encoding beside the network costs a tenth of the verdicts, however
        low the priority of its thread.
        """
        until_s = self._clock_s() + YIELD_S
        with self._changed:
            while not self._closed and self._line_busy() and self._clock_s() < until_s:
                self._changed.wait(YIELD_STEP_S)

    def _write(self, name: str, image: Image) -> None:
        try:
            self._images.write(name, image)
        except StorageFull as trouble:
            self._metrics.evidence_write_errors.inc()
            self._station.storage_failed("evidence", trouble)
        else:
            self._station.restored("evidence")

    def _nbytes(self) -> int:
        in_hand = self._in_hand.nbytes if self._in_hand else 0
        return in_hand + sum(item.nbytes for item in self._waiting)

    def _count_shed(self, result: Result) -> None:
        self._metrics.evidence_shed.labels(self._metrics.station, result).inc()
        self._shed_s = self._clock_s()
        self._station.impaired(
            "evidence_queue", "frames come faster than they can be encoded and written, so some are not kept"
        )

    def _recover(self) -> None:
        shed_s = self._shed_s
        if shed_s is not None and self._clock_s() - shed_s >= QUIET_S:
            self._shed_s = None
            self._station.restored("evidence_queue")


def build_signatures(
    settings: Settings, station: Station, metrics: Metrics, utc_s: Callable[[], float]
) -> SignatureWriter:
    """Return what keeps the signatures of the parts beside the line, for `linewatch recall`."""
    return SignatureWriter.beside(
        settings,
        lost=metrics.signatures_lost.inc,
        kept=metrics.signatures_bytes.set,
        failed=partial(station.storage_failed, "signatures"),
        restored=partial(station.restored, "signatures"),
        utc_s=utc_s,
    )
