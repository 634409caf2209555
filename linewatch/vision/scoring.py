"""Score an image: the one code path of the line, the page, the commands and training."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from linewatch.domain import AnomalyMap, Box, Defect, EngineOutput, Image, Scored
from linewatch.errors import ImageError
from linewatch.vision.image_io import read_mask, shrink_whole
from linewatch.vision.product_match import Likeness, OtherProduct, ProductMatcher
from linewatch.vision.recipe import Recipe
from linewatch.vision.regions import PlacedRegions, check_in_frame, place_regions
from linewatch.vision.registration import Registration, find_placement

Matrix = NDArray[np.float64]
"""2x3 affine matrix that maps (column, row, 1); pixel centres are at integer coordinates."""

Cell = tuple[int, int]
"""Row and column of an anomaly map."""


class Engine(Protocol):
    """A compiled network, ready to run."""

    @property
    def input_shape(self) -> tuple[int, int]:
        """Height and width of the network's input, in pixels."""

    def run(self, crop: Image) -> EngineOutput:
        """Score one crop, (*input_shape, 3) uint8."""


@dataclass(frozen=True, slots=True)
class Crop:
    """The network's input, cropped from one frame."""

    image: Image
    placement: Matrix  # From crop pixels (column, row) to frame pixels (x, y).
    frame_shape: tuple[int, int]  # Height, width.
    mask: NDArray[np.bool_] | None  # (height, width) of the frame; False is not inspected.


class Scorer:
    """Scores images of one product with one model version; may be shared between threads."""

    def __init__(
        self,
        engine: Engine,
        registration: Registration | None = None,
        likeness: Likeness | None = None,
        references: Sequence[OtherProduct] = (),
    ) -> None:
        """Without `registration` the whole inspected area is scored; `references` are the other products."""
        self._registration = registration
        self._engine = engine
        self._likeness = likeness
        self._masks: dict[Path, NDArray[np.bool_]] = {}
        self.recognise(references)

    def recognise(self, references: Sequence[OtherProduct]) -> None:
        """Tell parts of these products from now on; may be called while another thread scores."""
        self._matcher = ProductMatcher(self._likeness, references)

    def score(self, image: Image, recipe: Recipe, mask: NDArray[np.bool_] | None = None) -> Scored:
        """Score one frame: `crop`, then `score_crop`. Raises NotRegistered and ImageError.

        `mask`, (height, width) bool, replaces the recipe's mask; False is not inspected.
        """
        crop = self.crop(image, recipe)
        return self.score_crop(crop if mask is None else replace(crop, mask=mask), recipe)

    def crop(self, image: Image, recipe: Recipe) -> Crop:
        """Crop the network's input from one frame.

        Raises NotRegistered if the part is not found, and ImageError if the recipe's `roi`, `mask`,
        `min_defect_px` or a region does not fit the frame.
        """
        area, corner = cut_roi(image, recipe.roi)
        check_in_frame(recipe.regions, image.shape)
        if recipe.min_defect_px >= area.shape[0] * area.shape[1]:
            raise ImageError(
                "frame", f"no defect can have min_defect_px = {recipe.min_defect_px}; correct the recipe"
            )
        input_image, to_area = standard_crop(area, self._registration, self._engine.input_shape)
        mask = None if recipe.mask is None else self._mask(recipe.mask, image)
        height, width = image.shape[:2]
        return Crop(input_image, to_area + _shift(corner), (height, width), mask)

    def score_crop(self, crop: Crop, recipe: Recipe) -> Scored:
        """Run the network on a crop that was made with the same recipe.

        The raw score is the largest value of the anomaly map inside the recipe's `roi`, where its `mask`
        is not black, and outside areas above the threshold that are smaller than `min_defect_px`.
        In the recipe's regions the map is divided by their factors first, so the worst region decides.
        The embedding of the whole crop, masked or not, decides whether it looks like another product.
        Raises ImageError if the mask hides the whole crop or a region, or a region is smaller than a cell.
        """
        output = self._engine.run(crop.image)
        raw, anomaly_map = output.score, output.anomaly_map
        placement_in_frame = map_placement(crop.placement, self._engine.input_shape, anomaly_map.shape)
        inspected = np.ones(anomaly_map.shape, np.bool_)
        if crop.mask is not None:
            inspected = project_mask(crop.mask, placement_in_frame, anomaly_map.shape)
            check_area_left(recipe.mask or "mask", inspected)
            anomaly_map = np.where(inspected, anomaly_map, np.float32(0))
            raw = float(anomaly_map.max())
        looks_like = self._matcher.match(output.embedding)
        if recipe.regions:
            regions = place_regions(recipe, placement_in_frame, inspected)
            scored = _weigh(anomaly_map, recipe, regions, placement_in_frame, crop.frame_shape)
        else:
            scored = _limit(raw, anomaly_map, recipe, placement_in_frame, crop.frame_shape)
        return replace(scored, looks_like=looks_like, embedding=output.embedding, local=output.local)

    def _mask(self, path: Path, image: Image) -> NDArray[np.bool_]:
        mask = self._masks.get(path)
        if mask is None:
            mask = self._masks[path] = read_mask(path)
        check_mask(path, mask, image)
        return mask


