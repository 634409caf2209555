"""The figures of a shift for the terminal."""

from collections.abc import Iterator
from datetime import datetime

from linewatch.domain import Result
from linewatch.reporting.figures import DefectRate, ProductFigures, ShiftFigures

REASONS_SHOWN = 3


def summary(figures: ShiftFigures) -> str:
    """Return what a shift made, a few lines for each product."""
    return "\n".join(_lines(figures))


def _lines(figures: ShiftFigures) -> Iterator[str]:
    times = f"{_local(figures.since_ms)} to {_local(figures.until_ms)}"
    so_far = "" if figures.complete else f", so far: until {_local(figures.made_ms)}"
    yield f"{figures.station}  {f'{figures.shift} ' if figures.shift else ''}{times}{so_far}"
    for made in figures.products:
        yield f"{made.product}: {_product(made)}"
        reasons = (f"{one.reason.name.lower().replace('_', ' ')} {one.parts}" for one in made.reasons)
        if made.reasons:
            yield f"  reasons: {', '.join(list(reasons)[:REASONS_SHOWN])}"
    if not figures.products:
        yield "no part was inspected"
    yield f"parts could pass {figures.uptime:.1%} of the time; {len(figures.changes)} changes"


def _product(made: ProductFigures) -> str:
    passed = made.first_pass
    results = ", ".join(f"{result} {made.results[result]}" for result in Result)
    return (
        f"parts {passed.parts} ({made.inspections} inspections: {results}); {_rate(made.defect_rate)}; "
        f"first-pass yield {passed.value:.2%}; latency median {made.latency_ms.median} ms, "
        f"p95 {made.latency_ms.p95} ms"
    )


def _rate(rate: DefectRate) -> str:
    if not rate.judged:
        return "defect rate unknown"
    how = "" if rate.from_blocks else ", as if the parts were independent"
    return f"defect rate {rate.value:.2%} (95 % interval {rate.low:.2%} to {rate.high:.2%}{how})"


def _local(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000).astimezone():%Y-%m-%d %H:%M %Z}"
