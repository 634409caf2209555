"""What a signature keeps of a scored part."""

import numpy as np
import pytest

from linewatch.domain import Scored
from linewatch.vision.signature import CELLS, encode_levels, pool, summarise

PLACED = np.zeros((2, 3))


def test_the_peak_and_its_cell_are_kept() -> None:
    """The place of the largest anomaly is in 255ths of the map's sides, and its cell is the largest."""
    anomaly_map = np.full((16, 32), 0.5, np.float32)
    anomaly_map[15, 8] = 2.0

    found = summarise(Scored(2.0, anomaly_map, PLACED))

    assert found.raw == 2.0
    assert found.peak == (255, 255 * 8 // 31)
    assert divmod(int(found.cells.argmax()), CELLS) == (7, 2)
    assert sorted(set(found.cells.flat)) == [104, 152]  # An octave below and above 1.0.


@pytest.mark.parametrize("shape", [(8, 8), (16, 48), (19, 33), (5, 3), (1, 1)])
def test_a_map_of_any_shape_is_pooled(shape: tuple[int, int]) -> None:
    """Every value counts in some cell, also where the sides are no multiples."""
    anomaly_map = np.arange(shape[0] * shape[1], dtype=np.float32).reshape(shape)

    pooled = pool(anomaly_map)

    assert pooled.shape == (CELLS, CELLS)
    assert pooled.max() == anomaly_map.max()
    assert pooled[0, 0] >= anomaly_map[0, 0]


def test_levels_are_logarithmic_and_zero_is_not_inspected() -> None:
    """Codes rise by 24 per octave and stay within a byte."""
    levels = np.array([0.0, 1e-9, 0.5, 1.0, 2.0, 1e9], np.float32)

    assert encode_levels(levels).tolist() == [0, 1, 104, 128, 152, 255]


def test_a_local_embedding_keeps_its_direction() -> None:
    """Its largest component becomes 127; a model without one has none; zero stays zero."""
    anomaly_map = np.ones((8, 8), np.float32)

    def local(*values: float) -> list[int]:
        scored = Scored(1.0, anomaly_map, PLACED, local=np.array(values, np.float32))
        return [int(value) for value in summarise(scored).local]

    assert local(0.5, -1.0, 0.25) == [64, -127, 32]
    assert local() == []
    assert local(0.0, 0.0) == [0, 0]
