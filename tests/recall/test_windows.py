"""The time in which similar parts cluster, and none where there is none."""

import numpy as np
import pytest

from linewatch.recall.windows import COUNTS, P_MAX, find_clusters

TOTAL = 1_000_000


def ranking(rng: np.random.Generator, count: int = 1000) -> list[int]:
    """Return parts that are similar by chance."""
    return [int(place) for place in rng.choice(TOTAL, count, replace=False)]


@pytest.mark.parametrize("by_chance", [0, 3, 40, 160])
def test_forty_parts_of_two_hours_are_named(by_chance: int) -> None:
    """40 of 72,000 parts are found at 10 a second among a million, also behind others by chance."""
    rng = np.random.default_rng(by_chance)
    planted = [600_000 + int(place) for place in rng.choice(72_000, 40, replace=False)]

    (found,) = find_clusters([*ranking(rng, by_chance), *planted, *ranking(rng)], TOTAL, tries=3)

    assert set(planted) <= set(range(found.first - 10_000, found.last + 10_000))
    assert found.first >= 600_000 - 10_000 and found.last <= 672_000 + 10_000
    assert len(found.similar) >= 38
    assert found.p < P_MAX


def test_chance_is_not_named() -> None:
    """Among 60 random rankings none has a window: the bound holds over all windows and counts together."""
    rng = np.random.default_rng(7)

    assert [find_clusters(ranking(rng), TOTAL, tries=3) for _ in range(60)] == [[]] * 60


def test_a_defect_that_came_twice_has_two_windows() -> None:
    """The parts and the time of the first window do not count for the second."""
    rng = np.random.default_rng(3)
    first = [100_000 + int(place) for place in rng.choice(20_000, 40, replace=False)]
    second = [700_000 + int(place) for place in rng.choice(20_000, 30, replace=False)]

    found = find_clusters([*first, *second, *ranking(rng)], TOTAL)

    windows = sorted((cluster.first, cluster.last) for cluster in found)
    assert windows == [(min(first), max(first)), (min(second), max(second))]


def test_a_large_window_leaves_no_other_behind() -> None:
    """After a window of a third of the time the rest is no cluster for being what is left."""
    rng = np.random.default_rng(5)
    dense = [300_000 + int(place) for place in rng.choice(300_000, 400, replace=False)]

    assert len(find_clusters([*dense, *ranking(rng, 600)], TOTAL)) == 1


@pytest.mark.parametrize("total", [0, 1, 3, 5, 6])
def test_too_few_parts_have_no_window(total: int) -> None:
    """Nothing is claimed of a handful, and nothing fails."""
    assert find_clusters(list(range(total)), total) == []


def test_counts_are_in_order() -> None:
    """The last is how many parts a scan has to keep."""
    assert tuple(sorted(COUNTS)) == COUNTS
