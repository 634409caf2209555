"""The examine and inspect stages: every frame becomes one inspection with a result."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from linewatch.domain import (
    NOT_JUDGING,
    PASSED,
    Exposure,
    Frame,
    Image,
    Inspection,
    Judgement,
    Reason,
    Result,
    Scored,
    Standing,
    admit,
)
from linewatch.errors import ImageError, NotRegistered
from linewatch.line.metrics import Metrics
from linewatch.line.station import Station
from linewatch.models.loader import Prepared
from linewatch.vision.drift import DriftChange
from linewatch.vision.image_quality import QualityGate
from linewatch.vision.recipe import judge
from linewatch.vision.scoring import Crop

log = logging.getLogger(__name__)

_PART_UNSEEN = (Reason.BAD_PICTURE, Reason.NOT_REGISTERED)
"""Reasons of parts that could not be scored; they count as rejects like a FAIL."""


@dataclass(frozen=True, slots=True)
class Examined:
    """An exposure ready for the network, with the product that will judge it."""

    frame: Frame
    prepared: Prepared | None
    view: Crop | None  # The network's input; None if it cannot be judged, for `reason`.
    reason: Reason


class ServiceTime:
    """Moving average of the time that one step takes per part, in nanoseconds."""

    WEIGHT = 0.1  # Of the newest part.

    def __init__(self) -> None:
        self.expected_ns = 0.0

    def add(self, took_ns: int) -> None:
        """Add the time of one part."""
        self.expected_ns += self.WEIGHT * (took_ns - self.expected_ns)

    def doubt(self) -> None:
        """Lower the average: a part was skipped for it, and it may be out of date."""
        self.expected_ns *= 1 - self.WEIGHT


class Inspector:
    """Judge frames with the product in use; `use` replaces the product between two frames.

    `examine` and `inspect` may run in separate threads: one prepares the next frame while the network
    computes the last.
    """

    def __init__(
        self,
        station: Station,
        metrics: Metrics,
        *,
        frame_age_ms_max: int,
        answer_within_ns: int | None = None,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._station = station
        self._metrics = metrics
        self._frame_age_ms_max = frame_age_ms_max
        self._answer_within_ns = answer_within_ns  # After exposure; a part that needs longer is skipped.
        self._examine_time, self._inspect_time = ServiceTime(), ServiceTime()
        self._clock_ns = clock_ns
        self._prepared: Prepared | None = None
        self._gate: QualityGate | None = None  # Of the last product, also while none is in use.

    @property
    def prepared(self) -> Prepared | None:
        """The product in use, None before the first one passed its self-test."""
        return self._prepared

    def use(self, prepared: Prepared | None) -> None:
        """Judge with this product from the next frame on; None judges nothing."""
        if prepared is not None:
            if self._gate is not None:
                prepared.gate.follow(self._gate)
            self._gate = prepared.gate
        before, self._prepared = self._prepared, prepared
        if before is not None and (prepared is None or prepared.drift is not before.drift):
            self._report_drift(before, before.drift.close())

    def examine(self, frame: Frame) -> Iterator[Examined]:
        """Yield one exposure with the network's input, or the reason why there is none; frames in order."""
        prepared = self._prepared  # Read once: a changeover may replace it at any time.
        started_ns = self._clock_ns()
        station = self._station.snapshot().standing if prepared else NOT_JUDGING
        view = None
        reason = self._admit(frame, started_ns, station, self._examine_time, self._inspect_time).reason
        if reason is Reason.NONE and prepared is not None and frame.image is not None:
            view, reason = self._crop(frame.image, prepared)
        if view is not None:
            self._examine_time.add(self._clock_ns() - started_ns)
        yield Examined(frame, prepared, view, reason)

    def inspect(self, examined: Examined) -> Iterator[Inspection]:
        """Yield exactly one inspection for one exposure."""
        frame, prepared, view, reason = examined.frame, examined.prepared, examined.view, examined.reason
        started_ns = self._clock_ns()
        age_ms = frame.age_ms(started_ns)
        self._metrics.frame_age.observe(age_ms / 1000)

        scored: Scored | None = None
        judged = Judgement(Result.UNSURE if reason is Reason.NOT_REGISTERED else Result.ERROR, reason)
        if prepared is not None and view is not None:
            judged = self._admit(frame, started_ns, None, self._inspect_time)  # It waited since `examine`.
            if judged is PASSED:
                scored, judged = self._score(view, prepared)
        result, reason = judged.result, judged.reason

        station = self._station.snapshot()
        if result is Result.ERROR:
            self._metrics.frames_dropped.labels(station.station, reason.name.lower()).inc()
        if prepared is not None and (scored is not None or reason in _PART_UNSEEN):
            # Scores of another product do not count for the drift of this one.
            raw = scored.unweighted if scored and not scored.looks_like else None
            self._report_drift(prepared, prepared.drift.observe_part(result, raw))
        if prepared is not None and scored is not None and prepared.alarm.observe(scored.looks_like):
            self._report_wrong_product(prepared.recipe.product, scored.looks_like)
        yield Inspection(
            frame=frame,
            product=prepared.recipe.product if prepared else station.product,
            product_index=prepared.recipe.index if prepared else station.product_index,
            model=prepared.recipe.model if prepared else "",
            threshold=prepared.recipe.threshold if prepared else 0.0,
            result=result,
            reason=reason,
            age_ms=age_ms,
            scored=scored,
        )

    def give_up(self, frame: Frame) -> Inspection:
        """Return the ERROR of a part that has no result when its verdict is due."""
        station = self._station.snapshot()
        self._metrics.frames_dropped.labels(station.station, Reason.LATE.name.lower()).inc()
        return Inspection(
            frame=frame,
            product=station.product,
            product_index=station.product_index,
            model=station.model,
            threshold=0.0,
            result=Result.ERROR,
            reason=Reason.LATE,
            age_ms=frame.age_ms(self._clock_ns()),
        )

    def _admit(self, frame: Frame, now_ns: int, station: Standing | None, *left: ServiceTime) -> Judgement:
        """Return PASSED if the part may still pass after the remaining steps, `left`; else its ERROR."""
        start_within_ns = None
        if self._answer_within_ns is not None:
            start_within_ns = self._answer_within_ns - sum(step.expected_ns for step in left)
        exposure = Exposure(
            frame.captured_ns,
            fault=frame.image_fault,
            age_ms_max=self._frame_age_ms_max,
            start_within_ns=start_within_ns,
        )
        judged = admit(PASSED, exposure, now_ns, station)
        if judged.reason is Reason.QUEUE_FULL and frame.image is not None:
            for step in left:
                step.doubt()
        return judged

    def _crop(self, image: Image, prepared: Prepared) -> tuple[Crop | None, Reason]:
        """Return the network's input, or None and the reason."""
        reason = self._health(prepared, image)
        if reason is not Reason.NONE:
            return None, reason
        try:
            return prepared.scorer.crop(image, prepared.recipe), Reason.NONE
        except NotRegistered:
            return None, Reason.NOT_REGISTERED
        except ImageError as trouble:  # The recipe's roi or mask does not fit the image.
            self._station.impaired("recipe", str(trouble))
            return None, Reason.BAD_PICTURE

    def _score(self, view: Crop, prepared: Prepared) -> tuple[Scored | None, Judgement]:
        started_ns = self._clock_ns()
        try:
            scored = prepared.scorer.score_crop(view, prepared.recipe)
        except ImageError as trouble:  # The mask covers all of this part.
            self._station.impaired("recipe", str(trouble))
            return None, Judgement(Result.ERROR, Reason.BAD_PICTURE)
        judged = judge(scored.raw, prepared.recipe, scored.looks_like)
        self._station.restored("recipe")
        self._inspect_time.add(self._clock_ns() - started_ns)
        return scored, judged

    def _health(self, prepared: Prepared, image: Image) -> Reason:
        """Return why an image cannot be judged; report how it compares with the training images."""
        health = prepared.gate.examine(image)
        labels = (self._metrics.station, prepared.recipe.product)
        self._metrics.brightness_ratio.labels(*labels).set(health.brightness_ratio)
        self._metrics.sharpness_ratio.labels(*labels).set(health.sharpness_ratio)
        self._station.image_examined(health.fault)
        self._report_drift(
            prepared, prepared.drift.observe_image(health.brightness_ratio, health.sharpness_ratio)
        )
        return health.reason

    def _report_wrong_product(self, product: str, looks_like: str) -> None:
        self._station.event("wrong_product", product=product, looks_like=looks_like)
        log.warning("wrong_product product=%s looks_like=%s", product, looks_like)

    def _report_drift(self, prepared: Prepared, changes: Iterable[DriftChange]) -> None:
        """Report what began or ceased to drift as metric, event and log line."""
        product = prepared.recipe.product
        for change in changes:
            signal, on = change.signal.value, int(change.on)
            value, limit = round(change.value, 3), round(change.limit, 3)
            self._metrics.drift.labels(self._metrics.station, product, signal).set(on)
            self._station.event("drift", product=product, signal=signal, on=on, value=value, limit=limit)
            log.warning(
                "drift product=%s signal=%s on=%d value=%g limit=%g", product, signal, on, value, limit
            )
