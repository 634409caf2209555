"""Weigh the anomaly map with the limits of a recipe's regions: the worst region decides."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from linewatch.domain import AnomalyMap, Box
from linewatch.errors import ImageError
from linewatch.vision.recipe import Recipe, Region

REGIONS_MAX = 16
SIDE_PX_MIN = 8  # Of a region; below it no camera shows a defect.
NAME_CHARACTERS_MAX = 32
CELL_PX = 8  # Pixels of the network's input on a side of one cell of the map, for what is learnt here.
FACTOR_MIN, FACTOR_MAX = 0.01, 100.0  # Of a region's threshold.


@dataclass(frozen=True, slots=True)
class PlacedRegions:
    """The regions of a recipe on the cells of one anomaly map."""

    owners: NDArray[np.uint8]  # (rows, columns): the region's place in the recipe from 1; 0: none.
    factors: AnomalyMap  # (rows, columns)
    sizes_px: NDArray[np.int64]  # (regions + 1,): smallest defect outside all regions, and in each.

    def smallest_px(self, inside: NDArray[np.bool_]) -> int:
        """Return the smallest size that counts for a defect on these cells: of all regions it meets."""
        return int(self.sizes_px[self.owners[inside]].min())


def check_regions(regions: Sequence[Region], roi: Box | None = None) -> str:
    """Return what is wrong with the regions of one recipe, "" if nothing is.

    What depends on the frame is checked when one is there: by `check_in_frame` and `place_regions`.
    """
    if len(regions) > REGIONS_MAX:
        return f"{len(regions)} regions are more than {REGIONS_MAX}; put some together"
    for number, region in enumerate(regions, 1):
        if trouble := _check_region(region, roi):
            return f"region {number} {region.name!r} {trouble}"
        for other in regions[: number - 1]:
            if other.name == region.name:
                return f"two regions have the name {region.name!r}; the verdict names one of them"
            if _overlap(other.roi, region.roi):
                return f"regions {other.name!r} and {region.name!r} overlap; move or shrink one of them"
    return ""


def _check_region(region: Region, roi: Box | None) -> str:
    x, y, width, height = region.roi
    usable = region.name.isprintable() and region.name == region.name.strip() != ""
    long = len(region.name) > NAME_CHARACTERS_MAX
    outside = roi is not None and not _contains(roi, region.roi)
    troubles = (
        (not usable, "has no usable name; use letters, digits and blanks between them"),
        (long, f"has a name of more than {NAME_CHARACTERS_MAX} characters; shorten it"),
        (min(x, y) < 0, "begins outside the frame; move its corner to 0 or above"),
        (
            min(width, height) < SIDE_PX_MIN,
            f"is {width}x{height} pixels, too small; draw it with sides of at least {SIDE_PX_MIN}",
        ),
        (outside, f"is not inside the recipe's roi {roi and list(roi)}; outside nothing is inspected"),
        (
            region.min_defect_px is not None and region.min_defect_px >= width * height,
            f"has no room for a defect of min_defect_px = {region.min_defect_px}; make that smaller",
        ),
    )
    return next((sentence for applies, sentence in troubles if applies), "")


def check_in_frame(regions: Sequence[Region], shape: tuple[int, ...]) -> None:
    """Raise ImageError unless every region lies in a frame of this shape, (height, width, ...)."""
    region = find_outside(regions, shape)
    if region is not None:
        raise ImageError(
            "frame",
            f"{shape[1]}x{shape[0]} pixels do not contain region {region.name!r} {list(region.roi)}; "
            "correct the recipe",
        )


def find_outside(regions: Sequence[Region], shape: tuple[int, ...]) -> Region | None:
    """Return the first region that does not lie in a frame of this shape, (height, width, ...)."""
    frame = (0, 0, shape[1], shape[0])
    return next((region for region in regions if not _contains(frame, region.roi)), None)


def place_regions(
    recipe: Recipe, placement: NDArray[np.float64], inspected: NDArray[np.bool_]
) -> PlacedRegions:
    """Return which cell belongs to which region: that in which its centre lies.

    `placement` maps cells (column, row) to frame pixels; `inspected` (rows, columns) is False where the
    recipe's mask hides the part. Raises ImageError for a region that is smaller than a cell, wholly hidden,
    or beside the map, as of a part that is registered elsewhere: nothing in it would be judged.
    """
    rows, columns = inspected.shape
    down, across = np.mgrid[0:rows, 0:columns]
    x, y = (placement[axis, 0] * across + placement[axis, 1] * down + placement[axis, 2] for axis in (0, 1))
    pitch = np.hypot(*placement[:, :2])
    owners = np.zeros(inspected.shape, np.uint8)
    factors = np.ones(inspected.shape, np.float32)
    for number, region in enumerate(recipe.regions, 1):
        left, top, width, height = region.roi
        if width < pitch[0] or height < pitch[1]:
            raise ImageError(
                "frame",
                f"region {region.name!r} is {width}x{height} pixels, smaller than a cell of the model's map, "
                f"{np.ceil(pitch[0]):.0f}x{np.ceil(pitch[1]):.0f}; draw it larger or train with --pixels",
            )
        # The centre of a pixel has whole coordinates, its edges are half a pixel away.
        here = (x >= left - 0.5) & (x < left + width - 0.5) & (y >= top - 0.5) & (y < top + height - 0.5)
        if not here.any():
            raise ImageError(
                "frame",
                f"region {region.name!r} lies beside the part: it has its place in the frame, the part is "
                "registered wherever it lies; remove the region, or train with --align off",
            )
        if not (here & inspected).any():
            raise ImageError(
                recipe.mask or "mask", f"hides all of region {region.name!r}; remove one of them"
            )
        owners[here] = number
        factors[here] = region.factor
    sizes = [recipe.min_defect_px, *(_size_px(region, recipe) for region in recipe.regions)]
    return PlacedRegions(owners, factors, np.array(sizes, np.int64))


def _size_px(region: Region, recipe: Recipe) -> int:
    return recipe.min_defect_px if region.min_defect_px is None else region.min_defect_px


def _contains(outer: Box, inner: Box) -> bool:
    return (
        outer[0] <= inner[0]
        and outer[1] <= inner[1]
        and inner[0] + inner[2] <= outer[0] + outer[2]
        and inner[1] + inner[3] <= outer[1] + outer[3]
    )


def _overlap(one: Box, other: Box) -> bool:
    return (
        one[0] < other[0] + other[2]
        and other[0] < one[0] + one[2]
        and one[1] < other[1] + other[3]
        and other[1] < one[1] + one[3]
    )
