"""The quality gate: refuse frozen, dark, over-exposed and blurred images before they are scored."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from linewatch.domain import Image, Reason

FROZEN_AFTER = 2  # Sensor noise makes every exposure unique: the second equal image is a repeated one.
FROZEN_S = {"rtsp": 3.0}  # Kind of source -> how long: an encoder repeats what it takes for a static scene.
Plane = NDArray[np.uint8]

_LINES = 96  # Rows, and as many columns, that are sampled.


class Statistics(Protocol):
    """Quantiles of the training images, an odd number of them from 0 to 100 %, the median in the middle."""

    @property
    def brightness(self) -> Sequence[float]:
        """Quantiles of `brightness()`."""

    @property
    def sharpness(self) -> Sequence[float]:
        """Quantiles of `sharpness()`."""


@dataclass(frozen=True, slots=True)
class ImageQuality:
    """Measurements of one image; `reason` is NONE if it may be judged."""

    reason: Reason
    brightness: float
    sharpness: float
    brightness_ratio: float  # To the median of the training images; 1.0 if that is unknown.
    sharpness_ratio: float
    resized: str = ""  # Such as "640x480 pixels instead of 1920x1080" after a change of the frame size.

    @property
    def fault(self) -> str:
        """The reason as a sentence with its remedy, for people; "" if the image may be judged."""
        if self.reason is Reason.NONE:
            return ""
        if self.resized:
            return (
                f"the camera gives {self.resized}; set source.width and source.height, or restart linewatch"
            )
        if self.reason is Reason.FROZEN:
            return "the camera gives the same picture again and again; restart the camera"
        return (
            f"the picture has {self.brightness_ratio:.0%} of the usual light and "
            f"{self.sharpness_ratio:.0%} of the usual sharpness; check light, lens and focus"
        )


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits within which an image is judged; wide, because defects change an image too."""

    brightness_min: float
    brightness_max: float
    sharpness_min: float

    def permit(self, brightness: float, sharpness: float) -> bool:
        """Whether an image is neither dark nor over-exposed nor blurred."""
        return self.brightness_min <= brightness <= self.brightness_max and sharpness >= self.sharpness_min


def bounds_from(statistics: Statistics | None) -> Bounds:
    """Return the limits for a product: 0.5 to 1.6 times the training brightness, 0.7 times its sharpness.

    The upper limit goes at most half the way from the brightest training image to white. Without
    statistics only covered lenses, saturated and flat images are refused.
    """
    if statistics is None:
        return Bounds(brightness_min=8.0, brightness_max=247.0, sharpness_min=0.5)
    low, high = statistics.brightness[0], statistics.brightness[-1]
    return Bounds(0.5 * low, min(1.6 * high, (high + 255.0) / 2), 0.7 * statistics.sharpness[0])


@dataclass(slots=True)
class _History:
    """The newest image, how many identical ones in a row end with it, and the size of the first."""

    image: Image | None = None
    repeats: int = 1
    since_s: float = 0.0  # Monotonic time of the first of them.
    size: tuple[int, int] | None = None  # Width and height.


class QualityGate:
    """Examines the images of one product in the order of exposure; one thread at a time."""

    def __init__(
        self,
        statistics: Statistics | None = None,
        *,
        live: bool = False,
        frozen_after: int = FROZEN_AFTER,
        frozen_s: float = 0.0,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Set the limits from the training statistics.

        Only a `live` source can freeze or change its frame size; a recording may repeat images and mix sizes.
        The `frozen_after`-th identical image in a row, at least the second, is the first to be refused,
        once the first of them is `frozen_s` old.
        """
        assert frozen_after >= 2
        self.bounds = bounds_from(statistics)
        self._usual_brightness = _median(statistics.brightness) if statistics else 0.0
        self._usual_sharpness = _median(statistics.sharpness) if statistics else 0.0
        self._live = live
        self._frozen_after = frozen_after
        self._frozen_s = frozen_s
        self._clock_s = clock_s
        self._history = _History()

    def examine(self, image: Image) -> ImageQuality:
        """Measure one image, (height, width, 3) uint8, and decide whether it may be judged."""
        light, detail = brightness(image), sharpness(image)
        resized = self._size_change(image) if self._live else ""
        if self._live and self._is_frozen(image):
            reason = Reason.FROZEN
        elif resized:
            reason = Reason.BAD_PICTURE
        elif self.bounds.permit(light, detail):
            reason = Reason.NONE
        else:
            reason = Reason.BAD_PICTURE
        return ImageQuality(
            reason,
            light,
            detail,
            _ratio(light, self._usual_brightness),
            _ratio(detail, self._usual_sharpness),
            resized if reason is Reason.BAD_PICTURE else "",
        )

    def follow(self, before: "QualityGate") -> None:
        """Continue with the history of the gate before: a changeover does not thaw a frozen camera."""
        self._history = before._history

    def _size_change(self, image: Image) -> str:
        """Compare with the first image: a model, an roi and a mask hold for one frame size."""
        size = image.shape[1], image.shape[0]
        first = self._history.size = self._history.size or size
        return "" if size == first else f"{size[0]}x{size[1]} pixels instead of {first[0]}x{first[1]}"

    def _is_frozen(self, image: Image) -> bool:
        history = self._history
        same = history.image is not None and _identical(history.image, image)
        now_s = self._clock_s()
        history.repeats = history.repeats + 1 if same else 1
        history.since_s = history.since_s if same else now_s
        history.image = image
        return history.repeats >= self._frozen_after and now_s - history.since_s >= self._frozen_s


def brightness(image: Image) -> float:
    """Return the mean of the green channel over a grid of pixels, 0.0 to 255.0.

    `image` is (height, width, 3), uint8.
    """
    rows, columns = _steps(image)
    grid = np.ascontiguousarray(image[::rows, ::columns, 1])
    return cv2.sumElems(grid)[0] / grid.size


def sharpness(image: Image) -> float:
    """Return the RMS gradient of the green channel, in thousandths of the mean brightness.

    The geometric mean, over the two directions, of the root mean square difference between neighbouring
    pixels, along about 96 evenly spaced rows and as many columns. It falls with blur in either direction
    and hardly depends on illumination. It depends on resolution: compare images of the same camera only.
    0.0 for a flat image. `image` is (height, width, 3), uint8.
    """
    rows, columns = _steps(image)
    across, down = np.ascontiguousarray(image[::rows, :, 1]), np.ascontiguousarray(image[:, ::columns, 1])
    energy = _energy(across[:, 1:], across[:, :-1]) * _energy(down[1:], down[:-1])
    return 1000.0 * math.sqrt(math.sqrt(energy)) / max(brightness(image), 1.0)


def _energy(one: Plane, other: Plane) -> float:
    """Return the mean squared difference; 0.0 if there are no neighbouring pixels."""
    return cv2.norm(one, other, cv2.NORM_L2SQR) / one.size if one.size else 0.0


def _steps(image: Image) -> tuple[int, int]:
    return max(1, image.shape[0] // _LINES), max(1, image.shape[1] // _LINES)


def _identical(one: Image, other: Image) -> bool:
    """Compare a few rows first, which settles nearly all comparisons at little cost."""
    rows, _ = _steps(one)
    return np.array_equal(one[::rows], other[::rows]) and np.array_equal(one, other)


def _median(quantiles: Sequence[float]) -> float:
    return quantiles[len(quantiles) // 2]


def _ratio(value: float, usual: float) -> float:
    return value / usual if usual > 0 else 1.0
