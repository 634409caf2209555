"""The shifts of a station on the local clock, also on the days when it changes."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from itertools import count

DAYS = date(2000, 1, 1), date(2099, 12, 31)
"""The first and the last day that has shifts."""

WITHOUT_SETTINGS = {"day": time()}


@dataclass(frozen=True, slots=True)
class Shift:
    """One shift. Times are UTC milliseconds since 1970."""

    day: date  # The local day that it begins on.
    name: str
    since_ms: int
    until_ms: int


class Calendar:
    """The shifts of each day; `starts` has the local time at which each begins."""

    def __init__(self, starts: Mapping[str, time]) -> None:
        self._starts = sorted((starts or WITHOUT_SETTINGS).items(), key=lambda named: named[1])

    @property
    def names(self) -> list[str]:
        """The names of the shifts, in the order of the day."""
        return [name for name, _ in self._starts]

    def on(self, day: date) -> list[Shift]:
        """Return the shifts that begin on a day, in order.

        Where the clocks go forward over a whole shift, it is left out.
        """
        if not DAYS[0] <= day <= DAYS[1]:
            return []
        begins = [_begin_ms(day, start) for _, start in self._starts]
        ends = [*begins[1:], _begin_ms(day + timedelta(1), self._starts[0][1])]
        return [
            Shift(day, name, since_ms, until_ms)
            for name, since_ms, until_ms in zip(self.names, begins, ends, strict=True)
            if since_ms < until_ms
        ]

    def find(self, day: date, name: str) -> Shift | None:
        """Return a shift by its day and name."""
        return next((shift for shift in self.on(day) if shift.name == name), None)

    def whole(self, day: date) -> Shift:
        """Return the time of all shifts of a day as one without a name; `day` is one of DAYS."""
        shifts = self.on(day)
        return Shift(day, "", shifts[0].since_ms, shifts[-1].until_ms)

    def begun(self, now_ms: int) -> Iterator[Shift]:
        """Yield the shifts that have begun, the newest first, without an end."""
        today = datetime.fromtimestamp(now_ms / 1000).date()
        for days in count():
            yield from (
                shift for shift in reversed(self.on(today - timedelta(days))) if shift.since_ms <= now_ms
            )

    def last(self, now_ms: int) -> Shift:
        """Return the last shift that is complete."""
        return next(shift for shift in self.begun(now_ms) if shift.until_ms <= now_ms)


def _begin_ms(day: date, start: time) -> int:
    """Return when the local clock first shows a time of day, or the next one that exists on that day."""
    wall = datetime.combine(day, start)
    begin = int(wall.timestamp())
    if datetime.fromtimestamp(begin) != wall:  # The clocks go forward over it; search when they do.
        seconds = range(int(wall.replace(fold=1).timestamp()), begin)
        begin = seconds[bisect_left(seconds, wall, key=datetime.fromtimestamp)]
    return begin * 1000
