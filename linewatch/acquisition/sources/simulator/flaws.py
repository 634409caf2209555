"""Paint defects on the simulated part before its image is taken."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from linewatch.acquisition.sources.simulator.scene import DESIGN_PX, SCREW_PX, SCREWS, Layers, Plane

Layer = NDArray[np.uint8]
"""The part: (size, size, 4), uint8, premultiplied colour and opacity."""

DEFECTS: tuple[str, ...] = ("scratch", "dent", "missing", "contamination", "colour")


def paint(layers: Layers, defect: str, rng: np.random.Generator) -> Layer:
    """Return the part with one of DEFECTS, its position and size drawn from `rng`."""
    part = layers.part.copy()
    _PAINTERS[defect](layers, part, rng)
    return part


def _scratch(layers: Layers, part: Layer, rng: np.random.Generator) -> None:
    """Paint a scratch: a thin bright furrow with a dark edge, sometimes two side by side."""
    scale = layers.size / DESIGN_PX
    path = _path(layers, rng, length=rng.uniform(34, 80), bend=rng.uniform(-0.012, 0.012), wobble=0.0)
    along = path[-1] - path[0]
    aside = np.array([-along[1], along[0]]) / np.hypot(*along)
    furrow, burr = _plane(layers), _plane(layers)
    for lane in range(rng.integers(1, 3)):
        furrow = np.maximum(furrow, _line(layers, path + 4.0 * lane * scale * aside, 1.5 * scale))
        burr = np.maximum(burr, _line(layers, path + (4.0 * lane + 1.4) * scale * aside, 1.5 * scale))
    on_face = layers.face / np.float32(255)
    _tint(part, 0.65 * burr * on_face, (30, 30, 32))
    _tint(part, 0.95 * furrow * on_face, (250, 250, 248))


def _dent(layers: Layers, part: Layer, rng: np.random.Generator) -> None:
    """Paint a dent: a hollow that is dark towards the lamp and bright away from it."""
    reach = rng.uniform(6.5, 11.0) * layers.size / DESIGN_PX
    window, x, y = _around(layers, rng, 2.2 * reach)
    bowl = np.exp(-(((x * x + y * y) / (reach * reach)) ** 1.5))
    slope = 0.6 * cv2.Sobel(bowl, cv2.CV_64F, 1, 0) + 0.8 * cv2.Sobel(bowl, cv2.CV_64F, 0, 1)
    light = 1.0 - 0.62 * slope / np.abs(slope).max() - 0.22 * bowl
    _shade(part[window], light * (1.0 + 0.05 * bowl * rng.standard_normal(bowl.shape)))


def _missing(layers: Layers, part: Layer, rng: np.random.Generator) -> None:
    """Leave out a screw: its hole is open."""
    x, y = SCREWS[rng.integers(len(SCREWS))]
    scale, middle = layers.size / DESIGN_PX, layers.size / 2
    reach = (SCREW_PX + 4.0) * scale
    rows = slice(round(middle + y * scale - reach), round(middle + y * scale + reach))
    columns = slice(round(middle + x * scale - reach), round(middle + x * scale + reach))
    part[rows, columns] = layers.bare[rows, columns]


def _contamination(layers: Layers, part: Layer, rng: np.random.Generator) -> None:
    """Paint contamination: an oil spot, a fibre or chips."""
    kinds = (_oil, _fibre, _chips)
    kinds[rng.integers(len(kinds))](layers, part, rng)


def _oil(layers: Layers, part: Layer, rng: np.random.Generator) -> None:
    scale = layers.size / DESIGN_PX
    reach = rng.uniform(9, 15) * scale
    window, x, y = _around(layers, rng, 2.2 * reach)
    angle, outline = np.arctan2(y, x), np.ones_like(x)
    for lobes in (2, 3, 5):
        outline += rng.uniform(0.03, 0.13) * np.cos(lobes * angle + rng.uniform(0, 6.3))
    out = np.hypot(x, y) / (reach * outline)
    film = np.clip((1.0 - out) * 6, 0, 1)
    _tint(part[window], 0.78 * film + 0.1 * np.exp(-(((out - 0.93) / 0.06) ** 2)), (14, 26, 40))
    glint = np.exp(-((x + 4 * scale) ** 2 + (y + 4 * scale) ** 2) / (4.5 * scale * scale))
    _tint(part[window], 0.6 * glint * film, (235, 240, 245))


def _fibre(layers: Layers, part: Layer, rng: np.random.Generator) -> None:
    scale = layers.size / DESIGN_PX
    path = _path(layers, rng, length=rng.uniform(50, 80), bend=0.0, wobble=0.22)
    shape = _line(layers, path, 1.9 * scale)
    _tint(part, 0.45 * _cast_shadow(shape, scale), (0, 0, 0))
    _tint(part, shape, (26, 22, 60) if rng.random() < 0.5 else (22, 24, 26))


def _chips(layers: Layers, part: Layer, rng: np.random.Generator) -> None:
    scale = layers.size / DESIGN_PX
    spot, shape = _place(layers, rng), _plane(layers)
    for _ in range(rng.integers(2, 6)):
        turns = np.sort(rng.uniform(0, 2 * math.pi, 7))
        reach = rng.uniform(2.6, 5.6, (7, 1)) * scale
        outline = (
            spot + rng.normal(0, 8, 2) * scale + reach * np.stack([np.cos(turns), np.sin(turns)], axis=1)
        )
        cv2.fillPoly(shape, [_eighths(outline)], 1.0, cv2.LINE_AA, shift=3)
    _tint(part, 0.5 * _cast_shadow(shape, scale), (0, 0, 0))
    _tint(part, 0.95 * shape, (28, 30, 34))


def _colour(layers: Layers, part: Layer, rng: np.random.Generator) -> None:
    """Paint a wrong variant: a seal of another rubber, a yellow-zinc or blackened screw."""
    scale, middle = layers.size / DESIGN_PX, layers.size / 2
    if rng.random() < 0.6:
        grey = part[..., 0] / np.float32(150)  # The seal's own light and shade, seen in blue.
        paints = ((40, 60, 190), (50, 130, 40), (30, 130, 215), (46, 44, 44))
        _paint_over(part, layers.seal / np.float32(255), grey, paints[rng.integers(len(paints))])
        return
    x, y = SCREWS[rng.integers(len(SCREWS))]
    head = _plane(layers)
    centre = (round(8 * (middle + x * scale)), round(8 * (middle + y * scale)))
    cv2.circle(head, centre, round(8 * SCREW_PX * scale), 1.0, -1, cv2.LINE_AA, shift=3)
    grey = part[..., :3].mean(axis=2, dtype=np.float32) / 176
    _paint_over(part, head, grey, (60, 165, 205) if rng.random() < 0.5 else (62, 58, 56))


_PAINTERS = {
    "scratch": _scratch,
    "dent": _dent,
    "missing": _missing,
    "contamination": _contamination,
    "colour": _colour,
}


def _place(layers: Layers, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a random (x, y) in pixels, on the part's face."""
    while True:
        x, y = rng.integers(0, layers.size, 2)
        if layers.face[y, x] == 255:
            return np.array([x, y], float)


