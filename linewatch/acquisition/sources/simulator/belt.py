"""A simulated belt: parts pass the camera at random speeds and distances, with stops; some touch."""

import functools
import math
from collections import deque
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from linewatch.acquisition.sources.simulator.scene import BODY_PX, DESIGN_PX, Layers
from linewatch.domain import Image

_SPEEDS = (0.4, 1.8)  # Speed of one stretch, as a share of the nominal speed.
_STRETCH_FRAMES = (15, 60)
_STOPS = 0.15  # Share of the stretches in which the belt stands.
_GAIN = 0.15  # Share of the difference to its new speed that the belt makes up in one frame.
_EMPTY_FRAMES = 40  # At first the belt is empty for about this long.
_EXPOSURE = 0.03  # Exposure time as a share of the frame period: motion blur.
_CLOSE_PX, _APART_PX = (0.0, 1.5), (6.0, 260.0)  # Gaps between parts, in pixels of the design.


class Belt:
    """A belt that runs from left to right under a camera; the same seed repeats the same sequence.

    `paint` draws part `number`, counted from 1: premultiplied colour and opacity, (size, size, 4), uint8.
    `speed` is in 320ths of the image's width per frame. `touching` is the share of parts that touch the
    one before, 0.0 to 1.0.
    """

    def __init__(
        self,
        layers: Layers,
        paint: Callable[[int], NDArray[np.uint8]],
        *,
        seed: int,
        speed: float,
        touching: float,
    ) -> None:
        self._layers = layers
        self._scale = layers.size / DESIGN_PX
        self._speed = speed * self._scale  # Nominal, in pixels per frame.
        self._touching = touching
        self._motion = np.random.default_rng((seed, 1))
        self._placing = np.random.default_rng((seed, 2))
        self._light = np.random.default_rng((seed, 3))
        self._paint = functools.lru_cache(maxsize=8)(lambda number: self._posed(paint(number), number, seed))
        self._travelled = 0.0
        self._current = self._target = self._speed
        self._stretch = 0
        self._frames = 0
        self._next = 1
        # Number and position of the middle on the belt: 0 is the middle of the first image.
        self._parts: deque[tuple[int, float]] = deque()
        self._last = -0.6 * layers.size - _EMPTY_FRAMES * self._speed
        self._place()

    def advance(self) -> Image:
        """Move the belt by one frame and return its image: (size, size, 3), uint8."""
        self._frames += 1
        self._move()
        size = self._layers.size  # This far from the middle neither a part nor its shadow is visible.
        while self._parts[-1][1] + self._travelled > -size:
            self._place()
        while self._parts[0][1] + self._travelled > size:
            self._parts.popleft()
        return self._photograph()

    def in_view(self) -> dict[int, float]:
        """Return number -> pixels right of the image's middle, for each visible part."""
        reach = (DESIGN_PX / 2 + BODY_PX) * self._scale
        places = {number: middle + self._travelled for number, middle in self._parts}
        return {number: place for number, place in places.items() if abs(place) < reach}

    def passed(self) -> int:
        """Return how many parts have left the image."""
        return self._parts[0][0] - 1

    def _place(self) -> None:
        touches = self._next > 1 and self._placing.random() < self._touching
        gap = self._placing.uniform(*(_CLOSE_PX if touches else _APART_PX))
        self._last -= (2 * BODY_PX + gap) * self._scale
        self._parts.append((self._next, self._last))
        self._next += 1

    def _move(self) -> None:
        if self._stretch == 0:
            self._stretch = int(self._motion.integers(*_STRETCH_FRAMES))
            stands = self._motion.random() < _STOPS
            self._target = 0.0 if stands else self._speed * self._motion.uniform(*_SPEEDS)
        self._stretch -= 1
        self._current += _GAIN * (self._target - self._current)
        if abs(self._target - self._current) < 0.02 * self._speed:
            self._current = self._target
        self._travelled += self._current

    def _posed(self, part: NDArray[np.uint8], number: int, seed: int) -> NDArray[np.uint8]:
        """Rotate a part and shift it across the belt a little, at random."""
        rng = np.random.default_rng((seed, number, 4))
        size = self._layers.size
        pose = cv2.getRotationMatrix2D(((size - 1) / 2, (size - 1) / 2), rng.uniform(-2.0, 2.0), 1.0)
        pose[1, 2] += rng.uniform(-4.0, 4.0) * self._scale
        return np.asarray(cv2.warpAffine(part, pose, (size, size), flags=cv2.INTER_LINEAR), np.uint8)

    def _photograph(self) -> Image:
        size = self._layers.size
        columns = np.arange(size) - math.floor(self._travelled)
        image = np.ascontiguousarray(self._layers.belt[:size, columns % self._layers.belt.shape[1]])
        for number, middle in self._parts:
            shift = round(middle + self._travelled)
            if abs(shift) < size:
                _blend(image, self._paint(number), shift)
        blur = round(_EXPOSURE * self._current)
        if blur > 1:
            cv2.blur(image, (blur, 1), dst=image)
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), 0.5 * self._scale), np.uint8)
        gain = 1.0 + 0.03 * math.sin(self._frames / 150)
        lit = cv2.multiply(image, self._layers.vignette, scale=gain, dtype=cv2.CV_8U)
        row, column = self._light.integers(0, self._layers.noise.shape[0] - size + 1, 2)
        noise = self._layers.noise[row : row + size, column : column + size]
        return np.asarray(cv2.add(lit, noise, dtype=cv2.CV_8U), np.uint8)


def _blend(image: Image, part: NDArray[np.uint8], shift: int) -> None:
    """Blend a part into the image, `shift` pixels right of the middle."""
    size = image.shape[1]
    there = slice(max(0, shift), min(size, size + shift))
    piece = part[:, max(0, -shift) : min(size, size - shift)]
    through = cv2.merge([cv2.bitwise_not(piece[..., 3])] * 3)
    below = cv2.multiply(image[:, there], through, scale=1 / 255)
    image[:, there] = cv2.add(below, cv2.cvtColor(np.ascontiguousarray(piece), cv2.COLOR_BGRA2BGR))
