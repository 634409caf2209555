"""What is drawn on a frame: `roi`, mask and regions of a product's recipe."""

import json
from collections.abc import Sequence
from pathlib import Path

import cv2

from linewatch.domain import Box
from linewatch.errors import RecipeError, UsageError
from linewatch.models.bundle import active_version, read_bundle
from linewatch.models.recipe_file import inspected_area, regions_of, write_area, write_regions
from linewatch.runtime.atomic_files import translate_os_errors, write_text
from linewatch.teaching import Area
from linewatch.vision.recipe import Region
from linewatch.vision.regions import CELL_PX, check_regions, find_outside
from linewatch.vision.regions import SIDE_PX_MIN as REGION_SIDE_PX_MIN
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
    if trouble := check_regions(regions_of(recipes, product), roi):
        raise UsageError(trouble)
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


def save_regions(
    recipes: Path, models: Path, product: str, shape: tuple[int, int], regions: Sequence[Region]
) -> None:
    """Write the regions into the recipe, in place of those before; `shape` is that of the frame.

    Raises UsageError if one does not fit the frame, the area or the active version's map, RecipeError and
    StorageFull, and changes nothing then.
    """
    roi = inspected_area(recipes, product)[0]
    if trouble := check_regions(regions, roi):
        raise UsageError(trouble)
    outside = find_outside(regions, shape)
    if outside is not None:
        raise UsageError(
            f"region {outside.name!r} {list(outside.roi)} does not lie in the frame of "
            f"{shape[1]}x{shape[0]} pixels; draw it again"
        )
    across, down = _sides_min(models, product, roi or (0, 0, shape[1], shape[0]))
    for region in regions:
        if region.roi[2] < across or region.roi[3] < down:
            raise UsageError(
                f"region {region.name!r} is smaller than what the model tells apart, {across}x{down} pixels; "
                "draw it larger"
            )
    write_regions(recipes, product, regions)


def _sides_min(models: Path, product: str, area: Box) -> tuple[int, int]:
    """Return the sides of a cell of the active version's map, in frame pixels, rounded up."""
    try:
        bundle = read_bundle(models, product, active_version(models, product), verify=False)
    except RecipeError:  # Nothing is learnt yet; once it is, the scorer checks each frame.
        return REGION_SIDE_PX_MIN, REGION_SIDE_PX_MIN
    if bundle.registration is not None:  # The part is cut out, so its cells are smaller.
        return REGION_SIDE_PX_MIN, REGION_SIDE_PX_MIN
    height, width = bundle.input_shape
    return -(-area[2] * CELL_PX // width), -(-area[3] * CELL_PX // height)


def _mask_file(recipes: Path, product: str) -> Path:
    return recipes / f"{product}.mask.png"


def _strokes_file(recipes: Path, product: str) -> Path:
    return recipes / f"{product}.mask.json"
