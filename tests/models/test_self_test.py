"""The golden self-test refuses models that compute differently on this machine."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from linewatch.domain import Result
from linewatch.errors import RecipeError, SelfTestFailed
from linewatch.models.bundle import Bundle
from linewatch.models.engine import OpenVinoEngine
from linewatch.models.loader import build_scorer
from linewatch.models.recipe_file import load_recipe
from linewatch.models.self_test import self_test, verify_mask
from linewatch.settings import ModelsSettings
from linewatch.vision.recipe import Recipe
from linewatch.vision.scoring import Scorer
from tests.bundles import models_in, part, teach


def _prepared(models: ModelsSettings) -> tuple[Scorer, Recipe, Bundle]:
    recipe, bundle = load_recipe(models.recipes, "demo", models.path)
    return build_scorer(bundle, OpenVinoEngine(bundle.graph)), recipe, bundle


def test_a_sound_model_passes(tmp_path: Path) -> None:
    """Scores match the recorded ones, and the recipe's roi and smallest defect do not apply."""
    models = models_in(tmp_path)
    teach(models)
    scorer, recipe, bundle = _prepared(models)

    self_test(scorer, replace(recipe, roi=(500, 500, 9, 9), min_defect_px=10**6), bundle)


@pytest.mark.parametrize(
    ("raw", "threshold", "says"),
    [
        (3.01, 2.0, r"scores golden sample golden/1.png 3.0000 instead of 3.0100"),
        (3.0, 3.5, r"sample golden/1.png must fail but scores 3.000 at threshold 3.500"),
    ],
)
def test_a_model_with_other_results_is_refused(
    tmp_path: Path, raw: float, threshold: float, says: str
) -> None:
    """The error names the sample with another score, or the challenge sample that would pass."""
    models = models_in(tmp_path)
    teach(models, golden=[(part(), Result.PASS, 0.0), (part(30), Result.FAIL, raw)])
    scorer, recipe, bundle = _prepared(models)

    with pytest.raises(SelfTestFailed, match=says):
        self_test(scorer, replace(recipe, threshold=threshold), bundle)


def test_a_mask_that_leaves_nothing_to_inspect_is_refused(tmp_path: Path) -> None:
    """A mask over the whole roi and an unreadable file are refused."""
    models = models_in(tmp_path)
    teach(models)
    scorer, recipe, _ = _prepared(models)
    hiding, broken = tmp_path / "hiding.png", tmp_path / "broken.png"
    cv2.imwrite(str(hiding), np.pad(np.full((16, 16), 255, np.uint8), (0, 112)))
    broken.write_text("no picture")

    verify_mask(scorer, replace(recipe, mask=hiding))
    with pytest.raises(RecipeError, match="hides the whole part"):
        verify_mask(scorer, replace(recipe, mask=hiding, roi=(64, 64, 64, 64)))
    with pytest.raises(RecipeError, match=r"broken\.png"):
        verify_mask(scorer, replace(recipe, mask=broken))


def test_a_threshold_below_good_parts_is_refused(tmp_path: Path) -> None:
    """A good sample that would fail is named."""
    models = models_in(tmp_path)
    teach(models, golden=[(part(10), Result.PASS, 1.0)])
    scorer, recipe, bundle = _prepared(models)

    with pytest.raises(SelfTestFailed, match="must pass"):
        self_test(scorer, replace(recipe, threshold=0.5, unsure_threshold=0.5), bundle)
