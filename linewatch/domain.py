"""The values that pass along the line, all frozen, and the rule for PASS. No I/O."""

import math
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""A colour image: (height, width, 3), uint8, in OpenCV's channel order blue, green, red."""

AnomalyMap = NDArray[np.float32]
"""Anomaly of each cell: (rows, columns), float32, in units of the raw score."""

Embedding = NDArray[np.float32]
"""Feature vector of a whole image: (channels,), float32; empty if the model computes none."""

Box = tuple[int, int, int, int]
"""x, y, width, height in frame pixels."""

NO_BOX: Box = (0, 0, 0, 0)
NO_EMBEDDING: Embedding = np.zeros(0, np.float32)


class Result(StrEnum):
    """The outcome for one part. The line treats everything but PASS as a reject."""

    PASS = "PASS"
    FAIL = "FAIL"
    UNSURE = "UNSURE"
    ERROR = "ERROR"  # Not judged, or not in time.

    @property
    def code(self) -> int:
        """The number in payloads, 1 to 4; 0 is never sent, so cleared PLC memory never reads as PASS."""
        return _CODES[self]


_CODES = {Result.PASS: 1, Result.FAIL: 2, Result.UNSURE: 3, Result.ERROR: 4}


class Reason(IntEnum):
    """Why a verdict is not a PASS; the numbers are part of the protocol."""

    NONE = 0
    ABOVE_THRESHOLD = 10
    NEAR_THRESHOLD = 11
    STALE = 20
    FROZEN = 21
    BAD_PICTURE = 22
    NOT_REGISTERED = 23
    WRONG_PRODUCT = 24
    LATE = 30
    QUEUE_FULL = 31
    CAMERA_LOST = 40
    NOT_READY = 41
    INTERNAL = 42


class ReplyCode(IntEnum):
    """The `code` in the reply to a command; the numbers are part of the protocol."""

    DONE = 0
    NOT_READY = 1
    BUSY = 2
    EXPIRED = 3
    BAD_ARGUMENT = 4
    UNKNOWN = 5
    SELFTEST_FAILED = 6
    TIMEOUT = 7


@dataclass(frozen=True, slots=True)
class Answer:
    """The outcome of a command."""

    code: ReplyCode
    reason: str = ""


class State(StrEnum):
    """What the station is doing. Only READY and DEGRADED give PASS."""

    STARTING = "STARTING"
    SELFTEST = "SELFTEST"
    CHANGEOVER = "CHANGEOVER"
    READY = "READY"
    DEGRADED = "DEGRADED"  # Judging; evidence or history is impaired.
    PAUSED = "PAUSED"
    FAULT = "FAULT"
    STOPPED = "STOPPED"

    @property
    def judging(self) -> bool:
        """Whether a part may earn a PASS."""
        return self in (State.READY, State.DEGRADED)


@dataclass(frozen=True, slots=True)
class Frame:
    """One exposure. Each part, whether it has one view or several, gets exactly one verdict.

    `image` is None when there is no image to judge; `fault` is the reason.
    """

    image: Image | None
    captured_ns: int  # Monotonic clock: ages and deadlines.
    captured_ms: int  # UTC milliseconds since 1970, for display only.
    seq: int = 0  # Assigned by capture: from 1, without gaps within a boot.
    trigger: int = 0  # Request id of the trigger command, 0 without one.
    part: str = ""
    simulated: bool = False
    fault: Reason = Reason.NONE
    view: int = 1  # Number of this view of the part, from 1 to `views`.
    views: int = 1  # Views per part; they share one `seq` and get one verdict.

    def age_ms(self, now_ns: int) -> int:
        """Return the time since the exposure in whole milliseconds; `now_ns` is monotonic."""
        return (now_ns - self.captured_ns) // 1_000_000

    @property
    def image_fault(self) -> Reason:
        """Why there is no image to judge; Reason.NONE if there is one."""
        return Reason.NONE if self.image is not None else self.fault or Reason.INTERNAL

    @property
    def nbytes(self) -> int:
        """Return how much memory the image takes."""
        return 0 if self.image is None else self.image.nbytes

    def without_image(self, fault: Reason) -> Self:
        """Return the same exposure without its image; `fault` is the reason."""
        return replace(self, image=None, fault=fault)


@dataclass(frozen=True, slots=True)
class Defect:
    """One connected region of the anomaly map above the threshold, in frame pixels."""

    box: Box
    area_px: int
    centroid: tuple[int, int]
    peak: float  # The largest raw score inside.


