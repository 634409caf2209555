"""What the page needs from the daemon: one protocol and the values that cross it.

The page never sees a lane, a stage or the journal. Every method is called from several web
threads at once and must return in well under a second, except `inspect` and `switch`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from linewatch.domain import Reason, Result, Verdict


class Actual(StrEnum):
    """What a person found when looking at a part again."""

    GOOD = "good"
    DEFECT = "defect"


@dataclass(frozen=True, slots=True)
class Review:
    """A person's word on one verdict; a later one replaces it."""

    actual: Actual
    note: str
    reviewed_ms: int  # UTC milliseconds since 1970.


@dataclass(frozen=True, slots=True)
class Row:
    """One journaled verdict and, if somebody looked again, what they found."""

    verdict: Verdict
    review: Review | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which verdicts to show: all conditions hold at once, newest first."""

    limit: int
    before: tuple[int, int] | None = None  # (boot, seq): only older ones.
    results: frozenset[Result] = frozenset()  # Empty: every result.
    product: str = ""  # Empty: every product.
    reason: Reason | None = None
    since_ms: int | None = None  # Journaled at or after this, UTC milliseconds since 1970.
    until_ms: int | None = None  # Journaled before this.
    reviewed: bool | None = None  # True: only those with a review; False: only those without.


@dataclass(frozen=True, slots=True)
class Hour:
    """How many verdicts of each result were journaled in the 3600 s from `start_ms`."""

    start_ms: int
    counts: Mapping[Result, int]


@dataclass(frozen=True, slots=True)
class LivePicture:
    """The newest judged picture as JPEG, with its heatmap drawn over it.

    The same (boot, seq) always has the same bytes: they make the ETag.
    """

    jpeg: bytes
    verdict: Verdict

    @property
    def etag(self) -> str:
        """What names these bytes."""
        return f"{self.verdict.boot}-{self.verdict.seq}"


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """One model version of a product."""

    version: str
    trained_ms: int  # UTC milliseconds since 1970.
    threshold: float  # Raw score.
    unsure_threshold: float
    images: int = 0  # Good pictures it learnt from; 0: unknown.
    false_reject: float | None = None  # The wanted rate, 0 to 1.
    bound: float | None = None  # The rate that its good pictures prove with 95 % confidence, 0 to 1.
    report: bool = False  # Whether `Backend.report` has one.


@dataclass(frozen=True, slots=True)
class ProductInfo:
    """One product that has a recipe."""

    name: str
    index: int  # The PLC's product number.
    version: str  # Of the model in use; "" when there is none.
    threshold: float  # Raw score, as the recipe has it.
    unsure_threshold: float
    resident: bool = False  # Loaded and warm, so that a switch is quick.
    trouble: str = ""  # One sentence: why it cannot be inspected; "" when it can.
    models: tuple[ModelInfo, ...] = field(default=())  # Newest first.


@dataclass(frozen=True, slots=True)
class InspectResult:
    """What an uploaded picture got: a verdict that is neither journaled nor published."""

    verdict: Verdict  # boot and seq are 0.
    heatmap: bytes  # JPEG; b"" when nothing was scored.
    picture: bytes  # The upload itself as JPEG, small enough to look at.


class Backend(Protocol):
    """The daemon as the page sees it, or what stands in for it where no line runs."""

    @property
    def has_line(self) -> bool:
        """Whether there is a line to watch and to change over."""

    def state(self) -> dict[str, object]:
        """Return the JSON of the topic `B/state`; `reason` is a sentence for people or ""."""

    def not_ready(self) -> list[str]:
        """Return why no part can pass now, one sentence each; [] in READY and DEGRADED."""

    def alive(self) -> bool:
        """Whether every stage moves."""

    def verdicts(self, query: Query) -> Sequence[Row]:
        """Return journaled verdicts, newest (boot, seq) first."""

    def verdict(self, boot: int, seq: int) -> Row | None:
        """Return one journaled verdict; None if there is none."""

    def good_picture(self, verdict: Verdict) -> str:
        """Return the evidence path of a good part to compare with; "" if there is none."""

    def golden_picture(self, product: str, version: str) -> bytes | None:
        """Return a good sample that a model was tested with, as PNG; None if there is none."""

    def hours(self, since_ms: int) -> Sequence[Hour]:
        """Return counts from `since_ms` until now in steps of one hour, oldest first."""

    def live_picture(self) -> LivePicture | None:
        """Return the newest judged picture; None before the first."""

    def products(self) -> Sequence[ProductInfo]:
        """Return every product that has a recipe, by index."""

    def report(self, product: str, version: str) -> bytes | None:
        """Return a model's training report: one HTML file without scripts; None if there is none."""

    def inspect(self, product: str, data: bytes) -> InspectResult:
        """Judge an encoded picture as the line would.

        Raises ImageError for what is no picture, ImageTooLarge, RecipeError when the product cannot be
        prepared or its recipe does not fit the picture, and LinewatchError when it cannot be done now.
        """

    def review(self, boot: int, seq: int, actual: Actual, note: str) -> bool:
        """Keep a person's word on a verdict; False if there is no such verdict. Raises StorageFull."""

    def switch(self, product: str) -> None:
        """Inspect another product from now on; returns when it is ready. Raises LinewatchError."""
