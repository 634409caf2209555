"""A model on trial judges the same frames beside the line: what it says is kept, and changes nothing."""

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

WAITING_MAX = 2  # Frames; what comes while they wait is not compared.
UNWRITTEN_MAX = 1000  # Comparisons while the journal refuses.


class Judging(Protocol):
    """What judges beside the line; the assessor, in a process of the lowest priority."""

    def inspect(self, product: str, data: bytes, version: str = "") -> tuple[Verdict, bytes]:
        """Return the verdict on an encoded picture, and its heatmap as JPEG. Raises LinewatchError."""

    def abort(self) -> None:
        """Let go of the picture in hand; `inspect` raises LinewatchError."""


class Pictures(Protocol):
    """Where pictures are kept; the evidence folder."""

    def write(self, name: str, image: Image) -> None:
        """Keep one picture, whole or not at all. Raises StorageFull."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One judged part that waits for a second opinion."""

    verdict: Verdict
    image: Image
    version: str


class TrialRunner:
    """Compares the model on trial with the one on the line.

    `offer` belongs to the record stage, `compare` to a stage of its own, `step` to whoever keeps house.
    """

    def __init__(
        self,
        models: Path,
        judge: Judging,
        pictures: Pictures,
        keep: Callable[[Sequence[Comparison]], None],
        metrics: Metrics,
    ) -> None:
        self.trials = Lane[Trial]("trials", WAITING_MAX)
        metrics.watch_queue(self.trials.name, self.trials.capacity, self.trials.__len__)
        self._models = models
        self._judge = judge
        self._pictures = pictures
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
        """Compare no more: the end of a line does not wait for a second opinion."""
        self.trials.abandon()
        self._judge.abort()

    def offer(self, verdict: Verdict, inspection: Inspection) -> None:
        """Have a part judged again if a model is on trial and nothing waits; never waits itself."""
        product, version = self._on_trial
        if not version or verdict.product != product or verdict.model == version:
            return
        judged = inspection.scored is not None and verdict.result is not Result.ERROR
        if judged and inspection.frame.image is not None:
            self.trials.offer(Trial(verdict, inspection.frame.image, version))

    def compare(self, trial: Trial) -> None:
        """Ask for the second opinion and keep it; a model that is unfit is told once."""
        live = trial.verdict
        bitmap = cv2.imencode(".bmp", trial.image)[1].tobytes()
        try:
            said, heatmap = self._judge.inspect(live.product, bitmap, trial.version)
        except LinewatchError as trouble:
            if str(trouble) != self._refused:
                log.warning(
                    "trial_failed product=%s model=%s reason=%r", live.product, trial.version, str(trouble)
                )
            self._refused = str(trouble)
            return
        self._refused = ""
        found = Comparison(
            boot=live.boot,
            seq=live.seq,
            product=live.product,
            model=live.model,
            result=live.result,
            raw=live.raw,
            threshold=live.threshold,
            latency_ms=live.latency_ms,
            trial_model=said.model,
            trial_result=said.result,
            trial_raw=said.raw,
            trial_threshold=said.threshold,
            trial_ms=said.latency_ms,
            image=live.image,
            heatmap=live.heatmap,
        )
        if not found.agrees:
            self._metrics.shadow_disagreements.labels(self._metrics.station, live.product).inc()
            found = self._with_pictures(found, trial, heatmap)
        with self._writing:
            self._unwritten.append(found)

    def step(self, product: str) -> None:
        """Look which model is on trial for the product on the line, and write down what was compared.

        Raises StorageFull; what was not written waits for the next step.
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

    def _with_pictures(self, found: Comparison, trial: Trial, heatmap: bytes) -> Comparison:
        """Keep the frame of a disagreement, and the trial's heatmap where the line has none."""
        live = trial.verdict
        stem = live.evidence_stem
        image, drawn = live.image, live.heatmap
        try:
            if not image:
                self._pictures.write(f"{stem}.png", trial.image)
                image = f"{stem}.png"
            if heatmap and not drawn:
                picture = cv2.imdecode(np.frombuffer(heatmap, np.uint8), cv2.IMREAD_COLOR)
                self._pictures.write(f"{stem}.jpg", np.asarray(picture, np.uint8))
                drawn = f"{stem}.jpg"
        except StorageFull as trouble:
            log.warning("trial_picture_missing reason=%r", str(trouble))
        return replace(found, image=image, heatmap=drawn)
