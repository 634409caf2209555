"""The test of a promised rate: seldom wrong although read after every mark, and how soon it is right."""

from collections.abc import Iterator

import numpy as np
import pytest
from scipy.stats import binom

from linewatch.capability.promise import interval, log_ratio, strongest_start

RATE = 0.01
PERIOD = 2_000  # Parts.
RUNS = 300
PARTS = 30_000


def marks(rng: np.random.Generator, rate: float, parts: int) -> Iterator[int]:
    """Yield the number of parts so far at every part that is found."""
    at = int(rng.geometric(rate))
    while at <= parts:
        yield at
        at += int(rng.geometric(rate))


def first_alarm(found_at: list[int], rate: float = RATE) -> int:
    """Return at which mark the test, read after each, first finds the promise broken; 0 if it never does."""
    found: list[int] = []
    for number, at in enumerate(found_at, 1):
        periods = -(-at // PERIOD)
        found += [0] * (periods - len(found))
        found[-1] += 1
        parts = [PERIOD] * (periods - 1) + [at - PERIOD * (periods - 1)]
        if strongest_start(found, parts, rate).broken:
            return number
    return 0


def test_a_kept_promise_seldom_alarms_although_it_is_read_after_every_mark() -> None:
    """In at most 5 % of long runs; a test for one look, read as often, alarms in far more."""
    rng = np.random.default_rng(20261129)
    runs = [list(marks(rng, RATE, PARTS)) for _ in range(RUNS)]

    alarms = sum(first_alarm(run) > 0 for run in runs)
    single = sum(any(binom.sf(k - 1, at, RATE) < 0.05 for k, at in enumerate(run, 1)) for run in runs)

    assert alarms <= 0.05 * RUNS
    assert single > 0.2 * RUNS


def test_the_interval_contains_the_rate_at_every_moment_of_nearly_all_runs() -> None:
    """It is read at every mark, and just before, when it is highest."""
    rng = np.random.default_rng(7)
    wrong = 0
    for _ in range(RUNS):
        run = list(marks(rng, 0.02, 5_000))
        count, at = np.arange(1, len(run) + 1), np.array(run)
        too_high = log_ratio(count, at, 0.02).max() >= np.log(80)  # As `interval` excludes rates.
        too_low = log_ratio(count - 1, at - 1, 0.02, down=True).max() >= np.log(40)
        wrong += bool(too_high or too_low)

    assert wrong <= 0.05 * RUNS


@pytest.mark.parametrize(
    ("times", "median", "most"), [(1.5, 75, 140), (2.0, 30, 50), (3.0, 14, 22), (5.0, 8, 12), (10.0, 5, 7)]
)
def test_how_many_marks_find_a_broken_promise(times: float, median: int, most: int) -> None:
    """As the table in docs/capability.md says: in half of the runs, and in nine of ten."""
    rng = np.random.default_rng(3)
    needed = [first_alarm(list(marks(rng, times * RATE, 60_000))) for _ in range(60)]

    assert min(needed) > 0, "it is always found in the end"
    assert np.median(needed) <= median
    assert np.quantile(needed, 0.9) <= most


def test_a_rate_that_rises_after_a_long_good_time_is_found_nearly_as_soon() -> None:
    """Not only once it outweighs the good time, in which the mean stays far below the promise."""
    good = [10] * 100, [PERIOD] * 100  # A rate of 0.5 % in 200,000 parts.
    alarm = next(
        days
        for days in range(1, 30)
        if strongest_start([*good[0], *[60] * days], [*good[1], *[PERIOD] * days], RATE).broken
    )
    found = strongest_start([*good[0], *[60] * alarm], [*good[1], *[PERIOD] * alarm], RATE)

    assert alarm <= 2, "days of 60 marks, thrice the promise"
    assert found.start == 100, "and the day it began is named"
    assert interval(1000 + 60 * alarm, PERIOD * (100 + alarm)).high < RATE


def test_whoever_knows_less_alarms_less() -> None:
    """So parts that were not marked yet, and defects among the parts, never make an alarm."""
    assert interval(30, 1000).low > interval(29, 1000).low > interval(29, 1001).low
    assert interval(30, 1000, 40, 900).low == interval(30, 1000).low
    assert interval(30, 1000, 40, 900).high > interval(30, 1000).high
    logs = [strongest_start([30, count], [1000, 1000], 0.02).broken for count in (0, 20, 60)]
    assert logs == sorted(logs) and logs[0] != logs[-1]


def test_limits_of_nothing_and_of_everything() -> None:
    """No part says nothing; where all are found or none, the limits are still rates."""
    assert interval(0, 0) == interval(0, 0, 0, 0)
    assert (interval(0, 0).low, interval(0, 0).high) == (0.0, 1.0)
    assert interval(0, 300).low == 0.0 and 0.01 < interval(0, 300).high < 0.02
    assert 0.9 < interval(300, 300).low < interval(300, 300).high == 1.0
    assert not strongest_start([], [], RATE).broken


def test_the_interval_excludes_a_promise_only_with_an_alarm() -> None:
    """Else the page would show a rate above the promise and no alarm."""
    for known in range(1, 80):
        if interval(known, 2000).low > RATE:
            assert strongest_start([known], [2000], RATE).broken
            return
    pytest.fail("no number excludes the promise")
