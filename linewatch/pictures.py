"""Pictures from files and uploads: decoded, checked, and made colour."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from linewatch import PIXELS_MAX
from linewatch.domain import Image
from linewatch.errors import ImageError, ImageTooLarge

SIDE_MIN_PX = 32
_MEGAPIXELS = PIXELS_MAX // 1_000_000
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm"})


def read_image(path: Path) -> Image:
    """Return the picture in a file as (height, width, 3) uint8, blue-green-red. Raises ImageError.

    Grey becomes colour, transparency is dropped, and a 16-bit picture keeps its upper eight bits:
    a fixed rule, because a scale that depends on the picture would change its score.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(path, f"cannot be read ({error.strerror}); check the path") from error
    return decode(data, str(path))


def decode(data: bytes, name: str) -> Image:
    """Return encoded bytes as a picture like `read_image`; `name` is used in messages."""
    if not data:
        raise ImageError(name, "is empty; save it again")
    try:
        raw = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        if "CV_IO_MAX_IMAGE_" in str(error):  # OpenCV knows it from the header, before it decodes.
            raise ImageTooLarge(name, f"has too many pixels; at most {_MEGAPIXELS} megapixels") from error
        raise ImageError(name, "cannot be decoded; save it again as PNG or JPEG") from error
    if raw is None:
        raise ImageError(name, "is damaged or not a picture; use PNG or JPEG")
    return _as_colour(_checked(raw, name), name)


def read_mask(path: Path) -> NDArray[np.bool_]:
    """Return (height, width) bool, True where to look: everything but black. Raises ImageError."""
    looked_at: NDArray[np.bool_] = read_image(path).max(axis=2) > 0
    if not looked_at.any():
        raise ImageError(path, "is all black, so nothing would be inspected; paint white what to look at")
    return looked_at


def brightness(image: Image) -> float:
    """Return the mean grey value, 0 to 255."""
    return float(cv2.mean(_small_grey(image))[0])


def sharpness(image: Image) -> float:
    """Return the variance of the Laplacian of the grey picture at a fixed size: larger is sharper."""
    return float(cv2.Laplacian(_small_grey(image), cv2.CV_32F).var())


def _small_grey(image: Image) -> NDArray[np.uint8]:
    """At most 512 pixels long, so that the figures cost little and compare across cameras."""
    shrink = 512 / max(image.shape[:2])
    if shrink < 1:
        image = cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    return cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)  # type: ignore[return-value]


def _checked(raw: NDArray[np.generic], name: str) -> NDArray[np.generic]:
    height, width = raw.shape[:2]
    if min(height, width) < SIDE_MIN_PX:
        raise ImageError(name, f"is only {width}x{height} pixels; at least {SIDE_MIN_PX} on each side")
    if height * width > PIXELS_MAX:
        raise ImageTooLarge(name, f"has {height * width / 1e6:.0f} megapixels; at most {_MEGAPIXELS}")
    return raw


def _as_colour(raw: NDArray[np.generic], name: str) -> Image:
    if raw.dtype == np.uint16:
        raw = (raw >> 8).astype(np.uint8)  # type: ignore[operator]
    if raw.dtype != np.uint8:
        raise ImageError(name, f"has {raw.dtype} pixels; save it with 8 or 16 bits per channel")
    if raw.ndim == 2:
        raw = raw[:, :, None]
    channels = raw.shape[2]
    if channels in (1, 2):  # 2: grey with transparency
        return np.repeat(raw[:, :, :1], 3, axis=2)
    return np.ascontiguousarray(raw[:, :, :3])
