"""Regions of a recipe: the worst decides, with its own threshold and smallest defect."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from linewatch.domain import Frame, Inspection, Result, Verdict, verdict_of
from linewatch.errors import ImageError
from linewatch.models.loader import build_scorer
from linewatch.vision.recipe import Recipe, Region, comparable_raw, judge
from linewatch.vision.regions import place_regions
from linewatch.vision.scoring import Scorer
from tests.bundles import models_in, teach
from tests.vision.test_scoring import BrightnessEngine, _spots

LEFT, RIGHT = Region("left", (0, 0, 128, 128)), Region("right", (128, 0, 128, 128))
RECIPE = Recipe("demo", 1, "00000000", threshold=100.0, unsure_threshold=90.0, regions=(LEFT, RIGHT))


@pytest.fixture
def scorer(tmp_path: Path) -> Scorer:
    """Return a scorer whose map is brightness, with cells of 32 x 32 pixels of a frame of 256 x 256."""
    return build_scorer(teach(models_in(tmp_path)), BrightnessEngine())


def _picture(**levels: int) -> np.ndarray:
    """Return a frame with a bright cell in the middle of each named place."""
    places = {"left": (32, 32), "right": (160, 32), "rest": (32, 160)}
    image = np.zeros((256, 256, 3), np.uint8)
    for name, level in levels.items():
        x, y = places[name]
        image[y : y + 32, x : x + 32] = level
    return image


def _verdict(scorer: Scorer, image: np.ndarray, recipe: Recipe) -> Verdict:
    scored = scorer.score(image, recipe)
    judged = judge(scored.raw, recipe)
    inspection = Inspection(
        Frame(image, 0, 0), "demo", 1, "", recipe.threshold, judged.result, judged.reason, 0, scored
    )
    return verdict_of(inspection, station="s", boot=1, now_ns=0)


def _facts(found: Verdict) -> tuple[Result, str, int, int]:
    return found.result, found.region, found.region_index, found.score


def test_without_regions_nothing_changes(scorer: Scorer) -> None:
    """A recipe without regions, and one with a region like the rest, score every image alike."""
    image = _picture(left=150, right=120, rest=110)
    plain = scorer.score(image, replace(RECIPE, regions=()))
    same = scorer.score(image, replace(RECIPE, regions=(LEFT,)))

    assert (plain.region, plain.region_index, plain.factor, plain.factors) == ("", 0, 1.0, None)
    assert (same.raw, same.defects) == (plain.raw, plain.defects)
    np.testing.assert_array_equal(same.anomaly_map, plain.anomaly_map)
    assert plain.unweighted == same.unweighted == 150.0


def test_the_worst_region_decides_by_its_own_threshold(scorer: Scorer) -> None:
    """Score divided by threshold counts, not the score: the darker spot fails where the limit is lower."""
    recipe = replace(RECIPE, regions=(replace(LEFT, factor=2.0), replace(RIGHT, factor=0.5)))
    image = _picture(left=150, right=60)

    found = _verdict(scorer, image, recipe)

    assert _facts(found) == (Result.FAIL, "right", 2, 1200)
    assert (found.raw, found.threshold) == (60.0, 50.0)
    assert found.box == (160, 32, 32, 32)
    assert found.defects == 1
    assert scorer.score(image, recipe).unweighted == 150.0
    assert comparable_raw(found, recipe) == 120.0


def test_a_lax_region_passes_and_its_near_miss_is_unsure(scorer: Scorer) -> None:
    """The unsure band has the region's factor, too; the verdict names the region also when it passes."""
    recipe = replace(RECIPE, regions=(replace(LEFT, factor=2.0), RIGHT))

    assert _facts(_verdict(scorer, _picture(left=150), recipe)) == (Result.PASS, "left", 1, 750)
    assert _facts(_verdict(scorer, _picture(left=190), recipe)) == (Result.UNSURE, "left", 1, 950)
    assert _facts(_verdict(scorer, _picture(left=201), recipe))[:2] == (Result.FAIL, "left")


def test_outside_all_regions_the_recipe_holds(scorer: Scorer) -> None:
    """A region takes nothing else out of inspection; the region is "" there."""
    assert _facts(_verdict(scorer, _picture(left=80, rest=120), RECIPE)) == (Result.FAIL, "", 0, 1200)


def test_each_region_has_its_smallest_defect(scorer: Scorer) -> None:
    """What is too small in one region fails in another, and is no reason to name the first."""
    recipe = replace(RECIPE, regions=(replace(LEFT, min_defect_px=32 * 32 + 1), RIGHT), min_defect_px=1)

    ignored = _verdict(scorer, _picture(left=200), recipe)
    assert (ignored.result, ignored.score, ignored.box) == (Result.PASS, 0, (0, 0, 0, 0))
    assert _facts(_verdict(scorer, _picture(left=200, right=110), recipe))[:2] == (Result.FAIL, "right")


def test_a_defect_across_an_edge_counts_with_its_whole_size(scorer: Scorer) -> None:
    """It is split between no regions, and the smaller of two limits on size holds for it."""
    across = _spots((96, 32, 64, 32))
    limits = (replace(LEFT, min_defect_px=1200), replace(RIGHT, min_defect_px=9000))

    found = _verdict(scorer, across, replace(RECIPE, regions=limits))

    assert (found.result, found.defects, found.box) == (Result.FAIL, 1, (96, 32, 64, 32))


def test_a_network_that_computes_nonsense_fails_the_part(scorer: Scorer) -> None:
    """NaN is never a PASS, also with regions."""
    image = _picture(left=10)
    crop = scorer.crop(image, RECIPE)
    assert judge(scorer.score_crop(crop, RECIPE).raw, RECIPE).result is Result.PASS

    broken = replace(RECIPE, regions=(replace(LEFT, factor=float("nan")),))
    assert judge(scorer.score_crop(crop, broken).raw, broken).result is Result.FAIL


@pytest.mark.parametrize(
    ("roi", "says"),
    [
        ((200, 0, 100, 50), r"256x256 pixels do not contain region 'left' \[200, 0, 100, 50\]"),
        ((0, 0, 16, 64), r"is 16x64 pixels, smaller than a cell of the model's map, 32x32; draw it larger"),
    ],
)
def test_a_region_that_does_not_fit_is_one_sentence(
    scorer: Scorer, roi: tuple[int, int, int, int], says: str
) -> None:
    """Outside the frame, or so small that the model sees none of it: no part may pass unseen."""
    with pytest.raises(ImageError, match=says):
        scorer.score(_picture(), replace(RECIPE, regions=(replace(LEFT, roi=roi),)))


def test_a_region_beside_a_registered_part_is_refused() -> None:
    """The map ends left of it: the part must not pass by the rest alone."""
    beside = np.array([[32.0, 0, 16 - 128], [0, 32.0, 16]])
    inspected = np.ones((8, 8), np.bool_)

    with pytest.raises(ImageError, match="region 'right' lies beside the part"):
        place_regions(RECIPE, beside, inspected)
    owners = place_regions(replace(RECIPE, regions=(LEFT,)), beside, inspected).owners
    assert owners.any() and not owners.all()


def test_a_region_that_the_mask_hides_is_refused(scorer: Scorer, tmp_path: Path) -> None:
    """Nothing in it would be inspected."""
    mask = np.full((256, 256), 255, np.uint8)
    mask[:128, :128] = 0
    cv2.imwrite(str(tmp_path / "mask.png"), mask)

    with pytest.raises(ImageError, match="hides all of region 'left'"):
        scorer.score(_picture(), replace(RECIPE, mask=tmp_path / "mask.png"))
