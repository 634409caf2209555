"""Thresholds from good scores: what is promised is what happens on parts not seen yet."""

import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from linewatch.errors import UsageError
from linewatch.training.calibrate import calibrate, images_to_state, rate_bound
from linewatch.training.recalibrate import recalibrate
from tests.bundles import models_in, part, teach


@pytest.mark.parametrize("wanted", [0.01, 0.05])
@pytest.mark.parametrize("count", [40, 100, 1000])
def test_the_wanted_share_of_new_good_parts_is_rejected(count: int, wanted: float) -> None:
    """On average over many trainings, with few pictures (a Gumbel tail) and with many."""
    rng = np.random.default_rng(3)
    rates = []
    for _ in range(200):
        calibration = calibrate(tuple(rng.gumbel(1.0, 0.1, count)), wanted)
        rates.append(1 - math.exp(-math.exp(-(calibration.threshold - 1.0) / 0.1)))

    assert wanted * 0.6 < np.mean(rates) < wanted * 1.8


def test_the_unsure_band_lies_below_the_threshold() -> None:
    """It begins where three times the wanted rate would be rejected."""
    scores = tuple(float(score) for score in np.random.default_rng(1).gumbel(1, 0.1, 50))

    calibration = calibrate(scores, 0.01)

    assert calibration.unsure_threshold == pytest.approx(calibrate(scores, 0.03).threshold)
    assert calibration.unsure_threshold < calibration.threshold


def test_equal_scores_still_give_a_threshold() -> None:
    """A degenerate set of pictures does not put a good part above its own threshold."""
    assert calibrate((1.0,) * 20, 0.01).threshold >= 1.0


def test_one_odd_picture_does_not_decide_the_threshold() -> None:
    """Of 31 pictures one that is three times as far out as the others moves it by less than its own way."""
    scores = tuple(float(score) for score in np.random.default_rng(4).gumbel(1, 0.1, 30))
    odd = max(scores) + 1.0

    moved = calibrate((*scores, odd), 0.01).threshold - calibrate(scores, 0.01).threshold

    assert 0 < moved < 0.3


def test_too_few_pictures_are_refused() -> None:
    """One sentence, with the number it takes."""
    with pytest.raises(UsageError, match=r"9 good pictures .* 10 are the least"):
        calibrate((1.0,) * 9, 0.01)


def test_only_defects_count_as_defects(tmp_path: Path) -> None:
    """Good pictures and masks that lie beside them are left out; a folder without defects is refused."""
    models = models_in(tmp_path)
    teach(models, scores=tuple(0.01 * number for number in range(30)))
    for name, blob in (("good/0", 0), ("ground_truth/0_mask", 0), ("0", 50), ("scratch/0", 50)):
        path = tmp_path / f"bad/{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), part(blob))
    (tmp_path / "none/good").mkdir(parents=True)

    proposal = recalibrate("demo", 0.1, models.path, models.recipes, bad=tmp_path / "bad")

    assert {point.recall for point in proposal.points} == {1.0}
    with pytest.raises(UsageError, match="none' holds no defective pictures; put some there"):
        recalibrate("demo", 0.1, models.path, models.recipes, bad=tmp_path / "none")


@pytest.mark.parametrize(
    ("rejected", "images", "bound"), [(0, 99, 0.0298), (0, 299, 0.00997), (0, 59, 0.0495), (3, 100, 0.0757)]
)
def test_the_bound_is_clopper_and_pearsons(rejected: int, images: int, bound: float) -> None:
    """Known values of the exact upper 95 % limit."""
    assert rate_bound(rejected, images) == pytest.approx(bound, rel=0.005)


def test_all_rejected_bounds_nothing() -> None:
    """The limit is one."""
    assert rate_bound(5, 5) == 1.0


def test_how_many_pictures_a_promise_takes() -> None:
    """299 for 1 %, 59 for 5 %, with 95 % confidence."""
    assert (images_to_state(0.01), images_to_state(0.05)) == (299, 59)
