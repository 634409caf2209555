"""Thresholds calibrated on good scores, and the confidence limits of their false-reject rate."""

import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from linewatch.errors import UsageError
from linewatch.training.calibrate import calibrate, images_needed, upper_rate_bound
from linewatch.training.recalibrate import recalibrate
from tests.bundles import models_in, part, teach


@pytest.mark.parametrize("wanted", [0.01, 0.05])
@pytest.mark.parametrize("count", [40, 100, 1000])
def test_the_wanted_share_of_new_good_parts_is_rejected(count: int, wanted: float) -> None:
    """The mean false-reject rate over many calibrations is near the wanted one, with few and many scores."""
    rng = np.random.default_rng(3)
    rates = []
    for _ in range(200):
        calibration = calibrate(tuple(rng.gumbel(1.0, 0.1, count)), wanted)
        rates.append(1 - math.exp(-math.exp(-(calibration.threshold - 1.0) / 0.1)))

    assert wanted * 0.6 < np.mean(rates) < wanted * 1.8


def test_the_unsure_band_lies_below_the_threshold() -> None:
    """It starts where three times the wanted rate would be rejected."""
    scores = tuple(float(score) for score in np.random.default_rng(1).gumbel(1, 0.1, 50))

    calibration = calibrate(scores, 0.01)

    assert calibration.unsure_threshold == pytest.approx(calibrate(scores, 0.03).threshold)
    assert calibration.unsure_threshold < calibration.threshold


def test_equal_scores_still_give_a_threshold() -> None:
    """The threshold of identical scores is not below them."""
    assert calibrate((1.0,) * 20, 0.01).threshold >= 1.0


def test_one_outlier_does_not_decide_the_threshold() -> None:
    """An outlier of 1.0 among 31 scores moves the threshold by less than 0.3."""
    scores = tuple(float(score) for score in np.random.default_rng(4).gumbel(1, 0.1, 30))
    outlier = max(scores) + 1.0

    moved = calibrate((*scores, outlier), 0.01).threshold - calibrate(scores, 0.01).threshold

    assert 0 < moved < 0.3


def test_too_few_images_are_refused() -> None:
    """The error states the least number of images."""
    with pytest.raises(UsageError, match=r"9 good pictures .* 10 are the least"):
        calibrate((1.0,) * 9, 0.01)


def test_only_defects_count_as_defects(tmp_path: Path) -> None:
    """Good images and masks in the folder are skipped; a folder without defects is refused."""
    models = models_in(tmp_path)
    teach(models, scores=tuple(0.01 * number for number in range(30)))
    for name, blob in (("good/0", 0), ("ground_truth/0_mask", 0), ("0", 50), ("scratch/0", 50)):
        path = tmp_path / f"bad/{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), part(blob))
    (tmp_path / "none/good").mkdir(parents=True)

    proposal = recalibrate("demo", 0.1, models.path, models.recipes, bad=tmp_path / "bad")

    assert {effect.recall for effect in proposal.effects} == {1.0}
    with pytest.raises(UsageError, match="none' holds no defective pictures; put some there"):
        recalibrate("demo", 0.1, models.path, models.recipes, bad=tmp_path / "none")


@pytest.mark.parametrize(
    ("rejected", "images", "bound"), [(0, 99, 0.0298), (0, 299, 0.00997), (0, 59, 0.0495), (3, 100, 0.0757)]
)
def test_the_bound_is_clopper_and_pearsons(rejected: int, images: int, bound: float) -> None:
    """The exact upper 95 % limit has its tabulated values."""
    assert upper_rate_bound(rejected, images) == pytest.approx(bound, rel=0.005)


def test_the_limit_is_one_if_all_are_rejected() -> None:
    """The limit is 1 if every image is rejected."""
    assert upper_rate_bound(5, 5) == 1.0


def test_how_many_images_demonstrate_a_rate() -> None:
    """299 images for 1 %, 59 for 5 %, with 95 % confidence."""
    assert (images_needed(0.01), images_needed(0.05)) == (299, 59)
