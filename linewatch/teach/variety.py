"""Measure how much each new image differs from the ones before it."""

from collections import deque
from statistics import fmean

import cv2
import numpy as np
from numpy.typing import NDArray

from linewatch.domain import Image

_SIDE_PX = 32  # Images are compared at this size, in grey.
DISTANCE_MIN = 0.5  # Mean difference in grey levels at 32x32; sensor noise on a part at rest stays below.
BATCH = 20
SATURATED = 0.9  # Mean distance of the last batch over that of the batch before: above, more add little.


class Variety:
    """Measures how much each new image differs from the ones added before."""

    def __init__(self) -> None:
        self._added: list[NDArray[np.float32]] = []
        self._distances: deque[float] = deque(maxlen=2 * BATCH)

    def add(self, image: Image) -> bool:
        """Add an image; return False if it is nearly the same as one added before."""
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        small = cv2.resize(grey, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_AREA).astype(np.float32)
        if self._added:
            nearest = float(np.abs(np.stack(self._added) - small).mean(axis=(1, 2)).min())
            if nearest < DISTANCE_MIN:
                return False
            self._distances.append(nearest)
        self._added.append(small)
        return True

    @property
    def enough(self) -> bool:
        """Whether the nearest-neighbour distances have stopped shrinking.

        While new images still fill gaps between the earlier ones, each batch lies nearer to them than
        the batch before.
        """
        if len(self._distances) < 2 * BATCH:
            return False
        distances = list(self._distances)
        return fmean(distances[BATCH:]) >= SATURATED * fmean(distances[:BATCH])
