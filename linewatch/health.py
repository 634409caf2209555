"""Whether a picture may be judged at all: measured before scoring, on a sample of its pixels."""

import math

import numpy as np

from linewatch.domain import Image

_LINES = 96  # Rows, and as many columns, that are looked at.


def brightness(image: Image) -> float:
    """Return the mean of the green channel, 0.0 to 255.0, over a grid of pixels.

    `image` is (height, width, 3), uint8.
    """
    rows, columns = _steps(image)
    return float(image[::rows, ::columns, 1].mean())


def sharpness(image: Image) -> float:
    """Return how steep the finest edges are, in thousandths of the mean brightness.

    Defined as the geometric mean, over the two directions, of the root mean square difference of
    green between neighbouring pixels, along 96 evenly spaced rows and 96 columns. So it falls with
    blur in either direction, and hardly changes with the strength of the light. It depends on the
    picture's resolution: compare it only with pictures of the same camera. 0.0 for a flat picture.
    """
    rows, columns = _steps(image)
    across = np.diff(image[::rows, :, 1].astype(np.float32), axis=1)
    down = np.diff(image[:, ::columns, 1].astype(np.float32), axis=0)
    energy = float(np.mean(across * across)) * float(np.mean(down * down))
    return 1000.0 * math.sqrt(math.sqrt(energy)) / max(brightness(image), 1.0)


def _steps(image: Image) -> tuple[int, int]:
    return max(1, image.shape[0] // _LINES), max(1, image.shape[1] // _LINES)
