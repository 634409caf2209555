"""What a complete study says: rates, agreement, and what it proves."""

from dataclasses import dataclass
from enum import StrEnum

from linewatch.capability.intervals import (
    Estimate,
    bounds,
    kappa_between_passes,
    kappa_with_truth,
    provable_rate,
    rate,
)
from linewatch.capability.study import Limits, Study, StudyError


class Outcome(StrEnum):
    """What a study says of the limits that were chosen before it."""

    CAPABLE = "capable"  # Both rates are proven to be below.
    NOT_CAPABLE = "not capable"  # One of them is proven to be above.
    NOT_PROVEN = "not proven"  # Neither; more parts could tell.


@dataclass(frozen=True, slots=True)
class Figures:
    """The result of a study; every estimate has its 95 % interval."""

    miss_rate: Estimate  # Of defective parts that pass, per pass.
    false_alarm_rate: Estimate  # Of good parts that are rejected, per pass.
    repeatability: Estimate  # Of parts that are judged the same in every pass.
    kappa_truth: Estimate  # Cohen's, between judgement and truth.
    kappa_passes: Estimate  # Fleiss', between the passes.
    defective: int
    good: int
    miss_rate_proven: float  # One-sided: no more parts are ever missed, with 95 % confidence.
    miss_rate_bounds: tuple[float, float]  # Each alone holds with 95 % confidence.
    false_alarm_rate_bounds: tuple[float, float]
    outcome: Outcome | None  # None if no limits were chosen.


def measure(study: Study) -> Figures:
    """Return the figures of a complete study. Raises StudyError if parts are left to judge."""
    left = study.passes * len(study.parts) - len(study.judged)
    if left:
        raise StudyError(f"{left} of the study's verdicts are missing; go on with it")
    missed = [1 - share for share in study.rejected_shares("defect")]
    alarmed = study.rejected_shares("good")
    same = [float(share in (0.0, 1.0)) for share in (*missed, *alarmed)]
    ever_missed = sum(share > 0 for share in missed)
    return Figures(
        miss_rate=rate(missed),
        false_alarm_rate=rate(alarmed),
        repeatability=rate(same),
        kappa_truth=kappa_with_truth(missed, alarmed),
        kappa_passes=kappa_between_passes(missed, alarmed, study.passes),
        defective=len(missed),
        good=len(alarmed),
        miss_rate_proven=provable_rate(len(missed), ever_missed),
        miss_rate_bounds=bounds(missed),
        false_alarm_rate_bounds=bounds(alarmed),
        outcome=_outcome(study.limits, bounds(missed), bounds(alarmed)),
    )


def _outcome(limits: Limits | None, miss: tuple[float, float], alarm: tuple[float, float]) -> Outcome | None:
    if limits is None:
        return None
    if miss[0] > limits.miss_rate or alarm[0] > limits.false_alarm_rate:
        return Outcome.NOT_CAPABLE
    if miss[1] < limits.miss_rate and alarm[1] < limits.false_alarm_rate:
        return Outcome.CAPABLE
    return Outcome.NOT_PROVEN
