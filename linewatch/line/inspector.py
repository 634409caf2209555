"""Frame to inspection: the stage that judges. Whatever a frame is, it leaves with one result."""

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
"""Reasons of parts that were there and could not be scored: they fill the reject bin like a FAIL."""


@dataclass(frozen=True, slots=True)
class Examined:
    """An exposure on its way to the graph, with the product that will judge it."""

    frame: Frame
    prepared: Prepared | None
    view: Crop | None  # None when there is nothing to judge; `reason` then says why.
    reason: Reason


class ServiceTime:
    """How long one step takes for a part: a moving average, in nanoseconds."""

    WEIGHT = 0.1  # Of the newest part.

    def __init__(self) -> None:
        self.expected_ns = 0.0

    def add(self, took_ns: int) -> None:
        """Take one more part into the average."""
        self.expected_ns += self.WEIGHT * (took_ns - self.expected_ns)

    def doubt(self) -> None:
        """Expect a little less: a part was not begun, so the average may be out of date."""
        self.expected_ns *= 1 - self.WEIGHT


class Inspector:
    """Judges frames with the product in use; `use` swaps the product between two frames.

    `examine` and `inspect` may run in a thread each: one looks at the next frame while the graph
    works on the last.
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
        self._answer_within_ns = (
            answer_within_ns  # After the exposure; a part that takes longer is not begun.
        )
        self._examine_time, self._inspect_time = ServiceTime(), ServiceTime()
        self._clock_ns = clock_ns
        self._prepared: Prepared | None = None
        self._gate: QualityGate | None = None  # The last one, also while no product is fit.

    @property
    def prepared(self) -> Prepared | None:
        """The product in use, None before the first one passed its self-test."""
        return self._prepared

    def use(self, prepared: Prepared | None) -> None:
        """Judge with this from the next frame on; one assignment is the whole changeover."""
        if prepared is not None:
            if self._gate is not None:
                prepared.gate.follow(self._gate)
            self._gate = prepared.gate
        self._prepared = prepared

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
            # What another product scores says nothing of how this one drifts.
            raw = scored.raw if scored and not scored.looks_like else None
            self._tell(prepared, prepared.drift.observe_part(result, raw))
        if prepared is not None and scored is not None and prepared.alarm.observe(scored.looks_like):
            self._tell_stranger(prepared.recipe.product, scored.looks_like)
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
        """Return what is recorded of a part that has no result when it must be answered for."""
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
        """Return PASSED if the part may still pass after the steps that are `left`, else its ERROR."""
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
        """Return why a picture cannot be judged, and show how it compares with training."""
        health = prepared.gate.examine(image)
        labels = (self._metrics.station, prepared.recipe.product)
        self._metrics.brightness_ratio.labels(*labels).set(health.brightness_ratio)
        self._metrics.sharpness_ratio.labels(*labels).set(health.sharpness_ratio)
        self._station.image_examined(health.fault)
        self._tell(prepared, prepared.drift.observe_image(health.brightness_ratio, health.sharpness_ratio))
        return health.reason

    def _tell_stranger(self, product: str, looks_like: str) -> None:
        """Let somebody look what comes down the belt; the part itself is UNSURE."""
        self._station.event("wrong_product", product=product, looks_like=looks_like)
        log.warning("wrong_product product=%s looks_like=%s", product, looks_like)

    def _tell(self, prepared: Prepared, edges: Iterable[DriftChange]) -> None:
        """Let metrics and events know what began or ceased to drift."""
        product = prepared.recipe.product
        for edge in edges:
            signal, on = edge.signal.value, int(edge.on)
            value, limit = round(edge.value, 3), round(edge.limit, 3)
            self._metrics.drift.labels(self._metrics.station, product, signal).set(on)
            self._station.event("drift", product=product, signal=signal, on=on, value=value, limit=limit)
            log.warning(
                "drift product=%s signal=%s on=%d value=%g limit=%g", product, signal, on, value, limit
            )
