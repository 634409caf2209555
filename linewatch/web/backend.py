"""Interface between the page and the daemon: the protocol `Backend` and the values it returns.

The page has no access to lanes, stages or the journal. Every method is called from several web
threads at once and must return in well under a second, except `inspect`, `recall` and `switch`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from linewatch.domain import Reason, Result, Verdict
from linewatch.web.records.interface import Records


class Actual(StrEnum):
    """What a reviewed part really is."""

    GOOD = "good"
    DEFECT = "defect"


@dataclass(frozen=True, slots=True)
class Review:
    """A person's review of one verdict; a later one replaces it."""

    actual: Actual
    note: str
    reviewed_ms: int  # UTC milliseconds since 1970.
    who: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One journaled verdict and its review, if there is one."""

    verdict: Verdict
    review: Review | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Conditions on the verdicts to return, newest first; all of them must hold."""

    limit: int
    before: tuple[int, int] | None = None  # (boot, seq): only older ones.
    results: frozenset[Result] = frozenset()  # Empty: every result.
    product: str = ""  # Empty: every product.
    part: str = ""  # What the part's name begins with.
    region: str = ""  # Empty: every region.
    model: str = ""  # Empty: every version.
    reviewer: str = ""  # Who reviewed it last; empty: anyone, or without a review.
    reason: Reason | None = None
    since_ms: int | None = None  # Journaled at or after this, UTC milliseconds since 1970.
    until_ms: int | None = None  # Journaled before this.
    reviewed: bool | None = None  # True: only those with a review; False: only those without.


@dataclass(frozen=True, slots=True)
class RecallQuery:
    """Which parts to compare with an image of one."""

    product: str
    since_ms: int | None  # Exposed at or after this, UTC milliseconds since 1970.
    until_ms: int | None  # Exposed before this.
    model: str  # A version that judges the parts found again; "": none.
    evidence: Path  # Where their images are kept.


@dataclass(frozen=True, slots=True)
class FoundRows:
    """One page of a search, and how far back it went."""

    rows: Sequence[Row]  # Newest first; fewer than the limit, even none, does not mean that all are found.
    searched_to: tuple[int, int] | None = None  # (boot, seq) to go on before; None: nothing older is left.
    searched_to_ms: int | None = None  # When that one was journaled, UTC milliseconds since 1970.


@dataclass(frozen=True, slots=True)
class Counted:
    """How many verdicts of each result a query finds, and how far back they are counted."""

    counts: Mapping[Result, int]
    searched_to: tuple[int, int] | None = None  # As of FoundRows.
    searched_to_ms: int | None = None

    @property
    def total(self) -> int:
        """The number of all of them."""
        return sum(self.counts.values())


class ExportForm(StrEnum):
    """What an export is."""

    CSV = "csv"
    JSONL = "jsonl"
    ZIP = "zip"  # The images.


class Export(Protocol):
    """The bytes of an export, which may raise LinewatchError."""

    def __iter__(self) -> Iterator[bytes]:
        """Return itself."""

    def __next__(self) -> bytes:
        """Return the next bytes; wait for them."""

    def close(self) -> None:
        """End it, wherever it is."""


@dataclass(frozen=True, slots=True)
class Hour:
    """Number of verdicts of each result that were journaled in the 3600 s from `start_ms`."""

    start_ms: int
    counts: Mapping[Result, int]


@dataclass(frozen=True, slots=True)
class LiveImage:
    """The newest judged image as JPEG, with its heatmap drawn over it.

    The same (boot, seq) always has the same bytes, so that these two make the ETag.
    """

    jpeg: bytes
    verdict: Verdict

    @property
    def etag(self) -> str:
        """Boot and sequence, as in "41-1023"."""
        return f"{self.verdict.boot}-{self.verdict.seq}"


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """One model version of a product."""

    version: str
    trained_ms: int  # UTC milliseconds since 1970.
    threshold: float  # Raw score.
    unsure_threshold: float
    images: int = 0  # Good images it was trained on; 0: unknown.
    false_reject: float | None = None  # The rate it was calibrated for, 0 to 1.
    bound: float | None = None  # Upper bound of the rate at 95 % confidence, 0 to 1.
    report: bool = False  # Whether `Backend.report` has one.


