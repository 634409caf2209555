"""What a complete study says: rates, agreement, and what it proves."""

from dataclasses import dataclass

from linewatch.capability.intervals import (
    Estimate,
    kappa_between_passes,
    kappa_with_truth,
    provable_rate,
    rate,
)
from linewatch.capability.study import Study, StudyError


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
    miss_rate_proven: float  # One-sided: the miss rate is below this, with 95 % confidence.


def measure(study: Study) -> Figures:
    """Return the figures of a complete study. Raises StudyError if parts are left to judge."""
    left = study.passes * len(study.parts) - len(study.judged)
    if left:
        raise StudyError(f"{left} of the study's verdicts are missing; continue it: linewatch msa run")
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
    )
