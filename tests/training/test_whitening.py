"""Statistics of the residuals: leave-one-out maps are exact, and masked positions are zero."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from linewatch.training.network.whitening import (
    CELL,
    RIDGE,
    SHRINKAGE,
    fit_whitening,
    identity_whitening,
)

COUNT, ROWS, COLUMNS, CHANNELS = 14, 4, 6, 10
RANK = CHANNELS - 1  # One eigenvalue remains, so the low-rank form is exact.
PART_MASK = np.ones((ROWS, COLUMNS), np.float32)


@pytest.fixture
def residuals() -> NDArray[np.float32]:
    """Return residuals with correlated channels."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(CHANNELS, CHANNELS))
    return (rng.normal(size=(COUNT, ROWS, COLUMNS, CHANNELS)) @ mixing).astype(np.float32)


def _left_out_distances(residuals: NDArray[np.float32], image: int, borrowed: int) -> NDArray[np.float64]:
    """Return the squared distances of one image by estimating its cells' covariances without it."""
    flat = residuals.reshape(-1, CHANNELS)
    covariance = np.cov(flat.T) + RIDGE * np.eye(CHANNELS)
    spread, axes = np.linalg.eigh(covariance)
    y = residuals @ ((axes / np.sqrt(spread)) @ axes.T)
    d = y - y.mean(axis=0)  # The mean's contribution is corrected by a factor, not left out.
    weight = (1 - SHRINKAGE) / (CELL * CELL * (COUNT - 1))
    share = borrowed / (borrowed + COUNT)
    blocks = d.reshape(COUNT, ROWS // CELL, CELL, COLUMNS // CELL, CELL, CHANNELS)
    others = np.delete(blocks, image, axis=0)
    scatter = np.einsum("niajbc,niajbd->ijcd", others, others)
    squared = np.empty((ROWS, COLUMNS))
    for row, column in np.ndindex(ROWS // CELL, COLUMNS // CELL):
        around = scatter[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2].mean(axis=(0, 1))
        mixed = (1 - share) * scatter[row, column] + share * around
        inverse = np.linalg.inv(weight * mixed + SHRINKAGE * np.eye(CHANNELS))
        place = np.s_[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL]
        own = d[image][place].reshape(-1, CHANNELS)
        squared[place] = np.einsum("pc,cd,pd->p", own, inverse, own).reshape(CELL, CELL)
    return squared * (COUNT / (COUNT - 1)) ** 2


@pytest.mark.parametrize("borrowed", [0, 50])
def test_leaving_an_image_out_is_exact(residuals: NDArray[np.float32], borrowed: int) -> None:
    """The low-rank downdate equals an estimate without the image, with and without neighbouring cells."""
    _, maps = fit_whitening(residuals, PART_MASK, rank=RANK, borrowed=borrowed)

    for image in (0, 7):
        distances = np.sqrt(_left_out_distances(residuals, image, borrowed) / CHANNELS)
        expected = cv2.GaussianBlur(distances, (3, 3), 0, borderType=cv2.BORDER_REPLICATE)
        assert maps[image] == pytest.approx(expected, rel=2e-3)


def test_few_images_borrow_the_covariance_of_neighbouring_cells(residuals: NDArray[np.float32]) -> None:
    """What varies in the next cell counts as normal with few images, and hardly with many."""
    wild = residuals.copy()
    wild[:, :, CELL : 2 * CELL] *= 10  # Beside the first column of cells.
    strange = wild[:1].copy()
    strange[0, 0, 0] += 30

    def peak(copies: int) -> float:
        whitening, _ = fit_whitening(np.tile(wild, (copies, 1, 1, 1)), PART_MASK, rank=RANK)
        alone, _ = fit_whitening(np.tile(wild, (copies, 1, 1, 1)), PART_MASK, rank=RANK, borrowed=0)
        return float(whitening.maps(strange)[0, 0, 0] / alone.maps(strange)[0, 0, 0])

    assert peak(1) < 0.75
    assert peak(40) > 0.9


def test_leave_one_out_scores_exceed_training_scores(residuals: NDArray[np.float32]) -> None:
    """Leave-one-out scores exceed the scores of the training images."""
    whitening, left_out = fit_whitening(residuals, PART_MASK, rank=RANK)

    assert (left_out.max(axis=(1, 2)) > whitening.maps(residuals).max(axis=(1, 2))).all()


def test_the_map_is_masked_to_the_part(residuals: NDArray[np.float32]) -> None:
    """The map is zero outside the part mask, whatever the residual."""
    part_mask = PART_MASK.copy()
    part_mask[:, 3:] = 0

    whitening, left_out = fit_whitening(residuals, part_mask, rank=RANK)

    assert not left_out[:, :, 3:].any()
    assert not whitening.maps(residuals * 100)[:, :, 3:].any()


@pytest.mark.parametrize("local", [True, False])
def test_a_large_residual_is_the_maximum(residuals: NDArray[np.float32], local: bool) -> None:
    """A large residual at one position is the maximum of its map."""
    whitening, _ = fit_whitening(residuals, PART_MASK, local=local, rank=RANK)
    strange = residuals[:1].copy()
    strange[0, 2, 3] += 30

    strange_map = whitening.maps(strange)[0]

    assert np.unravel_index(strange_map.argmax(), strange_map.shape) == (2, 3)


def test_with_identity_whitening_the_map_is_the_root_mean_square(residuals: NDArray[np.float32]) -> None:
    """Identity whitening gives the root mean square over channels, as a baseline."""
    flat = np.ones_like(residuals) * 3

    assert identity_whitening(CHANNELS, PART_MASK).maps(flat) == pytest.approx(3)
