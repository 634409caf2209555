"""The page's backend in the daemon: reads snapshots and files, never lanes."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import cv2

from linewatch.capability.promise_watch import PromiseWatch
from linewatch.domain import Answer, Image, ReplyCode
from linewatch.errors import LinewatchError, StorageFull
from linewatch.line.commands import Commands
from linewatch.line.inspector import Inspector
from linewatch.line.recorder import Latest
from linewatch.line.station import Station
from linewatch.line.status import facts_of
from linewatch.models.scoring_worker import ScoringWorker
from linewatch.mqtt.messages import Command, state_payload
from linewatch.runtime.paused_processes import PausedProcesses
from linewatch.settings import ModelsSettings, Settings
from linewatch.storage.evidence import Evidence
from linewatch.storage.journal import Journal
from linewatch.storage.journal_reader import JournalGrowth
from linewatch.vision.heatmap import draw_heatmap
from linewatch.vision.image_io import shrink_to
from linewatch.web.backend import ImageStatus, LiveImage, ProductInfo, StorageForecast
from linewatch.web.office_backend import OfficeBackend

LIVE_SIDE_PX = 960
SWITCH_S = 30.0
EXPECTED_MS = 2_000  # After its exposure a part's frame is queued, or was shed.


class StationBackend(OfficeBackend):
    """Implements `Backend` in the daemon; thread-safe."""

    has_line = True

    def __init__(
        self,
        station: Station,
        journal: Journal,
        inspector: Inspector,
        commands: Commands,
        models: ModelsSettings,
        worker: ScoringWorker,
        *,
        latest: Callable[[], Latest | None],
        alive: Callable[[], bool],
        queued: Callable[[str], bool] = lambda _path: False,
        promises: PromiseWatch | None = None,
        beside: PausedProcesses | None = None,
        forecast: Callable[[JournalGrowth], StorageForecast | None] = lambda _growth: None,
    ) -> None:
        """`queued` tells whether a frame waits to be written; `forecast` may raise StorageFull."""
        super().__init__(
            station.snapshot().station, journal, models, worker, promises=promises, beside=beside
        )
        self._station = station
        self._inspector = inspector
        self._commands = commands
        self._latest = latest
        self._alive = alive
        self._queued = queued
        self._forecast = forecast
        self._live_lock = threading.Lock()
        self._live: LiveImage | None = None

    def state(self) -> dict[str, object]:
        """Return the payload of the topic `B/state`."""
        return state_payload(facts_of(self._station.snapshot(), self._journal.undelivered_count()))

    def not_ready(self) -> list[str]:
        """Return why no part can pass now; [] in READY and DEGRADED."""
        now = self._station.snapshot()
        return [] if now.state.judging else now.reasons or [f"the station is {now.state}"]

    def alive(self) -> bool:
        """Whether every stage makes progress."""
        return self._alive()

    def image_status(self, path: str) -> ImageStatus:
        """Return what is known of an image that is not there: perhaps it waits to be written."""
        if self._queued(path):
            return ImageStatus.QUEUED
        verdict = self._verdict_naming(path)
        if verdict is None:
            return ImageStatus.UNKNOWN
        # A frame is queued right after its verdict is published.
        age_ms = time.time_ns() // 1_000_000 - verdict.captured_ms
        return ImageStatus.EXPECTED if 0 <= age_ms < EXPECTED_MS else ImageStatus.GONE

    def storage(self) -> StorageForecast | None:
        """Return how long images and verdicts are kept; None while the disk fails."""
        try:
            return self._forecast(self._reader.growth())
        except StorageFull:
            return None

    def live_image(self) -> LiveImage | None:
        """Return the newest judged image, encoded once for all clients."""
        latest = self._latest()
        if latest is None or latest.inspection.frame.image is None:
            return self._live
        with self._live_lock:
            if self._live is None or self._live.verdict is not latest.verdict:
                self._live = LiveImage(_jpeg(_live_view(latest)), latest.verdict)
            return self._live

    def products(self) -> Sequence[ProductInfo]:
        """Return every product that has a recipe, by index; the one on the line is marked as loaded."""
        on_line = self._inspector.prepared
        now = on_line.recipe.product if on_line else ""
        return [replace(product, resident=product.name == now) for product in super().products()]

    def switch(self, product: str, who: str = "page") -> None:
        """Change over to another product; returns when it is ready."""
        answers: list[Answer] = []
        answered = threading.Event()

        def done(answer: Answer) -> None:
            answers.append(answer)
            answered.set()

        self._commands.request(Command("product", 0, product=product, who=who), done)
        if not answered.wait(SWITCH_S):
            raise LinewatchError(f"product {product!r} is not ready after {SWITCH_S:.0f} s; see the log")
        if answers[0].code is not ReplyCode.DONE:
            raise LinewatchError(answers[0].reason)


def storage_forecast(evidence: Evidence, settings: Settings, growth: JournalGrowth) -> StorageForecast:
    """Return how long images and verdicts are kept at the present rate. Raises StorageFull."""
    return StorageForecast(
        evidence_days=evidence.days_left(),
        evidence_retention_days=settings.evidence.retention_days,
        journal_bytes_per_day=growth.bytes_per_day,
        journal_retention_days=settings.journal.retention_days,
    )


def _live_view(latest: Latest) -> Image:
    """Return the frame shrunk to LIVE_SIDE_PX, with its heatmap over it if it was scored."""
    image, scored = latest.inspection.frame.image, latest.inspection.scored
    assert image is not None
    if scored is None:
        return shrink_to(image, LIVE_SIDE_PX)
    return draw_heatmap(image, scored, latest.inspection.threshold, LIVE_SIDE_PX)


def _jpeg(image: Image) -> bytes:
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
