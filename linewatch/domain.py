"""What the line is made of: plain frozen values, no I/O."""

import math
from dataclasses import dataclass, field, replace
from enum import IntEnum, StrEnum
from typing import Self

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""A colour picture: (height, width, 3), uint8, blue-green-red as OpenCV has it."""

AnomalyMap = NDArray[np.float32]
"""How unusual each place is: (rows, columns), float32, in the unit of the raw score."""

Embedding = NDArray[np.float32]
"""What a picture shows as a whole: (channels,), float32; empty if the model does not tell."""

Box = tuple[int, int, int, int]
"""x, y, width, height in frame pixels."""

NO_BOX: Box = (0, 0, 0, 0)
NO_EMBEDDING: Embedding = np.zeros(0, np.float32)


class Result(StrEnum):
    """What the line does with one part. Only PASS lets it go on."""

    PASS = "PASS"
    FAIL = "FAIL"
    UNSURE = "UNSURE"
    ERROR = "ERROR"  # Nothing could be said, or not in time; the line treats it as a reject.

    @property
    def code(self) -> int:
        """The number on the wire, 1 to 4; 0 is never sent, so cleared PLC memory is no PASS."""
        return _CODES[self]


_CODES = {Result.PASS: 1, Result.FAIL: 2, Result.UNSURE: 3, Result.ERROR: 4}


class Reason(IntEnum):
    """Why a verdict is what it is; the numbers are part of the wire contract."""

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
    """One exposure: every one of them gets exactly one verdict.

    `image` is None when there is no picture to judge; `fault` then says why.
    """

    image: Image | None
    captured_ns: int  # Monotonic clock: ages and deadlines.
    captured_ms: int  # UTC milliseconds since 1970: a label for people.
    seq: int = 0  # Given by capture: from 1, without gaps within a boot.
    trigger: int = 0  # The request id that asked for this exposure, 0 if none did.
    part: str = ""
    simulated: bool = False
    fault: Reason = Reason.NONE
    view: int = 1  # Which of the part's exposures, from 1 to
    views: int = 1  # how many there are of it; all have one `seq` and get one verdict.

    @property
    def nbytes(self) -> int:
        """Return how much memory the image takes."""
        return 0 if self.image is None else self.image.nbytes

    def without_image(self, fault: Reason) -> Self:
        """Return what remains when the picture had to go: the exposure itself, and why."""
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
    """What the graph says of one crop."""

    score: float
    anomaly_map: AnomalyMap  # The score is its largest value.
    embedding: Embedding = field(default_factory=lambda: NO_EMBEDDING)


@dataclass(frozen=True, slots=True)
class Scored:
    """What the scorer found in one picture.

    `placement` is the 2x3 affine matrix (float64) that takes map coordinates (column, row)
    to frame pixels (x, y), so that a heatmap lies over the part wherever it was found.
    """

    raw: float
    anomaly_map: AnomalyMap
    placement: NDArray[np.float64]
    defects: tuple[Defect, ...] = ()  # Largest first.
    looks_like: str = ""  # Another product, if the part is clearly more like that one.


@dataclass(frozen=True, slots=True)
class Inspection:
    """The record of one part on its way from judging to the journal."""

    frame: Frame
    product: str
    product_index: int
    model: str
    threshold: float
    result: Result
    reason: Reason
    age_ms: int  # Frame age when scoring began.
    scored: Scored | None = None
    others: tuple[Frame, ...] = ()  # The part's other views, which are not worse than this one.


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One part's verdict as it is journaled, published and shown; field order is the wire's."""

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
    image: str = ""  # Path below the evidence folder, "" if not kept.
    heatmap: str = ""

    @property
    def score(self) -> int:
        """1000 is the threshold; above it the part fails. 0 when nothing was scored.

        A part that fails by a hair is 1001, never 1000; a raw score that is no number counts as 0.
        """
        ratio = 1000 * self.raw / self.threshold if self.threshold > 0 else 0.0
        if not math.isfinite(ratio):
            return 0
        return max(round(ratio), 1001) if ratio > 1000 else round(ratio)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One part as the model on the line judged it, and as the model on trial would have."""

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
        """Whether the line would have done the same with the part."""
        return self.result is self.trial_result


@dataclass(frozen=True, slots=True)
class Batch:
    """Verdicts that the history misses, oldest first, and how to say that it has them."""

    verdicts: list[Verdict]
    up_to: int  # Row number of the last one.
    generation: int  # Of the journal's file.
