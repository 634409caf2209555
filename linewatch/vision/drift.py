"""Detect drift in lighting, focus, scores and reject rate.

Charts from statistical process control, updated part by part: EWMA charts (Lucas and Saccucci,
Technometrics 32, 1990) of brightness and sharpness, the population stability index of the scores with
its limit from the chi-squared distribution (Yurdakul, Western Michigan University, 2018), and a Bernoulli
CUSUM of rejects (Reynolds and Stoumbos, Journal of Quality Technology 31, 1999). docs/operations.md
describes the remedy for each signal.
"""

import math
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from statistics import median

from linewatch.domain import Result

LAMBDA = 0.1  # EWMA weight of the newest image: a memory of about 20 images.
SIGMAS = 4.5  # Limit in standard deviations of the EWMA: one false alarm in about 100,000 independent images.
BRIGHTNESS_SHIFT_MIN = 0.08  # Share of the usual value; less is harmless, however steady training was.
SHARPNESS_SHIFT_MIN = 0.15  # A blur of 2 pixels lowers sharpness by a third or more.

BINS = 5
WINDOW = 100  # Newest parts whose scores are compared with the calibration scores.
WINDOW_MIN = 50
EVERY = 10  # Parts between two comparisons.
SCORES_MIN = 20  # With fewer calibration scores there is no distribution to compare with.
PSI_MIN = 0.25  # The customary limit for a large change.
SCORE_SHIFT_MIN = 0.1  # Share of the threshold that the median must have moved as well.
CHI_SQUARED = 33.4  # Quantile 1 - 1e-6 for BINS - 1 degrees of freedom.

ALARM = math.log(1e6)  # CUSUM limit: a million usual parts or more between false alarms (Lorden, 1971).
LEARN = 200  # Judged parts from which the usual reject rate is estimated.
RATE_MIN, RATE_MAX = 0.01, 0.8
REJECTS_MIN = 5  # During LEARN; with fewer, a long run without rejects is not suspicious.


class Signal(StrEnum):
    """The quantity that drifts."""

    BRIGHTNESS = "brightness"
    SHARPNESS = "sharpness"
    SCORES = "scores"
    REJECTS = "rejects"  # Higher rate than usual.
    NO_REJECTS = "no_rejects"  # Improbably many parts in a row without one.


@dataclass(frozen=True, slots=True)
class DriftChange:
    """A signal that was raised (`on`) or cleared."""

    signal: Signal
    on: bool
    value: float
    limit: float


class EwmaChart:
    """An EWMA chart of a ratio whose usual value is 1.0."""

    def __init__(self, quantiles: Sequence[float], shift_min: float) -> None:
        """Set the limit from the quantiles (0, 5, 25, 50, 75, 95, 100 %) of the training images."""
        sigma = 0.0
        if len(quantiles) == 7 and quantiles[3] > 0:
            _, low, lower, usual, upper, high, _ = quantiles
            # The quantile distances of a normal distribution, in standard deviations.
            sigma = max((upper - lower) / 1.349, (high - low) / 3.290) / usual
        self.limit = max(shift_min, SIGMAS * sigma * math.sqrt(LAMBDA / (2 - LAMBDA)))
        self.value = 1.0
        self.on = False

    def observe(self, ratio: float) -> None:
        """Add one image's value, divided by the usual one."""
        self.value += LAMBDA * (ratio - self.value)
        shift = abs(self.value - 1.0)
        self.on = shift > (0.7 * self.limit if self.on else self.limit)


