"""The inspected area drawn on a frame: `roi` and mask of a product's recipe."""

import json
from pathlib import Path

import cv2

from linewatch.domain import Box
from linewatch.errors import UsageError
from linewatch.models.recipe_file import inspected_area, write_area
from linewatch.runtime.atomic_files import translate_os_errors, write_text
from linewatch.teaching import Area
from linewatch.vision.strokes import draw_mask

SIDE_PX_MIN = 32  # Of the inspected area.
SHARE_MIN = 0.01  # Of the inspected area that a mask must leave.


def read_area(recipes: Path, product: str) -> Area:
    """Return the area in a product's recipe. Raises RecipeError."""
    roi, mask = inspected_area(recipes, product)
    strokes = ""
    if mask == _mask_file(recipes, product):
        try:
            strokes = str(json.loads(_strokes_file(recipes, product).read_text(encoding="utf-8")))
        except (OSError, ValueError):
            strokes = ""
    return Area(roi, strokes, "" if mask is None else str(mask))


def save_area(recipes: Path, product: str, shape: tuple[int, int], roi: Box | None, strokes: str) -> None:
    """Write the area into the recipe; `shape` is that of the frame, (height, width).

    Without strokes a mask that was drawn here is removed, and one that a person made stays. Raises
    UsageError if the area does not fit the frame, RecipeError and StorageFull, and changes nothing then.
    """
    height, width = shape
    if roi is not None:
        x, y, across, down = roi
        if min(x, y) < 0 or min(across, down) < SIDE_PX_MIN or x + across > width or y + down > height:
            raise UsageError(
                f"region {list(roi)} does not lie in the frame of {width}x{height} pixels with sides of at "
                f"least {SIDE_PX_MIN}; draw it again"
            )
    mask = draw_mask(strokes, shape)
    x, y, across, down = roi or (0, 0, width, height)
    if (mask[y : y + down, x : x + across] > 0).mean() < SHARE_MIN:
        raise UsageError("almost everything is painted out, so nothing would be inspected; paint less")
    own, before = _mask_file(recipes, product), inspected_area(recipes, product)[1]
    if not strokes.strip():
        write_area(recipes, product, roi, None if before == own else before)
        return
    write_text(_strokes_file(recipes, product), json.dumps(strokes))
    fresh = own.with_name(f".{own.name}")
    with translate_os_errors(own):
        fresh.write_bytes(cv2.imencode(".png", mask)[1].tobytes())
        fresh.replace(own)
    write_area(recipes, product, roi, own)


def _mask_file(recipes: Path, product: str) -> Path:
    return recipes / f"{product}.mask.png"


def _strokes_file(recipes: Path, product: str) -> Path:
    return recipes / f"{product}.mask.json"
