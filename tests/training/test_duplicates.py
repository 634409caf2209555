"""Near-duplicates among training images, and the folds they share."""

import numpy as np

from linewatch.acquisition.sources.simulator.source import render
from linewatch.training.duplicates import group_duplicates
from linewatch.training.network.model import assign_folds


def test_copies_and_noise_are_one_image_and_parts_are_not() -> None:
    """A copy with sensor noise joins its original; another part does not."""
    first, second = (render(5, number, None, 128) for number in (1, 2))
    noise = np.random.default_rng(0).normal(0, 1.5, first.shape)
    noisy = np.clip(first + noise, 0, 255).round().astype(np.uint8)

    assert group_duplicates([first, second, noisy, first]).tolist() == [0, 1, 0, 0]


def test_duplicates_share_a_fold() -> None:
    """Each group lies in one fold, and folds are of nearly equal size."""
    groups = np.repeat(np.arange(80), 3)

    fold = assign_folds(groups)

    assert all(len(set(fold[groups == group])) == 1 for group in range(80))
    assert set(np.bincount(fold)) == {60}


def test_successive_images_share_a_fold() -> None:
    """Folds are runs of successive images, so that drift in time is held out with its neighbours."""
    fold = assign_folds(np.arange(160))

    assert np.count_nonzero(np.diff(fold)) == 15
    assert set(fold) == {0, 1, 2, 3}


def test_few_images_have_more_folds() -> None:
    """Few images are not halved further: each model is trained on seven eighths of them."""
    assert set(assign_folds(np.arange(30))) == set(range(8))
