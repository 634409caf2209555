"""A study on disk: its parts, the drawn order of each pass, and what the station said so far."""

import csv
import io
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import ConfigDict, TypeAdapter, ValidationError

from linewatch.domain import Result, Verdict
from linewatch.errors import LinewatchError
from linewatch.runtime.atomic_files import write_text

FORMAT = 1
PARTS_MAX = 1000
PASSES_MAX = 20
ID_CHARACTERS_MAX = 128  # As in the trigger command.

DATA_MARK = '<script type="application/json" id="study">'  # Before a study's data on the page of its result.
RATE_MAX = 0.5  # That a study can be asked to prove.
PEOPLE_MAX = 10
PERSON_CHARACTERS_MAX = 64

Truth = Literal["good", "defect"]
By = Literal["part", "count"]


class StudyError(LinewatchError):
    """A study cannot be planned, read or continued."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the study has to prove, chosen before it begins: rates, each above 0 and at most 0.5."""

    miss_rate: float
    false_alarm_rate: float


@dataclass(frozen=True, slots=True)
class KnownPart:
    """A part whose truth is known before the study."""

    part: str
    truth: Truth


@dataclass(frozen=True, slots=True)
class Judged:
    """One verdict of the study."""

    number: int  # Of the pass, from 0.
    part: str
    result: str
    reason: int
    score: int
    model: str
    boot: int
    seq: int
    captured_ms: int

    @property
    def rejected(self) -> bool:
        """Whether the line would have taken the part out: everything but a PASS."""
        return self.result != Result.PASS


@dataclass(frozen=True, slots=True)
class Study:
    """The whole study, a value; each step returns a new one."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    product: str
    passes: int
    by: By  # How a verdict is known to be of the part: its id, or the next trigger.
    people: tuple[str, ...]
    parts: tuple[KnownPart, ...]
    order: tuple[tuple[str, ...], ...]  # Part ids for each pass, as drawn.
    judged: tuple[Judged, ...] = ()
    not_judged: int = 0  # ERROR verdicts; these parts were presented again.
    facts: Mapping[str, str] = field(default_factory=dict, hash=False)
    limits: Limits | None = None
    reference: str = ""  # The set of parts that it repeats.
    skipped: int = 0  # Parts that were put off to the end of their pass.
    withdrawn: tuple[Judged, ...] = ()  # Verdicts that were taken back; these parts were presented again.

    @property
    def complete(self) -> bool:
        """Whether every part was judged in every pass."""
        return self.next_step is None

    @property
    def next_step(self) -> tuple[int, str] | None:
        """Return pass (from 0) and part to present next; None when all are judged."""
        done = len(self.judged)
        number, place = divmod(done, len(self.parts))
        return (number, self.order[number][place]) if number < self.passes else None

    def with_verdict(self, verdict: Verdict) -> Self:
        """Return the study with the verdict on the part of the next step.

        An ERROR does not count: the part was not judged and is presented again. Raises StudyError if another
        product or model judged it.
        """
        step = self.next_step
        assert step is not None
        if verdict.product != self.product:
            raise StudyError(
                f"the station inspects {verdict.product!r}, the study is of {self.product!r}; change it over"
            )
        model = self.judged[0].model if self.judged else verdict.model
        if verdict.result is Result.ERROR:
            return replace(self, not_judged=self.not_judged + 1)
        if verdict.model != model:
            raise StudyError(
                f"model {verdict.model} judged this part and {model} those before; a study is of one model: "
                "activate that one again, or plan a new study"
            )
        one = Judged(
            number=step[0],
            part=step[1],
            result=verdict.result.value,
            reason=int(verdict.reason),
            score=verdict.score,
            model=verdict.model,
            boot=verdict.boot,
            seq=verdict.seq,
            captured_ms=verdict.captured_ms,
        )
        return replace(self, judged=(*self.judged, one))

    def without_last(self) -> Self:
        """Return the study without its last verdict, which is kept as withdrawn. Raises StudyError."""
        if not self.judged or self.complete:
            raise StudyError(
                "a complete study stays as it is"
                if self.judged
                else "there is no verdict to take back; present the first part"
            )
        return replace(self, judged=self.judged[:-1], withdrawn=(*self.withdrawn, self.judged[-1]))

    def put_off(self) -> Self:
        """Return the study with the next part moved to the end of its pass. Raises StudyError."""
        step = self.next_step
        if step is None:
            raise StudyError("the study is complete; there is no part to put off")
        number, part = step
        order = self.order[number]
        if order[-1] == part:
            raise StudyError(f"part {part!r} is the last one of this pass; present it to go on")
        later = (*(one for one in order if one != part), part)
        before, after = self.order[:number], self.order[number + 1 :]
        # What was judged in this pass stays before it: the parts keep their places.
        return replace(self, order=(*before, later, *after), skipped=self.skipped + 1)

    def rejected_shares(self, truth: Truth) -> list[float]:
        """Return for each part of this truth the share of passes in which it was rejected."""
        shares = []
        for known in self.parts:
            if known.truth == truth:
                own = [one.rejected for one in self.judged if one.part == known.part]
                shares.append(sum(own) / len(own))
        return shares


def plan(
    parts: Sequence[KnownPart],
    *,
    product: str,
    passes: int,
    by: By,
    people: Sequence[str],
    seed: int,
    limits: Limits | None = None,
    reference: str = "",
) -> Study:
    """Return a study with an order drawn for each pass. Raises StudyError for unusable parts."""
    counts = {truth: sum(part.truth == truth for part in parts) for truth in ("good", "defect")}
    names = [part.part for part in parts]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise StudyError(f"part {twice!r} is listed twice; give each part a name of its own")
    if min(counts.values()) < 2 or len(parts) > PARTS_MAX:
        raise StudyError(
            f"{counts['good']} good and {counts['defect']} defective parts; a study needs at least "
            f"2 of each, and at most {PARTS_MAX} in all"
        )
    if not 2 <= passes <= PASSES_MAX:
        raise StudyError(f"{passes} passes; a study has 2 to {PASSES_MAX}")
    if limits is not None and not all(0 < rate <= RATE_MAX for rate in asdict(limits).values()):
        raise StudyError(f"a rate to prove is above 0 and at most {RATE_MAX:.0%}")
    draw = random.Random(seed)
    order = tuple(tuple(draw.sample(names, len(names))) for _ in range(passes))
    return Study(product, passes, by, tuple(people), tuple(parts), order, limits=limits, reference=reference)


def numbered_parts(good: int, defective: int) -> list[KnownPart]:
    """Return parts named G1, G2, ... and D1, D2, ... for labels to stick on."""
    names: list[tuple[str, int, Truth]] = [("G", good, "good"), ("D", defective, "defect")]
    return [KnownPart(f"{letter}{n + 1}", truth) for letter, count, truth in names for n in range(count)]


def read_parts(path: Path) -> list[KnownPart]:
    """Read a CSV file with the columns `part` and `truth` (good or defect). Raises StudyError."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"{str(path)!r} cannot be read: {error}") from error
    return parse_parts(text, repr(str(path)))


