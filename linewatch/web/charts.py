"""Layout of the page's two charts, in units of the SVG's view box."""

from collections.abc import Sequence
from dataclasses import dataclass

from linewatch.domain import Result, Verdict
from linewatch.web.backend import Hour

WIDTH, HEIGHT = 360, 150
LEFT, RIGHT, TOP, BOTTOM = 30, 352, 10, 128
RATIO_MAX = 2.0  # Scores above twice the limit are clipped to the top edge.
RATE_FLOOR = 0.02  # Smallest range of the rate axis, so that a single defect does not fill the chart.
HOURS = 24


@dataclass(frozen=True, slots=True)
class Point:
    """One part in the score chart."""

    x: float
    y: float
    result: Result
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class ScoreChart:
    """Scores of the last parts, oldest on the left."""

    points: tuple[Point, ...]
    limit_y: float
    fails: int
    highest: float  # Score / limit; 1.0 is the limit.


@dataclass(frozen=True, slots=True)
class Bar:
    """The defect rate of one hour; an hour without parts has no bar."""

    x: float
    y: float
    width: float
    height: float
    hour: int
    rate: float  # 0 to 1.
    parts: int


@dataclass(frozen=True, slots=True)
class HourChart:
    """Defect rate by hour of the day."""

    bars: tuple[Bar, ...]
    rate_max: float  # Upper end of the rate axis.


def score_chart(newest_first: Sequence[Verdict], slots: int) -> ScoreChart:
    """Lay out the last `slots` parts, the newest at the right edge."""
    shown = list(reversed(newest_first[:slots]))
    step = (RIGHT - LEFT) / slots
    first = slots - len(shown)
    points = tuple(
        Point(round(LEFT + (first + i + 0.5) * step, 1), _score_y(verdict), verdict.result, verdict)
        for i, verdict in enumerate(shown)
    )
    return ScoreChart(
        points=points,
        limit_y=_y(1.0, RATIO_MAX),
        fails=sum(verdict.result is Result.FAIL for verdict in shown),
        highest=max((verdict.score / 1000 for verdict in shown), default=0.0),
    )


def hour_chart(hours: Sequence[tuple[int, Hour]]) -> HourChart:
    """Lay out one day; each hour comes with its hour of the clock, 0 to 23."""
    rates = [(hour, defect_rate(counts), parts_of(counts)) for hour, counts in hours]
    rate_max = _round_up(max((rate for _, rate, _ in rates), default=0.0))
    step = (RIGHT - LEFT) / HOURS
    bars = []
    for hour, rate, parts in rates:
        if parts == 0:
            continue
        y = min(_y(rate, rate_max), BOTTOM - 1.5)  # An hour without defects stays visible.
        bars.append(
            Bar(
                round(LEFT + hour * step + 1, 1),
                y,
                round(step - 2, 1),
                round(BOTTOM - y, 1),
                hour,
                rate,
                parts,
            )
        )
    return HourChart(tuple(bars), rate_max)


def defect_rate(hour: Hour) -> float:
    """Return FAIL / (PASS + FAIL + UNSURE), 0 to 1; ERROR says nothing about a part."""
    judged = sum(hour.counts.get(result, 0) for result in (Result.PASS, Result.FAIL, Result.UNSURE))
    return hour.counts.get(Result.FAIL, 0) / judged if judged else 0.0


def parts_of(hour: Hour) -> int:
    """Return the number of parts of every result."""
    return sum(hour.counts.values())


def _score_y(verdict: Verdict) -> float:
    return _y(verdict.score / 1000, RATIO_MAX)


def _y(value: float, value_max: float) -> float:
    return round(BOTTOM - (BOTTOM - TOP) * min(max(value, 0.0), value_max) / value_max, 1)


def _round_up(rate: float) -> float:
    """Round a rate up to a round number, RATE_FLOOR to 1."""
    steps = (RATE_FLOOR, 0.04, 0.1, 0.2, 0.4, 1.0)
    return next((step for step in steps if rate <= step), 1.0)
