"""How residuals of good parts spread, over the whole part and at each place: what is usual where."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from linewatch.training.network.features import Features

CELL = 2  # Positions on a side that share one covariance: more samples, and hardly less local.
RANK = 32  # Directions kept per cell; the rest are replaced by their mean.
SHARE = 0.3  # How far a cell's covariance is drawn towards that of the whole part.
RIDGE = 0.3  # Variance that every direction has at least: what good parts never do is not infinitely odd.


@dataclass(frozen=True, slots=True)
class Whitening:
    """What turns a residual into an anomaly map; float32 throughout.

    A residual r at a position becomes y = r @ whitening - mean[position]. Its squared distance is
    rest[cell] * |y|^2 - |y @ directions[cell]|^2, a low-rank form of y' S^-1 y.
    """

    whitening: NDArray[np.float32]  # (channels, channels)
    mean: NDArray[np.float32]  # (rows, columns, channels)
    directions: NDArray[np.float32]  # (cell rows, cell columns, channels, rank)
    rest: NDArray[np.float32]  # (cell rows, cell columns)
    part: NDArray[np.float32]  # (rows, columns): 1 where the part may be, 0 where only its support is.

    def maps(self, residuals: Features) -> NDArray[np.float32]:
        """Return the anomaly maps (n, rows, columns) of residuals (n, rows, columns, channels)."""
        y = _to_cells(residuals @ self.whitening - self.mean)
        z = y @ self.directions
        squared = (y * y).sum(-1) * self.rest[..., None] - (z * z).sum(-1)
        return _finished(squared, self.part, residuals.shape[-1])


def learn_whitening(
    residuals: Features, part: NDArray[np.float32], *, local: bool = True
) -> tuple[Whitening, NDArray[np.float32]]:
    """Learn from the residuals (n, rows, columns, channels) of good parts, and score those parts.

    Also returns their anomaly maps (n, rows, columns), each as if its picture had been left out of
    the statistics. `local=False` keeps to one covariance for all places.
    """
    count, channels = len(residuals), residuals.shape[-1]
    flat = residuals.reshape(-1, channels)
    covariance = np.cov(flat.T, dtype=np.float64) + RIDGE * np.eye(channels)
    spread, axes = np.linalg.eigh(covariance)
    whitening = ((axes / np.sqrt(spread)) @ axes.T).astype(np.float32)
    y = residuals @ whitening
    mean = y.mean(axis=0)
    if not local:
        mean = np.broadcast_to(mean.mean(axis=(0, 1)), mean.shape).copy()
    cells = _to_cells(y - mean)
    grid = cells.shape[:2]
    if not local:
        plain = Whitening(
            whitening, mean, np.zeros((*grid, channels, 0), np.float32), np.ones(grid, np.float32), part
        )
        return plain, plain.maps(residuals)
    directions = np.empty((*grid, channels, RANK), np.float32)
    rest = np.empty(grid, np.float32)
    left_out = np.empty((*grid, cells.shape[2]), np.float32)
    # The whole part's covariance is the identity, by whitening.
    weight = (1 - SHARE) / (CELL * CELL * (count - 1))  # The mean took one sample of each place.
    for cell in np.ndindex(*grid):
        shrunk = weight * (cells[cell].T @ cells[cell]) + SHARE * np.eye(channels)
        spread, axes = np.linalg.eigh(shrunk)
        rest[cell] = 1 / spread[: channels - RANK].mean()
        gain = np.maximum(rest[cell] - 1 / spread[channels - RANK :], 0)
        directions[cell] = axes[:, channels - RANK :] * np.sqrt(gain)
        kept = (cells[cell] ** 2).sum(-1) * rest[cell] - ((cells[cell] @ directions[cell]) ** 2).sum(-1)
        left_out[cell] = kept + _share(cells[cell] @ (axes / np.sqrt(spread)), weight)
    statistics = Whitening(whitening, mean, directions, rest, part)
    # The picture's own share in the mean had drawn the mean towards it.
    left_out *= (count / (count - 1)) ** 2
    return statistics, _finished(left_out, part, channels)


def no_whitening(channels: int, part: NDArray[np.float32]) -> Whitening:
    """Return what leaves the residual as it is: the map is its root mean square."""
    rows, columns = part.shape
    grid = (rows // CELL, columns // CELL)
    return Whitening(
        whitening=np.eye(channels, dtype=np.float32),
        mean=np.zeros((rows, columns, channels), np.float32),
        directions=np.zeros((*grid, channels, 0), np.float32),
        rest=np.ones(grid, np.float32),
        part=part,
    )


def _share(white: NDArray[np.float32], weight: float) -> NDArray[np.float32]:
    """Return by how much squared distances grow when each picture is left out of the covariance.

    `white` holds the samples (n * places, channels) whitened by the full covariance. Taking one
    picture's few samples out of it is a small update of its inverse (Woodbury), so it is exact.
    """
    places = CELL * CELL
    own = white.reshape(-1, places, white.shape[-1])
    gram = own @ own.transpose(0, 2, 1)
    update = gram @ np.linalg.solve(np.eye(places) / weight - gram, gram)
    grown: NDArray[np.float32] = np.diagonal(update, axis1=1, axis2=2).reshape(-1)
    return grown


def _finished(squared: NDArray[np.float32], part: NDArray[np.float32], channels: int) -> NDArray[np.float32]:
    """(cell rows, cell columns, n * CELL * CELL) squared distances -> maps (n, rows, columns)."""
    down, across, samples = squared.shape
    squared = squared.reshape(down, across, samples // CELL**2, CELL, CELL).transpose(2, 0, 3, 1, 4)
    maps = np.sqrt(np.maximum(squared.reshape(-1, down * CELL, across * CELL), 0) / channels)
    blurred = [cv2.GaussianBlur(one, (3, 3), 0, borderType=cv2.BORDER_REPLICATE) for one in maps]
    finished: NDArray[np.float32] = np.stack(blurred).astype(np.float32) * part
    return finished


def _to_cells(y: Features) -> NDArray[np.float32]:
    """(n, rows, columns, channels) -> (cell rows, cell columns, n * CELL * CELL, channels)."""
    n, rows, columns, channels = y.shape
    cells = y.reshape(n, rows // CELL, CELL, columns // CELL, CELL, channels)
    return cells.transpose(1, 3, 0, 2, 4, 5).reshape(rows // CELL, columns // CELL, -1, channels)
