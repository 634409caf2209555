"""Residual statistics: exact where they claim to be, and blind where no part is."""

import numpy as np
import pytest
from numpy.typing import NDArray

from linewatch.training.network import whitening as under_test
from linewatch.training.network.whitening import CELL, learn_whitening, no_whitening

COUNT, ROWS, COLUMNS, CHANNELS = 14, 4, 6, 10


@pytest.fixture
def residuals(monkeypatch: pytest.MonkeyPatch) -> NDArray[np.float32]:
    """Return residuals that hang together over channels; rank is cut to fit them."""
    monkeypatch.setattr(under_test, "RANK", CHANNELS - 1)  # One left over: the low-rank form is exact.
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(CHANNELS, CHANNELS))
    return (rng.normal(size=(COUNT, ROWS, COLUMNS, CHANNELS)) @ mixing).astype(np.float32)


PART = np.ones((ROWS, COLUMNS), np.float32)


def _squared(
    residuals: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch, part: int
) -> NDArray[np.float64]:
    """Return the left-out squared distances of one picture by leaving it out in earnest."""
    flat = residuals.reshape(-1, CHANNELS)
    covariance = np.cov(flat.T) + under_test.RIDGE * np.eye(CHANNELS)
    spread, axes = np.linalg.eigh(covariance)
    y = residuals @ ((axes / np.sqrt(spread)) @ axes.T)
    d = y - y.mean(axis=0)  # The mean's share is corrected by a factor, not left out.
    share = under_test.SHARE
    weight = (1 - share) / (CELL * CELL * (COUNT - 1))
    found = np.empty((ROWS, COLUMNS))
    for row, column in np.ndindex(ROWS // CELL, COLUMNS // CELL):
        place = np.s_[:, row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL]
        cell = d[place].reshape(COUNT, -1, CHANNELS)
        others = np.delete(cell, part, axis=0).reshape(-1, CHANNELS)
        inverse = np.linalg.inv(weight * others.T @ others + share * np.eye(CHANNELS))
        squared = np.einsum("pc,cd,pd->p", cell[part], inverse, cell[part])
        found[place[1:]] = squared.reshape(CELL, CELL)
    return found * (COUNT / (COUNT - 1)) ** 2


def test_leaving_a_picture_out_is_exact(
    residuals: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The quick update gives what estimating without the picture gives."""
    monkeypatch.setattr("cv2.GaussianBlur", lambda one, *_, **__: one)

    _, maps = learn_whitening(residuals, PART)

    for part in (0, 7):
        wanted = np.sqrt(_squared(residuals, monkeypatch, part) / CHANNELS)
        assert maps[part] == pytest.approx(wanted, rel=2e-3)


def test_a_picture_left_out_scores_higher_than_one_learnt(residuals: NDArray[np.float32]) -> None:
    """That is why thresholds come from the former."""
    statistics, left_out = learn_whitening(residuals, PART)

    assert (left_out.max(axis=(1, 2)) > statistics.maps(residuals).max(axis=(1, 2))).all()


def test_only_the_part_counts(residuals: NDArray[np.float32]) -> None:
    """Where the part never is the map is zero, whatever lies there."""
    part = PART.copy()
    part[:, 3:] = 0

    statistics, left_out = learn_whitening(residuals, part)

    assert not left_out[:, :, 3:].any()
    assert not statistics.maps(residuals * 100)[:, :, 3:].any()


@pytest.mark.parametrize("local", [True, False])
def test_what_is_unusual_stands_out(residuals: NDArray[np.float32], local: bool) -> None:
    """A strange residual at one place is the highest of its map."""
    statistics, _ = learn_whitening(residuals, PART, local=local)
    strange = residuals[:1].copy()
    strange[0, 2, 3] += 30

    strange_map = statistics.maps(strange)[0]

    assert np.unravel_index(strange_map.argmax(), strange_map.shape) == (2, 3)


def test_without_statistics_the_map_is_the_root_mean_square(residuals: NDArray[np.float32]) -> None:
    """The plain idea, kept to compare with."""
    flat = np.ones_like(residuals) * 3

    assert no_whitening(CHANNELS, PART).maps(flat) == pytest.approx(3)
