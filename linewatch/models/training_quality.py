"""How well a product was learnt: what training found out about its own model, told to people."""

from collections.abc import Mapping
from statistics import fmean
from typing import Any

from linewatch.domain import Result
from linewatch.models.bundle import Bundle

RECALL_MIN = 0.5  # Fewer made-up defects found than this: the product is not learnt well enough.


def is_learnt(facts: Mapping[str, Any]) -> bool:
    """Whether a training, by its facts, taught enough to tell defects from good parts."""
    return _recall(facts) >= RECALL_MIN


def lead(facts: Mapping[str, Any]) -> str:
    """Return what has to be said of a training first, and what to do about it."""
    found = ", ".join(f"{kind} {share:.0%}" for kind, share in facts["made_up_recall"].items())
    if is_learnt(facts):
        return (
            f"This product can be learnt: {_recall(facts):.0%} of made-up defects are found ({found}). "
            "Made-up defects are a first idea only; evaluate with real ones when there are some."
        )
    return (
        f"This product is not learnt well enough: only {_recall(facts):.0%} of made-up defects are found "
        f"({found}). Its good pictures differ too much: fix light and position, set a roi, "
        "or capture more good pictures."
    )


def unchallenged(bundle: Bundle) -> str:
    """Return that no self-test can catch this model blind, and what to do; "" if one can."""
    if any(sample.expected is Result.FAIL for sample in bundle.golden):
        return ""
    return (
        "no made-up defect is found clearly enough to be a challenge sample, so no self-test can catch this "
        f"model blind; add a real one: linewatch models golden {bundle.product} FRAME --defect"
    )


def doubts(bundle: Bundle) -> tuple[str, ...]:
    """Return what a person should know before a line depends on this model; nothing if it was learnt well."""
    weak = (
        ""
        if is_learnt(bundle.training)
        else f"only {_recall(bundle.training):.0%} of made-up defects were found at training; "
        "its report says what to mend, then train again"
    )
    return tuple(doubt for doubt in (weak, unchallenged(bundle)) if doubt)


def _recall(facts: Mapping[str, Any]) -> float:
    """Return the share of made-up defects that were found, 0 to 1; 1 if nobody tried."""
    return fmean(facts.get("made_up_recall", {"": 1.0}).values())
