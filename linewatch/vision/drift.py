"""Whether light, focus, scores or rejects have left their usual range, told before the reject bin fills.

Charts from statistical process control, fed one part after the other: EWMA charts (Lucas and Saccucci,
Technometrics 32, 1990) of brightness and sharpness, the population stability index of the scores with
its limit from the chi-squared law (Yurdakul, Western Michigan University, 2018), and a Bernoulli CUSUM
of rejects (Reynolds and Stoumbos, Journal of Quality Technology 31, 1999). docs/operations.md says what
to do about each signal.
"""

import math
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median

from linewatch.domain import Result

LAMBDA = 0.1  # Weight of the newest picture: about the last 20 have a say.
SIGMAS = 4.5  # Of the average: a false alarm in about 100,000 independent pictures.
LIGHT_SHIFT_MIN = 0.08  # Of the usual value; less harms nobody, however steady the training pictures were.
EDGES_SHIFT_MIN = 0.15  # A blur of 2 pixels takes away a third and more.

BINS = 5
WINDOW = 100  # Parts whose scores are compared with those of calibration.
WINDOW_MIN = 50
EVERY = 10  # Parts between two comparisons.
SCORES_MIN = 20  # Fewer calibration scores have no distribution to speak of.
PSI_MIN = 0.25  # The customary limit for a large change.
SCORE_SHIFT_MIN = 0.1  # Of the threshold: how far the middle must have moved, too, to matter.
CHI_SQUARED = 33.4  # Exceeded by one in a million, BINS - 1 degrees of freedom.

ALARM = math.log(1e6)  # Of the CUSUM: at least a million usual parts between false alarms (Lorden, 1971).
LEARN = 200  # Judged parts that say what rate of rejects is usual here.
RATE_MIN, RATE_MAX = 0.01, 0.8
REJECTS_MIN = 5  # Seen while learning; a line that rejects nobody may well go on so.


class Signal(StrEnum):
    """What has drifted."""

    BRIGHTNESS = "brightness"
    SHARPNESS = "sharpness"
    SCORES = "scores"
    REJECTS = "rejects"  # More than usual.
    NO_REJECTS = "no_rejects"  # None for suspiciously long.


@dataclass(frozen=True, slots=True)
class DriftChange:
    """A signal that has just come or gone."""

    signal: Signal
    on: bool
    value: float
    limit: float


class Average:
    """An EWMA chart of a ratio that is usually 1.0."""

    def __init__(self, quantiles: Sequence[float], shift_min: float) -> None:
        """Take the quantiles (0, 5, 25, 50, 75, 95, 100 %) of the training pictures."""
        sigma = 0.0
        if len(quantiles) == 7 and quantiles[3] > 0:
            _, low, lower, usual, upper, high, _ = quantiles
            sigma = max((upper - lower) / 1.349, (high - low) / 3.290) / usual  # As of a normal law.
        self.limit = max(shift_min, SIGMAS * sigma * math.sqrt(LAMBDA / (2 - LAMBDA)))
        self.value = 1.0
        self.on = False

    def observe(self, ratio: float) -> None:
        """Take one picture's value against the usual one."""
        self.value += LAMBDA * (ratio - self.value)
        shift = abs(self.value - 1.0)
        self.on = shift > (0.7 * self.limit if self.on else self.limit)


class Distribution:
    """The scores of the last parts against those of calibration."""

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
        """Take the score of a part that did not fail; return whether the index was worked out anew."""
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


class Rejects:
    """A CUSUM chart of rejects against the rate that was usual, and the run of parts without any."""

    def __init__(self) -> None:
        self.rate = 0.25  # Until the usual rate is known, only what no line lives with is told.
        self._worse, self._least = 0.6, 0.0
        self._seen = self._rejects = 0
        self.value = 0.0
        self.run = 0.0  # How improbable the run without a reject is, as a negative logarithm.
        self.on = self.none_on = False

    def observe(self, rejected: bool) -> None:
        """Take one judged part."""
        odds = self._worse / self.rate if rejected else (1 - self._worse) / (1 - self.rate)
        self.value = min(ALARM, max(0.0, self.value + math.log(odds)))
        self.on = self.value >= ALARM or (self.on and self.value > 0)
        self.run = 0.0 if rejected else self.run - math.log(1 - self._least)
        self.none_on = self._seen >= LEARN and self._rejects >= REJECTS_MIN and self.run > ALARM
        if self._seen < LEARN:
            self._seen += 1
            self._rejects += rejected
            if self._seen == LEARN:
                self._learnt()

    def restart(self) -> None:
        """Begin anew with the rate that was learnt: the product was away."""
        self.value = self.run = 0.0
        self.on = self.none_on = False

    def _learnt(self) -> None:
        rate = (self._rejects + 0.5) / (LEARN + 1)
        error = 1.645 * math.sqrt(rate * (1 - rate) / LEARN)  # 95 % limits: what was seen may be luck.
        self.rate, self._least = min(RATE_MAX, max(RATE_MIN, rate + error)), max(0.0, rate - error)
        self._worse = min(0.95, max(2 * self.rate, self.rate + 0.1))
        self.restart()


class Drift:
    """All signals of one product and model; pictures by one thread, parts by one other."""

    def __init__(
        self,
        scores: Sequence[float] = (),
        threshold: float = 0.0,
        brightness: Sequence[float] = (),
        sharpness: Sequence[float] = (),
        rejects: Rejects | None = None,
    ) -> None:
        """Take calibration's scores, the threshold, the training pictures' quantiles, and the usual rate."""
        self._light = Average(brightness, LIGHT_SHIFT_MIN)
        self._edges = Average(sharpness, EDGES_SHIFT_MIN)
        self._scores = Distribution(scores, threshold)
        self._rejects = rejects or Rejects()
        self._on: dict[Signal, bool] = dict.fromkeys(Signal, False)

    @property
    def psi(self) -> float:
        """Return the population stability index of the last scores, 0.0 before there are enough."""
        return self._scores.psi

    def picture(self, brightness_ratio: float, sharpness_ratio: float) -> Iterator[DriftChange]:
        """Take one picture's values against the usual ones, also of a picture that is not judged."""
        self._light.observe(brightness_ratio)
        self._edges.observe(sharpness_ratio)
        for signal, chart in ((Signal.BRIGHTNESS, self._light), (Signal.SHARPNESS, self._edges)):
            yield from self._edge(signal, chart.on, chart.value, chart.limit)

    def part(self, result: Result, raw: float | None) -> Iterator[DriftChange]:
        """Take one part; `raw` is None if its picture was refused or the part was not found in it."""
        self._rejects.observe(result is not Result.PASS)
        # Defects have the chart of rejects; here the question is whether good parts change.
        if raw is not None and result is not Result.FAIL and self._scores.observe(raw):
            yield from self._edge(Signal.SCORES, self._scores.on, self.psi, self._scores.limit)
        yield from self._edge(Signal.REJECTS, self._rejects.on, self._rejects.value, ALARM)
        yield from self._edge(Signal.NO_REJECTS, self._rejects.none_on, self._rejects.run, ALARM)

    def _edge(self, signal: Signal, on: bool, value: float, limit: float) -> Iterator[DriftChange]:
        if self._on[signal] is not on:
            self._on[signal] = on
            yield DriftChange(signal, on, value, limit)


def _share(count: int, total: int) -> float:
    """Return a share that is never 0, as if each bin had half a part more."""
    return (count + 0.5) / (total + 0.5 * BINS)
