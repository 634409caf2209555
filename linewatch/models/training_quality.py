"""Describe for people how well a training went: recall on synthetic defects, and what is missing."""

from collections.abc import Mapping
from statistics import fmean
from typing import Any

from linewatch.domain import Result
from linewatch.models.bundle import Bundle

SIZE = 0.08  # Of the synthetic defects behind `made_up_recall`, as a share of the shorter image side.
RECALL_MIN = 0.5  # Mean recall on synthetic defects below which a training is inadequate.


def is_adequate(facts: Mapping[str, Any]) -> bool:
    """Whether a training, by the facts in its manifest, separates synthetic defects from good parts.

    Large ones suffice: which small defects matter is for the user to say.
    """
    return smallest_found(facts) is not None


def smallest_found(facts: Mapping[str, Any]) -> float | None:
    """Return the least size, as a share of the shorter image side, from which half of the defects are found.

    None if not even the largest are. Trainings before the recall was measured at several sizes know one.
    """
    by_size = facts.get("recall_by_size") or {SIZE: facts.get("made_up_recall", {"": 1.0})}
    sizes = sorted(by_size, key=float)
    found = [fmean(by_size[size].values()) >= RECALL_MIN for size in sizes]
    least = None
    for size, enough in zip(reversed(sizes), reversed(found), strict=True):
        if not enough:
            break
        least = float(size)
    return least


def summarize_training(facts: Mapping[str, Any]) -> str:
    """Return the training's main result in a sentence, with the remedy if it is inadequate."""
    found = ", ".join(f"{kind} {share:.0%}" for kind, share in facts["made_up_recall"].items())
    least = smallest_found(facts)
    if least is not None and _recall(facts) < RECALL_MIN:
        return (
            f"Only larger defects are found: half of the synthetic ones from {least:.0%} of the picture's "
            f"shorter side on, and {_recall(facts):.0%} of those of {SIZE:.0%} ({found}). To find smaller "
            "ones show the part larger, by lens or roi, make light and position more even, "
            "or capture more good pictures."
        )
    if least is not None:
        return (
            f"This product can be learnt: {_recall(facts):.0%} of synthetic defects are found ({found}). "
            "Synthetic defects are a first estimate only; evaluate with real ones when there are some."
        )
    return (
        f"This product is not learnt well enough: only {_recall(facts):.0%} of synthetic defects are found "
        f"({found}). Its good pictures differ too much: fix light and position, set a roi, "
        "or capture more good pictures."
    )


def missing_challenge(bundle: Bundle) -> str:
    """Return a warning with its remedy if no golden sample is a defect, "" otherwise."""
    if any(sample.expected is Result.FAIL for sample in bundle.golden):
        return ""
    return (
        "no synthetic defect is found clearly enough to be a challenge sample, so no self-test notices "
        f"a model that finds nothing; add a real one: linewatch models golden {bundle.product} FRAME --defect"
    )


def training_warnings(bundle: Bundle) -> tuple[str, ...]:
    """Return the warnings about a model, each a sentence with its remedy; empty if there are none."""
    low_recall = (
        ""
        if is_adequate(bundle.training)
        else f"only {_recall(bundle.training):.0%} of synthetic defects were found at training; "
        "its report says what to mend, then train again"
    )
    return tuple(warning for warning in (low_recall, missing_challenge(bundle)) if warning)


def _recall(facts: Mapping[str, Any]) -> float:
    """Return the mean recall on synthetic defects, 0 to 1; 1 if it was not measured."""
    return fmean(facts.get("made_up_recall", {"": 1.0}).values())
