"""The input of the backbone: flat images get the contrast that the backbone learnt."""

import numpy as np
import pytest
from numpy.typing import NDArray

from linewatch.training.network.features import (
    BACKBONE_CONTRAST,
    CONTRAST_MAX,
    FeatureExtractor,
    build_feature_network,
    choose_contrast,
)

CELL_PX = 8


def _crops(deviation: float) -> NDArray[np.uint8]:
    """Return two crops of 32x48 pixels whose pixels lie above and below grey by turns."""
    board = np.indices((32, 48)).sum(axis=0) % 2 * 2 - 1
    crop = np.repeat((127 + deviation * board)[..., None], 3, axis=2)
    return np.stack([crop, crop]).astype(np.uint8)


@pytest.mark.parametrize(("deviation", "factor"), [(40, BACKBONE_CONTRAST / 40), (80, 1), (5, CONTRAST_MAX)])
def test_flat_images_are_raised_to_the_contrast_of_the_backbone(deviation: float, factor: float) -> None:
    """Contrast rises to what the backbone learnt, at most twofold, and is never lowered."""
    part_mask = np.ones((4, 6), np.float32)

    assert choose_contrast(_crops(deviation), part_mask) == pytest.approx(factor)


def test_only_the_part_decides_on_the_contrast() -> None:
    """A white support beside a flat part does not count."""
    crops = _crops(40)
    crops[:, :, 24:] = 255
    part_mask = np.ones((4, 6), np.float32)
    part_mask[:, 24 // CELL_PX :] = 0

    assert choose_contrast(crops, part_mask) == pytest.approx(BACKBONE_CONTRAST / 40)


def test_contrast_stretches_around_grey() -> None:
    """The network with a factor sees what the network without it sees in a stretched image."""
    flat, stretched = _crops(20), _crops(40)

    with_factor = FeatureExtractor(build_feature_network((32, 64), None, contrast=2.0))
    plain = FeatureExtractor(build_feature_network((32, 64), None))

    padded = [
        np.pad(crops, ((0, 0), (0, 0), (0, 16), (0, 0)), constant_values=127) for crops in (flat, stretched)
    ]
    assert with_factor(padded[0]) == pytest.approx(plain(padded[1]), abs=1e-4)
