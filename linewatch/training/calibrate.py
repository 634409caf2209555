"""Thresholds from the scores of good parts alone, and what may be promised of them."""

import math

import numpy as np
from numpy.typing import NDArray

from linewatch.errors import UsageError
from linewatch.models.bundle import Calibration

CONFIDENCE = 0.95
IMAGES_MIN = 10
_EULER = 0.5772156649015329
_COUNT_ENOUGH = 200  # From here on the scores themselves have a say in the tail, too.
_UNSURE_FACTOR = 3.0  # The unsure band begins where three times the wanted rate would be rejected.


def calibrate(scores: tuple[float, ...], false_reject: float) -> Calibration:
    """Return thresholds that reject `false_reject` (0 to 1) of good parts like those that were scored.

    `scores` are of good pictures that the model had not seen. Raises UsageError for fewer than 10.
    """
    if len(scores) < IMAGES_MIN:
        raise UsageError(
            f"{len(scores)} good pictures cannot be calibrated with, {IMAGES_MIN} are the least; capture more"
        )
    values = np.sort(np.asarray(scores, np.float64))
    speak = len(values) >= _COUNT_ENOUGH and len(values) * false_reject >= 1
    quantile = _larger if speak else _gumbel
    threshold = quantile(values, false_reject)
    unsure = min(threshold, quantile(values, min(0.5, _UNSURE_FACTOR * false_reject)))
    return Calibration(
        threshold=threshold,
        unsure_threshold=unsure,
        false_reject=false_reject,
        bound=rate_bound(int((values > threshold).sum()), len(values)),
        method="gumbel or empirical" if speak else "gumbel",
        scores=tuple(float(score) for score in scores),
    )


def rate_bound(rejected: int, images: int, confidence: float = CONFIDENCE) -> float:
    """Return the upper confidence limit (Clopper-Pearson) of the rate behind `rejected` of `images`."""
    if rejected >= images:
        return 1.0
    low, high = rejected / images, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if at_most(rejected, images, middle) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def at_most(k: int, n: int, p: float) -> float:
    """Return the binomial probability of at most `k` in `n`."""
    logs = [
        math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1)
        + i * math.log(p) + (n - i) * math.log1p(-p)
        for i in range(k + 1)
    ]  # fmt: skip
    return sum(math.exp(value) for value in logs)


def images_to_state(false_reject: float, confidence: float = CONFIDENCE) -> int:
    """Return how many unseen good pictures, none rejected, it takes to state a rate."""
    return math.ceil(math.log(1 - confidence) / math.log(1 - false_reject))


def _larger(values: NDArray[np.float64], rate: float) -> float:
    """Return what both the fitted and the observed tail allow: scores of good parts may have two humps."""
    return max(_gumbel(values, rate), float(np.quantile(values, 1 - rate)))


def _gumbel(values: NDArray[np.float64], rate: float) -> float:
    """Fit the law of maxima: a score is the largest of many distances.

    By L-moments (Hosking 1990), of sorted `values`: with few pictures they miss the wanted rate by
    less than plain moments do, and one odd picture moves them less.
    """
    count = len(values)
    pairs = 2 * float(np.arange(count) @ values) / (count * (count - 1)) - float(values.mean())
    scale = max(pairs, 1e-6) / math.log(2)
    place = float(values.mean()) - _EULER * scale
    return place - scale * math.log(-math.log1p(-rate))
