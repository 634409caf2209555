"""Shifts on the local clock, also on the days when it changes."""

import time as clock
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice
from pathlib import Path

import pytest

from linewatch.errors import ConfigError
from linewatch.reporting.calendar import Calendar, Shift
from linewatch.settings import load

HOUR_MS = 3_600_000
THREE = {"early": time(6), "late": time(14), "night": time(22)}


@pytest.fixture(autouse=True)
def _in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let local time be that of Berlin."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Europe/Berlin")
        clock.tzset()
        yield
    clock.tzset()


def ms(text: str) -> int:
    """Return UTC milliseconds of a time in UTC."""
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def hours(starts: Mapping[str, time], day: date) -> dict[str, float]:
    """Return how long each shift of a day lasts."""
    return {shift.name: (shift.until_ms - shift.since_ms) / HOUR_MS for shift in Calendar(starts).on(day)}


def test_a_shift_over_midnight_belongs_to_the_day_it_began() -> None:
    """The night of the 27th ends on the 28th."""
    night = Calendar(THREE).find(date(2026, 11, 27), "night")

    assert night == Shift(date(2026, 11, 27), "night", ms("2026-11-27 21:00"), ms("2026-11-28 05:00"))


def test_the_order_of_the_settings_does_not_matter() -> None:
    """The clock orders the shifts."""
    turned = dict(reversed(THREE.items()))

    assert Calendar(turned).on(date(2026, 11, 27)) == Calendar(THREE).on(date(2026, 11, 27))


def test_the_night_in_march_has_seven_hours() -> None:
    """On 2026-03-29 02:00 becomes 03:00."""
    assert hours(THREE, date(2026, 3, 28)) == {"early": 8, "late": 8, "night": 7}
    assert hours(THREE, date(2026, 3, 29)) == {"early": 8, "late": 8, "night": 8}


def test_the_night_in_october_has_nine_hours() -> None:
    """On 2026-10-25 03:00 becomes 02:00."""
    assert hours(THREE, date(2026, 10, 24)) == {"early": 8, "late": 8, "night": 9}
    assert hours(THREE, date(2026, 10, 25)) == {"early": 8, "late": 8, "night": 8}


@pytest.mark.parametrize(("month", "number"), [(3, 28), (3, 29), (10, 24), (10, 25)])
@pytest.mark.parametrize(
    "starts", [THREE, {"a": time(2, 30), "b": time(3)}, {"a": time(0), "b": time(2, 59)}]
)
def test_shifts_follow_each_other_without_a_gap(starts: Mapping[str, time], month: int, number: int) -> None:
    """Each begins when the one before ends, whatever the clocks do, and over the night too."""
    calendar, day = Calendar(starts), date(2026, month, number)
    shifts = [*calendar.on(day), *calendar.on(day + timedelta(1))]

    assert [shift.until_ms for shift in shifts[:-1]] == [shift.since_ms for shift in shifts[1:]]
    assert all(shift.since_ms < shift.until_ms for shift in shifts)


def test_a_start_that_does_not_exist_is_when_the_clocks_go_forward() -> None:
    """02:30 on 2026-03-29 is skipped; a shift that would end with the skipped hour is left out."""
    starts = {"short": time(2, 30), "long": time(3)}

    assert [(shift.name, shift.since_ms) for shift in Calendar(starts).on(date(2026, 3, 29))] == [
        ("long", ms("2026-03-29 01:00"))
    ]
    assert Calendar({"only": time(2, 30)}).on(date(2026, 3, 29))[0].since_ms == ms("2026-03-29 01:00")


def test_a_start_that_exists_twice_is_the_first() -> None:
    """02:30 on 2026-10-25 is in summer time."""
    assert Calendar({"only": time(2, 30)}).on(date(2026, 10, 25))[0].since_ms == ms("2026-10-25 00:30")


def test_without_settings_a_shift_is_a_day() -> None:
    """From midnight to midnight, of 23 hours in March."""
    assert hours({}, date(2026, 3, 29)) == {"day": 23}


def test_the_last_shift_is_complete_and_the_first_that_has_begun_is_not() -> None:
    """At 02:00 of the 28th the night of the 27th runs, and the late shift was the last complete one."""
    calendar, now_ms = Calendar(THREE), ms("2026-11-28 01:00")

    assert [(shift.day.day, shift.name) for shift in islice(calendar.begun(now_ms), 4)] == [
        (27, "night"), (27, "late"), (27, "early"), (26, "night"),
    ]  # fmt: skip
    assert calendar.last(now_ms).name == "late"
    assert calendar.last(ms("2026-11-28 05:00")).name == "night"


def test_a_day_is_all_its_shifts() -> None:
    """From the first start to the first of the next day."""
    whole = Calendar(THREE).whole(date(2026, 10, 24))

    assert (whole.name, whole.since_ms, whole.until_ms) == (
        "",
        ms("2026-10-24 04:00"),
        ms("2026-10-25 05:00"),
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            'early = "25:00"',
            "shifts.early: '25:00' is no time of day; write hours and minutes, such as \"06:00\"",
        ),
        ("early = 6", "shifts.early: '6' is no time of day"),
        ("early = 06:00:30", "shifts.early: '06:00:30' is no time of day"),
        (
            'early = "06:00"\nlate = "06:00"',
            "shifts: early and late both begin at 06:00; each shift lasts until",
        ),
        ('early = "06:00"\nEarly = "14:00"', "shifts: 'early' and 'Early' are one name"),
        ('last = "06:00"', "shifts: 'last' cannot name a shift"),
        ('"a/b" = "06:00"', "shifts: 'a/b' cannot name a shift"),
        (
            "\n".join(f'n{hour} = "{hour // 2:02}:{hour % 2 * 30:02}"' for hour in range(25)),
            "there are 25 shifts",
        ),
    ],
)
def test_a_mistake_in_the_settings_is_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    """It names the key, the reason and what to write."""
    file = tmp_path / "line.toml"
    file.write_text(f"[shifts]\n{text}\n")

    with pytest.raises(ConfigError) as refused:
        load(file)

    assert sentence in str(refused.value)


def test_names_and_times_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of any letters, times as text or as TOML has them, and from the environment."""
    file = tmp_path / "line.toml"
    file.write_text('[shifts]\n"früh schicht" = "06:00"\nlate = 14:00:00\n')
    monkeypatch.setenv("LINEWATCH_SHIFTS__NIGHT", "22:00")

    assert load(file).shifts.starts == {"früh schicht": time(6), "late": time(14), "night": time(22)}
