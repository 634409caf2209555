"""What known parts can prove, before a study begins: an acceptance sampling plan."""

from dataclasses import dataclass

from linewatch.capability.intervals import misjudged_allowed, parts_to_prove, provable_rate
from linewatch.capability.study import Limits, Truth

MISJUDGED_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Prospect:
    """What the parts of one truth can prove with 95 % confidence; rates from 0 to 1."""

    truth: Truth
    parts: int
    if_none: float  # The rate is below this if none of them is misjudged,
    if_one: float  # and below this if one is.
    limit: float | None  # The rate to prove.
    allowed: int  # How many may be misjudged to prove it; -1: these parts cannot prove it.
    needed: tuple[int, ...]  # Parts that prove it with 0, 1, 2, ... of them misjudged; () without a limit.

    @property
    def possible(self) -> bool:
        """Whether the parts can prove the limit, if there is one."""
        return self.limit is None or self.allowed >= 0


def prospects(good: int, defective: int, limits: Limits | None) -> tuple[Prospect, Prospect]:
    """Return what defective and good parts can prove."""
    return (
        _prospect("defect", defective, limits.miss_rate if limits else None),
        _prospect("good", good, limits.false_alarm_rate if limits else None),
    )


def _prospect(truth: Truth, parts: int, limit: float | None) -> Prospect:
    return Prospect(
        truth=truth,
        parts=parts,
        if_none=provable_rate(parts),
        if_one=provable_rate(parts, 1),
        limit=limit,
        allowed=-1 if limit is None else misjudged_allowed(parts, limit),
        needed=()
        if limit is None
        else tuple(parts_to_prove(limit, misses) for misses in range(MISJUDGED_SHOWN + 1)),
    )
