"""Finding the part from good images: objects are found, textures and spotlights are not."""

import cv2
import numpy as np
import pytest

from linewatch.domain import Image
from linewatch.training.foreground import Foreground, find_foreground

SIDE_PX = 128
CELL_PX = 8


def _noise(seed: int, level: float) -> Image:
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.normal(0, 12, (SIDE_PX, SIDE_PX, 3)), (0, 0), 1.5) * 3
    image: Image = np.clip(level + noise, 0, 255).astype(np.uint8)
    return image


def _part(seed: int) -> Image:
    """Return a dark ring, a little off the middle, on a light, slightly noisy support."""
    rng = np.random.default_rng(seed)
    image = _noise(seed, 200)
    x, y = (64 + rng.integers(-6, 7, 2)).tolist()
    cv2.circle(image, (x, y), 30, (40, 60, 50), -1)
    cv2.circle(image, (x, y), 10, (200, 200, 200), -1)
    return image


def _spotlight(seed: int) -> Image:
    """Return a texture that is bright in the middle and fades towards the border."""
    rows, columns = np.mgrid[:SIDE_PX, :SIDE_PX] - SIDE_PX / 2
    light = np.exp(-(rows**2 + columns**2) / (2 * 35**2))[..., None]
    return np.asarray(_noise(seed, 60) * 0.5 + 150 * light, np.uint8)


def test_a_part_on_its_support_stands_out() -> None:
    """The mask covers the part with its hole wherever it may lie, and not the corners of the image."""
    found = find_foreground([_part(seed) for seed in range(20)], CELL_PX)

    assert found.stands_out
    assert found.part_mask[8, 8] == 1
    assert found.part_mask[[0, 0, -1, -1], [0, -1, 0, -1]].max() == 0
    assert 0.15 < found.part_mask.mean() < 0.6


@pytest.mark.parametrize("draw", [lambda seed: _noise(seed, 120), _spotlight], ids=["texture", "spotlight"])
def test_a_texture_has_no_foreground(draw: object) -> None:
    """Neither a texture nor a bright spot on it counts as a part."""
    assert callable(draw)

    assert not find_foreground([draw(seed) for seed in range(20)], CELL_PX).stands_out


def test_even_images_have_no_foreground() -> None:
    """Images without any contrast are inspected everywhere."""
    flat = np.full((SIDE_PX, SIDE_PX, 3), 90, np.uint8)

    assert not find_foreground([flat] * 12, CELL_PX).stands_out


def test_a_narrow_gap_belongs_to_the_part() -> None:
    """Between two legs is inspected, beside them is not."""
    images = []
    for seed in range(20):
        image = _noise(seed, 200)
        cv2.rectangle(image, (32, 24), (96, 60), (40, 60, 50), -1)
        for left in (40, 76):
            cv2.rectangle(image, (left, 60), (left + 12, 100), (40, 60, 50), -1)
        images.append(image)

    mask = find_foreground(images, CELL_PX).part_mask

    assert mask[10, 8] == 1, "between the legs"
    assert mask[10, 1] == mask[10, 14] == mask[14, 8] == 0, "beside and below them"


@pytest.mark.parametrize("cells", [(28, 36), (30, 30), (32, 32), (40, 28)])
def test_filling_gaps_removes_nothing(cells: tuple[int, int]) -> None:
    """Every cell that parts reach is inspected, whatever the size of the grid."""
    coverage = (np.random.default_rng(0).random(cells) > 0.7).astype(np.float32)
    found = Foreground(coverage, 0.3, 0.0, 0.0, 1.0, 1.0)

    assert (found.part_mask >= coverage).all()
