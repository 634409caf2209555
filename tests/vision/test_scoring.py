"""Scoring: position of defects, inspected area, smallest defect, and the heatmap."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from linewatch.domain import Box, Defect, EngineOutput, Image, Scored
from linewatch.errors import ImageError
from linewatch.models.loader import build_scorer
from linewatch.vision.heatmap import draw_heatmap
from linewatch.vision.recipe import Recipe
from linewatch.vision.registration import Registration
from linewatch.vision.scoring import Scorer, run_engine, standard_crop
from tests.bundles import models_in, teach

RECIPE = Recipe("demo", 1, "00000000", threshold=2.0, unsure_threshold=1.5)


class BrightnessEngine:
    """An engine whose anomaly map is the mean brightness of each cell of 8 x 8 pixels."""

    input_shape = (64, 64)

    def run(self, crop: Image) -> EngineOutput:
        """Score a crop by its brightest cell."""
        cells = crop.mean(axis=2).reshape(8, 8, 8, 8).mean(axis=(1, 3)).astype(np.float32)
        return EngineOutput(float(cells.max()), cells)


@pytest.fixture
def scorer(tmp_path: Path) -> Scorer:
    """Return a scorer whose raw score is brightness."""
    return build_scorer(teach(models_in(tmp_path)), BrightnessEngine())


def _spots(*boxes: tuple[int, int, int, int], side: int = 256) -> Image:
    image = np.zeros((side, side, 3), np.uint8)
    for x, y, width, height in boxes:
        image[y : y + height, x : x + width] = 200
    return image


def test_a_defect_lies_where_it_is_in_the_frame(scorer: Scorer) -> None:
    """Box, centroid and area are in frame pixels, not in pixels of the network's input."""
    scored = scorer.score(_spots((64, 128, 32, 64)), RECIPE)

    (defect,) = scored.defects
    assert defect.box == (64, 128, 32, 64)
    assert defect.area_px == 32 * 64
    assert defect.centroid == pytest.approx((80, 160), abs=1)
    assert defect.peak == scored.raw == 200


def test_a_region_of_interest_moves_boxes_back_into_the_frame(scorer: Scorer) -> None:
    """Only defects inside are found, with their frame coordinates."""
    image = _spots((0, 0, 32, 32), (192, 128, 16, 16))

    scored = scorer.score(image, replace(RECIPE, roi=(128, 64, 128, 128)))

    assert [defect.box for defect in scored.defects] == [(192, 128, 16, 16)]


def test_a_region_outside_the_frame_is_one_sentence(scorer: Scorer) -> None:
    """The error names the size of the frame and the roi."""
    with pytest.raises(ImageError, match=r"256x256 pixels do not contain roi \[200, 0, 100, 50\]"):
        scorer.score(_spots(), replace(RECIPE, roi=(200, 0, 100, 50)))


def test_masked_areas_are_not_scored(scorer: Scorer, tmp_path: Path) -> None:
    """The score is the largest value where the mask is not black."""
    image = _spots((0, 0, 32, 32), (128, 128, 32, 32))
    image[128:160, 128:160] = 90
    mask = np.full((256, 256), 255, np.uint8)
    mask[:64, :64] = 0
    cv2.imwrite(str(tmp_path / "mask.png"), mask)

    scored = scorer.score(image, replace(RECIPE, mask=tmp_path / "mask.png"))

    assert scored.raw == 90
    assert [defect.box for defect in scored.defects] == [(128, 128, 32, 32)]


def test_a_mask_that_hides_everything_is_refused(scorer: Scorer, tmp_path: Path) -> None:
    """A single white pixel leaves no cell of the map: every part would pass."""
    mask = np.zeros((256, 256), np.uint8)
    mask[0, 0] = 255
    cv2.imwrite(str(tmp_path / "mask.png"), mask)

    with pytest.raises(ImageError, match="hides the whole part"):
        scorer.score(_spots(), replace(RECIPE, mask=tmp_path / "mask.png"))


