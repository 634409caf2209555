"""Folds of the images to learn from."""

import numpy as np

from linewatch.training.network.model import assign_folds


def test_a_run_is_never_in_two_folds() -> None:
    """Runs are dealt in turn, near-duplicates stay together, and few or uneven runs are not relied on."""
    runs = np.repeat(np.arange(6), 20)
    fold = assign_folds(np.arange(120), runs)
    copied = assign_folds(np.repeat(np.arange(60), 2), np.tile([0, 1, 2, 3, 4, 5], 20))
    uneven = np.concatenate([np.zeros(100, np.int_), [1] * 7, [2] * 7, [3] * 6])

    assert fold.tolist() == (runs % 4).tolist()
    assert (copied[::2] == copied[1::2]).all()
    assert (assign_folds(np.arange(120), runs // 2) == assign_folds(np.arange(120))).all()
    assert (assign_folds(np.arange(120), uneven) == assign_folds(np.arange(120))).all()
