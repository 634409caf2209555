"""Calibrate thresholds on the scores of good parts alone, and bound the false-reject rate they imply."""

import math

import numpy as np
from numpy.typing import NDArray

from linewatch.errors import UsageError
from linewatch.models.bundle import Calibration

CONFIDENCE = 0.95
IMAGES_MIN = 10
_EULER = 0.5772156649015329
_EMPIRICAL_MIN = 200  # From this many scores on, the empirical quantile counts beside the fitted one.
_OUTLIER_RATE = 0.1  # A score is an outlier if fewer than this many sets of its size contain such a one.
_OUTLIER_SHARE = 0.03  # Share of the scores that may be outliers; one in any set.
_UNSURE_FACTOR = 3.0  # The unsure band starts where three times the wanted rate would be rejected.


def calibrate(scores: tuple[float, ...], false_reject: float) -> Calibration:
    """Return thresholds that reject a share `false_reject` (0 to 1) of good parts.

    `scores` are raw scores of good images that the model was not trained on. The threshold is the
    1 - `false_reject` quantile of a Gumbel distribution fitted to them, or the empirical quantile where
    that is larger and there are scores enough to estimate it. Raises UsageError for fewer than 10.
    """
    if len(scores) < IMAGES_MIN:
        raise UsageError(
            f"{len(scores)} good pictures cannot be calibrated with, {IMAGES_MIN} are the least; capture more"
        )
    values = np.sort(np.asarray(scores, np.float64))
    fitted = _limit_outliers(values)
    use_empirical = len(values) >= _EMPIRICAL_MIN and len(values) * false_reject >= 1
    quantile = _larger_quantile if use_empirical else _gumbel_quantile
    threshold = quantile(fitted, false_reject)
    unsure = min(threshold, quantile(fitted, min(0.5, _UNSURE_FACTOR * false_reject)))
    return Calibration(
        threshold=threshold,
        unsure_threshold=unsure,
        false_reject=false_reject,
        bound=upper_rate_bound(int((values > threshold).sum()), len(values)),
        method="gumbel or empirical" if use_empirical else "gumbel",
        scores=tuple(float(score) for score in scores),
    )


def upper_rate_bound(rejected: int, images: int, confidence: float = CONFIDENCE) -> float:
    """Return the exact upper confidence limit (Clopper and Pearson 1934) of a rate, 0 to 1.

    `rejected` of `images` were observed; the limit is one-sided and found by bisection.
    """
    if rejected >= images:
        return 1.0
    low, high = rejected / images, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if binomial_cdf(rejected, images, middle) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def binomial_cdf(k: int, n: int, p: float) -> float:
    """Return the probability of at most `k` successes in `n` trials with success probability `p`."""
    logs = [
        math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1)
        + i * math.log(p) + (n - i) * math.log1p(-p)
        for i in range(k + 1)
    ]  # fmt: skip
    return sum(math.exp(value) for value in logs)


def images_needed(false_reject: float, confidence: float = CONFIDENCE) -> int:
    """Return how many unseen good images, none rejected, demonstrate a rate with this confidence."""
    return math.ceil(math.log(1 - confidence) / math.log(1 - false_reject))


def _limit_outliers(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return sorted `values`, the outliers among them replaced by the largest that the others let expect.

    One odd image among 31 would otherwise lift the threshold above most defects. The bound still counts
    outliers as rejects, and the training report lists their images.
    """
    count = len(values)
    limited = values
    for outliers in range(1, max(1, int(_OUTLIER_SHARE * count)) + 1):
        others = values[:-outliers]
        if values[-outliers] > _gumbel_quantile(others, _OUTLIER_RATE / count):
            largest = max(_gumbel_quantile(others, 1 / count), float(others[-1]))
            limited = np.append(others, np.full(outliers, largest))
    return limited


def _larger_quantile(values: NDArray[np.float64], rate: float) -> float:
    """Return the larger of the fitted and the empirical quantile: scores may be bimodal."""
    return max(_gumbel_quantile(values, rate), float(np.quantile(values, 1 - rate)))


def _gumbel_quantile(values: NDArray[np.float64], rate: float) -> float:
    """Return the 1 - `rate` quantile of a Gumbel distribution fitted to sorted `values`.

    Gumbel, as a score is the maximum of many distances. Fitted by L-moments (Hosking 1990): with few
    images they come closer to the wanted rate than moments do, and an outlier affects them less.
    """
    count = len(values)
    l_scale = 2 * float(np.arange(count) @ values) / (count * (count - 1)) - float(values.mean())
    scale = max(l_scale, 1e-6) / math.log(2)
    location = float(values.mean()) - _EULER * scale
    return location - scale * math.log(-math.log1p(-rate))
