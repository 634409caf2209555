"""Read, check, shrink and encode images from files and uploads."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from linewatch import PIXELS_MAX
from linewatch.domain import Image
from linewatch.errors import ImageError, ImageTooLarge
from linewatch.vision.image_headers import exif_orientation, structure_problem
from linewatch.vision.libjpeg_warnings import decode_strictly

SIDE_MIN_PX = 32
BYTES_MAX = 200_000_000  # An uncompressed file; the upload page accepts far less.
LOW_BITS = (10, 12, 14)  # Of cameras, as some tools store them unscaled in 16.
SCALED_BY = (4, 257)  # Values scaled to 16 bits are multiples of one of these: 14 and fewer bits, 8 bits.
_MEGAPIXELS = PIXELS_MAX // 1_000_000
_MEGABYTES = BYTES_MAX // 1_000_000
_MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0*", b"P2", b"P3", b"P5", b"P6")
_JPEG = b"\xff\xd8"
_UPRIGHT = dict(
    enumerate(
        [
            (False, 1, 1), (False, 1, -1), (False, -1, -1), (False, -1, 1),
            (True, 1, 1), (True, 1, -1), (True, -1, -1), (True, -1, 1),
        ],
        start=1,
    )
)  # fmt: skip
"""EXIF orientation -> whether to swap rows and columns, then the steps through them (Exif 2.32, 4.6.5)."""
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm"})


def read_image(path: Path) -> Image:
    """Return the image in a file as (height, width, 3) uint8, blue-green-red. Raises ImageError.

    Grey is expanded to three equal channels, alpha is dropped, and 16-bit images keep their upper eight
    bits: scaling by image content would change the score. The image is turned as its EXIF data says.
    """
    return decode(_bytes_of(path), str(path))


def decode(data: bytes, name: str) -> Image:
    """Decode an image like `read_image`; `name` stands for the file in error sentences."""
    return _as_colour(_decoded(data, name), name)


def check_kind(data: bytes, name: str) -> None:
    """Raise ImageError unless the data begins as an image of a kind that is read here; nothing is decoded."""
    if not data:
        raise ImageError(name, "is empty; save it again")
    if data[4:8] == b"ftyp":
        raise ImageError(
            name,
            "is a HEIC or AVIF photo or a video; save it as JPEG, or let the phone take JPEGs",
        )
    if not _has_known_signature(data):
        raise ImageError(name, "is not a picture of a known kind; use PNG, JPEG, BMP, TIFF or WebP")


def read_sample(path: Path) -> tuple[Image, NDArray[np.bool_] | None]:
    """Return a golden sample's image and its mask (height, width); None without an alpha channel.

    The mask is False where the image is transparent. Raises ImageError.
    """
    raw = _decoded(_bytes_of(path), str(path))
    transparent = raw.ndim == 3 and raw.shape[2] == 4
    return _as_colour(raw, str(path)), raw[:, :, 3] != 0 if transparent else None


def encode_sample(image: Image, mask: NDArray[np.bool_] | None) -> bytes:
    """Encode an image and its mask (height, width) as PNG with an alpha channel, for `read_sample`."""
    if mask is not None:
        image = np.dstack([image, np.where(mask, 255, 0).astype(np.uint8)])
    return cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes()


def read_mask(path: Path) -> NDArray[np.bool_]:
    """Return a mask, (height, width) bool: True, inspected, where it is not black. Raises ImageError."""
    inspected_area = read_marks(path)
    if not inspected_area.any():
        raise ImageError(path, "is all black, so nothing would be inspected; paint white what to inspect")
    return inspected_area


def read_marks(path: Path) -> NDArray[np.bool_]:
    """Return where an image is not black, (height, width) bool, also by 1 of 255. Raises ImageError."""
    raw = _decoded(_bytes_of(path), str(path))
    colour = raw[:, :, None] if raw.ndim == 2 else raw[:, :, :3]  # Without alpha.
    marked: NDArray[np.bool_] = np.not_equal(colour, 0).any(axis=2)
    return marked


def shrink_to(image: Image, side_px_max: int) -> Image:
    """Return the image with its longer side at most `side_px_max` pixels; unchanged if it is already."""
    factor = side_px_max / max(image.shape[:2])
    if factor >= 1:
        return image
    size = max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))
    while min(image.shape[1] / size[0], image.shape[0] / size[1]) >= 2:
        # Halving is vectorised in OpenCV, averaging over more pixels is not: four times as quick.
        half = image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2]
        image = cv2.resize(half, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.uint8)


def shrink_whole(image: Image, factors: tuple[float, float]) -> tuple[Image, tuple[int, int]]:
    """Shrink by the whole part of `factors`, across and down; return the image and these whole parts.

    Averaging whole pixels is several times quicker than parts of them, and what remains, a factor below
    two, may be interpolated. The last columns and rows that do not fill a whole pixel are left out.
    """
    across, down = max(1, int(factors[0])), max(1, int(factors[1]))
    if across > 1 or down > 1:
        columns, rows = image.shape[1] // across, image.shape[0] // down
        whole = image[: rows * down, : columns * across]
        image = cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    return image, (across, down)


def _bytes_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(BYTES_MAX + 1)
    except OSError as error:
        raise ImageError(path, f"cannot be read ({error.strerror}); check the path") from error


def _decoded(data: bytes, name: str) -> NDArray[np.generic]:
    check_kind(data, name)
    if len(data) > BYTES_MAX:
        raise ImageTooLarge(name, f"has more than {_MEGABYTES} MB; save it as PNG or JPEG")
    problem, warned = structure_problem(data), False
    if problem:
        raise ImageError(name, problem)
    try:
        if data.startswith(_JPEG):
            raw, warned = decode_strictly(lambda: _decode_upright(data))
        else:
            raw = _decode_upright(data)
    except cv2.error as error:
        if "CV_IO_MAX_IMAGE_" in str(error):  # Found in the header, before decoding.
            raise ImageTooLarge(name, f"has too many pixels; at most {_MEGAPIXELS} megapixels") from error
        raise ImageError(name, "cannot be decoded; save it again as PNG or JPEG") from error
    if raw is None:
        raise ImageError(name, "is damaged or not a picture; use PNG or JPEG")
    if warned:
        raise ImageError(name, "is damaged: part of its JPEG data is missing or wrong; copy or save it again")
    return _checked(raw, name)


def _has_known_signature(data: bytes) -> bool:
    """Whether the data begins with the signature of a still-image format."""
    if data[:4] == b"RIFF":
        return data[8:12] == b"WEBP"
    return data.startswith(_MAGIC)


def _decode_upright(data: bytes) -> NDArray[np.generic] | None:
    """Decode and turn as the camera says in the file (EXIF); OpenCV does that for TIFF only."""
    decoded = cv2.imdecodeWithMetadata(np.frombuffer(data, np.uint8), flags=cv2.IMREAD_UNCHANGED)
    found, kinds, contents = decoded
    raw: NDArray[np.generic] | None = found
    if raw is None:
        return None
    exif = next((c for kind, c in zip(kinds, contents, strict=True) if kind == cv2.IMAGE_METADATA_EXIF), None)
    orientation = 1 if exif is None else exif_orientation(np.asarray(exif).tobytes())
    swap, down, across = _UPRIGHT[orientation]
    raw = raw.swapaxes(0, 1) if swap else raw
    return np.ascontiguousarray(raw[::down, ::across])


def _checked(raw: NDArray[np.generic], name: str) -> NDArray[np.generic]:
    height, width = raw.shape[:2]
    if min(height, width) < SIDE_MIN_PX:
        raise ImageError(name, f"is only {width}x{height} pixels; at least {SIDE_MIN_PX} on each side")
    if height * width > PIXELS_MAX:
        raise ImageTooLarge(name, f"has {height * width / 1e6:.0f} megapixels; at most {_MEGAPIXELS}")
    return raw


def _unscaled_bits(raw: NDArray[np.generic]) -> int:
    """Return the 10, 12 or 14 bits that a 16-bit image uses if they were not scaled up, else 0.

    A dark image that was scaled has low bits of 0, or repeats its upper eight.
    """
    colour = raw if raw.ndim == 2 else raw[:, :, :3]  # An alpha channel is often full.
    used = int(colour.max()).bit_length()
    if used > LOW_BITS[-1] or used == 0 or any(not np.mod(colour, step).any() for step in SCALED_BY):
        return 0
    return next(bits for bits in LOW_BITS if used <= bits)


def _as_colour(raw: NDArray[np.generic], name: str) -> Image:
    if raw.dtype == np.uint16:
        if bits := _unscaled_bits(raw):
            raise ImageError(
                name,
                f"has {bits} bits in the lower end of 16, so it would be read as nearly black; "
                f"save it with 8 bits, or multiply its values by {2 ** (16 - bits)}",
            )
        raw = (raw >> 8).astype(np.uint8)  # type: ignore[operator]
    if raw.dtype != np.uint8:
        raise ImageError(name, f"has {raw.dtype} pixels; save it with 8 or 16 bits per channel")
    if raw.ndim == 2:
        raw = raw[:, :, None]
    channels = raw.shape[2]
    if channels in (1, 2):  # 2: grey with alpha.
        return np.repeat(raw[:, :, :1], 3, axis=2)
    return np.ascontiguousarray(raw[:, :, :3])
