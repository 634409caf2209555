"""The empty belt as the camera sees it, learnt from small pictures, and what differs from it."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from linewatch.domain import Image

Plane = NDArray[np.float32]

FRAMES = 20  # So many pictures are enough when nothing moves in them.
FRAMES_MAX = 60  # Then every second one goes, and so it goes on: a slow part must not hide the belt.
_BUSY_STRIDE = 4  # Pictures so far apart may show parts, as long as the belt is seen in most of them.
_AGREE_STILL, _AGREE_BUSY = 0.9, 0.55  # Share of the pictures that show the same belt ...
_AGREE_PX = 0.98  # ... at so many of the places.
_TOLERANCE = (14.0, 60.0)  # Least and most that a place must differ from the belt, in grey levels.
_SIGMAS = 4.0
_TEXTURE_PX = 9  # What lies so close along the belt comes by as it moves.
_FOLLOW = 0.02  # Share of each picture that goes into the belt where no part is: light changes slowly.
_GAIN = (0.5, 2.0)


class BeltBackground:
    """What the belt looks like without parts.

    Pictures are (height, width, 3), uint8, all of one size, with the belt running along the rows.
    `empty` are some in which no part is; without any, it is learnt from what passes.
    """

    def __init__(self, empty: Sequence[Image] = ()) -> None:
        self._samples: list[Image] = []
        self._stride = 1
        self._seen = 0
        self.proven = False  # Whether it is known that no part stood on the belt that was learnt.
        self._belt: Plane | None = None
        self._tolerance: Plane | None = None
        self._gain = 1.0
        if empty:
            self._samples, self.proven = list(empty), True
            self._settle(0.0)

    @property
    def learnt(self) -> bool:
        """Whether `compare` can be asked."""
        return self._belt is not None

    def learn(self, small: Image) -> None:
        """Look at one more picture; if parts pass, every place must be empty most of the time."""
        self._seen += 1
        if self._seen % self._stride:
            return
        self._samples.append(small)
        if len(self._samples) == FRAMES_MAX:
            self._samples = self._samples[::2]
            self._stride *= 2
        if len(self._samples) >= FRAMES and len(self._samples) % 10 == 0:
            busy = self.learnt or self._stride >= _BUSY_STRIDE
            self._settle(_AGREE_BUSY if busy else _AGREE_STILL)
            self.proven = self.proven or (busy and self.learnt)

    def compare(self, small: Image) -> tuple[Plane, NDArray[np.bool_]]:
        """Return how much brighter each place is than the belt, and where there is no belt to be seen.

        Both are (height, width): float32 grey levels, 0 where the belt is; and bool.
        """
        assert self._belt is not None and self._tolerance is not None, "compare before learnt"
        picture = small.astype(np.float32)
        difference = picture - self._gain * self._belt
        far = np.abs(difference) > self._tolerance
        any_far = (far[..., 0] | far[..., 1] | far[..., 2]).view(np.uint8)
        part = np.asarray(cv2.morphologyEx(any_far, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)), np.uint8)
        self._follow(picture, np.asarray(1 - cv2.dilate(part, np.ones((7, 7), np.uint8)), np.uint8))
        grey = cv2.cvtColor(difference, cv2.COLOR_BGR2GRAY)
        return np.asarray(cv2.multiply(grey, part, dtype=cv2.CV_32F), np.float32), part.view(np.bool_)

    def _follow(self, picture: Plane, empty: NDArray[np.uint8]) -> None:
        """Go with the light: quickly for all of the picture, slowly for each place."""
        assert self._belt is not None
        if np.count_nonzero(empty) < 0.05 * empty.size:
            return  # Too little of the belt to be seen.
        ratio = sum(cv2.mean(picture, empty)) / max(1.0, sum(cv2.mean(self._belt, empty)))
        self._gain = float(np.clip(0.8 * self._gain + 0.2 * ratio, *_GAIN))
        cv2.accumulateWeighted(picture / self._gain, self._belt, _FOLLOW, empty)

    def _settle(self, share: float) -> None:
        samples = np.stack(self._samples).astype(np.float32)
        belt = np.median(samples, axis=0)
        away = np.abs(samples - belt)
        usual = np.median(away, axis=0)  # Parts that pass do not count.
        texture = belt - cv2.blur(belt, (_TEXTURE_PX, 1))
        spread = np.sqrt(cv2.blur(texture * texture, (_TEXTURE_PX, 1)))
        tolerance = np.clip(_SIGMAS * np.maximum(1.5 * usual, spread), *_TOLERANCE)
        agree = (away <= tolerance).all(axis=3).mean(axis=0) >= share
        if agree.mean() >= _AGREE_PX:
            self._belt, self._tolerance = belt.astype(np.float32), tolerance.astype(np.float32)
            self._samples, self._stride, self._gain = [], 1, 1.0
