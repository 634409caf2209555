"""Golden samples: two good parts, and two synthetic defects that a working scorer rejects."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from linewatch.acquisition.sources.simulator.source import render
from linewatch.domain import EngineOutput, Image, Result
from linewatch.models.bundle import Calibration, GoldenSample
from linewatch.training.detection import measure_detection
from linewatch.training.golden_samples import (
    RECALL_SIZE,
    CompiledScorer,
    Sample,
    add_visible_defect,
    write_golden_samples,
)
from linewatch.training.images import ImageFolder, open_image_folder
from linewatch.training.synthetic_defects import CRUDE, KINDS, add_defect
from linewatch.vision.image_io import read_sample

SIDE_PX = 128
CALIBRATION = Calibration(2.0, 1.5, 0.01, None, "test", ())


class FunctionEngine:
    """An engine whose score is a function of the crop, reduced to 16 by 16 pixels."""

    input_shape = (16, 16)

    def __init__(self, score: Callable[[Image], float]) -> None:
        self._score = score

    def run(self, crop: Image) -> EngineOutput:
        """Return the score, and an empty map that is not used."""
        return EngineOutput(self._score(crop), np.zeros((2, 2), np.float32))


class DifferenceEngine:
    """An engine whose map is the difference of 16 by 16 pixels from a reference image."""

    input_shape = (16, 16)

    def __init__(self, reference: Image) -> None:
        self._reference = cv2.resize(reference, (16, 16), interpolation=cv2.INTER_AREA)

    def run(self, crop: Image) -> EngineOutput:
        """Return the largest difference, and the map."""
        tiles = cv2.absdiff(crop, self._reference).max(axis=2).astype(np.float32) / 50
        return EngineOutput(float(tiles.max()), tiles)


@pytest.fixture
def folder(tmp_path: Path) -> ImageFolder:
    """Return 12 images of good parts."""
    for number in range(12):
        cv2.imwrite(str(tmp_path / f"{number:02}.png"), render(5, number, None, SIDE_PX))
    return open_image_folder(tmp_path)


def samples(folder: ImageFolder, content: Path, score: Callable[[Image], float]) -> tuple[GoldenSample, ...]:
    """Return the golden samples of a product whose scorer is the given function."""
    content.mkdir()
    return write_golden_samples(content, folder, CALIBRATION, CompiledScorer(FunctionEngine(score), None), 0)


def test_a_sensitive_scorer_gets_realistic_challenges(folder: ImageFolder, tmp_path: Path) -> None:
    """Two good parts, and two realistic synthetic defects, stored with their scores."""
    reference = cv2.resize(render(5, 0, None, SIDE_PX), (16, 16), interpolation=cv2.INTER_AREA)
    found = samples(folder, tmp_path / "content", lambda crop: float(cv2.absdiff(crop, reference).max()) / 50)

    assert [sample.expected for sample in found] == [Result.PASS] * 2 + [Result.FAIL] * 2
    assert all(sample.raw < 1.5 for sample in found[:2])
    assert all(sample.raw > 2.6 for sample in found[2:])
    assert {Path(sample.file).stem[:-1] for sample in found[2:]} <= set(KINDS)
    assert all((tmp_path / "content" / sample.file).exists() for sample in found)


def test_an_insensitive_scorer_gets_crude_challenges(folder: ImageFolder, tmp_path: Path) -> None:
    """Where the realistic defects score too low, gross ones are used."""
    found = samples(
        folder, tmp_path / "content", lambda crop: 3.0 if (crop == 255).all(axis=2).any() else 1.0
    )

    assert [sample.expected for sample in found] == [Result.PASS] * 2 + [Result.FAIL] * 2
    assert {Path(sample.file).stem[:-1] for sample in found[2:]} <= set(CRUDE)
    assert found[2] != found[3]


def test_a_constant_scorer_gets_no_challenges(folder: ImageFolder, tmp_path: Path) -> None:
    """A scorer that rates everything equally gets no challenge samples."""
    found = samples(folder, tmp_path / "content", lambda crop: 1.0)

    assert [sample.expected for sample in found] == [Result.PASS] * 2


def test_masked_areas_of_samples_are_not_scored(folder: ImageFolder, tmp_path: Path) -> None:
    """Variation under the mask does not count, and synthetic defects lie outside it."""
    rng = np.random.default_rng(0)
    for path in folder.paths:
        image = cv2.imread(str(path))
        assert image is not None
        image[:, :40] = rng.integers(0, 256, (SIDE_PX, 40, 3))  # A print that varies from part to part.
        cv2.imwrite(str(path), image)
    white = np.full((SIDE_PX, SIDE_PX), 255, np.uint8)
    cv2.imwrite(str(tmp_path / "mask.png"), white * (np.arange(SIDE_PX) >= 48))
    scorer = CompiledScorer(DifferenceEngine(render(5, 0, None, SIDE_PX)), None)
    for name in ("open", "masked"):
        (tmp_path / name).mkdir()
    masked = replace(folder, mask=tmp_path / "mask.png")

    assert not write_golden_samples(tmp_path / "open", folder, CALIBRATION, scorer, 0)
    found = write_golden_samples(tmp_path / "masked", masked, CALIBRATION, scorer, 0)

    assert [sample.expected for sample in found] == [Result.PASS] * 2 + [Result.FAIL] * 2
    for sample in found:
        image, mask = read_sample(tmp_path / "masked" / sample.file)
        assert mask is not None
        assert (mask.mean(axis=0) == (np.arange(SIDE_PX) >= 48)).all()
        assert scorer.score(Sample(image, mask)) == sample.raw
    assert set(measure_detection(folder, CALIBRATION, scorer, 0).recall[RECALL_SIZE].values()) == {
        1.0
    }  # Rejected for the print.
    assert max(measure_detection(masked, CALIBRATION, scorer, 0).recall[RECALL_SIZE].values()) < 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_a_synthetic_defect_lies_in_the_inspected_area(kind: str) -> None:
    """With three quarters of the part masked, most of each defect lies in the visible quarter."""
    mask = np.zeros((SIDE_PX, SIDE_PX), np.bool_)
    mask[64:, 64:] = True
    sample = Sample(render(5, 1, None, SIDE_PX), mask)

    for seed in range(10):
        changed = (add_visible_defect(sample, kind, seed, 0.1).image != sample.image).any(axis=2)
        assert changed[mask].sum() > changed[~mask].sum()


@pytest.mark.parametrize("kind", [*KINDS, *CRUDE])
def test_a_synthetic_defect_is_small_and_reproducible(kind: str) -> None:
    """It changes less than a fifth of the image, and is equal for equal seeds."""
    image: Image = render(5, 1, None, SIDE_PX)

    defective = add_defect(image, kind, 3, 0.1)

    changed = (defective != image).any(axis=2).mean()
    assert 0 < changed < 0.2
    assert np.array_equal(defective, add_defect(image, kind, 3, 0.1))