def _plane(layers: Layers) -> Plane:
    return np.zeros((layers.size, layers.size), np.float32)


def _around(
    layers: Layers, rng: np.random.Generator, reach_px: float
) -> tuple[tuple[slice, slice], Plane, Plane]:
    """Return a window around a random position, and its pixels' x and y, rotated and stretched."""
    column, row = _place(layers, rng)
    turn, stretch = rng.uniform(0, math.pi), rng.uniform(0.75, 1.3)
    rows = np.arange(max(0, int(row - reach_px)), min(layers.size, int(row + reach_px) + 1))
    columns = np.arange(max(0, int(column - reach_px)), min(layers.size, int(column + reach_px) + 1))
    x, y = np.meshgrid(columns - column, rows - row)
    across = stretch * (x * math.cos(turn) + y * math.sin(turn))
    along = (y * math.cos(turn) - x * math.sin(turn)) / stretch
    return (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)), across, along


def _path(
    layers: Layers, rng: np.random.Generator, length: float, bend: float, wobble: float
) -> NDArray[np.float64]:
    """Return points, (n, 2), of a random curve on the part; `length` is in pixels of a 320x320 image."""
    step_px = 2.0 * layers.size / DESIGN_PX
    count = int(length / 2)
    while True:
        swing = np.convolve(rng.normal(0, 1, count), 0.8 ** np.arange(12))[:count] * wobble
        heading = rng.uniform(0, 2 * math.pi) + np.cumsum(2 * bend + swing)
        steps = step_px * np.stack([np.cos(heading), np.sin(heading)], axis=1)
        path = _place(layers, rng) + np.cumsum(steps, axis=0)
        x, y = np.clip(path.round().astype(int), 0, layers.size - 1).T
        if layers.face[y, x].all():
            return path


def _line(layers: Layers, path: NDArray[np.float64], width_px: float) -> Plane:
    """Draw a line that fades towards its ends."""
    line, points = _plane(layers), _eighths(path)
    strength = np.sin(np.linspace(0.25, math.pi - 0.25, len(points))) ** 0.5
    for value, start, end in zip(strength, points[:-1], points[1:], strict=False):
        cv2.line(line, start.tolist(), end.tolist(), float(value), max(1, round(width_px)), cv2.LINE_AA, 3)
    return line


def _cast_shadow(shape: Plane, scale: float) -> Plane:
    moved = cv2.warpAffine(shape, np.array([[1, 0, 1.5 * scale], [0, 1, 2.0 * scale]]), shape.shape[::-1])
    return np.asarray(cv2.GaussianBlur(moved, (0, 0), 1.1 * scale), np.float32)


def _eighths(points: NDArray[np.float64]) -> NDArray[np.int32]:
    return np.asarray(np.round(points * 8), np.int32)


def _tint(part: Layer, where: Plane, colour: tuple[int, int, int]) -> None:
    """Blend `colour` over the part with opacity `where` (0.0 to 1.0); the belt stays as it is."""
    box = _box(where > 0.004)
    cover = where[box][..., None] * (part[box][..., 3:] == 255)
    below = part[box][..., :3].astype(np.float32)
    part[box][..., :3] = (below + cover * (np.array(colour, np.float32) - below) + 0.5).astype(np.uint8)


def _shade(part: Layer, light: Plane) -> None:
    box = _box(np.abs(light - 1.0) > 0.004)
    lit = part[box][..., :3] * np.where(part[box][..., 3:] == 255, light[box][..., None], 1.0)
    part[box][..., :3] = np.clip(lit + 0.5, 0, 255).astype(np.uint8)


def _paint_over(part: Layer, where: Plane, grey: Plane, colour: tuple[int, int, int]) -> None:
    """Change the colour of a component and keep its shading."""
    box = _box(where > 0.004)
    below = part[box][..., :3].astype(np.float32)
    new = np.clip(grey[box][..., None] * np.array(colour, np.float32), 0, 255)
    part[box][..., :3] = (below + where[box][..., None] * (new - below) + 0.5).astype(np.uint8)


def _box(where: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Return the bounding rows and columns of the True pixels, to process no more than these."""
    rows, columns = np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0))
    if not rows.size:
        return slice(0, 0), slice(0, 0)
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
