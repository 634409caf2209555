"""The interval of a rate of parts from a line, where defects come in runs.

Parts that follow each other share a batch, a tool and a camera, so that 1000 of them say less than 1000
parts drawn at random. The blocks of a shift show how much less: the variance of the rate between them,
divided by that of independent parts, is the design effect (Kish, Survey Sampling, 1965). The interval is
that of Wilson (1927) for so many independent parts as the design effect leaves, with Student's t of as many
degrees of freedom as there are blocks less one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

CONFIDENCE = 0.95
BLOCKS_MIN = 8  # Fewer do not show how much they differ.
_Z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)


@dataclass(frozen=True, slots=True)
class RateInterval:
    """A rate with the interval that contains the long-term one in CONFIDENCE of all shifts, 0 to 1."""

    value: float
    low: float
    high: float
    effective: int  # Independent parts that would say as much.
    from_blocks: bool  # False: too few blocks, or no defect, so that parts were taken as independent.


def rate_interval(blocks: Sequence[tuple[int, int]]) -> RateInterval:
    """Return the rate over blocks of (counted, of how many parts); blocks without parts say nothing."""
    made = [(counted, parts) for counted, parts in blocks if parts]
    counted, parts = sum(one for one, _ in made), sum(of for _, of in made)
    if not parts:
        return RateInterval(0.0, 0.0, 1.0, 0, from_blocks=False)
    rate = counted / parts
    from_blocks = len(made) >= BLOCKS_MIN and 0 < counted < parts
    effect = max(1.0, _design_effect(made, rate, parts)) if from_blocks else 1.0
    quantile = _student_t(len(made) - 1) if from_blocks else _Z
    low, high = _wilson(rate, parts / effect, quantile)
    return RateInterval(rate, low, high, round(parts / effect), from_blocks)


def _design_effect(blocks: Sequence[tuple[int, int]], rate: float, parts: int) -> float:
    """Return the variance of a ratio between blocks, over that of as many independent parts."""
    spread = sum((counted - rate * of) ** 2 for counted, of in blocks) * len(blocks) / (len(blocks) - 1)
    return spread / parts / (rate * (1 - rate))


def _wilson(rate: float, parts: float, quantile: float) -> tuple[float, float]:
    square = quantile**2 / parts
    middle = (rate + square / 2) / (1 + square)
    half = sqrt(square * (rate * (1 - rate) + square / 4)) / (1 + square)
    return max(0.0, min(rate, middle - half)), min(1.0, max(rate, middle + half))


def _student_t(degrees: int) -> float:
    """Return Student's quantile at (1 + CONFIDENCE) / 2: Abramowitz and Stegun, 26.7.5."""
    z = _Z
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + sum(term / float(degrees) ** power for power, term in enumerate(terms, 1))
