"""Group images that show nearly the same: ten copies of an image prove no more than one."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from linewatch.domain import Image

DISTANCE_MAX = 0.5  # Mean difference in grey levels at 32x32, as when capturing; sensor noise stays below.
SHARE_MAX = 0.2  # Of the median distance to the nearest other image: a copy stored again, or the same part.
_SIDE_PX = 32


def group_duplicates(images: Sequence[Image]) -> NDArray[np.int_]:
    """Return a group number (n,) for each BGR image, from 0 in the order of first appearance.

    An image joins the first group whose first image it nearly equals.
    """
    size = (_SIDE_PX, _SIDE_PX)
    greys = [cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) for image in images]
    small = np.stack([cv2.resize(grey, size, interpolation=cv2.INTER_AREA) for grey in greys])
    small = small.reshape(len(images), -1).astype(np.float32)
    distances = np.stack([np.abs(small - one).mean(axis=1) for one in small])
    nearest = (distances + np.diag(np.full(len(images), np.inf))).min(axis=1)
    limit = max(DISTANCE_MAX, SHARE_MAX * float(np.median(nearest)))
    groups = np.empty(len(images), np.int_)
    firsts: list[int] = []
    for number, row in enumerate(distances):
        near = np.flatnonzero(row[firsts] < limit)
        groups[number] = near[0] if near.size else len(firsts)
        if not near.size:
            firsts.append(number)
    return groups
