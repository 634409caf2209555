"""Summarise a scored part in a few hundred bytes, so that similar parts can be found later."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from linewatch.domain import AnomalyMap, Embedding, Scored

CELLS = 8  # On each side of the summarised anomaly map.
STEPS = 24  # Codes in which a map's value doubles: 2.9 % from one to the next.
UNIT = 128  # Code of the value 1.0; so 0.025 to 39 are distinguished, and thresholds are near 1.
LOCAL_MAX = 127  # Largest component of a stored local embedding.


@dataclass(frozen=True, slots=True)
class Signature:
    """What is kept of one scored part.

    `cells` holds the largest anomaly in each cell of a grid over the registered part, as codes;
    `peak` is the place (row, column) of the largest of all, in 255ths of the map's sides.
    """

    raw: float
    peak: tuple[int, int]
    cells: NDArray[np.uint8]  # (CELLS, CELLS)
    embedding: Embedding  # (channels,) float32; empty if the model computes none.
    local: NDArray[np.int8]  # (channels,): the local embedding, scaled; empty if the model has none.


def summarise(scored: Scored) -> Signature:
    """Return the signature of a scored part."""
    rows, columns = scored.anomaly_map.shape
    row, column = divmod(int(scored.anomaly_map.argmax()), columns)
    return Signature(
        raw=scored.raw,
        peak=(255 * row // max(1, rows - 1), 255 * column // max(1, columns - 1)),
        cells=encode_levels(pool(scored.anomaly_map)),
        embedding=scored.embedding,
        local=_scaled(scored.local),
    )


def pool(anomaly_map: AnomalyMap) -> NDArray[np.float32]:
    """Return the largest value in each cell of a CELLS x CELLS grid over a map (rows, columns)."""
    rows, columns = (np.arange(CELLS) * side // CELLS for side in anomaly_map.shape)
    pooled: NDArray[np.float32] = np.maximum.reduceat(
        np.maximum.reduceat(anomaly_map, rows, axis=0), columns, axis=1
    )
    return pooled


def encode_levels(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return one code per value, on a logarithmic scale: 0 for what is not inspected, else 1 to 255."""
    with np.errstate(divide="ignore", invalid="ignore"):
        codes = np.rint(UNIT + STEPS * np.log2(values))
    codes = np.where(values > 0, np.clip(codes, 1, 255), 0)
    return np.asarray(codes, np.uint8)


def _scaled(local: Embedding) -> NDArray[np.int8]:
    """Return a vector's direction with 8 bits per component."""
    largest = float(np.abs(local).max(initial=0.0))
    scale = LOCAL_MAX / largest if 0 < largest < np.inf else 0.0
    return np.asarray(np.rint(local * np.float32(scale)), np.int8)
