"""A simulated line: rendered parts, some of them defective, repeatable by seed."""

import difflib
import functools
import math
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import parse_qsl

import cv2
import numpy as np
from numpy.typing import NDArray

from linewatch.acquisition.sources.simulator.belt import Belt
from linewatch.acquisition.sources.simulator.flaws import DEFECTS, paint
from linewatch.acquisition.sources.simulator.scene import DESIGN_PX, Layers, draw_layers
from linewatch.domain import Frame, Image
from linewatch.errors import ConfigError

__all__ = ["DEFECTS", "Simulator", "SimulatorOptions", "parse_options", "render"]

T = TypeVar("T", np.uint8, np.int16)

_RANGES: dict[str, tuple[float, float]] = {
    "seed": (0, 2**31 - 1),
    "defects": (0.0, 1.0),
    "size": (96, 2048),
    "enlarge": (0, 8192),
    "light": (0.0, 2.0),
    "pool": (0, 256),
    "count": (0, 10**9),
    "belt": (0.0, 200.0),
    "touching": (0.0, 1.0),
}


@dataclass(frozen=True, slots=True)
class SimulatorOptions:
    """Options in the simulator's `source.uri`, for example `seed=7&defects=0.2&size=320`."""

    seed: int = 1
    defects: float = 0.2  # Share of defective parts, 0.0 to 1.0.
    size: int = 320  # Side of the square image, in pixels.
    enlarge: int = 0  # Enlarge the image to this side, with sensor noise; 0: as rendered.
    light: float = 1.0  # Brightness factor; far from 1 the images cannot be judged.
    pool: int = 0  # Render this many parts on opening and repeat them; 0 renders each part.
    count: int = 0  # End after this many parts; 0 never ends.
    belt: float = 0.0  # Mean speed in 320ths of the image's width per frame; 0: one part per frame.
    touching: float = 0.2  # Share of the parts on the belt that touch the one before.


