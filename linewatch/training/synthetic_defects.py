"""Made-up defects on good pictures: challenge samples, and a first idea of what a model can find."""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from linewatch.domain import Image


def _scratch(image: Image, rng: np.random.Generator, side: float) -> NDArray[np.float32]:
    mask = np.zeros(image.shape[:2], np.float32)
    points = _place(image, rng, side) + np.cumsum(rng.normal(0, side / 5, (6, 2)), axis=0)
    points += np.linspace(-0.5, 0.5, 6)[:, None] * side * _direction(rng)
    thickness = max(1, round(side / 12))
    cv2.polylines(mask, [points.round().astype(np.int32)], False, 1.0, thickness, cv2.LINE_AA)
    return _painted(image, mask, _contrast(image, rng))


def _stain(image: Image, rng: np.random.Generator, side: float) -> NDArray[np.float32]:
    mask = np.zeros(image.shape[:2], np.float32)
    x, y = _place(image, rng, side)
    axes = (max(1, round(side / 2)), max(1, round(side * rng.uniform(0.2, 0.5))))
    cv2.ellipse(mask, (round(x), round(y)), axes, rng.uniform(0, 180), 0, 360, 1.0, -1, cv2.LINE_AA)
    soft = cv2.GaussianBlur(mask, (0, 0), max(0.8, side / 12)).astype(np.float32)
    return _painted(image, soft, _contrast(image, rng))


def _patch(image: Image, rng: np.random.Generator, side: float) -> NDArray[np.float32]:
    """Move a piece of the part to where it does not belong."""
    size = max(4, min(round(side), min(image.shape[:2]) // 2))
    limit = np.array([image.shape[1] - size, image.shape[0] - size])
    source_x, source_y = rng.integers(0, limit + 1)
    x, y = np.clip(_place(image, rng, side) - size / 2, 0, limit).astype(int)
    moved = image.astype(np.float32)
    piece = np.rot90(image[source_y : source_y + size, source_x : source_x + size], int(rng.integers(1, 4)))
    moved[y : y + size, x : x + size] = piece
    return moved


def _blot(image: Image, rng: np.random.Generator, side: float) -> NDArray[np.float32]:
    """Cover a round piece of the part with what is farthest from its own brightness."""
    mask = np.zeros(image.shape[:2], np.float32)
    x, y = _place(image, rng, side)
    cv2.circle(mask, (round(x), round(y)), max(1, round(side / 2)), 1.0, -1, cv2.LINE_AA)
    colour = np.full(3, 0 if np.median(image) > 127 else 255, np.float32)
    return _painted(image, mask, colour, opacity=1.0)


def _chequers(image: Image, rng: np.random.Generator, side: float) -> NDArray[np.float32]:
    """Cover a square piece of the part with bright and dark tiles: nothing that is made looks so."""
    size = max(8, min(round(side), min(image.shape[:2]) // 2))
    limit = np.array([image.shape[1] - size, image.shape[0] - size])
    x, y = np.clip(_place(image, rng, side) - size / 2, 0, limit).astype(int)
    row, column = np.indices((size, size)) // max(2, size // 8)
    tiles = (row + column) % 2 * 255
    covered = image.astype(np.float32)
    covered[y : y + size, x : x + size] = tiles[:, :, None]
    return covered


Spoil = Callable[[Image, np.random.Generator, float], NDArray[np.float32]]

KINDS: dict[str, Spoil] = {"scratch": _scratch, "stain": _stain, "patch": _patch}
"""What may happen to a part."""

CRUDE: dict[str, Spoil] = {"blot": _blot, "chequers": _chequers}
"""What a scorer that is not blind has to see, however much its good pictures differ."""


def spoil(image: Image, kind: str, seed: int, size: float) -> Image:
    """Return the picture with one made-up defect; `size` is a share of its shorter side."""
    rng = np.random.default_rng(seed)
    spoilt = (KINDS | CRUDE)[kind](image, rng, size * min(image.shape[:2]))
    return np.clip(spoilt, 0, 255).astype(np.uint8)


def _place(image: Image, rng: np.random.Generator, side: float) -> NDArray[np.float64]:
    """Draw a place (x, y) that has structure: a defect on empty background would be no challenge."""
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    step = max(1, min(grey.shape) // 64)
    small = cv2.resize(grey, None, fx=1 / step, fy=1 / step, interpolation=cv2.INTER_AREA)
    texture = np.abs(cv2.Laplacian(cv2.GaussianBlur(small, (0, 0), 1.0), cv2.CV_32F))
    weight = cv2.GaussianBlur(texture, (0, 0), 3.0).astype(np.float64) + 1e-3
    reach = min(min(weight.shape) // 3, int(side / 2 / step) + 1)
    inner = weight[reach : weight.shape[0] - reach, reach : weight.shape[1] - reach].ravel()
    row, column = divmod(int(rng.choice(inner.size, p=inner / inner.sum())), weight.shape[1] - 2 * reach)
    return np.array([(column + reach + 0.5) * step, (row + reach + 0.5) * step])


def _direction(rng: np.random.Generator) -> NDArray[np.float64]:
    angle = rng.uniform(0, 2 * np.pi)
    return np.array([np.cos(angle), np.sin(angle)])


def _contrast(image: Image, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw a colour away from the picture's own."""
    middle = np.median(image.reshape(-1, 3), axis=0)
    sign = -1.0 if middle.mean() > 127 else 1.0
    colour = np.clip(middle + sign * rng.uniform(60, 110) + rng.normal(0, 15, 3), 0, 255)
    return np.asarray(colour, np.float32)


def _painted(
    image: Image, mask: NDArray[np.float32], colour: NDArray[np.float32], opacity: float = 0.85
) -> NDArray[np.float32]:
    weight = mask[:, :, None] * np.float32(opacity)
    painted: NDArray[np.float32] = image * (1 - weight) + colour * weight
    return painted
