"""Whether a picture may be judged at all: measured before scoring, on a sample of its pixels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from linewatch.domain import Image, Reason

FROZEN_AFTER = 2  # No two exposures of a real sensor are alike: the second one shows the part before.
Plane = NDArray[np.uint8]

_LINES = 96  # Rows, and as many columns, that are looked at.


class Statistics(Protocol):
    """What the training pictures look like: an odd number of quantiles, from 0 over 50 to 100 %."""

    @property
    def brightness(self) -> Sequence[float]:
        """Of the function `brightness`."""

    @property
    def sharpness(self) -> Sequence[float]:
        """Of the function `sharpness`."""


@dataclass(frozen=True, slots=True)
class ImageQuality:
    """What was measured in one picture; `reason` is NONE when it may be judged."""

    reason: Reason
    brightness: float
    sharpness: float
    brightness_ratio: float  # Against the median of the training pictures; 1.0 without any.
    sharpness_ratio: float

    @property
    def fault(self) -> str:
        """What is wrong with the picture, "" when it may be judged; a sentence for people."""
        if self.reason is Reason.NONE:
            return ""
        if self.reason is Reason.FROZEN:
            return "the camera gives the same picture again and again; restart the camera"
        return (
            f"the picture has {self.brightness_ratio:.0%} of the usual light and "
            f"{self.sharpness_ratio:.0%} of the usual sharpness; check light, lens and focus"
        )


@dataclass(frozen=True, slots=True)
class Bounds:
    """Between what a picture may be judged; generous, because defects change a picture too."""

    brightness_min: float
    brightness_max: float
    sharpness_min: float

    def permit(self, brightness: float, sharpness: float) -> bool:
        """Whether a picture is neither dark nor over-exposed nor blurred."""
        return self.brightness_min <= brightness <= self.brightness_max and sharpness >= self.sharpness_min


def bounds_from(statistics: Statistics | None) -> Bounds:
    """Widen what training saw: half to 1.6 times the light, and 0.7 of the least sharp picture.

    Towards white the upper bound is half the way there, if that is nearer. Without statistics,
    only a covered lens, a burnt-out and a flat picture are refused.
    """
    if statistics is None:
        return Bounds(brightness_min=8.0, brightness_max=247.0, sharpness_min=0.5)
    low, high = statistics.brightness[0], statistics.brightness[-1]
    return Bounds(0.5 * low, min(1.6 * high, (high + 255.0) / 2), 0.7 * statistics.sharpness[0])


@dataclass(slots=True)
class _Seen:
    """The newest picture, and how many in a row were the same; handed from gate to gate."""

    image: Image | None = None
    alike: int = 1


class QualityGate:
    """Examines the pictures of one product, in the order they were exposed."""

    def __init__(
        self, statistics: Statistics | None = None, *, live: bool = False, frozen_after: int = FROZEN_AFTER
    ) -> None:
        """Take what training saw; only a `live` source can freeze, a recording may repeat itself.

        The `frozen_after`-th identical picture in a row is the first that is refused; at least 2.
        """
        assert frozen_after >= 2
        self.bounds = bounds_from(statistics)
        self._usual_light = _median(statistics.brightness) if statistics else 0.0
        self._usual_edges = _median(statistics.sharpness) if statistics else 0.0
        self._live = live
        self._frozen_after = frozen_after
        self._seen = _Seen()

    def examine(self, image: Image) -> ImageQuality:
        """Measure one picture, (height, width, 3) uint8, and decide whether it may be judged."""
        light, edges = brightness(image), sharpness(image)
        if self._live and self._is_frozen(image):
            reason = Reason.FROZEN
        elif self.bounds.permit(light, edges):
            reason = Reason.NONE
        else:
            reason = Reason.BAD_PICTURE
        return ImageQuality(
            reason, light, edges, _ratio(light, self._usual_light), _ratio(edges, self._usual_edges)
        )

    def follow(self, before: "QualityGate") -> None:
        """Go on with the pictures of the gate before: a changeover does not thaw a frozen camera."""
        self._seen = before._seen

    def _is_frozen(self, image: Image) -> bool:
        seen = self._seen
        same = seen.image is not None and _identical(seen.image, image)
        seen.alike = seen.alike + 1 if same else 1
        seen.image = image
        return seen.alike >= self._frozen_after


def brightness(image: Image) -> float:
    """Return the mean of the green channel, 0.0 to 255.0, over a grid of pixels.

    `image` is (height, width, 3), uint8.
    """
    rows, columns = _steps(image)
    grid = np.ascontiguousarray(image[::rows, ::columns, 1])
    return cv2.sumElems(grid)[0] / grid.size


def sharpness(image: Image) -> float:
    """Return how steep the finest edges are, in thousandths of the mean brightness.

    Defined as the geometric mean, over the two directions, of the root mean square difference of
    green between neighbouring pixels, along about 96 evenly spaced rows and as many columns. So it
    falls with blur in either direction, and hardly changes with the strength of the light. It depends
    on the picture's resolution: compare it only with pictures of the same camera. 0.0 for a flat one.
    """
    rows, columns = _steps(image)
    across, down = np.ascontiguousarray(image[::rows, :, 1]), np.ascontiguousarray(image[:, ::columns, 1])
    energy = _energy(across[:, 1:], across[:, :-1]) * _energy(down[1:], down[:-1])
    return 1000.0 * math.sqrt(math.sqrt(energy)) / max(brightness(image), 1.0)


def _energy(one: Plane, other: Plane) -> float:
    """Return the mean squared difference; 0.0 for a picture one pixel wide."""
    return cv2.norm(one, other, cv2.NORM_L2SQR) / one.size if one.size else 0.0


def _steps(image: Image) -> tuple[int, int]:
    return max(1, image.shape[0] // _LINES), max(1, image.shape[1] // _LINES)


def _identical(one: Image, other: Image) -> bool:
    """Compare a few rows first: unlike pictures, which is nearly all, then cost nothing."""
    rows, _ = _steps(one)
    return np.array_equal(one[::rows], other[::rows]) and np.array_equal(one, other)


def _median(quantiles: Sequence[float]) -> float:
    return quantiles[len(quantiles) // 2]


def _ratio(value: float, usual: float) -> float:
    return value / usual if usual > 0 else 1.0
