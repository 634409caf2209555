"""Studies and sets of parts as the pages show them."""

import time
from dataclasses import asdict, dataclass
from typing import Any, get_args

from linewatch.capability.shelf import Entry, ReferenceSet, Reported
from linewatch.capability.study import Judged, Limits, Study, Truth
from linewatch.capability.walk import Place
from linewatch.domain import Reason, Result
from linewatch.line.metrics import StudySchedule
from linewatch.web.study.interface import (
    Doubt,
    Figure,
    PartsSet,
    Rates,
    Said,
    Stage,
    Step,
    StudyState,
)

FIGURES = get_args(Figure.__annotations__["name"])


@dataclass(slots=True)
class Running:
    """The study that runs."""

    name: str
    after: Place  # Verdicts up to this one do not count.
    watched_s: float  # When a page last showed it, as `time.monotonic`.
    other: str = ""
    again: Reason | None = None


def now_ms() -> int:
    """Return UTC milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def set_view(kept: ReferenceSet) -> PartsSet:
    """Return a set of parts."""
    good = sum(one.truth == "good" for one in kept.parts)
    reported = kept.last.reported if kept.last else None
    return PartsSet(
        name=kept.name,
        product=kept.plan.product,
        good=good,
        defective=len(kept.parts) - good,
        passes=kept.plan.passes,
        by=kept.plan.by,
        rates=_rates(kept.plan.limits),
        every_days=kept.plan.every_days,
        due_ms=kept.due_ms,
        overdue=kept.overdue(now_ms()),
        last=kept.last.name if kept.last else "",
        outcome=_outcome(reported),
        completed_ms=reported.completed_ms if reported else 0,
    )


def schedule_of(kept: ReferenceSet) -> StudySchedule:
    """Return what the metrics show of a set."""
    reported = kept.last.reported if kept.last else None
    since_ms = reported.completed_ms if reported else kept.plan.created_ms
    capable = reported.outcome == "capable" if reported and reported.outcome else None
    overdue = kept.overdue(now_ms())
    return StudySchedule(kept.name, kept.plan.product, max(0, now_ms() - since_ms) / 1000, overdue, capable)


def study_view(entry: Entry, running: Running | None, trouble: str) -> StudyState:
    """Return a study; `running` is None unless it runs."""
    study, reported = entry.study, entry.reported
    if study is None:
        return StudyState(name=entry.name, stage=Stage.UNREADABLE, trouble=entry.trouble)
    good = sum(one.truth == "good" for one in study.parts)
    truths = {one.part: one.truth for one in study.parts}
    return StudyState(
        name=entry.name,
        stage=_stage(study, running is not None),
        trouble=trouble,
        product=study.product,
        passes=study.passes,
        by=study.by,
        people=study.people,
        reference=study.reference,
        rates=_rates(study.limits),
        good=good,
        defective=len(study.parts) - good,
        judged=len(study.judged),
        wanted=study.passes * len(study.parts),
        not_judged=study.not_judged,
        skipped=study.skipped,
        withdrawn=len(study.withdrawn),
        step=_step(study),
        last=_said(study.judged[-1], truths) if study.judged else None,
        again=running.again if running else None,
        other=running.other if running else "",
        model=study.judged[0].model if study.judged else "",
        outcome=_outcome(reported),
        figures=tuple(_figures(reported.figures)) if reported else (),
        sha256=reported.sha256 if reported else "",
        completed_ms=reported.completed_ms if reported else 0,
        doubts=tuple(_doubts(study, truths)) if study.complete else (),
    )


def _stage(study: Study, running: bool) -> Stage:
    if study.complete:
        return Stage.COMPLETE
    if running:
        return Stage.RUNNING
    begun = study.judged or study.withdrawn or study.not_judged
    return Stage.PAUSED if begun else Stage.PLANNED


def _step(study: Study) -> Step | None:
    step = study.next_step
    return Step(step[1], step[0] + 1, len(study.judged) % len(study.parts) + 1) if step else None


def _said(one: Judged, truths: dict[str, Truth]) -> Said:
    return Said(one.part, truths[one.part], Result(one.result), one.score)


def _doubts(study: Study, truths: dict[str, Truth]) -> list[Doubt]:
    """Return the parts that were judged wrongly or differently, in the order of the list."""
    found: dict[str, list[Judged]] = {part: [] for part in truths}
    for one in study.judged:
        found[one.part].append(one)
    doubts = []
    for part, own in found.items():
        wrong = any(one.rejected == (truths[part] == "good") for one in own)
        if wrong or len({one.rejected for one in own}) > 1:
            doubts.append(Doubt(part, truths[part], tuple(_said(one, truths) for one in own), wrong))
    return doubts


def _figures(kept: Any) -> list[Figure]:
    return [
        Figure(name, **{key: float(kept[name][key]) for key in ("value", "low", "high")}) for name in FIGURES
    ]


def _rates(limits: Limits | None) -> Rates | None:
    return Rates(**asdict(limits)) if limits else None


def _outcome(reported: Reported | None) -> Any:
    return reported.outcome if reported else ""
