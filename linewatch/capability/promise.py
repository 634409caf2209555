"""Test a promised rate, and bound the real one, so that both may be read after every part.

For parts of which a share `rate` is expected to be found, the likelihood ratio of Wald (1945) compares `rate`
with the rate whose odds are r times as high:

    r ** found / (1 + (r - 1) * rate) ** parts

While each part is found with a probability of at most `rate`, given all before it, this ratio is a
non-negative supermartingale that begins at 1 (r > 1). So is its mean over several r (Robbins 1970), and over
several parts to begin with. By Ville's inequality (1939) it ever exceeds 1 / alpha with a probability of at
most alpha, however often it is read. The rates below which that happens are outside the interval, a
confidence sequence for the mean rate of all parts so far (Howard, Ramdas, McAuliffe and Sekhon 2021); the
upper limit is the same with 1 / r.

The ratio grows with `found` and falls with `parts`. So it may be computed with fewer found than there are and
with more parts than there are: it then only finds a broken promise later.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95  # Of the interval; and with it both promises of a product are tested together.
SIDES = 2  # Of the interval, and the number of promises: each has half of the error.
_STEPS = np.arange(-6, 7)
_RATIOS = 1 + 2.0**_STEPS  # Of the odds: 1.016 to 65.
_LOG_WEIGHTS = np.log(1 / (1 + abs(_STEPS)) / (1 / (1 + abs(_STEPS))).sum())  # A doubled rate counts most.
_LOG_ENOUGH = math.log(SIDES / (1 - CONFIDENCE))
_BISECTIONS = 50
_FIRST = 0.5  # The weight of all parts since the test began; see `strongest_start`.


@dataclass(frozen=True, slots=True)
class Interval:
    """What is known of a rate, 0 to 1."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of a test."""

    broken: bool  # Whether the promised rate is exceeded.
    start: int  # The period since which that is clearest.


def interval(known: int, parts: int, possible: int | None = None, parts_least: int | None = None) -> Interval:
    """Return the interval of a rate of which `known` cases were found in `parts`.

    The lower limit holds if at least `known` of at most `parts` are such cases, the upper one if at most
    `possible` of at least `parts_least` are; by default these are the same numbers. It contains the mean
    rate of all parts so far, at every moment together, with CONFIDENCE.
    """
    possible = known if possible is None else possible
    parts_least = parts if parts_least is None else parts_least
    enough_low = _LOG_ENOUGH - math.log(_FIRST)  # So that nothing above the promise goes without an alarm.
    low = _bisect(lambda rate: float(log_ratio(known, parts, rate)) >= enough_low, known / max(1, parts))
    share = min(1.0, possible / parts_least) if parts_least else 1.0
    below = _bisect(
        lambda rest: float(log_ratio(possible, parts_least, 1 - rest, down=True)) >= _LOG_ENOUGH, 1 - share
    )
    return Interval(low, 1 - below)


def log_ratio(
    found: NDArray[np.int64] | int, parts: NDArray[np.int64] | int, rate: float, *, down: bool = False
) -> NDArray[np.float64]:
    """Return the logarithm of the mixed ratio for each element of `found` and `parts`.

    It is large where the real rate is above `rate` (0 to 1), or with `down` below it.
    """
    ratios = 1 / _RATIOS if down else _RATIOS
    some, all_parts = np.asarray(found)[..., None], np.asarray(parts)[..., None]
    growth = np.log1p((ratios - 1) * rate)
    terms: NDArray[np.float64] = some * np.log(ratios) - all_parts * growth + _LOG_WEIGHTS
    highest = terms.max(-1, keepdims=True)
    return np.asarray(highest[..., 0] + np.log(np.exp(terms - highest).sum(-1)))


def strongest_start(found: Sequence[int], parts: Sequence[int], rate: float) -> Finding:
    """Test whether more than `rate` (0 to 1) are found, now or since one of the periods began.

    `found` and `parts` are counts of successive periods, in the order in which these began. A rate that
    rises after a good year is noticed as soon as after a good week: the test is also begun anew with each
    period, with the weight 1 / (k (k + 1)) for the k-th, so that all weights together are 1.
    """
    if not parts:
        return Finding(broken=False, start=0)
    since = [np.cumsum(np.asarray(counts, np.int64)[::-1])[::-1] for counts in (found, parts)]
    number = np.arange(1, len(parts) + 1)
    logs = log_ratio(since[0], since[1], rate) - np.log(number * (number + 1))
    highest = float(logs.max())
    total = highest + math.log(float(np.exp(logs - highest).sum()))
    return Finding(broken=total >= _LOG_ENOUGH, start=int(logs.argmax()))


def _bisect(excluded: Callable[[float], bool], highest: float) -> float:
    """Return the largest number from 0 to `highest` below which all are excluded, rounded down."""
    if highest <= 0:
        return 0.0
    low, high = 0.0, highest
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if excluded(middle):
            low = middle
        else:
            high = middle
    return low
