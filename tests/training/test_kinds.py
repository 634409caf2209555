"""Whether good parts are of two kinds, from their embeddings."""

import numpy as np
from numpy.typing import NDArray

from linewatch.training.reports.kinds import describe_kinds, find_rarer_kind
from linewatch.training.reports.training import training_report
from tests.training.test_training_report import CALIBRATION, FACTS, gallery_image


def embeddings(rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    """Return embeddings (count, 176) of one kind, whose channels vary together as real ones do."""
    causes = rng.standard_normal((count, 6)) * [3, 2, 1.5, 1, 1, 1]
    return (0.1 * (causes @ rng.standard_normal((6, 176)) + rng.standard_normal((count, 176)))).astype(
        np.float32
    )


def test_one_kind_is_never_taken_for_two() -> None:
    """No sample of one kind is divided, whether few or many, even or skewed."""
    rng = np.random.default_rng(0)
    for count in (8, 30, 31, 75, 300):
        for _ in range(40):
            even = embeddings(rng, count)
            assert find_rarer_kind(even) is None
            assert find_rarer_kind(np.exp(even)) is None


def test_two_kinds_are_found_and_the_rarer_is_marked() -> None:
    """Those that differ clearly are marked, with a share of a tenth as with a half."""
    rng = np.random.default_rng(0)
    for count, few in ((75, 27), (250, 26), (30, 5), (40, 20)):
        every = embeddings(rng, count)
        every[:few] += 4 * rng.standard_normal(176)
        rarer = find_rarer_kind(every)
        assert (rarer is not None and (rarer == (np.arange(count) < few)).all()) or few * 2 == count


def test_single_unusual_images_are_no_kind() -> None:
    """Two outliers among forty images divide nothing."""
    every = embeddings(np.random.default_rng(0), 40)
    every[:2] += 4

    assert find_rarer_kind(every) is None


def test_the_report_shows_both_kinds_with_what_to_do() -> None:
    """A gallery shows each kind and a sentence says how to go on; with one kind there is neither."""
    images = [gallery_image(f"{number}.png", 1.0 + number / 100) for number in range(6)]
    rarer = np.array([False, False, False, False, True, True])

    two = training_report("cup", CALIBRATION, FACTS | {"kinds": [4, 2]}, images, rarer=rarer)
    one = training_report("cup", CALIBRATION, FACTS, images)

    assert "4 of one, 2 of the other" in two and "make each a product of its own" in two
    rare = two.split("the rarer</h2>")[1]
    assert "4.png" in rare and "5.png" in rare and "3.png" not in rare
    assert "kind" not in one and describe_kinds(FACTS) == ""