@dataclass(frozen=True, slots=True)
class EngineOutput:
    """The network's output for one crop."""

    score: float
    anomaly_map: AnomalyMap  # The score is its largest value.
    embedding: Embedding = field(default_factory=lambda: NO_EMBEDDING)
    local: Embedding = field(default_factory=lambda: NO_EMBEDDING)  # The residual where it is most unusual.


@dataclass(frozen=True, slots=True)
class Scored:
    """The scorer's result for one image.

    `raw` and the map are in units of the recipe's threshold: inside a region both are divided by its
    `factor`. `placement` is the 2x3 affine matrix (float64) from map coordinates (column, row) to frame
    pixels (x, y); it puts the heatmap where the part was registered.
    """

    raw: float
    anomaly_map: AnomalyMap
    placement: NDArray[np.float64]
    defects: tuple[Defect, ...] = ()  # Those of the deciding region first, then largest first.
    looks_like: str = ""  # Another product whose reference embeddings are clearly closer.
    embedding: Embedding = field(default_factory=lambda: NO_EMBEDDING)
    local: Embedding = field(default_factory=lambda: NO_EMBEDDING)  # As in EngineOutput.
    region: str = ""  # The recipe's region that decided; "": outside all of them.
    region_index: int = 0  # Its place in the recipe from 1, 0 outside all of them.
    factor: float = 1.0  # Its threshold as a multiple of the recipe's.
    factors: AnomalyMap | None = None  # By which regions divided the map's cells; None: no regions.

    @property
    def unweighted(self) -> float:
        """The raw score without regions, as models are calibrated."""
        return self.raw if self.factors is None else float((self.anomaly_map * self.factors).max())


@dataclass(frozen=True, slots=True)
class Judgement:
    """Result and reason for one part."""

    result: Result
    reason: Reason


PASSED = Judgement(Result.PASS, Reason.NONE)


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found out about one part, before it becomes a verdict."""

    frame: Frame
    product: str
    product_index: int
    model: str
    threshold: float
    result: Result
    reason: Reason
    age_ms: int  # Frame age when scoring began.
    scored: Scored | None = None
    others: tuple[Frame, ...] = ()  # The part's other views; none has a worse result.


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One part's verdict as journaled, published and shown; the fields are in the order of the payload."""

    station: str
    boot: int
    seq: int
    trigger: int = 0
    part: str = ""
    product: str
    product_index: int
    model: str
    result: Result
    reason: Reason
    raw: float = 0.0
    threshold: float = 0.0
    captured_ms: int
    age_ms: int = 0
    latency_ms: int = 0
    late: bool = False
    simulated: bool = False
    defects: int = 0
    box: Box = field(default=NO_BOX)
    region: str = ""  # The recipe's region that decided, which `raw` and `threshold` are of.
    region_index: int = 0  # Its place in the recipe from 1, 0 outside all regions.
    image: str = ""  # Path below the evidence folder, "" if not kept.
    heatmap: str = ""

    @property
    def score(self) -> int:
        """1000 times raw score / threshold, rounded; 0 without a score or if it is not finite.

        Anything above the threshold is at least 1001: rounding never shows a failed part as 1000.
        """
        ratio = 1000 * self.raw / self.threshold if self.threshold > 0 else 0.0
        if not math.isfinite(ratio):
            return 0
        return max(round(ratio), 1001) if ratio > 1000 else round(ratio)

    @property
    def evidence_stem(self) -> str:
        """Path of this part's evidence without suffix, `YYYY-MM-DD/result/BOOT-SEQ`; the day is UTC."""
        day = datetime.fromtimestamp(self.captured_ms / 1000, UTC).date()
        return f"{day}/{self.result.value.lower()}/{self.boot}-{self.seq}"


def verdict_of(inspection: Inspection, *, station: str, boot: int, now_ns: int) -> Verdict:
    """Return the verdict for an inspection at `now_ns` (monotonic), without evidence paths."""
    frame, scored = inspection.frame, inspection.scored
    factor = scored.factor if scored else 1.0
    return Verdict(
        station=station,
        boot=boot,
        seq=frame.seq,
        trigger=frame.trigger,
        part=frame.part,
        product=inspection.product,
        product_index=inspection.product_index,
        model=inspection.model,
        result=inspection.result,
        reason=inspection.reason,
        raw=scored.raw * factor if scored else 0.0,
        threshold=inspection.threshold * factor,
        captured_ms=frame.captured_ms,
        age_ms=inspection.age_ms,
        latency_ms=frame.age_ms(now_ns),
        simulated=frame.simulated,
        defects=len(scored.defects) if scored else 0,
        box=scored.defects[0].box if scored and scored.defects else NO_BOX,
        region=scored.region if scored else "",
        region_index=scored.region_index if scored else 0,
    )


