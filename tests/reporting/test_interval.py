"""The interval of a rate of parts that come in runs."""

import numpy as np
import pytest
from scipy.stats import binomtest, t

from linewatch.reporting.interval import _student_t, rate_interval

SHIFTS = 300
PARTS, BLOCKS, RATE = 4000, 16, 0.02


def shift(chance: np.random.Generator, run: int) -> list[tuple[int, int]]:
    """Return the blocks of a shift whose defects come in runs of so many parts on average."""
    leave = 1 / run
    enter = leave * RATE / (1 - RATE)
    draws = chance.random(PARTS)
    defect, defects = chance.random() < RATE, np.empty(PARTS, bool)
    for part, draw in enumerate(draws):
        defect = draw >= leave if defect else draw < enter
        defects[part] = defect
    return [(int(block.sum()), len(block)) for block in np.array_split(defects, BLOCKS)]


def covered(run: int) -> tuple[float, float]:
    """Return how often the interval, and that of independent parts, holds the true rate."""
    chance = np.random.default_rng(7)
    hits = naive = 0
    for _ in range(SHIFTS):
        blocks = shift(chance, run)
        found = rate_interval(blocks)
        hits += found.low <= RATE <= found.high
        alone = binomtest(sum(counted for counted, _ in blocks), PARTS).proportion_ci(method="wilson")
        naive += alone.low <= RATE <= alone.high
    return hits / SHIFTS, naive / SHIFTS


def test_it_holds_the_truth_for_independent_parts() -> None:
    """At least about as often as it says."""
    held, _ = covered(1)

    assert held >= 0.93


def test_it_holds_the_truth_for_parts_in_runs() -> None:
    """Defects come five in a row: an interval for independent parts is wrong every second time."""
    held, naive = covered(5)

    assert held >= 0.91
    assert naive < 0.6


def test_without_runs_it_is_that_of_wilson() -> None:
    """With few blocks, or no defect, the parts count as independent, which is said."""
    found = rate_interval([(3, 100), (0, 100)])
    wilson = binomtest(3, 200).proportion_ci(method="wilson")

    assert (found.low, found.high) == pytest.approx((wilson.low, wilson.high))
    assert (found.value, found.effective, found.from_blocks) == (0.015, 200, False)

    none = rate_interval([(0, 50)] * 20)
    assert none.high == pytest.approx(1.96**2 / (1000 + 1.96**2), rel=1e-3)
    assert none.low == 0.0 and not none.from_blocks


def test_nothing_judged_says_nothing() -> None:
    """The rate may be anything."""
    found = rate_interval([(0, 0)] * 16)

    assert (found.low, found.high, found.effective) == (0.0, 1.0, 0)


def test_by_hand() -> None:
    """Eight blocks of 100, one with 8 defects: rate 0.01, variance between blocks 8 times that of chance."""
    found = rate_interval([(8, 100)] + [(0, 100)] * 7)

    # Sum of (counted - 1)^2 = 49 + 7 = 56; times 8/7 is 64; over 800 parts 0.08; over 0.01 * 0.99 is 8.08.
    assert found.effective == round(800 / (0.08 / 0.0099))
    assert found.from_blocks


@pytest.mark.parametrize("degrees", [7, 15, 31])
def test_student_s_quantile(degrees: int) -> None:
    """The series is exact enough where it is used."""
    assert _student_t(degrees) == pytest.approx(t.ppf(0.975, degrees), abs=1e-3)