def run_engine(
    area: Image, registration: Registration | None, engine: Engine
) -> tuple[float, AnomalyMap, Matrix]:
    """Return the raw score of an area, its anomaly map, and the matrix from map cells to area pixels.

    Raises NotRegistered if there is a `registration` and the part is not found.
    """
    crop, to_area = standard_crop(area, registration, engine.input_shape)
    output = engine.run(crop)
    placed = map_placement(to_area, engine.input_shape, output.anomaly_map.shape)
    return output.score, output.anomaly_map, placed


def project_mask(mask: NDArray[np.bool_], placement: Matrix, cells: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return a frame's mask sampled at the centres of the map's cells: (rows, columns) = `cells`, bool.

    `placement` maps cells to pixels of the mask.
    """
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    warped = cv2.warpAffine(mask.astype(np.uint8), placement, (cells[1], cells[0]), flags=flags)
    return np.asarray(warped > 0)


def check_mask(path: Path, mask: NDArray[np.bool_], frame: Image) -> None:
    """Raise ImageError unless the mask has the size of the frame."""
    height, width = frame.shape[:2]
    if mask.shape != (height, width):
        raise ImageError(
            path,
            f"is {mask.shape[1]}x{mask.shape[0]} pixels but frames are {width}x{height}; "
            "draw the mask on a captured frame",
        )


def check_area_left(path: Path | str, inspected: NDArray[np.bool_]) -> None:
    """Raise ImageError if a mask leaves no cell to inspect: every part would pass."""
    if not inspected.any():
        raise ImageError(path, "hides the whole part; draw it with more white")


def crop_mask(area: Image, mask: NDArray[np.bool_], roi: Box | None) -> NDArray[np.bool_]:
    """Return a frame's mask cropped to `roi` and resized to `area`. Raises ImageError."""
    cut, _ = cut_roi(mask.astype(np.uint8), roi)
    return np.asarray(cv2.resize(cut, area.shape[1::-1], interpolation=cv2.INTER_NEAREST) > 0)


def cut_roi(image: Image, roi: Box | None) -> tuple[Image, tuple[int, int]]:
    """Return the inspected area, a view of `image`, and its corner (x, y).

    Raises ImageError if `roi` exceeds the image.
    """
    if roi is None:
        return image, (0, 0)
    x, y, width, height = roi
    if x + width > image.shape[1] or y + height > image.shape[0]:
        raise ImageError(
            "frame",
            f"{image.shape[1]}x{image.shape[0]} pixels do not contain roi {list(roi)}; correct the recipe",
        )
    return image[y : y + height, x : x + width], (x, y)


def standard_crop(
    area: Image, registration: Registration | None, shape: tuple[int, int]
) -> tuple[Image, Matrix]:
    """Return the network's input, (*shape, 3) uint8, and the matrix from its pixels to those of `area`.

    Raises NotRegistered if there is a `registration` and the part is not found.
    """
    height, width = shape
    if registration is not None:
        matrix = find_placement(area, registration, shape)
        return _warp(area, matrix, shape), matrix
    area, times = shrink_whole(area, (area.shape[1] / width, area.shape[0] / height))
    crop: Image = cv2.resize(area, (width, height), interpolation=cv2.INTER_LINEAR)  # type: ignore[assignment]
    return crop, _stretch(times[0] * area.shape[1] / width, times[1] * area.shape[0] / height)


def _warp(area: Image, matrix: Matrix, shape: tuple[int, int]) -> Image:
    """Return the rotated crop; shrink first, because warpAffine skips pixels when it shrinks."""
    step = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    area, times = shrink_whole(area, (step, step))
    matrix = _chain(_stretch(1 / times[0], 1 / times[1]), matrix)
    crop: Image = cv2.warpAffine(  # type: ignore[assignment]
        area,
        matrix,
        (shape[1], shape[0]),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return crop


def map_placement(to_area: Matrix, crop: tuple[int, ...], cells: tuple[int, ...]) -> Matrix:
    """Return the matrix from map cells to area pixels; `crop` and `cells` are (height, width, ...)."""
    return _chain(to_area, _stretch(crop[1] / cells[1], crop[0] / cells[0]))


@functools.lru_cache(maxsize=64)
def _stretch(across: float, down: float) -> Matrix:
    """Return the matrix of a zoom that maps corners to corners."""
    matrix = np.array([[across, 0, (across - 1) / 2], [0, down, (down - 1) / 2]])
    matrix.flags.writeable = False
    return matrix


@functools.lru_cache(maxsize=64)
def _shift(corner: tuple[int, int]) -> Matrix:
    matrix = np.array([[0.0, 0, corner[0]], [0, 0, corner[1]]])
    matrix.flags.writeable = False
    return matrix


def _chain(outer: Matrix, inner: Matrix) -> Matrix:
    """Return the matrix that applies `inner`, then `outer`."""
    chained = outer[:, :2] @ inner
    chained[:, 2] += outer[:, 2]
    return chained


def _limit(
    raw: float, anomaly_map: AnomalyMap, recipe: Recipe, matrix: Matrix, shape: tuple[int, ...]
) -> Scored:
    """Return what the recipe's limits make of a map and its score, without regions."""
    if not raw > recipe.threshold:
        return Scored(raw, anomaly_map, matrix)
    defects, rest = _defects(anomaly_map, recipe, matrix, shape)
    if not defects:
        return Scored(float(rest.max()), rest, matrix)
    return Scored(raw, anomaly_map, matrix, tuple(defect for defect, _ in defects))


def _weigh(
    anomaly_map: AnomalyMap,
    recipe: Recipe,
    regions: PlacedRegions,
    matrix: Matrix,
    shape: tuple[int, ...],
) -> Scored:
    """Return what the regions' limits make of a map; a defect too small for every region it meets is none."""
    weighted = anomaly_map / regions.factors
    decisive = weighted
    defects: list[tuple[Defect, Cell]] = []
    if float(weighted.max()) > recipe.threshold:
        defects, decisive = _defects(weighted, recipe, matrix, shape, regions)
    worst = np.unravel_index(int(decisive.argmax()), decisive.shape)
    owner = int(regions.owners[worst])
    # The box of a verdict is drawn in the region that it names.
    defects.sort(key=lambda found: regions.owners[found[1]] != owner)
    return Scored(
        raw=float(decisive[worst]),
        anomaly_map=weighted if defects else decisive,
        placement=matrix,
        defects=tuple(defect for defect, _ in defects),
        region=recipe.regions[owner - 1].name if owner else "",
        region_index=owner,
        factor=recipe.regions[owner - 1].factor if owner else 1.0,
        factors=regions.factors,
    )


def _defects(
    anomaly_map: AnomalyMap,
    recipe: Recipe,
    matrix: Matrix,
    shape: tuple[int, ...],
    regions: PlacedRegions | None = None,
) -> tuple[list[tuple[Defect, Cell]], AnomalyMap]:
    """Return the defects, largest first, each with the cell of its peak, and the map with smaller ones at 0.

    Smaller is what is below the recipe's `min_defect_px`, or below that of every region it meets.
    """
    above = (anomaly_map > recipe.threshold).astype(np.uint8)
    count, labels, stats, centres = cv2.connectedComponentsWithStats(above, connectivity=8)
    cell_px = abs(float(np.linalg.det(matrix[:, :2])))
    rest = anomaly_map.copy()
    defects: list[tuple[Defect, Cell]] = []
    for label in range(1, count):
        inside = labels == label
        area_px = round(float(stats[label, cv2.CC_STAT_AREA]) * cell_px)
        if area_px < (recipe.min_defect_px if regions is None else regions.smallest_px(inside)):
            rest[inside] = 0
            continue
        x, y = matrix[:, :2] @ centres[label] + matrix[:, 2]
        defect = Defect(
            box=_frame_box(stats[label], matrix, shape),
            area_px=area_px,
            centroid=(
                int(np.clip(round(x), 0, shape[1] - 1)),
                int(np.clip(round(y), 0, shape[0] - 1)),
            ),
            peak=float(anomaly_map[inside].max()),
        )
        row, column = np.unravel_index(int(np.where(inside, anomaly_map, -np.inf).argmax()), inside.shape)
        defects.append((defect, (int(row), int(column))))
    return sorted(defects, key=lambda found: (-found[0].area_px, -found[0].peak)), rest


def _frame_box(stats: NDArray[np.int32], matrix: Matrix, shape: tuple[int, ...]) -> Box:
    """Return the axis-aligned frame box around a box of cells, clipped to the frame."""
    left, top = int(stats[cv2.CC_STAT_LEFT]), int(stats[cv2.CC_STAT_TOP])
    right, bottom = left + int(stats[cv2.CC_STAT_WIDTH]), top + int(stats[cv2.CC_STAT_HEIGHT])
    corners = np.array([[left, top], [right, top], [left, bottom], [right, bottom]]) - 0.5
    points = corners @ matrix[:, :2].T + matrix[:, 2] + 0.5
    low = np.clip(np.floor(points.min(axis=0)), 0, (shape[1] - 1, shape[0] - 1)).astype(int)
    high = np.clip(np.ceil(points.max(axis=0)), low + 1, (shape[1], shape[0])).astype(int)
    return int(low[0]), int(low[1]), int(high[0] - low[0]), int(high[1] - low[1])
