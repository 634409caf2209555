"""Times on the page carry their zone, in every zone and on both nights when the clocks change."""

import time
from collections.abc import Iterator

import pytest

from linewatch.web.formatting import Formatter, midnight_ms, visible
from linewatch.web.texts import Languages

AUTUMN_S = 1_792_890_000  # 2026-10-25 01:00:00 UTC: in Berlin the clocks go back from 3:00 to 2:00.


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set the machine's zone."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("berlin")
def test_the_hour_that_comes_twice_is_told_apart() -> None:
    """At 2:30 in summer time and again in winter time."""
    shown = Formatter(Languages("en"))
    moments = [1000 * (AUTUMN_S + offset_s) for offset_s in (-1800, 1800)]

    assert [shown.moment(ms) for ms in moments] == ["2026-10-25 02:30:00 CEST", "2026-10-25 02:30:00 CET"]
    assert shown.stamp(moments[0]) == "2026-10-25 02:30:00 CEST"
    assert shown.clock(moments[0]) == "02:30:00 CEST"
    assert shown.iso(moments[0]) == "2026-10-25T00:30:00.000+00:00"
    assert shown.stamp(round(1000 * time.time())).endswith((" CET", " CEST"))


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize(
    ("now_s", "midnight_s"),
    [
        (AUTUMN_S + 12 * 3600, AUTUMN_S - 3 * 3600),  # 14:00 CET on a day of 25 hours: 0:00 was CEST.
        (1_774_785_600, 1_774_738_800),  # 2026-03-29 14:00 CEST on a day of 23 hours: 0:00 was CET.
        (1_835_438_400, 1_835_391_600),  # 2028-02-29 13:00 CET.
    ],
)
def test_today_begins_at_midnight_also_when_the_clocks_change(now_s: int, midnight_s: int) -> None:
    """The figures of today neither miss the first hour nor have one of yesterday."""
    assert midnight_ms(now_s) == 1000 * midnight_s


def test_unprintable_characters_are_shown_by_name() -> None:
    """As scanners show them; nothing invisible reaches the page."""
    assert visible("A\x1d10\x1e\x04\r\n\x7f") == "A<GS>10<RS><EOT><CR><LF><DEL>"
    assert visible("Stück 5\u202e\x85") == "Stück 5<U+202E><U+0085>"
