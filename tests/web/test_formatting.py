"""Times on the page carry their zone, in every zone and on both nights when the clocks change."""

import time
from collections.abc import Iterator

import pytest

from linewatch.web.formatting import Formatter, visible
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
    assert shown.iso(moments[0]) == "2026-10-25T00:30:00.000+00:00"
    assert shown.stamp(round(1000 * time.time())).endswith((" CET", " CEST"))


def test_unprintable_characters_are_shown_by_name() -> None:
    """As scanners show them; nothing invisible reaches the page."""
    assert visible("A\x1d10\x1e\x04\r\n\x7f") == "A<GS>10<RS><EOT><CR><LF><DEL>"
    assert visible("Stück 5\u202e\x85") == "Stück 5<U+202E><U+0085>"
