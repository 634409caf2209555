"""What a fresh scorer detects, measured with a scorer whose behaviour is known."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from linewatch.acquisition.sources.simulator.source import render
from linewatch.domain import EngineOutput, Image
from linewatch.models.bundle import Calibration
from linewatch.training.detection import EXAMPLES, LIGHTS, PLACES, SIZES, measure_detection
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
    assert len(found.examples) == EXAMPLES


def test_recall_is_measured_near_the_edge_and_inside(folder: ImageFolder) -> None:
    """A scorer that is blind near the edge finds nothing there, and large defects inside."""

    class BlindAtTheEdge(ChangeEngine):
        def run(self, crop: Image) -> EngineOutput:
            seen = np.pad(np.ones((CELLS - 4, CELLS - 4), np.float32), 2)
            anomaly_map = super().run(crop).anomaly_map * seen
            return EngineOutput(float(anomaly_map.max()), anomaly_map)

    scorer = CompiledScorer(BlindAtTheEdge(render(5, 0, None, SIDE_PX), 0.5, 9), None)

    found = measure_detection(folder, CALIBRATION, scorer, 0)

    edge, inside = (found.recall_by_place[0.15][place] for place in PLACES)
    assert edge < 0.5 < inside, found.recall_by_place
    assert {example.place for example in found.examples} == set(PLACES)


def test_the_light_band_ends_where_a_good_part_fails(folder: ImageFolder) -> None:
    """A scorer that rejects what is 15 % brighter than usual allows 10 % more light."""
    scorer = CompiledScorer(ChangeEngine(render(5, 0, None, SIDE_PX), 1e9, 1.15), None)

    found = measure_detection(folder, CALIBRATION, scorer, 0)

    assert found.light == (min(LIGHTS), 0.1)
    assert found.passed_by_light == {change: float(change < 0.15) for change in LIGHTS}


def test_the_light_band_ends_where_defects_are_missed(folder: ImageFolder) -> None:
    """A scorer that sees nothing in images 25 % darker than usual allows 20 % less light."""

    class BlindInTheDark(ChangeEngine):
        def run(self, crop: Image) -> EngineOutput:
            lit = float(crop.mean() > 0.75 * self._usual.mean())
            evened = crop * (self._usual.mean() / crop.mean())
            anomaly_map = np.full((CELLS, CELLS), 0.5, np.float32)
            anomaly_map[5, 5] += lit * (np.abs(evened - self._usual).max() > 30)
            return EngineOutput(float(anomaly_map.max()), anomaly_map)

    scorer = CompiledScorer(BlindInTheDark(render(5, 0, None, SIDE_PX), 1.0, 9), None)

    found = measure_detection(folder, CALIBRATION, scorer, 0)

    assert found.light[0] == -0.2
    assert found.found_by_light[-0.3] == 0 and found.passed_by_light[-0.3] == 1


def test_synthetic_defects_lie_on_the_part(folder: ImageFolder) -> None:
    """With a part mask most of each defect lies where the part is inspected."""
    mask = np.zeros((CELLS, CELLS), np.float32)
    mask[:, CELLS // 2 :] = 1
    usual = render(5, 0, None, SIDE_PX)
    scorer = CompiledScorer(ChangeEngine(usual, 1e9, 9), None, mask)

    for example in measure_detection(folder, CALIBRATION, scorer, 0).examples:
        changed = (example.image != usual).any(axis=2)
        assert changed[:, SIDE_PX // 2 :].sum() > changed[:, : SIDE_PX // 2].sum()
