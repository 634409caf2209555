"""Rates and agreement of a study, with intervals that hold for parts that were judged several times.

Passes of one part are not independent: a part that is missed once is likely missed again. So each part
counts once, with its share of passes, in the interval of Clopper and Pearson (1934). A share has a smaller
variance than a yes or no with the same mean, so the interval is on the safe side. Intervals of kappa follow
from those of the rates, which then hold together (Bonferroni).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from scipy.special import bdtr, betaincinv  # scipy.stats takes four times as long to load.

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure, and the interval that contains the truth in CONFIDENCE of all studies."""

    value: float
    low: float
    high: float


def rate(shares: Sequence[float], confidence: float = CONFIDENCE) -> Estimate:
    """Return the mean of one share per part, 0 to 1, with its interval; 0 to 1 without any part."""
    return counted_rate(sum(shares), len(shares), confidence)


def counted_rate(total: float, count: int, confidence: float = CONFIDENCE) -> Estimate:
    """Return `total` of `count` as a rate, 0 to 1, with its interval; 0 to 1 without any."""
    if not count:
        return Estimate(0.0, 0.0, 1.0)
    tail = (1 - confidence) / 2
    low = float(betaincinv(total, count - total + 1, tail)) if total > 0 else 0.0
    high = float(betaincinv(total + 1, count - total, 1 - tail)) if total < count else 1.0
    return Estimate(total / count, low, high)


def bounds(shares: Sequence[float]) -> tuple[float, float]:
    """Return a lower and an upper bound of the mean; each alone holds with CONFIDENCE."""
    both = rate(shares, 2 * CONFIDENCE - 1)
    return both.low, both.high


def kappa_with_truth(missed: Sequence[float], alarmed: Sequence[float]) -> Estimate:
    """Return Cohen's kappa between judgement and truth, from the shares of defective and of good parts."""
    together = 1 - (1 - CONFIDENCE) / 2
    defective = len(missed) / (len(missed) + len(alarmed))
    miss, alarm = rate(missed, together), rate(alarmed, together)
    return Estimate(
        _cohen(defective, miss.value, alarm.value),
        min(_cohen(defective, miss.high, alarm.high), _cohen(defective, miss.value, alarm.value)),
        _cohen(defective, miss.low, alarm.low),
    )


def kappa_between_passes(missed: Sequence[float], alarmed: Sequence[float], passes: int) -> Estimate:
    """Return Fleiss' kappa between the passes, from the shares of defective and of good parts."""
    together = 1 - (1 - CONFIDENCE) / 3
    shares = [*missed, *alarmed]
    # The share of pairs of passes that differ: s * (1 - s), among pairs of different passes.
    differing = [2 * share * (1 - share) * passes / (passes - 1) for share in shares]
    defective = len(missed) / len(shares)
    pairs, miss, alarm = rate(differing, together), rate(missed, together), rate(alarmed, together)
    rejected = defective * (1 - miss.value) + (1 - defective) * alarm.value
    least = defective * (1 - miss.high) + (1 - defective) * alarm.low
    most = defective * (1 - miss.low) + (1 - defective) * alarm.high
    spread = [least * (1 - least), most * (1 - most)]
    widest = 0.25 if least <= 0.5 <= most else max(spread)
    value = _fleiss(pairs.value, rejected * (1 - rejected))
    return Estimate(
        value, min(value, _fleiss(pairs.high, min(spread))), max(value, _fleiss(pairs.low, widest))
    )


def parts_to_prove(rate_max: float, misses: int = 0, confidence: float = CONFIDENCE) -> int:
    """Return how many parts prove that a rate is below `rate_max` if at most `misses` of them fail."""
    count = misses + 1
    while bdtr(misses, count, rate_max) > 1 - confidence:
        count += 1
    return count


def provable_rate(parts: int, misses: int = 0, confidence: float = CONFIDENCE) -> float:
    """Return the rate that so many parts prove to be exceeded by no more, if `misses` of them fail."""
    return float(betaincinv(misses + 1, parts - misses, confidence)) if misses < parts else 1.0


def misjudged_allowed(parts: int, rate_max: float) -> int:
    """Return how many of the parts may be misjudged and still prove a rate below `rate_max`; -1: none may."""
    allowed = -1
    while allowed + 1 < parts and provable_rate(parts, allowed + 1) < rate_max:
        allowed += 1
    return allowed


def _cohen(defective: float, miss: float, alarm: float) -> float:
    """Return kappa of judgement and truth from the share of defective parts and both error rates."""
    observed = defective * (1 - miss) + (1 - defective) * (1 - alarm)
    rejected = defective * (1 - miss) + (1 - defective) * alarm
    expected = defective * rejected + (1 - defective) * (1 - rejected)
    return (observed - expected) / (1 - expected) if expected < 1 else 1.0


def _fleiss(differing: float, spread: float) -> float:
    """Return 1 minus observed over expected disagreement; -1 to 1."""
    if differing <= 0:
        return 1.0
    return max(-1.0, 1 - differing / (2 * spread)) if spread > 0 else -1.0
