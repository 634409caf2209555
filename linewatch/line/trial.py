"""A model on trial judges the same frames beside the line; its results are stored and change nothing."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import cv2
import numpy as np

from linewatch.domain import Comparison, Image, Inspection, Result, Verdict
from linewatch.errors import LinewatchError, StorageFull
from linewatch.line.metrics import Metrics
from linewatch.models.bundle import trial_version
from linewatch.runtime.lane import Lane

log = logging.getLogger(__name__)

WAITING_MAX = 2  # Frames; further ones are not compared.
UNWRITTEN_MAX = 1000  # Comparisons kept while the journal cannot be written.


class Judge(Protocol):
    """Judges images beside the line; the scoring worker, a process of the lowest priority."""

    def inspect(self, product: str, data: bytes, version: str = "") -> tuple[Verdict, bytes]:
        """Return the verdict on an encoded image, and its heatmap as JPEG. Raises LinewatchError."""

    def abort(self) -> None:
        """Abandon the current image; `inspect` raises LinewatchError."""


class ImageStore(Protocol):
    """Where images are kept; the evidence folder."""

    def write(self, name: str, image: Image) -> None:
        """Write one image atomically. Raises StorageFull."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One judged part that waits to be judged by the model on trial."""

    verdict: Verdict
    image: Image
    version: str


class TrialRunner:
    """Compare the model on trial with the one on the line.

    `offer` is called by the record stage, `compare` by the trial stage, `step` by the maintenance stage.
    """

    def __init__(
        self,
        models: Path,
        judge: Judge,
        images: ImageStore,
        keep: Callable[[Sequence[Comparison]], None],
        metrics: Metrics,
    ) -> None:
        self.trials = Lane[Trial]("trials", WAITING_MAX)
        metrics.watch_queue(self.trials.name, self.trials.capacity, self.trials.__len__)
        self._models = models
        self._judge = judge
        self._images = images
        self._keep = keep
        self._metrics = metrics
        self._on_trial = ("", "")  # Product and version.
        self._unwritten: deque[Comparison] = deque(maxlen=UNWRITTEN_MAX)
        self._writing = threading.Lock()
        self._refused = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop comparing: the line's end does not wait for a trial."""
        self.trials.abandon()
        self._judge.abort()

    def offer(self, verdict: Verdict, inspection: Inspection) -> None:
        """Queue a part for the model on trial, if there is one and the queue has room; never blocks."""
        product, version = self._on_trial
        if not version or verdict.product != product or verdict.model == version:
            return
        judged = inspection.scored is not None and verdict.result is not Result.ERROR
        if judged and inspection.frame.image is not None:
            self.trials.offer(Trial(verdict, inspection.frame.image, version))

    def compare(self, trial: Trial) -> None:
        """Judge one part with the model on trial and store the comparison; an unfit model is logged once."""
        live = trial.verdict
        bitmap = cv2.imencode(".bmp", trial.image)[1].tobytes()
        try:
            trial_verdict, heatmap = self._judge.inspect(live.product, bitmap, trial.version)
        except LinewatchError as trouble:
            if self.trials.closed:  # The line's end interrupts a trial; nothing failed.
                return
            if str(trouble) != self._refused:
                log.warning(
                    "trial_failed product=%s model=%s reason=%r", live.product, trial.version, str(trouble)
                )
            self._refused = str(trouble)
            return
        self._refused = ""
        comparison = Comparison(
            boot=live.boot,
            seq=live.seq,
            product=live.product,
            model=live.model,
            result=live.result,
            raw=live.raw,
            threshold=live.threshold,
            latency_ms=live.latency_ms,
            trial_model=trial_verdict.model,
            trial_result=trial_verdict.result,
            trial_raw=trial_verdict.raw,
            trial_threshold=trial_verdict.threshold,
            trial_ms=trial_verdict.latency_ms,
            image=live.image,
            heatmap=live.heatmap,
        )
        if not comparison.agrees:
            self._metrics.shadow_disagreements.labels(self._metrics.station, live.product).inc()
            comparison = self._with_images(comparison, trial, heatmap)
        with self._writing:
            self._unwritten.append(comparison)

    def step(self, product: str) -> None:
        """Look up the model on trial for the product on the line, and store new comparisons.

        Raises StorageFull; unwritten comparisons are kept for the next step.
        """
        self._on_trial = product, trial_version(self._models, product)
        with self._writing:
            found = list(self._unwritten)
            self._unwritten.clear()
        if not found:
            return
        try:
            self._keep(found)
        except StorageFull:
            with self._writing:
                self._unwritten.extendleft(reversed(found))
            raise

    def _with_images(self, comparison: Comparison, trial: Trial, heatmap: bytes) -> Comparison:
        """Store the frame of a disagreement, and the trial's heatmap if the line has none."""
        live = trial.verdict
        stem = live.evidence_stem
        image, drawn = live.image, live.heatmap
        try:
            if not image:
                self._images.write(f"{stem}.png", trial.image)
                image = f"{stem}.png"
            if heatmap and not drawn:
                picture = cv2.imdecode(np.frombuffer(heatmap, np.uint8), cv2.IMREAD_COLOR)
                self._images.write(f"{stem}.jpg", np.asarray(picture, np.uint8))
                drawn = f"{stem}.jpg"
        except StorageFull as trouble:
            log.warning("trial_image_missing reason=%r", str(trouble))
        return replace(comparison, image=image, heatmap=drawn)
