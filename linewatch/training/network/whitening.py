"""Gaussian statistics of the residuals of good parts: the anomaly map is a Mahalanobis distance.

PaDiM (Defard et al. 2021) with autoencoder residuals in place of backbone features: a mean for each
position and a covariance for each small cell. As there are far fewer images than channels, each
cell's covariance is mixed with that of the cells around it, the more the fewer the images, then shrunk
towards the pooled one (a linear shrinkage as by Ledoit and Wolf 2004, with a fixed intensity), and
stored in low-rank form.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from linewatch.training.network.features import Features

CELL = 2  # Positions on a side that share one covariance: more samples, and hardly less local.
RANK = 32  # Eigenvectors kept per cell; the remaining eigenvalues are replaced by their mean.
SHRINKAGE = 0.3  # Weight of the pooled covariance in a cell's covariance, 0 to 1.
BORROWED_IMAGES = 50  # The mean covariance of a cell and those around it counts as much as so many images.
RIDGE = 0.3  # Added to the pooled variances: bounds the distance in directions that good parts never vary in.


@dataclass(frozen=True, slots=True)
class Whitening:
    """Means and covariances that turn a residual into an anomaly map; float32 throughout.

    A residual r at a position is whitened by the pooled covariance and centred,
    y = r @ matrix - mean[position]. Its squared Mahalanobis distance under its cell's covariance S,
    y' S^-1 y, is base_precision[cell] * |y|^2 - |y @ directions[cell]|^2 in low-rank form.
    """

    matrix: NDArray[np.float32]  # (channels, channels)
    mean: NDArray[np.float32]  # (rows, columns, channels)
    directions: NDArray[np.float32]  # (cell rows, cell columns, channels, rank)
    base_precision: NDArray[np.float32]  # (cell rows, cell columns)
    part_mask: NDArray[np.float32]  # (rows, columns): 1 where the part may be, 0 on the background.

    def maps(self, residuals: Features) -> NDArray[np.float32]:
        """Return the anomaly maps (n, rows, columns) of residuals (n, rows, columns, channels)."""
        y = _to_cells(residuals @ self.matrix - self.mean)
        z = y @ self.directions
        squared = (y * y).sum(-1) * self.base_precision[..., None] - (z * z).sum(-1)
        return _assemble_maps(squared, self.part_mask, residuals.shape[-1])


def fit_whitening(
    residuals: Features,
    part_mask: NDArray[np.float32],
    *,
    local: bool = True,
    rank: int = RANK,
    borrowed: int = BORROWED_IMAGES,
) -> tuple[Whitening, NDArray[np.float32]]:
    """Estimate the statistics from the residuals of good parts, and score those parts.

    `residuals` is (n, rows, columns, channels), `part_mask` (rows, columns). `borrowed` is how many
    images the mean covariance of a cell and those around it counts for. Also returns the leave-one-out
    anomaly maps (n, rows, columns): each image scored without its own contribution to the mean and the
    covariances. Cells outside the part are not fitted. `local=False` uses one mean and covariance for
    all positions; its maps are not left out.
    """
    count, channels = len(residuals), residuals.shape[-1]
    flat = residuals.reshape(-1, channels)
    covariance = np.cov(flat.T, dtype=np.float64) + RIDGE * np.eye(channels)
    spread, axes = np.linalg.eigh(covariance)
    matrix = ((axes / np.sqrt(spread)) @ axes.T).astype(np.float32)
    y = residuals @ matrix
    mean = y.mean(axis=0)
    if not local:
        mean = np.broadcast_to(mean.mean(axis=(0, 1)), mean.shape).copy()
    cells = _to_cells(y - mean)
    grid = cells.shape[:2]
    if not local:
        no_directions = np.zeros((*grid, channels, 0), np.float32)
        pooled = Whitening(matrix, mean, no_directions, np.ones(grid, np.float32), part_mask)
        return pooled, pooled.maps(residuals)
    directions = np.zeros((*grid, channels, rank), np.float32)
    base_precision = np.ones(grid, np.float32)
    left_out = np.zeros((*grid, cells.shape[2]), np.float32)
    scatter = np.empty((*grid, channels, channels), np.float32)
    # After whitening the pooled covariance is the identity.
    weight = (1 - SHRINKAGE) / (CELL * CELL * (count - 1))  # The mean took one degree of freedom.
    share = borrowed / (borrowed + count)

    def sum_products(cell: tuple[int, ...]) -> None:
        scatter[cell] = cells[cell].T @ cells[cell]

    def fit_cell(cell: tuple[int, ...]) -> None:
        samples, around = cells[cell], _around(cell)
        mixed = (1 - share) * scatter[cell] + share * scatter[around].mean(axis=(0, 1))
        spread, axes = np.linalg.eigh(weight * mixed + SHRINKAGE * np.eye(channels))
        base_precision[cell] = 1 / spread[: channels - rank].mean()
        gain = np.maximum(base_precision[cell] - 1 / spread[channels - rank :], 0)
        directions[cell] = axes[:, channels - rank :] * np.sqrt(gain)
        squared = (samples**2).sum(-1) * base_precision[cell] - ((samples @ directions[cell]) ** 2).sum(-1)
        white = (axes / np.sqrt(spread)).astype(np.float32)
        borrowed_from = cells[around].reshape(-1, *samples.shape)
        lent = weight * share / len(borrowed_from)
        counted = [(samples @ white, weight * (1 - share))]
        if share:
            counted += [(others @ white, lent) for others in borrowed_from]
        left_out[cell] = squared + _leave_one_out_increase(counted)

    fitted = [cell for cell in np.ndindex(*grid) if part_mask[_positions(cell)].any()]
    # Matrices are too small for BLAS threads, which would wait for each other most of the time.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(sum_products, np.ndindex(*grid)))
        list(pool.map(fit_cell, fitted))
    whitening = Whitening(matrix, mean, directions, base_precision, part_mask)
    # Without its own sample in the mean, an image lies n / (n - 1) times as far from it.
    left_out *= (count / (count - 1)) ** 2
    return whitening, _assemble_maps(left_out, part_mask, channels)


def identity_whitening(channels: int, part_mask: NDArray[np.float32]) -> Whitening:
    """Return statistics that leave residuals unchanged: the map is their root mean square over channels."""
    rows, columns = part_mask.shape
    grid = (rows // CELL, columns // CELL)
    return Whitening(
        matrix=np.eye(channels, dtype=np.float32),
        mean=np.zeros((rows, columns, channels), np.float32),
        directions=np.zeros((*grid, channels, 0), np.float32),
        base_precision=np.ones(grid, np.float32),
        part_mask=part_mask,
    )


def _around(cell: tuple[int, ...]) -> tuple[slice, ...]:
    """Return the index of a cell and those around it in an array (cell rows, cell columns, ...)."""
    return tuple(slice(max(0, i - 1), i + 2) for i in cell)


def _positions(cell: tuple[int, ...]) -> tuple[slice, ...]:
    """Return the index of a cell's positions in an array (rows, columns)."""
    return tuple(slice(i * CELL, (i + 1) * CELL) for i in cell)


