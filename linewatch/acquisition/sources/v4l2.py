"""Query the video devices of this machine through Video4Linux 2, with the ioctls of linux/videodev2.h."""

import errno
import fcntl
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Ioctl = Callable[[int, int, bytearray], object]
"""Takes a file descriptor, a request and its argument, which it changes in place. Raises OSError."""

QUERYCAP, ENUM_FMT, ENUM_FRAMESIZES, ENUM_FRAMEINTERVALS = 0x80685600, 0xC0405602, 0xC02C564A, 0xC034564B
CAPABILITY = struct.Struct("=16s32s32sIII12x")  # driver, card, bus_info, version, capabilities, device_caps
FORMAT = struct.Struct("=III32sI16x")  # index, type, flags, description, pixelformat
SIZE = struct.Struct("=III6I8x")  # index, pixel_format, type, discrete (w, h) or stepwise (min, max, step)
INTERVAL = struct.Struct("=IIIII6I8x")  # index, pixel_format, w, h, type, discrete or stepwise fractions

CAP_CAPTURE, CAP_CAPTURE_MPLANE, CAP_DEVICE_CAPS = 0x1, 0x1000, 0x8000_0000
TYPE_CAPTURE, TYPE_CAPTURE_MPLANE = 1, 9
DISCRETE = 1
ITEMS_MAX = 256  # Of one enumeration; a faulty driver might never end it.


@dataclass(frozen=True, slots=True)
class FrameSize:
    """One frame size and its frame rates, or the largest of a range of sizes."""

    width: int
    height: int
    rates: tuple[float, ...]  # Frames per second, highest first.
    smallest: tuple[int, int] | None = None  # Width and height where any size between is possible.


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """One pixel format that a camera delivers."""

    fourcc: str
    description: str
    sizes: tuple[FrameSize, ...]


@dataclass(frozen=True, slots=True)
class VideoDevice:
    """One camera and what it offers."""

    name: str
    bus: str
    formats: tuple[PixelFormat, ...]


def query(path: Path, ioctl: Ioctl = fcntl.ioctl) -> VideoDevice | None:
    """Return the camera behind a device node, None if it captures no images (a metadata node).

    Raises OSError when the node cannot be opened or does not answer as a video device.
    """
    # Without O_NONBLOCK some drivers wait for a signal; querying never disturbs a running capture.
    node = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        answer = bytearray(CAPABILITY.size)
        ioctl(node, QUERYCAP, answer)
        _driver, card, bus, _version, of_device, of_node = CAPABILITY.unpack(answer)
        # A device has several nodes; only `of_node` belongs to the one that was opened.
        capabilities = of_node if of_device & CAP_DEVICE_CAPS else of_device
        if not capabilities & (CAP_CAPTURE | CAP_CAPTURE_MPLANE):
            return None
        kind = TYPE_CAPTURE if capabilities & CAP_CAPTURE else TYPE_CAPTURE_MPLANE
        formats = tuple(_formats(node, kind, ioctl))
        return VideoDevice(_text(card), _text(bus), formats) if formats else None
    finally:
        os.close(node)


def _formats(node: int, kind: int, ioctl: Ioctl) -> Iterator[PixelFormat]:
    for _, _, _, description, code in _enumerate(node, ENUM_FMT, ioctl, FORMAT, kind, 0, b"", 0):
        sizes = tuple(_sizes(node, code, ioctl))
        yield PixelFormat(_fourcc(code), _text(description), sizes)


def _sizes(node: int, code: int, ioctl: Ioctl) -> Iterator[FrameSize]:
    for answer in _enumerate(node, ENUM_FRAMESIZES, ioctl, SIZE, code, 0, *(0,) * 6):
        kind, numbers = answer[2], answer[3:]
        if kind == DISCRETE:
            width, height = numbers[:2]
            yield FrameSize(width, height, _rates(node, code, width, height, ioctl))
        else:
            narrowest, width, _, lowest, height, _ = numbers
            rates = _rates(node, code, width, height, ioctl)
            yield FrameSize(width, height, rates, smallest=(narrowest, lowest))
            return  # A range is the only item.


def _rates(node: int, code: int, width: int, height: int, ioctl: Ioctl) -> tuple[float, ...]:
    rates = []
    for answer in _enumerate(node, ENUM_FRAMEINTERVALS, ioctl, INTERVAL, code, width, height, 0, *(0,) * 6):
        kind, fractions = answer[4], answer[5:]
        seconds = [fractions[0:2]] if kind == DISCRETE else [fractions[0:2], fractions[2:4]]
        rates += [denominator / numerator for numerator, denominator in seconds if numerator]
        if kind != DISCRETE:
            break
    return tuple(sorted({round(rate, 2) for rate in rates}, reverse=True))


def _enumerate(
    node: int, request: int, ioctl: Ioctl, layout: struct.Struct, *fields: int | bytes
) -> Iterator[tuple[Any, ...]]:
    """Yield the driver's answers for index 0, 1, ... until it says that there are no more."""
    for index in range(ITEMS_MAX):
        answer = bytearray(layout.pack(index, *fields))
        try:
            ioctl(node, request, answer)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOTTY):  # The end, or not implemented by the driver.
                return
            raise
        yield layout.unpack(answer)


def _fourcc(code: int) -> str:
    return "".join(chr(code >> shift & 0x7F) for shift in (0, 8, 16, 24))


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode(errors="replace")
