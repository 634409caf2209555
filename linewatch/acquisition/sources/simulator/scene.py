"""Draw the simulator's product, a flange bearing seen from above, from its height profile."""

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from linewatch.domain import Image

Plane = NDArray[np.floating[Any]]
"""One value per pixel: (height, width), float."""

DESIGN_PX = 320.0  # All lengths below are pixels of a 320x320 image, from its centre.
SCREWS = ((-73.0, -73.0), (73.0, -73.0), (73.0, 73.0), (-73.0, 73.0))
SCREW_PX = 16.5
SEAL_PX = (38.0, 50.0)  # Inner and outer radius of the rubber ring.
BODY_PX = 110.0  # Half the side of the cast body.
BOSS_PX = 74.0
_CORNER_PX = 40.0
_BORE_PX = 25.0
_OVERSAMPLING = 2
_LIGHT = np.array((-0.46, -0.58, 0.67), np.float32)  # Towards the lamp: x, y, z.

_BELT = np.array((38.0, 36.0, 34.0), np.float32)
_CAST = np.array((150.0, 148.0, 143.0), np.float32)
_MACHINED = np.array((182.0, 181.0, 178.0), np.float32)
_STEEL = np.array((205.0, 202.0, 196.0), np.float32)
_SEAL = np.array((150.0, 74.0, 24.0), np.float32)
_SCREW = np.array((176.0, 180.0, 184.0), np.float32)
_SOCKET = np.array((34.0, 34.0, 36.0), np.float32)
_HOLE = np.array((20.0, 19.0, 18.0), np.float32)
_BORE = np.array((24.0, 23.0, 22.0), np.float32)
_TEXT = (  # "LW204-C" as a dot-peen marker writes it: 7 rows of 5 dots a letter.
    (16, 16, 16, 16, 16, 16, 31),
    (17, 17, 17, 21, 21, 27, 17),
    (14, 17, 1, 2, 4, 8, 31),
    (14, 17, 19, 21, 25, 17, 14),
    (2, 6, 10, 18, 31, 2, 2),
    (0, 0, 0, 14, 0, 0, 0),
    (14, 17, 16, 16, 16, 17, 14),
)


@dataclass(frozen=True, slots=True)
class Layers:
    """Everything that is the same in every image, at the image's size.

    `part` is (size, size, 4), uint8: premultiplied colour, and opacity with the soft shadow in it.
    `bare` is the same part without its screws. `seal` and `face` are (size, size), uint8, 0 to 255:
    the rubber ring, and where a defect may lie. `belt` and `noise` are larger than the image,
    so that each frame takes a different crop. `vignette` is (size, size, 3), float32, up to 1.
    """

    size: int
    part: NDArray[np.uint8]
    bare: NDArray[np.uint8]
    seal: NDArray[np.uint8]
    face: NDArray[np.uint8]
    belt: Image
    noise: NDArray[np.int16]
    vignette: NDArray[np.float32]