def _leave_one_out_increase(counted: Sequence[tuple[NDArray[np.float32], float]]) -> NDArray[np.float32]:
    """Return by how much squared distances grow when each image is left out of the covariance.

    `counted` holds the samples (n * positions, channels) that contribute to the covariance, whitened by
    it, with their weights in it; the first are those whose distances are meant. Removing the few
    samples of one image is a low-rank downdate of the inverse (Woodbury identity), so it is exact.
    """
    of_image = [
        (samples.reshape(-1, CELL * CELL, samples.shape[-1]), np.float32(np.sqrt(weight)))
        for samples, weight in counted
    ]
    own = of_image[0][0]
    removed = np.concatenate([samples * root for samples, root in of_image], axis=1)
    cross = own @ removed.transpose(0, 2, 1)
    rest = np.eye(removed.shape[1], dtype=np.float32) - removed @ removed.transpose(0, 2, 1)
    update = np.linalg.solve(rest, cross.transpose(0, 2, 1))
    increase: NDArray[np.float32] = (cross * update.transpose(0, 2, 1)).sum(axis=2).reshape(-1)
    return increase


def _assemble_maps(
    squared: NDArray[np.float32], part_mask: NDArray[np.float32], channels: int
) -> NDArray[np.float32]:
    """Turn squared distances (cell rows, cell columns, n * CELL * CELL) into maps (n, rows, columns)."""
    down, across, samples = squared.shape
    squared = squared.reshape(down, across, samples // CELL**2, CELL, CELL).transpose(2, 0, 3, 1, 4)
    maps = np.sqrt(np.maximum(squared.reshape(-1, down * CELL, across * CELL), 0) / channels)
    blurred = [cv2.GaussianBlur(one, (3, 3), 0, borderType=cv2.BORDER_REPLICATE) for one in maps]
    masked: NDArray[np.float32] = np.stack(blurred).astype(np.float32) * part_mask
    return masked


def _to_cells(y: Features) -> NDArray[np.float32]:
    """Reshape (n, rows, columns, channels) to (cell rows, cell columns, n * CELL * CELL, channels)."""
    n, rows, columns, channels = y.shape
    cells = y.reshape(n, rows // CELL, CELL, columns // CELL, CELL, channels)
    return cells.transpose(1, 3, 0, 2, 4, 5).reshape(rows // CELL, columns // CELL, -1, channels)
