"""Find where the part lies in the crops, from good images alone, so that its background is not inspected.

Works whether or not parts are registered. The mask is a property of the product, not of one image: the
cells that good parts cover. Textures that fill the image have no foreground and are inspected everywhere.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from linewatch.domain import Image

COVERAGE_MIN = 0.05  # Cells that fewer good parts cover are background.
GAP_MAX = 0.25  # Gaps narrower than this share of the shorter side belong to the part.
AREA_SPREAD_MAX = 0.4  # 5 % to 95 % range of the covered areas, relative to their median.
BORDER_SHARE_MAX = 0.1  # Share of the image border that the part covers, median over the images.
EDGE_MIN = 0.2  # Share of the step between part and background that lies within a few pixels of the outline.
AGREEMENT_MIN = 0.4  # Median IoU of the masks with their median mask.
_BORDER_PX = 4
_EDGE_PX = 4  # Half width of the band in which the step at the outline is measured.


class _Silhouette(NamedTuple):
    """The part in one crop, and how it differs from the background."""

    mask: NDArray[np.bool_]  # (height, width), without holes.
    border_share: float
    edge: float


@dataclass(frozen=True, slots=True)
class Foreground:
    """Where good parts lie, and the measurements that decide whether they stand out from the background."""

    coverage: NDArray[np.float32]  # (rows, columns): share of the good parts that reach a cell, 0 to 1.
    area: float  # Median share of the crop that the part covers.
    area_spread: float
    border_share: float
    edge: float
    agreement: float

    @property
    def stands_out(self) -> bool:
        """Whether the masks show the part: a stable area with a sharp outline, inside the image."""
        return (
            self.area > 0
            and self.area_spread <= AREA_SPREAD_MAX
            and self.border_share <= BORDER_SHARE_MAX
            and self.edge >= EDGE_MIN
            and self.agreement >= AGREEMENT_MIN
        )

    @property
    def part_mask(self) -> NDArray[np.float32]:
        """Return (rows, columns) float32: 1 in each cell that good parts reach, 0 on the background.

        Narrow gaps belong to the part: between the leads of a component lie the defects of bent ones.
        """
        reached = np.asarray(self.coverage > COVERAGE_MIN, np.uint8)
        rows, columns = reached.shape
        reach = round(GAP_MAX * min(rows, columns) / 2)
        side = 2 * reach + 1  # Odd: an even kernel would shift the mask by a cell.
        padded = np.pad(reached, side)
        closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, np.ones((side, side), np.uint8))
        return closed[side : side + rows, side : side + columns].astype(np.float32)


def find_foreground(crops: Iterable[Image], cell_px: int) -> Foreground:
    """Measure the foreground of equally large BGR crops of good parts.

    The part is the largest region that differs from the median of the image border (Otsu's threshold).
    A cell is `cell_px` pixels square.
    """
    silhouettes = [_find_silhouette(crop) for crop in crops]
    masks = np.stack([silhouette.mask for silhouette in silhouettes])
    count, height, width = masks.shape
    cells = masks.reshape(count, height // cell_px, cell_px, width // cell_px, cell_px).any(axis=(2, 4))
    areas = masks.mean(axis=(1, 2))
    low, area, high = np.quantile(areas, (0.05, 0.5, 0.95))
    usual = masks.mean(axis=0) >= 0.5
    overlap = [(mask & usual).sum() / max(1, (mask | usual).sum()) for mask in masks]
    return Foreground(
        coverage=cells.mean(axis=0, dtype=np.float32),
        area=float(area),
        area_spread=float((high - low) / max(area, 1e-6)),
        border_share=float(np.median([silhouette.border_share for silhouette in silhouettes])),
        edge=float(np.median([silhouette.edge for silhouette in silhouettes])),
        agreement=float(np.median(overlap)),
    )


def _find_silhouette(crop: Image) -> _Silhouette:
    blurred = cv2.GaussianBlur(crop, (5, 5), 0).astype(np.int16)
    difference = np.abs(blurred - _border_colour(crop)).max(axis=2).astype(np.uint8)
    _, binary = cv2.threshold(difference, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(binary, connectivity=8)
    filled = np.zeros(binary.shape, np.uint8)
    if count < 2:
        return _Silhouette(filled > 0, 0.0, 0.0)
    largest = np.asarray(labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA])), np.uint8)
    outlines, _ = cv2.findContours(largest, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(filled, outlines, -1, 1, cv2.FILLED)
    border = np.concatenate((filled[0], filled[-1], filled[:, 0], filled[:, -1]))
    return _Silhouette(filled > 0, float(border.mean()), _edge_sharpness(filled, difference))


def _border_colour(crop: Image) -> NDArray[np.int16]:
    """Return the median colour along the image border."""
    inner = np.zeros(crop.shape[:2], np.bool_)
    inner[_BORDER_PX:-_BORDER_PX, _BORDER_PX:-_BORDER_PX] = True
    return np.asarray(np.median(crop[~inner], axis=0), np.int16)


def _edge_sharpness(mask: NDArray[np.uint8], difference: NDArray[np.uint8]) -> float:
    """Return the step of `difference` across the outline, relative to that between part and background.

    Near 1 for a sharp outline, near 0 where brightness only fades, as under a spotlight.
    """
    kernel = np.ones((2 * _EDGE_PX + 1, 2 * _EDGE_PX + 1), np.uint8)
    inside, outside = mask > 0, mask == 0
    rim_inside = inside & (cv2.erode(mask, kernel) == 0)
    rim_outside = outside & (cv2.dilate(mask, kernel) > 0)
    if not (rim_inside.any() and rim_outside.any()):
        return 0.0
    step = float(np.median(difference[rim_inside]) - np.median(difference[rim_outside]))
    contrast = float(np.median(difference[inside]) - np.median(difference[outside]))
    return step / max(contrast, 1.0)
