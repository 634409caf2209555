"""Where defects cluster, and the heatmap of them."""

from pathlib import Path

import cv2
import numpy as np

from linewatch.domain import Box
from linewatch.reporting.places import IMAGE_SIDE_PX, draw_defects


def boxes_at(x: int, y: int, number: int) -> list[Box]:
    """Return boxes of 20 x 10 px that lie a few pixels apart."""
    return [(x + shift % 3, y + shift % 2, 20, 10) for shift in range(number)]


def keep(folder: Path, width: int, height: int) -> str:
    """Write a dark frame."""
    cv2.imwrite(str(folder / "frame.png"), np.full((height, width, 3), 40, np.uint8))
    return "frame.png"


def test_the_most_frequent_places_come_first(tmp_path: Path) -> None:
    """Three places with 30, 60 and 10 of 100 defects, each in a box that holds it."""
    boxes = boxes_at(40, 30, 30) + boxes_at(200, 100, 60) + boxes_at(100, 180, 10)

    drawn = draw_defects(boxes, [keep(tmp_path, 320, 240)], tmp_path)

    assert [place.defects for place in drawn.places] == [60, 30, 10]
    for place, (x, y) in zip(drawn.places, ((200, 100), (40, 30), (100, 180)), strict=True):
        assert place.x <= x + 5 and place.y <= y + 3
        assert place.x + place.width >= x + 17 and place.y + place.height >= y + 7
        assert place.width <= 34 and place.height <= 24
    assert drawn.frame == (320, 240)


def test_what_is_rare_is_no_place(tmp_path: Path) -> None:
    """One of a hundred defects elsewhere is not listed."""
    drawn = draw_defects(boxes_at(40, 30, 99) + boxes_at(200, 100, 1), [keep(tmp_path, 320, 240)], tmp_path)

    assert [place.defects for place in drawn.places] == [99]


def test_the_colour_is_where_the_defects_are(tmp_path: Path) -> None:
    """The frame stays as dark as it is elsewhere, and is shrunk to what a page needs."""
    drawn = draw_defects(boxes_at(1000, 500, 50), [keep(tmp_path, 1600, 1200)], tmp_path)

    image = cv2.imdecode(np.frombuffer(drawn.jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None and image.shape == (480, IMAGE_SIDE_PX, 3)
    assert image[202, 404].max() > 120
    assert image[20:100, 20:100].max() < 60


def test_the_next_frame_serves_if_one_is_gone(tmp_path: Path) -> None:
    """And without any, the places are on grey, as large as they need."""
    boxes = boxes_at(40, 30, 9)

    assert draw_defects(boxes, ["gone.png", keep(tmp_path, 320, 240)], tmp_path).frame == (320, 240)
    bare = draw_defects(boxes, ["gone.png"], tmp_path)
    assert bare.frame is None and bare.jpeg and bare.places[0].defects == 9


def test_large_boxes_do_not_hide_a_place(tmp_path: Path) -> None:
    """Boxes over most of the part say little: twenty small ones among sixty of them are a place."""
    large = [(20 + shift, 20, 240, 180) for shift in range(60)]

    drawn = draw_defects(large + boxes_at(200, 100, 20), [keep(tmp_path, 320, 240)], tmp_path)

    first = drawn.places[0]
    assert 195 <= first.x <= 205 and 95 <= first.y <= 105 and first.defects >= 20


def test_defects_all_over_have_no_place(tmp_path: Path) -> None:
    """Only the heatmap."""
    drawn = draw_defects([(20, 20, 240, 180)] * 60, [keep(tmp_path, 320, 240)], tmp_path)

    assert drawn.places == () and drawn.jpeg


def test_no_defects_no_picture(tmp_path: Path) -> None:
    """Nothing is drawn, and no frame is read."""
    assert draw_defects([], [keep(tmp_path, 320, 240)], tmp_path).jpeg == b""


def test_a_box_beyond_the_frame_is_cut(tmp_path: Path) -> None:
    """The source had larger frames before; the place ends with the frame."""
    drawn = draw_defects([(300, 200, 100, 100), (900, 900, 5, 5)], [keep(tmp_path, 320, 240)], tmp_path)

    assert all(place.x + place.width <= 320 and place.y + place.height <= 240 for place in drawn.places)