def test_a_smallest_defect_as_large_as_the_image_is_refused(scorer: Scorer) -> None:
    """With it no part could fail."""
    with pytest.raises(ImageError, match="min_defect_px = 65536"):
        scorer.score(_spots(), replace(RECIPE, min_defect_px=256 * 256))


def test_a_mask_of_another_size_is_one_sentence(scorer: Scorer, tmp_path: Path) -> None:
    """The error names both sizes."""
    cv2.imwrite(str(tmp_path / "mask.png"), np.full((64, 64), 255, np.uint8))

    with pytest.raises(ImageError, match="is 64x64 pixels but frames are 256x256"):
        scorer.score(_spots(), replace(RECIPE, mask=tmp_path / "mask.png"))


def test_small_regions_do_not_make_a_part_fail(scorer: Scorer) -> None:
    """With small regions only, the score is the largest value outside them."""
    small, large = (0, 0, 32, 32), (128, 128, 64, 64)
    recipe = replace(RECIPE, min_defect_px=32 * 32 + 1)

    alone = scorer.score(_spots(small), recipe)
    both = scorer.score(_spots(small, large), recipe)

    assert (alone.raw, alone.defects) == (0.0, ())
    assert [defect.box for defect in both.defects] == [large]


def test_the_largest_defect_comes_first(scorer: Scorer) -> None:
    """Defects are sorted by area."""
    scored = scorer.score(_spots((0, 0, 32, 32), (128, 128, 64, 64), (0, 128, 32, 64)), RECIPE)

    assert [defect.area_px for defect in scored.defects] == [4096, 2048, 1024]


@pytest.mark.parametrize("angle", [0, 37, 180, 301])
def test_a_registered_part_is_boxed_where_it_lies(angle: float) -> None:
    """A defect in the standard crop is mapped back to the rotated part."""
    registration = Registration(
        bright_part=True, turn=True, length=0.6, width=0.3, ahead=0.0, aside=0.0, area_min=0.0, area_max=1.0
    )
    image = np.zeros((300, 300, 3), np.uint8)
    cv2.rectangle(image, (90, 130), (210, 170), (100, 100, 100), -1)
    cv2.rectangle(image, (185, 120), (210, 180), (100, 100, 100), -1)  # The heavy end.
    cv2.circle(image, (110, 150), 10, (255, 255, 255), -1)
    turn = cv2.getRotationMatrix2D((150, 150), angle, 1.0)
    turned = np.asarray(cv2.warpAffine(image, turn, (300, 300)), np.uint8)

    _, anomaly_map, placement = run_engine(turned, registration, BrightnessEngine())
    row, column = np.unravel_index(anomaly_map.argmax(), anomaly_map.shape)
    found = placement @ np.array([column, row, 1.0])

    assert found == pytest.approx(turn @ np.array([110, 150, 1.0]), abs=15)


def test_a_crop_is_shrunk_without_aliasing() -> None:
    """Fine stripes become grey, with and without registration."""
    image = np.zeros((512, 512, 3), np.uint8)
    image[:, ::2] = 200
    registration = Registration(
        bright_part=True, turn=False, length=1.0, width=1.0, ahead=0.0, aside=0.0, area_min=0.0, area_max=1.0
    )

    plain, _ = standard_crop(image, None, (64, 64))
    placed, _ = standard_crop(image, registration, (64, 64))

    assert np.ptp(plain[4:-4, 4:-4]) <= 2
    assert np.ptp(placed[8:-8, 8:-8]) <= 12


def test_a_heatmap_colours_only_the_defect() -> None:
    """It has the frame's size and leaves good areas unchanged."""
    image = np.full((128, 128, 3), 120, np.uint8)
    image[0:32, 96:128] = 250

    class Fixed(BrightnessEngine):
        def run(self, crop: Image) -> EngineOutput:
            cells = np.zeros((8, 8), np.float32)
            cells[0:2, 6:8] = 4.0
            return EngineOutput(4.0, cells)

    _, anomaly_map, placement = run_engine(image, None, Fixed())
    shown = draw_heatmap(image, Scored(4.0, anomaly_map, placement), 2.0)

    assert shown.shape == image.shape
    assert not np.array_equal(shown[:32, 96:], image[:32, 96:])
    assert np.array_equal(shown[80:, :40], image[80:, :40])


