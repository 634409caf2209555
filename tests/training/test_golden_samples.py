"""Golden samples: two good parts and two that a scorer must not overlook, as long as it sees anything."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from linewatch.acquisition.sources.simulator.source import render
from linewatch.domain import EngineOutput, Image, Result
from linewatch.models.bundle import Calibration, GoldenSample
from linewatch.training.golden_samples import Bench, Sample, _spoilt, golden_samples, made_up_recall
from linewatch.training.images import Folder, open_folder
from linewatch.training.synthetic_defects import CRUDE, KINDS, spoil
from linewatch.vision.image_io import read_sample

SIDE_PX = 128
CALIBRATION = Calibration(2.0, 1.5, 0.01, None, "test", ())


class Sight:
    """An engine that scores a picture of 16 by 16 tiles by what `see` makes of their grey."""

    input_shape = (16, 16)

    def __init__(self, see: Callable[[Image], float]) -> None:
        self._see = see

    def run(self, crop: Image) -> EngineOutput:
        """Return the score, and a map that nobody looks at."""
        return EngineOutput(self._see(crop), np.zeros((2, 2), np.float32))


class Looks:
    """An engine that scores each of 16 by 16 tiles by how far it is from the usual picture."""

    input_shape = (16, 16)

    def __init__(self, usual: Image) -> None:
        self._usual = cv2.resize(usual, (16, 16), interpolation=cv2.INTER_AREA)

    def run(self, crop: Image) -> EngineOutput:
        """Return the largest score and all of them."""
        tiles = cv2.absdiff(crop, self._usual).max(axis=2).astype(np.float32) / 50
        return EngineOutput(float(tiles.max()), tiles)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Return pictures of good parts."""
    for number in range(12):
        cv2.imwrite(str(tmp_path / f"{number:02}.png"), render(5, number, None, SIDE_PX))
    return open_folder(tmp_path)


def samples(folder: Folder, content: Path, see: Callable[[Image], float]) -> tuple[GoldenSample, ...]:
    """Return the samples of a product whose scorer sees so."""
    content.mkdir()
    return golden_samples(content, folder, CALIBRATION, Bench(Sight(see), None), 0)


def test_a_keen_scorer_gets_mild_challenges(folder: Folder, tmp_path: Path) -> None:
    """Two good parts, and two made-up defects such as happen; all as they were scored and stored."""
    usual = cv2.resize(render(5, 0, None, SIDE_PX), (16, 16), interpolation=cv2.INTER_AREA)
    found = samples(folder, tmp_path / "content", lambda crop: float(cv2.absdiff(crop, usual).max()) / 50)

    assert [sample.expected for sample in found] == [Result.PASS] * 2 + [Result.FAIL] * 2
    assert all(sample.raw < 1.5 for sample in found[:2])
    assert all(sample.raw > 2.6 for sample in found[2:])
    assert {Path(sample.file).stem[:-1] for sample in found[2:]} <= set(KINDS)
    assert all((tmp_path / "content" / sample.file).exists() for sample in found)


def test_a_dull_scorer_gets_crude_ones(folder: Folder, tmp_path: Path) -> None:
    """Where good pictures differ much, only what nobody could overlook is found."""
    found = samples(
        folder, tmp_path / "content", lambda crop: 3.0 if (crop == 255).all(axis=2).any() else 1.0
    )

    assert [sample.expected for sample in found] == [Result.PASS] * 2 + [Result.FAIL] * 2
    assert {Path(sample.file).stem[:-1] for sample in found[2:]} <= set(CRUDE)
    assert found[2] != found[3]


def test_a_blind_scorer_gets_none(folder: Folder, tmp_path: Path) -> None:
    """It has no challenge that it could pass for the wrong reason."""
    found = samples(folder, tmp_path / "content", lambda crop: 1.0)

    assert [sample.expected for sample in found] == [Result.PASS] * 2


def test_what_the_mask_hides_is_no_part_of_a_sample(folder: Folder, tmp_path: Path) -> None:
    """Good parts that differ there are usual, and made-up defects lie where they can be found."""
    rng = np.random.default_rng(0)
    for path in folder.paths:
        image = cv2.imread(str(path))
        assert image is not None
        image[:, :40] = rng.integers(0, 256, (SIDE_PX, 40, 3))  # A print that is never the same.
        cv2.imwrite(str(path), image)
    white = np.full((SIDE_PX, SIDE_PX), 255, np.uint8)
    cv2.imwrite(str(tmp_path / "mask.png"), white * (np.arange(SIDE_PX) >= 48))
    bench = Bench(Looks(render(5, 0, None, SIDE_PX)), None)
    for name in ("open", "masked"):
        (tmp_path / name).mkdir()
    masked = replace(folder, mask=tmp_path / "mask.png")

    assert not golden_samples(tmp_path / "open", folder, CALIBRATION, bench, 0)
    found = golden_samples(tmp_path / "masked", masked, CALIBRATION, bench, 0)

    assert [sample.expected for sample in found] == [Result.PASS] * 2 + [Result.FAIL] * 2
    for sample in found:
        image, mask = read_sample(tmp_path / "masked" / sample.file)
        assert mask is not None
        assert (mask.mean(axis=0) == (np.arange(SIDE_PX) >= 48)).all()
        assert bench.score(Sample(image, mask)) == sample.raw
    assert set(made_up_recall(folder, CALIBRATION, bench, 0).values()) == {1.0}  # The print alone fails.
    assert max(made_up_recall(masked, CALIBRATION, bench, 0).values()) < 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_a_made_up_defect_lies_where_it_can_be_found(kind: str) -> None:
    """A mask hides three quarters of the part; most of each defect is in the last one."""
    mask = np.zeros((SIDE_PX, SIDE_PX), np.bool_)
    mask[64:, 64:] = True
    sample = Sample(render(5, 1, None, SIDE_PX), mask)

    for seed in range(10):
        changed = (_spoilt(sample, kind, seed, 0.1).image != sample.image).any(axis=2)
        assert changed[mask].sum() > changed[~mask].sum()


@pytest.mark.parametrize("kind", [*KINDS, *CRUDE])
def test_a_made_up_defect_is_small_and_the_same_again(kind: str) -> None:
    """It changes a part of the picture, and the same seed makes the same one."""
    image: Image = render(5, 1, None, SIDE_PX)

    spoilt = spoil(image, kind, 3, 0.1)

    changed = (spoilt != image).any(axis=2).mean()
    assert 0 < changed < 0.2
    assert np.array_equal(spoilt, spoil(image, kind, 3, 0.1))
