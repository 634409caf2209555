"""Background model of the empty belt, learnt from small images, and foreground detection against it."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from linewatch.domain import Image

Plane = NDArray[np.float32]

FRAMES = 20  # Samples that are enough for a first model if nothing moves.
FRAMES_MAX = 60  # Then every second sample is dropped: over a longer span a slow part cannot hide the belt.
_BUSY_STRIDE = 4  # Samples this many images apart may show parts if most of them show the belt.
_AGREE_STILL, _AGREE_BUSY = 0.9, 0.55  # Share of the samples that must agree with the median ...
_AGREE_PX = 0.98  # ... at this share of the pixels.
_TOLERANCE = (14.0, 60.0)  # Bounds of the foreground threshold, in grey levels.
_SIGMAS = 4.0
_TEXTURE_PX = 9  # Belt texture within this distance passes a pixel as the belt moves.
_UPDATE_RATE = 0.02  # Weight of a new image in the running average: light changes slowly.
_GAIN = (0.5, 2.0)


class BeltBackground:
    """Per-pixel model of the empty belt: median, tolerance and a common gain for the light.

    Images are (height, width, 3), uint8, all of one size, with the belt running along the rows. `empty` are
    images without parts; without any, the model is learnt from the images given to `learn`.
    """

    def __init__(self, empty: Sequence[Image] = ()) -> None:
        self._samples: list[Image] = []
        self._stride = 1
        self._given = 0
        self.confirmed = False  # It is known that the model does not contain a part that stood on the belt.
        self._belt: Plane | None = None
        self._tolerance: Plane | None = None
        self._gain = 1.0
        if empty:
            self._samples, self.confirmed = list(empty), True
            self._fit(0.0)

    @property
    def learnt(self) -> bool:
        """Whether there is a model, which `compare` needs."""
        return self._belt is not None

    def learn(self, small: Image) -> None:
        """Add a sample; if parts pass, each pixel must show the empty belt most of the time."""
        self._given += 1
        if self._given % self._stride:
            return
        self._samples.append(small)
        if len(self._samples) == FRAMES_MAX:
            self._samples = self._samples[::2]
            self._stride *= 2
        if len(self._samples) >= FRAMES and len(self._samples) % 10 == 0:
            busy = self.learnt or self._stride >= _BUSY_STRIDE
            self._fit(_AGREE_BUSY if busy else _AGREE_STILL)
            self.confirmed = self.confirmed or (busy and self.learnt)

    def compare(self, small: Image) -> tuple[Plane, NDArray[np.bool_]]:
        """Return the difference from the belt and the foreground mask.

        Both are (height, width): float32 grey levels, 0 where the belt is visible; and bool, True elsewhere.
        """
        assert self._belt is not None and self._tolerance is not None, "compare before learnt"
        image = small.astype(np.float32)
        difference = image - self._gain * self._belt
        far = np.abs(difference) > self._tolerance
        any_far = (far[..., 0] | far[..., 1] | far[..., 2]).view(np.uint8)
        opened = cv2.morphologyEx(any_far, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        foreground = np.asarray(opened, np.uint8)
        self._update(image, np.asarray(1 - cv2.dilate(foreground, np.ones((7, 7), np.uint8)), np.uint8))
        grey = cv2.cvtColor(difference, cv2.COLOR_BGR2GRAY)
        masked = cv2.multiply(grey, foreground, dtype=cv2.CV_32F)
        return np.asarray(masked, np.float32), foreground.view(np.bool_)

    def _update(self, image: Plane, empty: NDArray[np.uint8]) -> None:
        """Follow the light where the belt is `empty`: the gain quickly, each pixel slowly."""
        assert self._belt is not None
        if np.count_nonzero(empty) < 0.05 * empty.size:
            return  # Too little of the belt is visible.
        ratio = sum(cv2.mean(image, empty)) / max(1.0, sum(cv2.mean(self._belt, empty)))
        self._gain = float(np.clip(0.8 * self._gain + 0.2 * ratio, *_GAIN))
        cv2.accumulateWeighted(image / self._gain, self._belt, _UPDATE_RATE, empty)

    def _fit(self, share: float) -> None:
        """Fit the model if at least `share` of the samples agree with their median at nearly every pixel."""
        samples = np.stack(self._samples).astype(np.float32)
        belt = np.median(samples, axis=0)
        deviation = np.abs(samples - belt)
        noise = np.median(deviation, axis=0)  # The median ignores parts that pass.
        texture = belt - cv2.blur(belt, (_TEXTURE_PX, 1))
        spread = np.sqrt(cv2.blur(texture * texture, (_TEXTURE_PX, 1)))
        tolerance = np.clip(_SIGMAS * np.maximum(1.5 * noise, spread), *_TOLERANCE)
        agree = (deviation <= tolerance).all(axis=3).mean(axis=0) >= share
        if agree.mean() >= _AGREE_PX:
            self._belt, self._tolerance = belt.astype(np.float32), tolerance.astype(np.float32)
            self._samples, self._stride, self._gain = [], 1, 1.0
