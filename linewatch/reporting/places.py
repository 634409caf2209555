"""Where in the frame defects were: a heatmap over the product, and the most frequent places."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from linewatch.domain import Box, Image
from linewatch.errors import ImageError
from linewatch.reporting.figures import DefectPlace
from linewatch.vision.image_io import read_image, shrink_to

IMAGE_SIDE_PX = 640
GRID_SIDE = 96  # Cells along the frame's longer side.
PLACES_MAX = 5
PLACE_SHARE_MIN = 0.05  # Of all defects.
PLACE_SIZE_MAX = 0.15  # Of the frame; what is larger is no place.
PEAK_SHARE = 0.5
SHOWN_MIN = 0.005  # Of the highest density.
JPEG_QUALITY = 85
_GREY = 120
_DARK, _LIGHT = (20, 20, 20), (255, 255, 255)
_TAG_PX = 20
_MARGIN_PX = 4  # Between a place and its box, which would hide a small one.
_WARMEST = 230  # Of TURBO's levels, as in the heatmap of a part.


@dataclass(frozen=True, slots=True)
class DefectMap:
    """A heatmap of defects; `jpeg` is b"" without any."""

    jpeg: bytes = b""
    places: tuple[DefectPlace, ...] = ()
    frame: tuple[int, int] | None = None  # Width and height of the frame behind it.


def draw_defects(boxes: Sequence[Box], images: Sequence[str], evidence: Path) -> DefectMap:
    """Return the heatmap of `boxes` (frame pixels) over the first of the kept frames that can be read.

    Without one it is over grey, as large as the boxes need.
    """
    if not boxes:
        return DefectMap()
    frame = _first_frame(images, evidence)
    found = np.array(boxes, np.int64)
    if frame is None:
        width, height = (found[:, :2] + found[:, 2:]).max(axis=0).tolist()
    else:
        height, width = frame.shape[:2]
    cells, scale = _density(found, width, height)
    places = _places(found, cells, scale)
    base = np.full((height, width, 3), _GREY, np.uint8) if frame is None else frame
    picture = _draw(shrink_to(base, IMAGE_SIDE_PX), cells, places, width)
    jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
    return DefectMap(jpeg, tuple(places), None if frame is None else (width, height))


def _first_frame(images: Sequence[str], evidence: Path) -> Image | None:
    for name in images:
        try:
            return read_image(evidence / name)
        except ImageError:  # Deleted meanwhile.
            continue
    return None


def _density(boxes: NDArray[np.int64], width: int, height: int) -> tuple[NDArray[np.float64], float]:
    """Return the density of defects in each cell, (rows, columns), and the cells per pixel.

    Each box adds 1 in all, spread over its cells: a large one says little about the place.
    """
    scale = min(1.0, GRID_SIDE / max(width, height))
    columns, rows = max(1, round(width * scale)), max(1, round(height * scale))
    edges = np.zeros((rows + 1, columns + 1))
    low = np.clip(np.floor(boxes[:, :2] * scale).astype(int), 0, (columns - 1, rows - 1))
    high = np.ceil((boxes[:, :2] + boxes[:, 2:]) * scale).astype(int)
    high = np.clip(np.maximum(high, low + 1), 1, (columns, rows))
    share = 1 / (high - low).prod(axis=1)
    (left, top), (right, bottom) = low.T, high.T
    for corner, sign in (((top, left), 1), ((top, right), -1), ((bottom, left), -1), ((bottom, right), 1)):
        np.add.at(edges, corner, sign * share)
    return np.maximum(edges.cumsum(0).cumsum(1)[:-1, :-1], 0.0), scale


def _places(boxes: NDArray[np.int64], cells: NDArray[np.float64], scale: float) -> list[DefectPlace]:
    """Return the most frequent places: around each peak, the cells with at least PEAK_SHARE of its density.

    A defect belongs to the first place that it covers half of, that covers half of it, or that holds its
    middle when it is made twice as wide and high.
    """
    left = boxes
    density = cells
    shape = (cells.shape[1] / scale, cells.shape[0] / scale)
    found: list[DefectPlace] = []
    while len(left) and len(found) < PLACES_MAX:
        peak = np.unravel_index(int(density.argmax()), density.shape)
        _, labels = cv2.connectedComponents((density >= PEAK_SHARE * density[peak]).astype(np.uint8))
        rows, columns = np.nonzero(labels == labels[peak])
        low = np.array([columns.min(), rows.min()]) / scale
        high = np.array([columns.max() + 1, rows.max() + 1]) / scale
        shared = np.minimum(left[:, :2] + left[:, 2:], high) - np.maximum(left[:, :2], low)
        areas = np.minimum(left[:, 2:].prod(axis=1), (high - low).prod())
        apart = np.abs(left[:, :2] + left[:, 2:] / 2 - (low + high) / 2)
        inside = (np.maximum(shared, 0).prod(axis=1) >= areas / 2) | np.all(apart <= high - low, axis=1)
        spread = (high - low).prod() > PLACE_SIZE_MAX * shape[0] * shape[1]
        if spread or inside.sum() < max(1, PLACE_SHARE_MIN * len(boxes)):
            break
        x, y = np.floor(low).astype(int).tolist()
        width, height = np.ceil(np.minimum(high, shape) - (x, y)).astype(int).tolist()
        found.append(DefectPlace(x=x, y=y, width=width, height=height, defects=int(inside.sum())))
        left = left[~inside]
        density, _ = _density(left, round(shape[0]), round(shape[1])) if len(left) else (density, scale)
    return sorted(found, key=lambda place: -place.defects)


def _draw(base: Image, cells: NDArray[np.float64], places: Sequence[DefectPlace], width: int) -> Image:
    """Lay the counts over the frame, with a numbered frame around each place."""
    size = base.shape[1], base.shape[0]
    grey = cv2.cvtColor(cv2.cvtColor(base, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    smooth = np.maximum(cells, cv2.GaussianBlur(cells, (0, 0), 0.8))  # Of no peak less.
    share = cv2.resize((smooth / smooth.max()).astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    colours = cv2.applyColorMap((share * _WARMEST).astype(np.uint8), cv2.COLORMAP_TURBO)
    opacity = np.where(share > SHOWN_MIN, 0.25 + 0.45 * share, 0).astype(np.float32)
    weight = cv2.GaussianBlur(opacity, (0, 0), size[0] / 320)
    overlay = np.asarray(cv2.blendLinear(grey, colours, 1 - weight, weight), np.uint8)
    zoom = size[0] / width
    for number, place in enumerate(places, 1):
        _mark(overlay, number, [round(zoom * side) for side in (place.x, place.y, place.width, place.height)])
    return overlay


def _mark(overlay: Image, number: int, box: Sequence[int]) -> None:
    """Draw a numbered box, white with a dark edge; its number stands on its upper edge."""
    x, y = box[0] - _MARGIN_PX, box[1] - _MARGIN_PX
    bottom, right = overlay.shape[0] - 2, overlay.shape[1] - 2
    low = max(1, x), max(1, y)
    high = min(box[0] + box[2] + _MARGIN_PX, right), min(box[1] + box[3] + _MARGIN_PX, bottom)
    for colour, line in ((_DARK, 4), (_LIGHT, 2)):
        cv2.rectangle(overlay, low, high, colour, line)
    left, top = min(max(1, x), right - _TAG_PX), max(1, y - _TAG_PX)
    cv2.rectangle(overlay, (left, top), (left + _TAG_PX, top + _TAG_PX), _DARK, cv2.FILLED)
    at = left + 4, top + _TAG_PX - 5
    cv2.putText(overlay, str(number), at, cv2.FONT_HERSHEY_SIMPLEX, 0.6, _LIGHT, 2, cv2.LINE_AA)