def draw_layers(size: int) -> Layers:
    """Draw the product and the belt for images of size x size pixels; always the same."""
    part, bare, seal, face = _draw_part(size)
    rng = np.random.default_rng(20)
    margin = max(16, size // 4)
    noise = 2.2 * rng.standard_normal((size + margin, size + margin, 3), dtype=np.float32)
    axis = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    x, y = np.meshgrid(axis, axis)
    vignette = 1.0 - 0.42 * (x * x + y * y) + 0.07 * (-x - y)
    return Layers(
        size=size,
        part=part,
        bare=bare,
        seal=seal,
        face=face,
        belt=_draw_belt(size + margin, size / DESIGN_PX, rng),
        noise=noise.round().astype(np.int16),
        vignette=np.repeat(vignette[..., None], 3, axis=2),
    )


def _draw_belt(side: int, scale: float, rng: np.random.Generator) -> Image:
    x, y = np.meshgrid(*2 * [np.arange(side, dtype=np.float32) / scale])
    weave = np.sin((x + y) * 1.15) * np.sin((x - y) * 1.15)
    dust = rng.standard_normal((side, side), dtype=np.float32)
    streaks = cv2.blur(cv2.GaussianBlur(dust, (0, 0), 1.0, sigmaY=0.5), (1, round(90 * scale)))
    level = 1.0 + 0.10 * weave + 0.9 * streaks + 0.10 * cv2.GaussianBlur(dust[::-1], (0, 0), 0.8)
    return _to_uint8(level[..., None] * _BELT)


def _draw_part(size: int) -> tuple[NDArray[np.uint8], ...]:
    """Return part, bare, seal and face as `Layers` has them."""
    side = size * _OVERSAMPLING
    scale = side / DESIGN_PX
    rng = np.random.default_rng(7)
    axis = ((np.arange(side, dtype=np.float32) + 0.5) / side - 0.5) * DESIGN_PX
    x, y = np.meshgrid(axis, axis)
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    edge = _rounded_square(x, y, BODY_PX, _CORNER_PX)
    soft = 1.0 / scale  # One fine pixel: edges without steps.

    body = _inside(edge, soft)
    boss = _inside(radius - BOSS_PX, soft)
    seal = _inside(np.abs(radius - sum(SEAL_PX) / 2) - (SEAL_PX[1] - SEAL_PX[0]) / 2, soft)
    ring = _inside(radius - SEAL_PX[0], soft)
    bore = _inside(radius - _BORE_PX, soft)
    grain = _noise(rng, side, 0.9 * scale) * 0.32 + _noise(rng, side, 2.6 * scale) * 0.30
    turning = _turning_marks(rng, radius)
    height = _profile(edge, radius) + 0.42 * grain * (1.0 - boss)

    colour = (1.0 + 0.03 * grain)[..., None] * _CAST
    _mark(colour, scale)
    # Light on turned metal stands in two fans, at right angles to the grooves.
    fans = angle + np.float32(math.atan2(_LIGHT[0], _LIGHT[1]))
    _lay(colour, boss, (0.80 + 0.34 * np.abs(np.cos(fans)) ** 5 + 0.055 * turning)[..., None] * _MACHINED)
    _lay(colour, seal, _SEAL)
    _lay(colour, ring, (0.72 + 0.42 * np.cos(fans + 0.3) ** 10 + 0.03 * turning)[..., None] * _STEEL)

    opacity = body + (1.0 - body) * _shadow(body, scale)
    wall = 0.35 + 0.65 * _ramp((x + y) * 0.7 + 8.0, 40.0)  # The lamp reaches one side of the bore's wall.
    parts = []
    for with_screws in (True, False):
        tall, painted = height.copy(), colour.copy()
        for index, (screw_x, screw_y) in enumerate(SCREWS):
            near = _near(axis, screw_y), _near(axis, screw_x)
            _fasten(tall[near], painted[near], x[near] - screw_x, y[near] - screw_y, index, with_screws)
        painted *= (_shading(tall, scale, gloss=0.35 + 0.5 * boss) * body)[..., None]
        _lay(painted, bore, wall[..., None] * _BORE)
        parts.append(_shrink(np.dstack([painted, 255.0 * opacity]), size))
    face = (edge < -7.0) & (radius > _BORE_PX + 8.0)
    return *parts, _shrink(255.0 * seal, size), _shrink(255.0 * face, size)


def _near(axis: Plane, middle: float) -> slice:
    first, last = np.searchsorted(axis, (middle - SCREW_PX - 5.0, middle + SCREW_PX + 5.0))
    return slice(int(first), int(last))


def _profile(edge: Plane, radius: Plane) -> Plane:
    """Return the height profile of the part, without screws and roughness."""
    height = 11.0 * _ramp(-edge, 5.0) + 9.0 * _ramp(BOSS_PX - radius, 3.5)
    height -= 5.0 * _ramp(SEAL_PX[1] - radius, 1.5)
    across = (radius - sum(SEAL_PX) / 2) / ((SEAL_PX[1] - SEAL_PX[0]) / 2)
    height += 4.0 * np.sqrt(np.clip(1.0 - across * across, 0.0, 1.0))
    height += 4.0 * _ramp(SEAL_PX[0] - radius, 1.2) - 6.0 * _ramp(_BORE_PX + 3.0 - radius, 3.0)
    return height


def _fasten(height: Plane, colour: Plane, x: Plane, y: Plane, turn: int, with_screw: bool) -> None:
    """Cut a counterbore and put a socket head screw into it, or leave its hole open."""
    soft = float(x[0, 1] - x[0, 0])
    radius = np.hypot(x, y)
    counterbore = _inside(radius - SCREW_PX - 3.0, soft)
    height += counterbore * (11.0 - height) - 3.0 * _ramp(SCREW_PX + 3.0 - radius, 1.5)  # Milled: no grain.
    _lay(colour, counterbore, _MACHINED)
    if not with_screw:
        height -= 12.0 * _ramp(10.0 - radius, 2.0)
        _lay(colour, _inside(radius - 10.0, soft), _HOLE)
        return
    socket = _hexagon(x, y, 7.0, 0.4 + 1.1 * turn)
    height += 9.0 * _ramp(SCREW_PX - radius, 3.0) - 9.0 * _ramp(-socket, 1.5)
    knurl = np.cos(36 * np.arctan2(y, x)) * (radius > SCREW_PX - 2.2)
    _lay(colour, _inside(radius - SCREW_PX, soft), (0.92 + 0.10 * knurl)[..., None] * _SCREW)
    _lay(colour, _inside(socket, soft), _SOCKET)


def _mark(colour: Plane, scale: float) -> None:
    """Mark the type and a small square code on the cast body."""
    ink = np.zeros(colour.shape[:2], np.float32)
    centre = colour.shape[0] / 2
    pitch = 1.75 * scale
    left, top = centre - pitch * (6 * len(_TEXT) - 2) / 2, centre + 84 * scale
    for place, glyph in enumerate(_TEXT):
        for row, bits in enumerate(glyph):
            for column in range(5):
                if bits & 16 >> column:
                    dot = (round(8 * (left + pitch * (6 * place + column))), round(8 * (top + pitch * row)))
                    cv2.circle(ink, dot, round(8 * 0.85 * scale), 1.0, -1, cv2.LINE_AA, shift=3)
    cells = np.random.default_rng(204).integers(0, 2, (12, 12)).astype(np.float32)
    cells[:, 0] = cells[-1] = 1.0  # The solid L of a data matrix.
    cells[0] = np.arange(12) % 2 == 0
    cells[:, -1] = np.arange(12) % 2 == 1
    side = round(19 * scale)
    row, column = round(centre - 103 * scale), round(centre - side / 2)
    code = cv2.resize(cells, (side, side), interpolation=cv2.INTER_NEAREST)
    ink[row : row + side, column : column + side] = code
    colour *= 1.0 - 0.8 * cv2.GaussianBlur(ink, (0, 0), 0.25 * scale)[..., None]


def _shading(height: Plane, scale: float, gloss: Plane) -> Plane:
    """Return the reflected light of each pixel, about 1 on a level face."""
    slope_x = cv2.Sobel(height, cv2.CV_32F, 1, 0, scale=scale / 8)
    slope_y = cv2.Sobel(height, cv2.CV_32F, 0, 1, scale=scale / 8)
    length = np.sqrt(slope_x * slope_x + slope_y * slope_y + 1.0)
    facing = (-slope_x * _LIGHT[0] - slope_y * _LIGHT[1] + _LIGHT[2]) / length
    diffuse = np.clip(facing, 0.0, None) / _LIGHT[2]
    halfway = _LIGHT + np.array((0.0, 0.0, 1.0), np.float32)
    halfway /= np.linalg.norm(halfway)
    mirror = np.clip((-slope_x * halfway[0] - slope_y * halfway[1] + halfway[2]) / length, 0.0, 1.0)
    hidden = np.clip(cv2.GaussianBlur(height, (0, 0), 4 * scale) - height, 0.0, 8.0) / 8.0
    light = (0.36 + 0.64 * diffuse) * (1.0 - 0.5 * hidden) + gloss * 0.5 * mirror**40
    return np.asarray(light, np.float32)


def _shadow(body: Plane, scale: float) -> Plane:
    rows, columns = body.shape
    shift = np.array([[1, 0, 8 * scale], [0, 1, 10 * scale]], np.float32)
    moved = cv2.warpAffine(np.asarray(body, np.float32), shift, (columns, rows))
    contact = cv2.GaussianBlur(np.asarray(body, np.float32), (0, 0), 3 * scale)
    return np.asarray(np.clip(0.62 * cv2.GaussianBlur(moved, (0, 0), 6 * scale) + 0.3 * contact, 0, 0.85))


def _turning_marks(rng: np.random.Generator, radius: Plane) -> Plane:
    """Return the grooves of turning, which depend on the radius alone; about -2 to 2."""
    marks = rng.normal(0, 1, 512)
    return np.interp(radius, np.linspace(0, 240, marks.size), marks).astype(np.float32)


def _noise(rng: np.random.Generator, side: int, sigma_px: float) -> Plane:
    field = cv2.GaussianBlur(rng.standard_normal((side, side), dtype=np.float32), (0, 0), sigma_px)
    return np.asarray(field / field.std(), np.float32)


def _rounded_square(x: Plane, y: Plane, half: float, corner: float) -> Plane:
    """Return the signed distance to the outline, negative inside."""
    dx = np.abs(x) - (half - corner)
    dy = np.abs(y) - (half - corner)
    outside = np.hypot(np.maximum(dx, 0), np.maximum(dy, 0))
    return np.asarray(outside + np.minimum(np.maximum(dx, dy), 0) - corner, np.float32)


def _hexagon(x: Plane, y: Plane, half: float, turn: float) -> Plane:
    sides = [x * math.cos(turn + k * math.pi / 3) + y * math.sin(turn + k * math.pi / 3) for k in range(3)]
    return np.asarray(np.max(np.abs(np.stack(sides)), axis=0) - half, np.float32)


def _inside(distance: Plane, soft: float) -> Plane:
    return np.asarray(np.clip(0.5 - distance / np.float32(soft), 0.0, 1.0))


def _ramp(distance: Plane, width: float) -> Plane:
    """Rise smoothly from 0 to 1 over `width`."""
    t = np.clip(distance / np.float32(width), 0.0, 1.0)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def _lay(colour: Plane, where: Plane, paint: NDArray[Any]) -> None:
    colour += where[..., None] * (paint - colour)


def _shrink(layer: NDArray[Any], size: int) -> NDArray[np.uint8]:
    return _to_uint8(cv2.resize(layer, (size, size), interpolation=cv2.INTER_AREA))


def _to_uint8(values: NDArray[Any]) -> NDArray[np.uint8]:
    return np.clip(values + 0.5, 0, 255).astype(np.uint8)