@pytest.mark.parametrize(
    ("ratio", "hidden"), [(0.5, 0.0), (0.6, 0.06), (1.0, 0.55), (1.5, 0.65), (9.0, 0.65)]
)
def test_a_defect_at_the_threshold_is_visible(ratio: float, hidden: float) -> None:
    """A defect of one cell is drawn with high opacity, a good cell with nearly none."""
    image = np.zeros((256, 256, 3), np.uint8)
    anomaly_map = np.zeros((32, 32), np.float32)
    anomaly_map[10, 20] = 2.0 * ratio
    placement = np.array([[8.0, 0, 4], [0, 8.0, 4]])

    dark = draw_heatmap(image, Scored(2.0 * ratio, anomaly_map, placement), 2.0)[84, 164]
    bright = draw_heatmap(image + np.uint8(255), Scored(2.0 * ratio, anomaly_map, placement), 2.0)[84, 164]

    assert (255 - (bright.astype(int) - dark).mean()) / 255 == pytest.approx(hidden, abs=0.02)


def test_a_small_heatmap_is_the_large_one_shrunk() -> None:
    """Drawn at a quarter of the size, colours and positions are the same."""
    image = np.full((512, 1024, 3), 120, np.uint8)
    anomaly_map = np.zeros((16, 32), np.float32)
    anomaly_map[4:8, 20:26] = 4.0
    placement = np.array([[32.0, 0, 15.5], [0, 32.0, 15.5]])
    scored = Scored(4.0, anomaly_map, placement)

    small = draw_heatmap(image, scored, 2.0, 256)

    large = cv2.resize(draw_heatmap(image, scored, 2.0), (256, 128), interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(int) - large).max() <= 8


@pytest.mark.parametrize(
    ("box", "side_px_max", "drawn"),
    [
        ((640, 128, 192, 128), None, (630, 118, 841, 265)),
        ((640, 128, 192, 128), 256, (156, 28, 211, 67)),
        ((500, 250, 4, 2), None, (465, 214, 537, 286)),
    ],
    ids=["around", "shrunk", "tiny"],
)
def test_a_box_is_drawn_around_the_defect(
    box: Box, side_px_max: int | None, drawn: tuple[int, int, int, int]
) -> None:
    """The box is white on dark, outside the defect, inside the image, and has a smallest size."""
    shown = _boxed(box, side_px_max)

    marked = np.argwhere((shown != 120).all(axis=2))[:, ::-1]
    assert (*marked.min(axis=0), *marked.max(axis=0)) == drawn
    assert {int(shown[y, x, 0]) for x, y in marked} == {20, 255}
    x, y, width, height = (round(side * shown.shape[1] / 1024) for side in box)
    assert (shown[y + 1 : y + height - 1, x + 1 : x + width - 1] == 120).all()


def test_a_box_at_the_image_border_is_visible() -> None:
    """The box of a defect that fills the image is drawn inside."""
    shown = _boxed((0, 0, 1024, 512), None)

    assert all((side == 255).all(axis=1).any() for side in (shown[5], shown[-6], shown[:, 5], shown[:, -6]))


def _boxed(box: Box, side_px_max: int | None) -> Image:
    """Return a grey image with only a box drawn on it."""
    image = np.full((512, 1024, 3), 120, np.uint8)
    cool = np.zeros((8, 16), np.float32)
    placement = np.array([[64.0, 0, 0], [0, 64.0, 0]])
    return draw_heatmap(image, Scored(4.0, cool, placement, (Defect(box, 1, (0, 0), 4.0),)), 2.0, side_px_max)
