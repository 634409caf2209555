"""The figures of a shift report, as they are shown, sent as JSON and kept. Times are UTC ms since 1970."""

from datetime import date

from pydantic import BaseModel, ConfigDict

from linewatch.domain import Reason, Result, State


class Figure(BaseModel):
    """A JSON object of the report."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DefectRate(Figure):
    """FAIL / (PASS + FAIL + UNSURE), 0 to 1, with its 95 % interval."""

    value: float
    low: float
    high: float
    judged: int  # PASS, FAIL and UNSURE.
    effective: int  # Independent parts that would say as much.
    from_blocks: bool  # Whether the interval is from how the rate differed over the shift.


class FirstPass(Figure):
    """Parts that passed when first inspected in the shift; a part without an id is a new one."""

    passed: int
    parts: int
    value: float  # 0 to 1.


class Latency(Figure):
    """Time from exposure to published verdict, in ms."""

    median: int
    p95: int
    p99: int
    late: int  # Verdicts after the deadline.


class ReasonCount(Figure):
    """Verdicts other than PASS with one reason."""

    reason: Reason
    parts: int


class NamedCount(Figure):
    """Verdicts of one model, or of one region that failed."""

    name: str
    parts: int


class ReviewCount(Figure):
    """What reviewers said of the parts of a shift so far."""

    rejects: int  # FAIL and UNSURE.
    reviewed: int  # Of these.
    good: int  # Of these reviewed ones: false rejects.
    passed_defect: int  # Reviewed as a defect, and passed: escapes.


class DefectPlace(Figure):
    """A place in the frame where defects cluster; the first is the most frequent."""

    x: int  # Frame pixels.
    y: int
    width: int
    height: int
    defects: int


class ProductFigures(Figure):
    """What was made of one product."""

    product: str
    inspections: int  # Verdicts: a part that is inspected again has several.
    results: dict[Result, int]
    defect_rate: DefectRate
    first_pass: FirstPass
    reasons: list[ReasonCount]  # The most frequent first.
    regions: list[NamedCount]
    models: list[NamedCount]
    reviews: ReviewCount
    latency_ms: Latency
    defects_placed: int  # On the heatmap.
    places: list[DefectPlace]
    frame: tuple[int, int] | None  # Width and height of the frame behind the heatmap; None: none is kept.


class StateTime(Figure):
    """A time in one state; None is when nothing ran."""

    state: State | None
    since_ms: int
    until_ms: int
    reason: str


class StateShare(Figure):
    """The share of the shift in one state, 0 to 1; None is when nothing ran."""

    state: State | None
    share: float


class Change(Figure):
    """An act of the audit other than a review."""

    at_ms: int
    who: str
    action: str
    product: str
    before: str
    after: str
    why: str


class ShiftFigures(Figure):
    """One shift of one station."""

    station: str
    day: date  # Local, that it began on.
    shift: str  # Its name; "" for any other time.
    since_ms: int
    until_ms: int
    made_ms: int  # When these figures were worked out.
    complete: bool  # Otherwise the shift went on, and they are of its part up to `made_ms`.
    product: str  # The only one that they are about; "" for all.
    inspections: int
    results: dict[Result, int]
    defect_rate: DefectRate
    first_pass: FirstPass
    products: list[ProductFigures]
    uptime: float  # The share of the time in which a part could pass, 0 to 1.
    shares: list[StateShare]  # The largest first.
    states: list[StateTime]  # The oldest first.
    reviews: int  # Acts of reviewing in this time, of whichever parts.
    changes: list[Change]  # The oldest first.
    changes_left_out: int  # Older ones than those listed.
    audit: str  # Row and hash of the newest act when the figures were worked out.
    last_review: int  # The newest review then.