def parse_parts(text: str, name: str) -> list[KnownPart]:
    """Return the parts in CSV text, separated by commas, semicolons or tabs. Raises StudyError.

    `name` is where the text is from, for the sentence of the error.
    """
    lines = text.removeprefix("\ufeff").splitlines()
    first = lines[0] if lines else ""
    separator = next((one for one in ("\t", ";") if one in first), ",")
    parts = []
    try:
        rows = list(csv.DictReader(lines, delimiter=separator))
    except csv.Error as error:
        raise StudyError(f"{name} cannot be read: {error}") from error
    for number, row in enumerate(rows, 2):
        part, truth = (row.get("part") or "").strip(), (row.get("truth") or "").strip().lower()
        if not part or len(part) > ID_CHARACTERS_MAX or truth not in ("good", "defect"):
            raise StudyError(
                f"{name}, line {number}: needs a part of 1 to {ID_CHARACTERS_MAX} characters and "
                "good or defect; the first line is: part,truth"
            )
        parts.append(KnownPart(part, "good" if truth == "good" else "defect"))
    return parts


def parts_text(parts: Sequence[KnownPart]) -> str:
    """Return parts as CSV text, as `parse_parts` reads it."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("part", "truth"))
    rows.writerows((one.part, one.truth) for one in parts)
    return text.getvalue()


def save(study: Study, path: Path, *, sync: bool = False) -> None:
    """Write the study atomically; `sync` waits for the disk. Raises StorageFull."""
    write_text(path, json.dumps(document(study), indent=1, ensure_ascii=False) + "\n", sync=sync)


def document(study: Study) -> dict[str, Any]:
    """Return the study as JSON values. What is not used is left out, so that an older hash stays the same."""
    facts = asdict(study)
    return {"format": FORMAT, **{name: value for name, value in facts.items() if value or name not in _LATER}}


def load(path: Path) -> Study:
    """Read a study. Raises StudyError."""
    try:
        return from_document(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise StudyError(
            f"study {str(path)!r} cannot be read: {error}; plan one: linewatch msa plan"
        ) from error


def from_document(facts: Any) -> Study:
    """Return the study in JSON values. Raises StudyError."""
    try:
        facts = dict(facts)
        if facts.pop("format") != FORMAT:
            raise StudyError("the study was written by another linewatch; use that one")
        study = _STUDY.validate_python(facts)
    except (KeyError, TypeError, ValueError) as error:
        what = (
            f"{error.error_count()} fields are wrong" if isinstance(error, ValidationError) else repr(error)
        )
        raise StudyError(f"this is no study ({what}); plan one: linewatch msa plan") from error
    if not _is_whole(study):
        raise StudyError("the study is not whole; restore it from a copy or plan a new one")
    return study


def _is_whole(study: Study) -> bool:
    """Whether every pass has every part once, and the verdicts are those of the first steps."""
    names = sorted(part.part for part in study.parts)
    steps = [(number, part) for number, order in enumerate(study.order) for part in order]
    return (
        2 <= study.passes == len(study.order)
        and all(sorted(order) == names for order in study.order)
        and [(one.number, one.part) for one in study.judged] == steps[: len(study.judged)]
    )


_STUDY = TypeAdapter(Study)
_LATER = ("limits", "reference", "skipped", "withdrawn")  # Fields that earlier versions did not write.
