"""Synthetic defects on good images: for challenge samples, and for a first estimate of a model's recall.

A painter takes an image (height, width, 3) uint8 BGR, a generator, the defect's size in pixels and the area
for its centre, and returns the image with the defect as float32, 0 to 255.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from linewatch.domain import Image

Area = NDArray[np.bool_] | None  # (height, width): where a defect's centre may lie. None: anywhere.


def _paint_scratch(
    image: Image, rng: np.random.Generator, side: float, area: Area = None
) -> NDArray[np.float32]:
    mask = np.zeros(image.shape[:2], np.float32)
    points = _draw_position(image, rng, side, area) + np.cumsum(rng.normal(0, side / 5, (6, 2)), axis=0)
    points += np.linspace(-0.5, 0.5, 6)[:, None] * side * _draw_direction(rng)
    thickness = max(1, round(side / 12))
    cv2.polylines(mask, [points.round().astype(np.int32)], False, 1.0, thickness, cv2.LINE_AA)
    return _paint(image, mask, _draw_contrast(image, rng))


def _paint_stain(
    image: Image, rng: np.random.Generator, side: float, area: Area = None
) -> NDArray[np.float32]:
    mask = np.zeros(image.shape[:2], np.float32)
    x, y = _draw_position(image, rng, side, area)
    axes = (max(1, round(side / 2)), max(1, round(side * rng.uniform(0.2, 0.5))))
    cv2.ellipse(mask, (round(x), round(y)), axes, rng.uniform(0, 180), 0, 360, 1.0, -1, cv2.LINE_AA)
    soft = cv2.GaussianBlur(mask, (0, 0), max(0.8, side / 12)).astype(np.float32)
    return _paint(image, soft, _draw_contrast(image, rng))


def _paint_patch(
    image: Image, rng: np.random.Generator, side: float, area: Area = None
) -> NDArray[np.float32]:
    """Copy a square of the image, rotated, to another position."""
    size = max(4, min(round(side), min(image.shape[:2]) // 2))
    limit = np.array([image.shape[1] - size, image.shape[0] - size])
    source_x, source_y = rng.integers(0, limit + 1)
    x, y = np.clip(_draw_position(image, rng, side, area) - size / 2, 0, limit).astype(int)
    moved = image.astype(np.float32)
    piece = np.rot90(image[source_y : source_y + size, source_x : source_x + size], int(rng.integers(1, 4)))
    moved[y : y + size, x : x + size] = piece
    return moved


def _paint_blot(
    image: Image, rng: np.random.Generator, side: float, area: Area = None
) -> NDArray[np.float32]:
    """Cover a disc with black or white, whichever differs more from the image's median."""
    mask = np.zeros(image.shape[:2], np.float32)
    x, y = _draw_position(image, rng, side, area)
    cv2.circle(mask, (round(x), round(y)), max(1, round(side / 2)), 1.0, -1, cv2.LINE_AA)
    colour = np.full(3, 0 if np.median(image) > 127 else 255, np.float32)
    return _paint(image, mask, colour, opacity=1.0)


def _paint_chequers(
    image: Image, rng: np.random.Generator, side: float, area: Area = None
) -> NDArray[np.float32]:
    """Cover a square with a black and white chequerboard."""
    size = max(8, min(round(side), min(image.shape[:2]) // 2))
    limit = np.array([image.shape[1] - size, image.shape[0] - size])
    x, y = np.clip(_draw_position(image, rng, side, area) - size / 2, 0, limit).astype(int)
    row, column = np.indices((size, size)) // max(2, size // 8)
    tiles = (row + column) % 2 * 255
    covered = image.astype(np.float32)
    covered[y : y + size, x : x + size] = tiles[:, :, None]
    return covered


DefectPainter = Callable[[Image, np.random.Generator, float, Area], NDArray[np.float32]]

KINDS: dict[str, DefectPainter] = {"scratch": _paint_scratch, "stain": _paint_stain, "patch": _paint_patch}
"""Defects that resemble real ones."""

CRUDE: dict[str, DefectPainter] = {"blot": _paint_blot, "chequers": _paint_chequers}
"""Gross defects that any working scorer detects, however much its good images vary."""


def add_defect(image: Image, kind: str, seed: int, size: float, area: Area = None) -> Image:
    """Return `image` with one synthetic defect of a kind in `KINDS` or `CRUDE`, in `area` if it fits there.

    `size` is a share of the image's shorter side. The same seed gives the same defect.
    """
    rng = np.random.default_rng(seed)
    defective = (KINDS | CRUDE)[kind](image, rng, size * min(image.shape[:2]), area)
    return np.clip(defective, 0, 255).astype(np.uint8)


def _draw_position(image: Image, rng: np.random.Generator, side: float, area: Area) -> NDArray[np.float64]:
    """Draw a position (x, y) weighted by local texture, which keeps defects off empty background."""
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    step = max(1, min(grey.shape) // 64)
    small = cv2.resize(grey, None, fx=1 / step, fy=1 / step, interpolation=cv2.INTER_AREA)
    texture = np.abs(cv2.Laplacian(cv2.GaussianBlur(small, (0, 0), 1.0), cv2.CV_32F))
    weight = cv2.GaussianBlur(texture, (0, 0), 3.0).astype(np.float64) + 1e-3
    reach = min(min(weight.shape) // 3, int(side / 2 / step) + 1)
    if area is not None:
        size = (weight.shape[1], weight.shape[0])
        allowed = cv2.resize(area.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
        if allowed[reach:-reach, reach:-reach].any():
            weight = weight * allowed
    inner = weight[reach : weight.shape[0] - reach, reach : weight.shape[1] - reach].ravel()
    row, column = divmod(int(rng.choice(inner.size, p=inner / inner.sum())), weight.shape[1] - 2 * reach)
    return np.array([(column + reach + 0.5) * step, (row + reach + 0.5) * step])


def _draw_direction(rng: np.random.Generator) -> NDArray[np.float64]:
    angle = rng.uniform(0, 2 * np.pi)
    return np.array([np.cos(angle), np.sin(angle)])


def _draw_contrast(image: Image, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw a BGR colour that contrasts with the image's median."""
    middle = np.median(image.reshape(-1, 3), axis=0)
    sign = -1.0 if middle.mean() > 127 else 1.0
    colour = np.clip(middle + sign * rng.uniform(60, 110) + rng.normal(0, 15, 3), 0, 255)
    return np.asarray(colour, np.float32)


def _paint(
    image: Image, mask: NDArray[np.float32], colour: NDArray[np.float32], opacity: float = 0.85
) -> NDArray[np.float32]:
    weight = mask[:, :, None] * np.float32(opacity)
    painted: NDArray[np.float32] = image * (1 - weight) + colour * weight
    return painted
