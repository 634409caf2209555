"""The golden self-test: this machine must reproduce the stored scores of the golden samples."""

from collections.abc import Iterable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from linewatch.domain import Image, Result, Scored
from linewatch.errors import ImageError, NotRegistered, RecipeError, SelfTestFailed
from linewatch.models.bundle import Bundle, GoldenSample
from linewatch.vision.image_io import read_mask, read_sample
from linewatch.vision.recipe import Recipe, judge

SCORE_TOLERANCE = 1e-3


class ScoresImages(Protocol):
    """The scorer under test."""

    def score(self, image: Image, recipe: Recipe, mask: NDArray[np.bool_] | None = None) -> Scored:
        """Score one frame; `mask` replaces the recipe's."""


def self_test(scorer: ScoresImages, recipe: Recipe, bundle: Bundle, *, brief: bool = False) -> None:
    """Score the golden samples and compare with the recorded scores. Raises SelfTestFailed.

    Good samples must not fail and challenge samples must, at the recipe's thresholds; every score must
    equal the recorded one within SCORE_TOLERANCE, relative above 1. The samples are already cropped and
    carry their own mask, so what the recipe says about the frame does not apply. `brief` tests
    the first sample of each kind: enough for an engine that passed the whole test in this process.
    """
    plain = recipe.for_samples()
    name = f"model {bundle.product}/{bundle.version}"
    for sample in _first_of_each(bundle.golden) if brief else bundle.golden:
        try:
            image, mask = read_sample(bundle.folder / sample.file)
            raw = scorer.score(image, plain, mask).raw
        except NotRegistered as trouble:
            raise SelfTestFailed(f"{name}: golden sample {sample.file}: {trouble}") from trouble
        if not abs(raw - sample.raw) <= SCORE_TOLERANCE * max(1.0, sample.raw):
            raise SelfTestFailed(
                f"{name} scores golden sample {sample.file} {raw:.4f} instead of {sample.raw:.4f}; "
                "this machine computes differently, train the product on it"
            )
        failed = judge(raw, plain).result is Result.FAIL
        if failed != (sample.expected is Result.FAIL):
            wanted = "fail" if sample.expected is Result.FAIL else "pass"
            raise SelfTestFailed(
                f"{name}: sample {sample.file} must {wanted} but scores {raw:.3f} "
                f"at threshold {plain.threshold:.3f}; correct the recipe's threshold"
            )


def verify_mask(scorer: ScoresImages, recipe: Recipe) -> None:
    """Check that the recipe's mask is readable and leaves an area to inspect. Raises RecipeError."""
    if recipe.mask is None:
        return
    try:
        scorer.score(np.zeros((*read_mask(recipe.mask).shape, 3), np.uint8), recipe)
    except NotRegistered:
        pass  # What the mask hides of a part depends on its position.
    except ImageError as trouble:
        raise RecipeError(f"recipe of {recipe.product!r}: {trouble}") from trouble


def _first_of_each(golden: Iterable[GoldenSample]) -> Iterable[GoldenSample]:
    return {sample.expected: sample for sample in reversed(tuple(golden))}.values()