def view_name(name: str, view: int) -> str:
    """Return the path for another view of the part whose image is `name`: `41-1023.view2.png`."""
    stem, dot, suffix = name.rpartition(".")
    return f"{stem}.view{view}{dot}{suffix}"


@dataclass(frozen=True, slots=True)
class Standing:
    """What the station judges with, and since when."""

    product: str
    model: str
    judging_since_ns: int | None  # Monotonic; None while no part may pass.

    def judges(self, captured_ns: int) -> bool:
        """Return whether the station has been judging without a break since then (monotonic)."""
        return self.judging_since_ns is not None and captured_ns >= self.judging_since_ns


NOT_JUDGING = Standing("", "", None)


@dataclass(frozen=True, slots=True)
class Exposure:
    """The facts of one exposure that decide whether its part may still pass.

    None, an empty set and Reason.NONE stand for what the caller does not check.
    """

    captured_ns: int  # Monotonic.
    fault: Reason = Reason.NONE  # Why there is no image.
    leaves_ns: int | None = None  # From here on a frame may show the next part.
    judged_by: frozenset[tuple[str, str]] = frozenset()  # Product and model of each judged view.
    age_ms_max: int | None = None  # When scoring begins, in whole milliseconds.
    start_within_ns: float | None = None  # Work begun later than this cannot end in time.
    deadline_ns: int | None = None  # From exposure to published verdict.
    unconfirmed: bool = False  # The disk has not answered for the journal row.

    def late(self, now_ns: int) -> bool:
        """Return whether the deadline has passed; a verdict exactly on it is in time."""
        return self.deadline_ns is not None and now_ns - self.captured_ns > self.deadline_ns


J = TypeVar("J", Judgement, Inspection, Verdict)


def admit(judged: J, exposure: Exposure, now_ns: int, station: Standing | None = None) -> J:
    """Return `judged` if it may stand at `now_ns` (monotonic), else the ERROR that replaces it.

    The only code that decides whether a part may still pass. A part that missed its PASS never gets
    one later: no result becomes a PASS here. Ask with PASSED before there is a result. `station` is
    the station at this moment; None leaves it unchecked.
    """
    if len(exposure.judged_by) > 1:  # A changeover came between two views of one part.
        return replace(judged, result=Result.ERROR, reason=Reason.NOT_READY)
    if judged.result is Result.ERROR:  # It keeps the reason that came first.
        return judged
    # A FAIL or UNSURE needs no station that judges: the part is a reject either way.
    stands = judged.result is not Result.PASS or station is None or _stands(station, exposure)
    age_ns = now_ns - exposure.captured_ns
    refusals = (  # The first that applies is the reason.
        (exposure.fault is not Reason.NONE, exposure.fault),
        (exposure.leaves_ns is not None and exposure.captured_ns > exposure.leaves_ns, Reason.LATE),
        (not stands, Reason.NOT_READY),
        (exposure.age_ms_max is not None and age_ns // 1_000_000 > exposure.age_ms_max, Reason.STALE),
        (exposure.start_within_ns is not None and age_ns > exposure.start_within_ns, Reason.QUEUE_FULL),
        (exposure.late(now_ns), Reason.LATE),
        # What the PLC reads as PASS is in the journal; any other result is the same reject without its row.
        (exposure.unconfirmed and judged.result is Result.PASS, Reason.LATE),
    )
    reason = next((reason for applies, reason in refusals if applies), None)
    return judged if reason is None else replace(judged, result=Result.ERROR, reason=reason)


def _stands(station: Standing, exposure: Exposure) -> bool:
    """Return whether the station judges now as it did at the exposure, with what judged the part."""
    same = not exposure.judged_by or exposure.judged_by == {(station.product, station.model)}
    return same and station.judges(exposure.captured_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One part as judged by the model on the line and by the model on trial."""

    boot: int
    seq: int
    product: str
    model: str
    result: Result
    raw: float
    threshold: float
    latency_ms: int
    trial_model: str
    trial_result: Result
    trial_raw: float
    trial_threshold: float
    trial_ms: int  # Decoding and scoring, at the lowest priority.
    image: str = ""  # Path below the evidence folder; kept for every disagreement.
    heatmap: str = ""

    @property
    def agrees(self) -> bool:
        """Whether both models gave the same result."""
        return self.result is self.trial_result


@dataclass(frozen=True, slots=True)
class Batch:
    """Verdicts not yet delivered to the history, oldest first, and the position that acknowledges them."""

    verdicts: list[Verdict]
    up_to: int  # Row number of the last one.
    generation: int  # Of the journal file: row numbers start again in a new one.
