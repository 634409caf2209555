"""Format numbers, times and names for the templates, in the language of the page."""

import math
import time
from datetime import UTC, date, datetime

from jinja2 import Environment

from linewatch.domain import Reason, Result, State, Verdict
from linewatch.vision.image_io import SUFFIXES
from linewatch.web.texts import Languages

_C0 = (
    "NUL SOH STX ETX EOT ENQ ACK BEL BS TAB LF VT FF CR SO SI DLE DC1 DC2 DC3 DC4 NAK SYN ETB CAN EM SUB ESC"
)
CONTROLS = dict(enumerate([*_C0.split(), "FS", "GS", "RS", "US"])) | {0x7F: "DEL"}


class Formatter:
    """Provides the filters of the templates. Times are UTC milliseconds since 1970, shown in local time."""

    def __init__(self, languages: Languages) -> None:
        self._languages = languages
        self._t = languages.texts

    def register(self, templates: Environment) -> None:
        """Add the filters to some templates."""
        for name in (
            *("clock", "minute", "stamp", "moment", "day", "weekday", "iso", "ago", "hours", "days"),
            *("number", "percent", "decimal"),
            *("shift", "part", "tail", "key", "result_word", "reason_word", "state_word"),
        ):
            templates.filters[name] = getattr(self, name)
        templates.filters["visible"] = visible
        # No literal in the templates: Jinja would format it once, in the language of the first reader.
        templates.globals["score_limit"] = 1000
        templates.tests["scored"] = is_scored
        templates.tests["finite"] = math.isfinite

    def clock(self, ms: int) -> str:
        """Return the local time of day with its zone."""
        return f"{_local(ms):%H:%M:%S %Z}"

    def minute(self, ms: int) -> str:
        """Return the local time of day without seconds, with its zone."""
        return f"{_local(ms):%H:%M %Z}"

    def stamp(self, ms: int) -> str:
        """Return local date and time with their zone; for today only the time."""
        when = _local(ms)
        return f"{when:%H:%M:%S %Z}" if when.date() == _now().date() else self.moment(ms)

    def moment(self, ms: int) -> str:
        """Return local date and time with their zone, which tells the two 2:30 of a night in autumn apart."""
        return f"{self.day(ms)} {_local(ms):%H:%M:%S %Z}"

    def day(self, ms: int) -> str:
        """Return the local date."""
        return _local(ms).strftime(self._languages.current.date)

    def weekday(self, day: date) -> str:
        """Return the short name of a day of the week."""
        return self._t["shift_weekdays"].split()[day.weekday()]

    def shift(self, name: str) -> str:
        """Return the name of a shift; without settings that is the day."""
        return self._t["shift_day"] if name == "day" else name

    def hours(self, hours: float) -> str:
        """Return a number of hours, with a decimal place unless it is whole."""
        rounded = round(hours, 1)
        return self._t["shift_hours"].format(count=self.decimal(rounded, 0 if rounded == int(rounded) else 1))

    def iso(self, ms: int) -> str:
        """Return ISO 8601 in UTC, for `<time datetime>`."""
        return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")

    def ago(self, ms: int) -> str:
        """Return the time since then in seconds, minutes or hours."""
        seconds = max(0, int(_now().timestamp() - ms / 1000))
        if seconds < 120:
            return self._t["ago_s"].format(count=seconds)
        if seconds < 7200:
            return self._t["ago_min"].format(count=seconds // 60)
        return self._t["ago_h"].format(count=seconds // 3600)

    def number(self, value: int) -> str:
        """Return a whole number with thousands separators."""
        return f"{value:,}".replace(",", self._languages.current.thousands_sign)

    def decimal(self, value: float, places: int = 2) -> str:
        """Return a number with `places` decimal places."""
        return f"{value:.{places}f}".replace(".", self._languages.current.decimal_sign)

    def days(self, days: float) -> str:
        """Return a number of days, with one decimal place below ten unless it is whole."""
        return self.number(round(days)) if days >= 10 or days == round(days) else self.decimal(days, 1)

    def percent(self, rate: float, places: int = 1) -> str:
        """Return a rate from 0 to 1 as percent."""
        return self.decimal(100 * rate, places) + "\N{NARROW NO-BREAK SPACE}%"

    def part(self, verdict: Verdict) -> str:
        """Return the part's id, control characters as <GS>; without one, its sequence number."""
        return visible(verdict.part) or f"#{verdict.seq}"

    def tail(self, name: str, characters_max: int) -> str:
        """Shorten a name from its start, because parts of a series differ at the end.

        The suffix of an image file is dropped first.
        """
        if len(name) <= characters_max:
            return name
        stem, _, suffix = name.rpartition(".")
        short = stem if stem and f".{suffix}".lower() in SUFFIXES else name
        return short if len(short) <= characters_max else "…" + short[1 - characters_max :]

    def key(self, verdict: Verdict) -> str:
        """Return boot and sequence, as verdicts are named in addresses."""
        return f"{verdict.boot}-{verdict.seq}"

    def result_word(self, result: Result) -> str:
        """Return the name of a result."""
        return self._languages.current.results[result]

    def reason_word(self, reason: Reason) -> str:
        """Return the name of a reason."""
        return self._languages.current.reasons[reason]

    def state_word(self, state: State) -> str:
        """Return the name of a state."""
        return self._languages.current.states[state]


def is_scored(verdict: Verdict) -> bool:
    """Whether a score was computed: without one, 0 would look like a perfect part."""
    return verdict.threshold > 0 and verdict.raw != 0


def milliseconds_of(iso: str) -> int:
    """Return the UTC milliseconds since 1970 of a time in ISO 8601; 0 for what is no time."""
    try:
        return round(datetime.fromisoformat(iso).timestamp() * 1000)
    except ValueError:
        return 0


def visible(text: str) -> str:
    """Return a text with its unprintable characters by name, as scanners show them: <GS>, <U+200B>."""
    return "".join(c if c.isprintable() else f"<{CONTROLS.get(ord(c), f'U+{ord(c):04X}')}>" for c in text)


def midnight_ms(now_s: float | None = None) -> int:
    """Return the last local midnight before `now_s`, or now, as UTC milliseconds since 1970.

    On a day when the clocks change it has another offset from UTC than now.
    """
    now = datetime.fromtimestamp(time.time() if now_s is None else now_s)
    return int(now.replace(hour=0, minute=0, second=0, microsecond=0).timestamp() * 1000)


def clock_hour(ms: int) -> int:
    """Return the local hour, 0 to 23."""
    return _local(ms).hour


def _now() -> datetime:
    return datetime.now().astimezone()


def _local(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC).astimezone()