def parse_options(uri: str) -> SimulatorOptions:
    """Parse `key=value&key=value`. Raises ConfigError for unknown keys and values out of range."""
    given: dict[str, float] = {}
    for key, text in parse_qsl(uri, keep_blank_values=True):
        if key not in _RANGES:
            close = difflib.get_close_matches(key, _RANGES, n=1, cutoff=0.5)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(_RANGES)}"
            raise ConfigError(f"source.uri {uri!r}: the simulator does not know {key!r}; {hint}")
        low, high = _RANGES[key]
        try:
            value = type(low)(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise ConfigError(
                f"source.uri {uri!r}: {key} must be a number from {low} to {high}, not {text!r}"
            )
        given[key] = value
    return SimulatorOptions(**given)  # type: ignore[arg-type] # `_RANGES` made each one its field's type.


class Simulator:
    """A source of rendered parts with ground truth."""

    def __init__(self, uri: str = "") -> None:
        self.name = "simulator"
        self.live = False
        self.options = parse_options(uri)
        self._shown = 0
        self._pool: list[Image] = []
        self.belt: Belt | None = None  # While open, if parts travel; it knows where each one is.

    def __enter__(self) -> Self:
        """Draw the product, and the pool or the belt if there is one."""
        layers = _layers(self.options.size)
        self._shown = 0
        if self.options.belt:
            self.belt = Belt(
                layers,
                self._part,
                seed=self.options.seed,
                speed=self.options.belt,
                touching=self.options.touching,
            )
            return self
        self._pool = [self._render(number) for number in range(1, self.options.pool + 1)]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drop the rendered images."""
        self._pool = []
        self.belt = None

    def read(self) -> Frame | None:
        """Return the next frame at once; None after `count` parts."""
        if self.options.count and (self.belt.passed() if self.belt else self._shown) >= self.options.count:
            return None
        self._shown += 1
        if self.belt:
            image = self.belt.advance()
        else:
            image = self._pool[self._number(self._shown) - 1] if self._pool else self._render(self._shown)
        now_ns = time.monotonic_ns()
        return Frame(image, captured_ns=now_ns, captured_ms=time.time_ns() // 1_000_000, simulated=True)

    def truth(self, seq: int) -> str | None:
        """Return the defect of part `seq` since opening, counted from 1; None for a good one.

        On the belt `seq` counts the parts along it.
        """
        return _draw_defect(self.options.seed, self._number(seq), self.options.defects)

    def _number(self, seq: int) -> int:
        return (seq - 1) % self.options.pool + 1 if self.options.pool else seq

    def _part(self, number: int) -> NDArray[np.uint8]:
        layers = _layers(self.options.size)
        defect = _draw_defect(self.options.seed, number, self.options.defects)
        return _painted(layers, self.options.seed, number, defect)

    def _render(self, number: int) -> Image:
        defect = _draw_defect(self.options.seed, number, self.options.defects)
        image = render(self.options.seed, number, defect, self.options.size)
        if self.options.light != 1.0:
            image = cv2.convertScaleAbs(image, alpha=self.options.light)  # type: ignore[assignment]
        return _enlarge(image, self.options.enlarge) if self.options.enlarge else image


def render(seed: int, number: int, defect: str | None = None, size: int = 320) -> Image:
    """Render part `number`: (size, size, 3), uint8, the same bytes every time.

    `defect` is one of DEFECTS, or None for a good part. Light, pose, belt and noise do not depend on it,
    so two images of the same part with and without it differ in nothing else.
    """
    layers = _layers(size)
    part = _painted(layers, seed, number, defect)
    return _photograph(layers, part, np.random.default_rng((seed, number, 1)))


def _painted(layers: Layers, seed: int, number: int, defect: str | None) -> NDArray[np.uint8]:
    return layers.part if defect is None else paint(layers, defect, np.random.default_rng((seed, number, 2)))


def _draw_defect(seed: int, number: int, share: float) -> str | None:
    rng = np.random.default_rng((seed, number, 0))
    if rng.random() >= share:
        return None
    return DEFECTS[rng.integers(len(DEFECTS))]


@functools.cache
def _layers(size: int) -> Layers:
    return draw_layers(size)


def _photograph(layers: Layers, part: NDArray[np.uint8], rng: np.random.Generator) -> Image:
    """Place the part on the belt: pose within 4 pixels and 2 degrees, light within 4 %, blur, noise."""
    size = layers.size
    scale = size / DESIGN_PX
    pose = cv2.getRotationMatrix2D(((size - 1) / 2, (size - 1) / 2), rng.uniform(-2.0, 2.0), 1.0)
    pose[:, 2] = pose[:, 2] + rng.uniform(-4.0, 4.0, 2) * scale
    placed = cv2.warpAffine(part, pose, (size, size), flags=cv2.INTER_LINEAR)
    through = cv2.merge([cv2.bitwise_not(placed[..., 3])] * 3)
    image = cv2.multiply(_crop(layers.belt, size, rng), through, scale=1 / 255)
    image = cv2.add(image, cv2.cvtColor(placed, cv2.COLOR_BGRA2BGR))
    image = cv2.GaussianBlur(image, (0, 0), 0.5 * rng.uniform(0.9, 1.2) * scale)
    image = cv2.multiply(image, layers.vignette, scale=rng.uniform(0.96, 1.04), dtype=cv2.CV_8U)
    return np.asarray(cv2.add(image, _crop(layers.noise, size, rng), dtype=cv2.CV_8U), np.uint8)


def _enlarge(image: Image, side: int) -> Image:
    """Return the image at a camera's resolution; the noise makes it as hard to compress as a real one."""
    large = cv2.resize(image, (side, side), interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.add(large, _sensor_noise(side), dtype=cv2.CV_8U), np.uint8)


@functools.lru_cache(maxsize=1)
def _sensor_noise(side: int) -> NDArray[np.int8]:
    rng = np.random.default_rng(side)
    return rng.normal(0.0, 2.0, (side, side, 3)).round().astype(np.int8)


def _crop(larger: NDArray[T], size: int, rng: np.random.Generator) -> NDArray[T]:
    row, column = rng.integers(0, larger.shape[0] - size + 1, 2)
    return larger[row : row + size, column : column + size]
