"""The layer that shows what the most unusual place of a part looks like."""

import numpy as np
import pytest
from numpy.typing import NDArray

from linewatch.training.network.graph import REACH, LocalEmbedding

SIDE, CHANNELS = 16, 5


def local(
    usual: NDArray[np.float32], anomaly_map: NDArray[np.float32], residual: NDArray[np.float32]
) -> object:
    """Return the layer's output, (CHANNELS,)."""
    found = np.asarray(LocalEmbedding(usual)(anomaly_map[None], residual[None]))
    assert found.shape == (1, 1, 1, CHANNELS)
    return found.reshape(-1)


def test_it_is_the_residual_where_the_map_is_most_unusual() -> None:
    """A texture that always scores high does not hide a weak defect elsewhere."""
    usual = np.full((SIDE, SIDE), 0.3, np.float32)
    usual[2, 2] = 1.0
    anomaly_map = usual.copy()
    anomaly_map[10, 12] = 0.8  # Below the 1.0 of the texture, but far above what is usual there.
    residual = np.zeros((SIDE, SIDE, CHANNELS), np.float32)
    residual[2, 2] = -7
    residual[10, 12] = np.arange(CHANNELS)

    around = ((2 * REACH + 1) ** 2 - 1) * (0.3 / 0.8) ** 4  # Weight of the other positions.
    assert local(usual, anomaly_map, residual) == pytest.approx(np.arange(CHANNELS) / (1 + around))


def test_it_does_not_depend_on_the_place() -> None:
    """The same residual elsewhere gives the same, also at the rim."""
    usual = np.full((SIDE, SIDE), 0.3, np.float32)
    found = []
    for place in ((5, 5), (11, 8)):
        anomaly_map, residual = usual.copy(), np.zeros((SIDE, SIDE, CHANNELS), np.float32)
        anomaly_map[place] = 2.0
        residual[place] = 3.0
        found.append(local(usual, anomaly_map, residual))

    assert found[0] == pytest.approx(found[1])


def test_a_part_without_any_anomaly_is_no_division_by_zero() -> None:
    """All zeros give zeros."""
    nothing = np.zeros((SIDE, SIDE), np.float32)

    assert local(nothing, nothing, np.zeros((SIDE, SIDE, CHANNELS), np.float32)) == pytest.approx(0)