class ScoreChart:
    """Population stability index of the newest scores against the calibration scores."""

    def __init__(self, scores: Sequence[float], threshold: float) -> None:
        ordered = sorted(scores)
        self._usual = median(ordered) if ordered else 0.0
        self._shift_min = SCORE_SHIFT_MIN * threshold
        self._edges = [ordered[len(ordered) * k // BINS] for k in range(1, BINS)] if ordered else []
        expected = Counter(bisect_right(self._edges, score) for score in ordered)
        self._expected = [_share(expected[k], len(ordered)) for k in range(BINS)]
        self._enough = len(ordered) >= SCORES_MIN
        self._window: deque[float] = deque(maxlen=WINDOW)
        self._reference = len(ordered)
        self._count = 0
        self.psi = 0.0
        self.limit = math.inf
        self.on = False

    def observe(self, raw: float) -> bool:
        """Add the raw score of a part that did not fail; return whether `psi` was recomputed."""
        self._window.append(raw)
        self._count += 1
        n = len(self._window)
        if not self._enough or n < WINDOW_MIN or self._count % EVERY:
            return False
        seen = Counter(bisect_right(self._edges, score) for score in self._window)
        pairs = [(_share(seen[k], n), self._expected[k]) for k in range(BINS)]
        self.psi = sum((now - before) * math.log(now / before) for now, before in pairs)
        self.limit = max(PSI_MIN, CHI_SQUARED * (1 / n + 1 / self._reference))
        shifted = abs(median(self._window) - self._usual) > self._shift_min
        self.on = shifted and self.psi > self.limit
        return True


class RejectChart:
    """A Bernoulli CUSUM of rejects against the usual rate, and the run length without a reject."""

    def __init__(self) -> None:
        self.rate = 0.25  # A high start value: no false alarm before the usual rate is estimated.
        self._worse, self._least = 0.6, 0.0
        self._seen = self._rejects = 0
        self.value = 0.0
        self.run = 0.0  # Negative log-probability of the current run without a reject.
        self.on = self.none_on = False

    def observe(self, rejected: bool) -> None:
        """Add one judged part."""
        odds = self._worse / self.rate if rejected else (1 - self._worse) / (1 - self.rate)
        self.value = min(ALARM, max(0.0, self.value + math.log(odds)))
        self.on = self.value >= ALARM or (self.on and self.value > 0)
        self.run = 0.0 if rejected else self.run - math.log(1 - self._least)
        self.none_on = self._seen >= LEARN and self._rejects >= REJECTS_MIN and self.run > ALARM
        if self._seen < LEARN:
            self._seen += 1
            self._rejects += rejected
            if self._seen == LEARN:
                self._set_rate()

    def restart(self) -> None:
        """Reset the chart but keep the estimated rate: another product ran in between."""
        self.value = self.run = 0.0
        self.on = self.none_on = False

    def _set_rate(self) -> None:
        rate = (self._rejects + 0.5) / (LEARN + 1)
        error = 1.645 * math.sqrt(rate * (1 - rate) / LEARN)  # One-sided 95 % confidence limits.
        self.rate, self._least = min(RATE_MAX, max(RATE_MIN, rate + error)), max(0.0, rate - error)
        self._worse = min(0.95, max(2 * self.rate, self.rate + 0.1))
        self.restart()


class Drift:
    """All drift signals of one product and model.

    One thread may call `observe_image` while another calls `observe_part`.
    """

    def __init__(
        self,
        scores: Sequence[float] = (),
        threshold: float = 0.0,
        brightness: Sequence[float] = (),
        sharpness: Sequence[float] = (),
        rejects: RejectChart | None = None,
    ) -> None:
        """Set up the charts.

        `scores` and `threshold` are raw scores of calibration, `brightness` and `sharpness` the quantiles
        of the training images (see `EwmaChart`), `rejects` the chart of an earlier run of this product.
        """
        self._brightness = EwmaChart(brightness, BRIGHTNESS_SHIFT_MIN)
        self._sharpness = EwmaChart(sharpness, SHARPNESS_SHIFT_MIN)
        self._scores = ScoreChart(scores, threshold)
        self._rejects = rejects or RejectChart()
        self._on: dict[Signal, DriftChange] = {}  # Raised and not cleared.
        self._closed = False

    @property
    def psi(self) -> float:
        """The population stability index of the newest scores; 0.0 while there are too few."""
        return self._scores.psi

    def observe_image(self, brightness_ratio: float, sharpness_ratio: float) -> Iterator[DriftChange]:
        """Add one image, judged or not; both values are ratios to the training median.

        Yields the signals that change.
        """
        self._brightness.observe(brightness_ratio)
        self._sharpness.observe(sharpness_ratio)
        for signal, chart in ((Signal.BRIGHTNESS, self._brightness), (Signal.SHARPNESS, self._sharpness)):
            yield from self._change(signal, chart.on, chart.value, chart.limit)

    def observe_part(self, result: Result, raw: float | None) -> Iterator[DriftChange]:
        """Add one part; `raw` is None if its image was refused or the part was not found in it.

        Yields the signals that change.
        """
        self._rejects.observe(result is not Result.PASS)
        # Defects are the reject chart's business; this chart follows the good parts.
        if raw is not None and result is not Result.FAIL and self._scores.observe(raw):
            yield from self._change(Signal.SCORES, self._scores.on, self.psi, self._scores.limit)
        yield from self._change(Signal.REJECTS, self._rejects.on, self._rejects.value, ALARM)
        yield from self._change(Signal.NO_REJECTS, self._rejects.none_on, self._rejects.run, ALARM)

    def close(self) -> list[DriftChange]:
        """Clear every signal, as another product or model comes into use, and raise none any more."""
        self._closed = True
        raised, self._on = self._on, {}
        return [replace(change, on=False) for change in raised.values()]

    def _change(self, signal: Signal, on: bool, value: float, limit: float) -> Iterator[DriftChange]:
        if self._closed or on is (signal in self._on):
            return
        change = DriftChange(signal, on, value, limit)
        if on:
            self._on[signal] = change
        else:
            del self._on[signal]
        yield change


def _share(count: int, total: int) -> float:
    """Return a bin's share, with half a part added to every bin so that it is never 0."""
    return (count + 0.5) / (total + 0.5 * BINS)
