"""Registration: the same standard crop in any pose, and NotRegistered without a part."""

import cv2
import numpy as np
import pytest

from linewatch.domain import Image
from linewatch.errors import NotRegistered
from linewatch.training.pose import compute_part_mask, learn_registration, pad_to_aspect, registration_helps
from linewatch.vision.registration import Registration, find_pose, foreground
from linewatch.vision.scoring import standard_crop

REGISTRATION = Registration(
    bright_part=False, turn=True, length=0.5, width=0.25, ahead=0.0, aside=0.0, area_min=0.02, area_max=0.2
)


def _nail(angle: float, shift: tuple[float, float] = (0, 0), side: int = 320) -> Image:
    """Return a dark nail on a bright table."""
    image = np.full((side, side, 3), 220, np.uint8)
    cv2.rectangle(image, (100, 152), (220, 168), (60, 60, 60), -1)
    cv2.rectangle(image, (100, 135), (112, 185), (60, 60, 60), -1)
    matrix = cv2.getRotationMatrix2D((side / 2, side / 2), angle, 1.0)
    matrix[:, 2] = matrix[:, 2] + shift
    turned = cv2.warpAffine(image, matrix, (side, side), borderValue=(220, 220, 220))
    return np.asarray(turned, np.uint8)


@pytest.mark.parametrize("angle", [20, 90, 145, 180, 270, 333])
def test_the_crop_does_not_depend_on_the_pose(angle: float) -> None:
    """Rotated and shifted parts give the same crop, with the head on the same side."""
    upright, _ = standard_crop(_nail(0), REGISTRATION, (64, 128))
    found, _ = standard_crop(_nail(angle, (15, -9)), REGISTRATION, (64, 128))

    difference = np.abs(upright.astype(int) - found.astype(int)).mean()
    assert difference < 4
    assert np.abs(upright.astype(int) - found[:, ::-1].astype(int)).mean() > 4 * difference


def test_an_empty_table_is_not_registered() -> None:
    """An image without a part raises NotRegistered."""
    with pytest.raises(NotRegistered, match="check light and position"):
        standard_crop(np.full((320, 320, 3), 220, np.uint8), REGISTRATION, (64, 128))


def test_something_of_another_size_is_not_registered() -> None:
    """A hand or a second part covers an area outside the range of the good parts."""
    image = _nail(0)
    image[200:320] = 40

    with pytest.raises(NotRegistered, match=r"the part covers \d+\.\d% of the picture instead of 2\.0%"):
        standard_crop(image, REGISTRATION, (64, 128))


def test_registration_pays_where_parts_lie_in_any_pose() -> None:
    """With rotated parts the overlap improves, and the crop contains the whole part."""
    rng = np.random.default_rng(1)
    images = [_nail(rng.uniform(0, 360), tuple(rng.uniform(-20, 20, 2))) for _ in range(20)]

    registration, overlap = learn_registration(images)

    assert registration is not None
    assert registration_helps(overlap)
    assert (registration.turn, registration.bright_part) == (True, False)
    assert registration.length * 320 == pytest.approx(121 * 1.06, rel=0.06)
    assert registration.width * 320 == pytest.approx(51 * 1.06, rel=0.1)


def test_registration_does_not_pay_in_a_fixture() -> None:
    """Parts in a fixed pose overlap as well without it."""
    _, overlap = learn_registration([_nail(0, (shift, 0)) for shift in range(10)])

    assert not registration_helps(overlap)


def test_a_round_part_is_centred_but_not_rotated() -> None:
    """A round part has no long axis to align."""
    rng = np.random.default_rng(2)
    images = []
    for _ in range(12):
        image = np.full((320, 320, 3), 30, np.uint8)
        x, y = rng.integers(90, 230, 2)
        cv2.circle(image, (int(x), int(y)), 60, (200, 200, 200), -1)
        images.append(image)

    registration, overlap = learn_registration(images)

    assert registration is not None
    assert registration_helps(overlap)
    assert not registration.turn


def test_the_crop_is_widened_instead_of_distorted() -> None:
    """The scale is the same in both directions."""
    wider = pad_to_aspect(REGISTRATION, (64, 64))

    assert (wider.length, wider.width) == (0.5, 0.5)


def test_a_pose_is_measured_to_a_pixel() -> None:
    """Centre, extents and elongation of a bar are exact."""
    mask = np.zeros((100, 200), np.uint8)
    mask[40:60, 30:130] = 255

    pose = find_pose(mask)

    assert pose.centre == pytest.approx((79.5, 49.5))
    assert pose.along[1] - pose.along[0] == pytest.approx(100)
    assert pose.across[1] - pose.across[0] == pytest.approx(20)
    assert pose.elongation == pytest.approx(5, rel=0.01)


def test_specks_are_not_the_part() -> None:
    """Only the largest region is segmented."""
    image = _nail(0)
    image[10:20, 10:20] = 60

    assert foreground(image, bright_part=False)[15, 15] == 0


def test_only_the_area_of_the_part_is_inspected() -> None:
    """Cells that parts cover or enclose are inspected, the background is not, even with dirt on it."""
    images = [_nail(30 * number) for number in range(12)]
    cv2.circle(images[0], (20, 20), 12, (60, 60, 60), -1)
    for image in images:
        cv2.circle(image, (160, 160), 4, (220, 220, 220), -1)

    part = compute_part_mask(images, REGISTRATION, (64, 128), 8)

    assert part.shape == (8, 16)
    assert part[4, 3:12].all()
    assert not part[0].any()
    assert 0.1 < part.mean() < 0.6
