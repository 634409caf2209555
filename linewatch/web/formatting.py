"""Numbers and times as people read them; the language decides the signs."""

from datetime import UTC, datetime

from flask import Flask

from linewatch.domain import Reason, Result, State, Verdict
from linewatch.vision.image_io import SUFFIXES
from linewatch.web.texts import Language


class Formatter:
    """The filters of the templates."""

    def __init__(self, language: Language) -> None:
        self._language = language
        self._t = language.texts

    def register(self, app: Flask) -> None:
        """Make every filter known to the app's templates."""
        for name in (
            *("clock", "stamp", "moment", "day", "iso", "ago", "number", "percent", "decimal"),
            *("part", "tail", "key", "result_word", "reason_word", "state_word"),
        ):
            app.jinja_env.filters[name] = getattr(self, name)
        app.jinja_env.tests["scored"] = is_scored

    def clock(self, ms: int) -> str:
        """Return the local time of the day."""
        return f"{_local(ms):%H:%M:%S}"

    def stamp(self, ms: int) -> str:
        """Return local date and time; only the time if it was today."""
        when = _local(ms)
        return f"{when:%H:%M:%S}" if when.date() == _now().date() else self.moment(ms)

    def moment(self, ms: int) -> str:
        """Return local date and time."""
        return f"{_local(ms):%Y-%m-%d %H:%M:%S}"

    def day(self, ms: int) -> str:
        """Return the local date."""
        return f"{_local(ms):%Y-%m-%d}"

    def iso(self, ms: int) -> str:
        """Return the time for machines."""
        return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")

    def ago(self, ms: int) -> str:
        """Return how long ago it was, in the largest fitting unit."""
        seconds = max(0, int(_now().timestamp() - ms / 1000))
        if seconds < 120:
            return self._t["ago_s"].format(count=seconds)
        if seconds < 7200:
            return self._t["ago_min"].format(count=seconds // 60)
        return self._t["ago_h"].format(count=seconds // 3600)

    def number(self, value: int) -> str:
        """Return a whole number with its thousands apart."""
        return f"{value:,}".replace(",", self._t["thousands_sign"])

    def decimal(self, value: float, places: int = 2) -> str:
        """Return a number with `places` decimals."""
        return f"{value:.{places}f}".replace(".", self._t["decimal_sign"])

    def percent(self, rate: float, places: int = 1) -> str:
        """Return a rate from 0 to 1 as percent."""
        return self.decimal(100 * rate, places) + "\N{NARROW NO-BREAK SPACE}%"

    def part(self, verdict: Verdict) -> str:
        """Return what people call a part: its own id, else its sequence number."""
        return verdict.part or f"#{verdict.seq}"

    def tail(self, name: str, characters_max: int) -> str:
        """Return the end of a name that is too long for its place: the end tells parts apart.

        The kind of a picture file does not, so it goes first.
        """
        if len(name) <= characters_max:
            return name
        stem, _, kind = name.rpartition(".")
        short = stem if stem and f".{kind}".lower() in SUFFIXES else name
        return short if len(short) <= characters_max else "…" + short[1 - characters_max :]

    def key(self, verdict: Verdict) -> str:
        """Return what names a verdict in addresses: boot and sequence."""
        return f"{verdict.boot}-{verdict.seq}"

    def result_word(self, result: Result) -> str:
        """Return the word for a result."""
        return self._language.results[result]

    def reason_word(self, reason: Reason) -> str:
        """Return the words for a reason."""
        return self._language.reasons[reason]

    def state_word(self, state: State) -> str:
        """Return the words for a state."""
        return self._language.states[state]


def is_scored(verdict: Verdict) -> bool:
    """Whether there is a score to show: an unreadable or unplaced part has none, not a perfect one."""
    return verdict.threshold > 0 and verdict.raw != 0


def midnight_ms() -> int:
    """Return when this day began here, UTC milliseconds since 1970."""
    return int(_now().replace(hour=0, minute=0, second=0, microsecond=0).timestamp() * 1000)


def clock_hour(ms: int) -> int:
    """Return the local hour of the clock, 0 to 23."""
    return _local(ms).hour


def _now() -> datetime:
    return datetime.now().astimezone()


def _local(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC).astimezone()
