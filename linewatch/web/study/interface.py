"""What the pages of studies need: the protocol `Studies` and the values it takes and returns."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Protocol

from linewatch.domain import Reason, Result


class Stage(StrEnum):
    """How far a study is."""

    PLANNED = "planned"
    RUNNING = "running"  # The next part's verdict is waited for.
    PAUSED = "paused"
    COMPLETE = "complete"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Rates:
    """What a study has to prove: rates, each above 0 and at most 0.5."""

    miss_rate: float
    false_alarm_rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NewStudy:
    """A study to plan."""

    product: str
    parts: tuple[tuple[str, Literal["good", "defect"]], ...]  # () is `good` and `defective` numbered parts.
    good: int
    defective: int
    passes: int
    by: Literal["part", "count"]
    people: tuple[str, ...]
    rates: Rates | None
    keep_as: str  # A name for the set of parts; "" keeps none.
    every_days: int  # How often the set is studied; 0 is whenever one wants.


@dataclass(frozen=True, slots=True)
class Prospect:
    """What the parts of one truth can prove with 95 % confidence; rates from 0 to 1."""

    truth: Literal["good", "defect"]
    parts: int
    if_none: float  # The rate is below this if none of them is misjudged,
    if_one: float  # and below this if one is.
    limit: float | None  # The rate to prove.
    allowed: int  # How many may be misjudged to prove it; -1: these parts cannot prove it.
    needed: tuple[int, ...]  # Parts that prove it with 0, 1, 2, ... of them misjudged.


@dataclass(frozen=True, slots=True)
class Step:
    """The part to present."""

    part: str
    number: int  # Of the pass, from 1.
    place: int  # In the pass, from 1.


@dataclass(frozen=True, slots=True)
class Said:
    """One verdict of the study."""

    part: str
    truth: Literal["good", "defect"]
    result: Result
    score: int


@dataclass(frozen=True, slots=True)
class Doubt:
    """A part that was judged wrongly, or not the same in every pass."""

    part: str
    truth: Literal["good", "defect"]
    said: tuple[Said, ...]  # One for each pass.
    wrong: bool


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure with its 95 % interval."""

    name: Literal["miss_rate", "false_alarm_rate", "repeatability", "kappa_truth", "kappa_passes"]
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyState:
    """One study."""

    name: str
    stage: Stage
    trouble: str = ""  # Why it does not go on or cannot be read, one sentence.
    product: str = ""
    passes: int = 0
    by: Literal["part", "count"] = "part"
    people: tuple[str, ...] = ()
    reference: str = ""  # The set of parts.
    rates: Rates | None = None
    good: int = 0
    defective: int = 0
    judged: int = 0  # Verdicts so far,
    wanted: int = 0  # of so many.
    not_judged: int = 0
    skipped: int = 0
    withdrawn: int = 0
    step: Step | None = None
    last: Said | None = None
    again: Reason | None = None  # Why the part is asked for again: it was not judged.
    other: str = ""  # A part that came instead of the one asked for.
    model: str = ""
    outcome: Literal["", "capable", "not capable", "not proven"] = ""
    figures: tuple[Figure, ...] = ()  # () until the result is written.
    sha256: str = ""
    completed_ms: int = 0  # UTC milliseconds since 1970.
    doubts: tuple[Doubt, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PartsSet:
    """Known parts that are kept to be studied again."""

    name: str
    product: str
    good: int
    defective: int
    passes: int
    by: Literal["part", "count"]
    rates: Rates | None
    every_days: int
    due_ms: int | None  # UTC milliseconds since 1970; None without a schedule.
    overdue: bool
    last: str  # Its last complete study, "" if there is none.
    outcome: Literal["", "capable", "not capable", "not proven"]  # Of that one.
    completed_ms: int  # 0 if there is none.


@dataclass(frozen=True, slots=True)
class Overview:
    """Every study, the last changed first, and the sets of parts."""

    studies: tuple[StudyState, ...]
    sets: tuple[PartsSet, ...]
    troubles: tuple[str, ...]  # Of sets that cannot be read.
    unavailable: str  # Why no study can be done here, one sentence; "" if one can.
    running: str  # The study that runs, "" if none does.


@dataclass(frozen=True, slots=True)
class Verified:
    """What is known of an uploaded result."""

    intact: bool  # It is as it was written.
    ours: bool  # This station wrote it: its hash stands in the audit.
    sentence: str  # Why it is not intact, "" if it is.
    product: str = ""
    sha256: str = ""  # Of the study's data.
    at_ms: int = 0  # When this station wrote it.
    who: str = ""


class Studies(Protocol):
    """Every method that changes something raises LinewatchError with one sentence when it is refused."""

    def overview(self) -> Overview:
        """Return all studies and sets."""

    def state(self, name: str) -> StudyState | None:
        """Return one study; None if there is none of that name."""

    def read_parts(self, text: str) -> tuple[tuple[str, Literal["good", "defect"]], ...]:
        """Return the parts in CSV text."""

    def prospects(self, name: str) -> Sequence[Prospect]:
        """Return what the parts of a study can prove."""

    def plan(self, new: NewStudy, by: str) -> str:
        """Draw the order of a new study and return its name."""

    def plan_again(self, parts_set: str, people: tuple[str, ...], by: str) -> str:
        """Plan a study of a set's parts in a newly drawn order and return its name."""

    def go_on(self, name: str, by: str) -> None:
        """Wait for the verdict on the next part from now on."""

    def look(self, name: str, by: str) -> None:
        """Take up the verdict on the part asked for, if there is one; write the result once all are there."""

    def pause(self, name: str, by: str) -> None:
        """Take up no more verdicts."""

    def skip(self, name: str, by: str) -> None:
        """Put the next part off to the end of its pass."""

    def undo(self, name: str, by: str) -> None:
        """Take the last verdict back; its part is asked for again."""

    def discard(self, name: str, by: str) -> None:
        """Delete a study without verdicts."""

    def result(self, name: str) -> bytes | None:
        """Return the page of a result, None if there is none."""

    def verify(self, page: bytes) -> Verified:
        """Return whether an uploaded result is as it was written, and whether here."""

    def schedule(self, parts_set: str, every_days: int, by: str) -> None:
        """Set how often a set is studied."""

    def forget(self, parts_set: str, by: str) -> None:
        """Delete a set; its studies stay."""

    def overdue(self) -> Sequence[PartsSet]:
        """Return the sets whose next study should have been done, at most half a minute old."""