@dataclass(frozen=True, slots=True)
class ProductInfo:
    """One product that has a recipe."""

    name: str
    index: int  # The PLC's product number.
    version: str  # Of the model in use; "" when there is none.
    threshold: float  # Raw score, from the recipe.
    unsure_threshold: float
    resident: bool = False  # Loaded and warmed up.
    trouble: str = ""  # Why it cannot be inspected, one sentence; "" when it can.
    models: tuple[ModelInfo, ...] = field(default=())  # Newest first.


class ImageStatus(StrEnum):
    """What is known of an evidence path without a file."""

    UNKNOWN = "unknown"  # No verdict names it.
    EXPECTED = "expected"  # Its verdict is so new that the image may not be queued yet.
    QUEUED = "queued"  # It waits to be written, or is being written.
    GONE = "gone"  # Shed, refused by the disk, or removed by retention.


@dataclass(frozen=True, slots=True)
class StorageForecast:
    """How long images and verdicts are kept at the present rate."""

    evidence_days: float  # That the disk holds; infinite while nothing is written.
    evidence_retention_days: float
    journal_bytes_per_day: float  # 0.0 while nothing is written.
    journal_retention_days: float


@dataclass(frozen=True, slots=True)
class InspectResult:
    """The verdict on an uploaded image; it is neither journaled nor published."""

    verdict: Verdict  # boot and seq are 0.
    heatmap: bytes  # JPEG; b"" when nothing was scored.
    image: bytes  # The uploaded image as a smaller JPEG, for display.


def key_of(place: tuple[int, int]) -> str:
    """Return boot and sequence as the parameter `before` takes them: "41-1023"."""
    return f"{place[0]}-{place[1]}"


class Backend(Protocol):
    """What the page needs of the daemon, or of `linewatch serve` where no line runs."""

    @property
    def records(self) -> Records:
        """What was done, and what came of it."""

    @property
    def has_line(self) -> bool:
        """Whether a line runs here."""

    def state(self) -> dict[str, object]:
        """Return the payload of the topic `B/state`."""

    def not_ready(self) -> list[str]:
        """Return why no part can pass now, one sentence each; [] in READY and DEGRADED."""

    def alive(self) -> bool:
        """Whether every stage makes progress."""

    def search(self, query: Query) -> FoundRows:
        """Return journaled verdicts, newest (boot, seq) first: those found in about 0.2 s.

        With fewer rows than the limit and a `searched_to`, there may be more further back.
        """

    def count(self, query: Query) -> Counted:
        """Return how many verdicts `search` would find in the end: those counted in about 0.2 s."""

    def export(self, query: Query, form: ExportForm, evidence: Path) -> Export:
        """Begin an export beside the line of at most `query.limit` verdicts. Raises LinewatchError."""

    def verdict(self, boot: int, seq: int) -> Row | None:
        """Return one journaled verdict; None if there is none."""

    def good_image(self, verdict: Verdict) -> str:
        """Return the evidence path of a good part for comparison; "" if there is none."""

    def golden_image(self, product: str, version: str) -> bytes | None:
        """Return a good golden sample of a model as PNG; None if there is none."""

    def hours(self, since_ms: int) -> Sequence[Hour]:
        """Return counts from `since_ms` until now in steps of one hour, oldest first."""

    def image_status(self, path: str) -> ImageStatus:
        """Return what is known of an image below the evidence folder that is not there."""

    def storage(self) -> StorageForecast | None:
        """Return how long images and verdicts are kept; None where that is not known."""

    def live_image(self) -> LiveImage | None:
        """Return the newest judged image; None before the first."""

    def products(self) -> Sequence[ProductInfo]:
        """Return every product that has a recipe, by index."""

    def report(self, product: str, version: str) -> bytes | None:
        """Return a model's training report: one HTML file without scripts; None if there is none."""

    def inspect(self, product: str, data: bytes) -> InspectResult:
        """Inspect an encoded image as the line would.

        Raises ImageError when it cannot be decoded, ImageTooLarge, RecipeError when the product cannot be
        prepared or its recipe does not fit the image, and LinewatchError when it cannot be done now.
        """

    def recall(self, query: RecallQuery, data: bytes) -> dict[str, Any]:
        """Return the parts that look like the one in an encoded image, as `linewatch recall --json` does.

        The parts as CSV are under "csv". Takes seconds. Raises what `inspect` raises.
        """

    def review(self, boot: int, seq: int, actual: Actual, note: str, who: str = "page") -> bool:
        """Store a review; False if there is no such verdict. Raises StorageFull."""

    def switch(self, product: str, who: str = "page") -> None:
        """Change over to another product; returns when it is ready. Raises LinewatchError."""
