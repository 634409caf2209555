"""What a fresh scorer detects, measured with a scorer whose behaviour is known."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from linewatch.acquisition.sources.simulator.source import render
from linewatch.domain import EngineOutput, Image
from linewatch.models.bundle import Calibration
from linewatch.training.detection import LIGHTS, SIZES, measure_detection
from linewatch.training.golden_samples import CompiledScorer
from linewatch.training.images import ImageFolder

SIDE_PX = 96
CELLS = SIDE_PX // 8
CALIBRATION = Calibration(1.0, 0.9, 0.01, None, "", ())


class ChangeEngine:
    """Scores by the share of changed pixels in a cell, and by brightness above `brightest`."""

    input_shape = (SIDE_PX, SIDE_PX)

    def __init__(self, usual: Image, cells_changed: float, brightest: float) -> None:
        self._usual, self._cells, self._brightest = usual.astype(np.int16), cells_changed, brightest

    def run(self, crop: Image) -> EngineOutput:
        """Return a map of changed pixels, in units of the limit."""
        changed = (np.abs(crop.astype(np.int16) - self._usual).max(axis=2) > 20).astype(np.float32)
        anomaly_map = cv2.resize(changed, (CELLS, CELLS), interpolation=cv2.INTER_AREA) / self._cells
        if crop.mean() > self._brightest * self._usual.mean():
            anomaly_map = anomaly_map + 2
        else:
            anomaly_map = np.where(changed.mean() > 0.5, 0, anomaly_map)
        return EngineOutput(float(anomaly_map.max()), anomaly_map.astype(np.float32))


@pytest.fixture
def folder(tmp_path: Path) -> ImageFolder:
    """Return a folder with twelve copies of one part."""
    for number in range(12):
        cv2.imwrite(str(tmp_path / f"{number:02}.png"), render(5, 0, None, SIDE_PX))
    return ImageFolder(tuple(sorted(tmp_path.iterdir())))


def test_larger_defects_are_found_more_often(folder: ImageFolder) -> None:
    """Recall is measured for each size and kind, and does not fall with size."""
    scorer = CompiledScorer(ChangeEngine(render(5, 0, None, SIDE_PX), 0.5, 9), None)

    found = measure_detection(folder, CALIBRATION, scorer, 0)

    stains = [found.recall[size]["stain"] for size in SIZES]
    assert stains[0] == 0 and stains[-1] > 0.8
    assert len(found.examples) == 6


def test_the_light_band_ends_where_a_good_part_fails(folder: ImageFolder) -> None:
    """A scorer that rejects what is 15 % brighter than usual allows 10 % more light."""
    scorer = CompiledScorer(ChangeEngine(render(5, 0, None, SIDE_PX), 1e9, 1.15), None)

    darkest, brightest = measure_detection(folder, CALIBRATION, scorer, 0).light

    assert (darkest, brightest) == (min(LIGHTS), 0.1)


def test_synthetic_defects_lie_on_the_part(folder: ImageFolder) -> None:
    """With a part mask most of each defect lies where the part is inspected."""
    mask = np.zeros((CELLS, CELLS), np.float32)
    mask[:, CELLS // 2 :] = 1
    usual = render(5, 0, None, SIDE_PX)
    scorer = CompiledScorer(ChangeEngine(usual, 1e9, 9), None, mask)

    for example in measure_detection(folder, CALIBRATION, scorer, 0).examples:
        changed = (example.image != usual).any(axis=2)
        assert changed[:, SIDE_PX // 2 :].sum() > changed[:, : SIDE_PX // 2].sum()
