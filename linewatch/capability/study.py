"""A study on disk: its parts, the drawn order of each pass, and what the station said so far."""

import csv
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

from linewatch.domain import Result, Verdict
from linewatch.errors import LinewatchError
from linewatch.runtime.atomic_files import write_text

FORMAT = 1
PARTS_MAX = 1000
PASSES_MAX = 20
ID_CHARACTERS_MAX = 128  # As in the trigger command.

Truth = Literal["good", "defect"]


class StudyError(LinewatchError):
    """A study cannot be planned, read or continued."""


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

    product: str
    passes: int
    by: Literal["part", "count"]  # How a verdict is known to be of the part: its id, or the next trigger.
    people: tuple[str, ...]
    parts: tuple[KnownPart, ...]
    order: tuple[tuple[str, ...], ...]  # Part ids for each pass, as drawn.
    judged: tuple[Judged, ...] = ()
    not_judged: int = 0  # ERROR verdicts; these parts were presented again.
    facts: Mapping[str, str] = field(default_factory=dict, hash=False)

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
    by: Literal["part", "count"],
    people: Sequence[str],
    seed: int,
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
    draw = random.Random(seed)
    order = tuple(tuple(draw.sample(names, len(names))) for _ in range(passes))
    return Study(product, passes, by, tuple(people), tuple(parts), order)


def read_parts(path: Path) -> list[KnownPart]:
    """Read a CSV file with the columns `part` and `truth` (good or defect). Raises StudyError."""
    try:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise StudyError(f"{str(path)!r} cannot be read: {error}") from error
    parts = []
    for number, row in enumerate(rows, 2):
        part, truth = (row.get("part") or "").strip(), (row.get("truth") or "").strip().lower()
        if not part or len(part) > ID_CHARACTERS_MAX or truth not in ("good", "defect"):
            raise StudyError(
                f"{str(path)!r}, line {number}: needs a part of 1 to {ID_CHARACTERS_MAX} characters and "
                "good or defect; the first line is: part,truth"
            )
        parts.append(KnownPart(part, "good" if truth == "good" else "defect"))
    return parts


def save(study: Study, path: Path) -> None:
    """Write the study atomically. Raises StorageFull."""
    write_text(path, json.dumps(document(study), indent=1, ensure_ascii=False) + "\n")


def document(study: Study) -> dict[str, Any]:
    """Return the study as JSON values."""
    return {"format": FORMAT, **asdict(study)}


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
        facts["parts"] = tuple(KnownPart(**part) for part in facts["parts"])
        facts["order"] = tuple(map(tuple, facts["order"]))
        facts["judged"] = tuple(Judged(**one) for one in facts["judged"])
        facts["people"] = tuple(facts["people"])
        study = Study(**facts)
        whole = len(study.order) == study.passes and len(study.judged) <= study.passes * len(study.parts)
    except (KeyError, TypeError, ValueError) as error:
        raise StudyError(f"this is no study ({error!r}); plan one: linewatch msa plan") from error
    if not whole:
        raise StudyError("the study is not whole; restore it from a copy or plan a new one")
    return study
