"""Values of teaching a product: its data set, collecting, learning, measured images. No I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from linewatch.domain import Box, Result

TRAIN_GOOD = "train/good"
TEST_GOOD = "test/good"
TEST = "test/"  # Before the name of a kind of defect.
LEFT_OUT = "left_out"


@dataclass(frozen=True, slots=True)
class Picture:
    """One image of a data set."""

    name: str
    group: int = 0  # Near-duplicates share a number from 1; 0: it resembles no other.
    ready: bool = True  # Whether its thumbnail exists.
    trouble: str = ""  # Why it cannot be read, one sentence.
    raw: float | None = None  # Its score; None if it is not known, infinite if the part was not found.
    map_ready: bool = False  # Whether its score map is drawn.


class Order(StrEnum):
    """The order of images on the page."""

    SCORE = "score"  # What is suspicious first: high scores of good parts, low ones of defects.
    ALIKE = "alike"  # Near-duplicates first, those of a group side by side.


@dataclass(frozen=True, slots=True)
class CuratedPlace:
    """Images of one place of a data set with the scores that a version gives them: one page of them."""

    place: str
    order: Order
    page: int  # From 1.
    pages: int
    pictures: tuple[Picture, ...]
    alike: int = 0  # Images in the place that resemble another.
    waiting: int = 0  # Of those on the page, thumbnails and maps that are still being made.
    version: str = ""  # Whose scores they are; "" if no version has any.
    threshold: float = 0.0
    maps: str = ""  # Under what the score maps are kept; "" if there are none.


@dataclass(frozen=True, slots=True)
class ThresholdWithout:
    """What learning without some images would come to."""

    left_out: int
    images: int  # That would remain, near-duplicates counted once.
    threshold: float  # Computed from all images that the version was learnt from.
    becomes: float | None  # Without those left out; None if too few would remain.


@dataclass(frozen=True, slots=True)
class Collecting:
    """How collecting frames of the running line goes."""

    product: str = ""
    place: str = TRAIN_GOOD
    wanted: int = 0
    taken: int = 0
    alike: int = 0  # Frames nearly the same as one taken before; they are not kept.
    enough: bool = False  # More frames would add little.
    trouble: str = ""  # Why it ended early, one sentence.
    running: bool = False


class LearningStage(StrEnum):
    """How far learning is."""

    NONE = "none"  # Never begun here.
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"  # Killed, by a restart or a power cut.


@dataclass(frozen=True, slots=True)
class LearningState:
    """The learning process as its files describe it."""

    stage: LearningStage = LearningStage.NONE
    product: str = ""
    doing: str = ""
    share: float = 0.0  # Of all work, 0 to 1.
    sentence: str = ""  # What came out, or why it failed.
    version: str = ""  # What was learnt, "" before.
    by: str = ""
    started_ms: int = 0  # UTC milliseconds since 1970.
    ended_ms: int = 0
    log: tuple[str, ...] = ()  # Its newest lines.

    @property
    def running(self) -> bool:
        """Whether it works now."""
        return self.stage is LearningStage.RUNNING


@dataclass(frozen=True, slots=True)
class Measured:
    """Figures of one version on the labelled images of its data set."""

    version: str
    metrics: Mapping[str, Any]  # As `linewatch evaluate` writes them.
    images: tuple[tuple[str, str, float], ...]  # Place, name, raw score (infinite if not found).
    decided: Mapping[str, tuple[str, float]] = field(default_factory=dict)
    """Place and name -> the region that decided, and the factor that divided this raw score."""


@dataclass(frozen=True, slots=True)
class Area:
    """What of a product's frames is inspected."""

    roi: Box | None = None
    strokes: str = ""  # What was painted out on the page, as `vision.strokes` reads it.
    mask: str = ""  # The mask's file; "" if there is none.


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredPart:
    """The score of one part or labelled image, with where it is from."""

    title: str  # Boot and sequence of a part, or place and name of a labelled image.
    raw: float
    actual: str  # "good" or "defect" where that is known, else "".
    boot: int = 0
    seq: int = 0
    image: str = ""  # Path of the evidence, "" if there is none.
    heatmap: str = ""  # The same.
    place: str = ""  # Of a labelled image.
    name: str = ""
    region: str = ""  # That decided, "" outside all of them.


@dataclass(frozen=True, slots=True, kw_only=True)
class Change(ScoredPart):
    """One part that would get another result."""

    was: Result
    becomes: Result
    map_ready: bool = False  # Whether its score map is drawn.
    thumbnail_ready: bool = False  # Whether that of its image exists.
    heatmap_ready: bool = False  # Of a rejected part, whether the thumbnail of its heatmap exists.


@dataclass(frozen=True, slots=True)
class Tally:
    """How often each thing happens, now and with another threshold."""

    now: int
    then: int
    of: int


@dataclass(frozen=True, slots=True)
class ThresholdEffect:
    """What another threshold would do to the latest parts and the labelled images."""

    threshold: float
    unsure_threshold: float
    threshold_now: float
    lowest: float  # The range worth trying, for a slider.
    highest: float
    parts: int  # Of the journal.
    labelled: int
    rejected: Tally  # Of the latest parts, those that fail.
    unsure: Tally
    false_rejects: Tally  # Of those known to be good, rejected or unsure.
    escapes: Tally  # Of those known to be defects, passed.
    changes: tuple[Change, ...]  # The clearest first, at most CHANGES_MAX.
    changes_all: int
    maps: str = ""  # Under what the score maps of the changes are kept.
    waiting: int = 0  # Maps that are still being drawn.


@dataclass(frozen=True, slots=True)
class VersionState:
    """One version of a product with what the page shows of it."""

    version: str
    created_ms: int
    threshold: float
    unsure_threshold: float
    images: int
    false_reject: float
    bound: float | None
    active: bool
    on_trial: bool
    report: bool
    measured: Measured | None
    sentence: str  # How well it learnt.
    adequate: bool
    scored: bool  # Whether the scores of its good images are kept.
    other_area: bool  # Learnt with another region or mask than the recipe has now.
    trouble: str = ""  # Why it cannot be used.


@dataclass(frozen=True, slots=True)
class TrialState:
    """How the version on trial compares with the line."""

    version: str
    parts: int = 0
    agreements: int = 0
    counts: tuple[tuple[Result, Result, int], ...] = ()  # Line's result, trial's result, how many.
    live_ms: tuple[float, float] = (0.0, 0.0)  # Median and 95th percentile.
    trial_ms: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class AuditLine:
    """One entry of the audit on a product."""

    at_ms: int
    who: str
    action: str
    before: str
    after: str
    why: str
