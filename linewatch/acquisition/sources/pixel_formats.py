"""Decode the pixel formats of GenICam cameras to BGR images with 8 bits per channel."""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from linewatch.domain import Image

Bytes = NDArray[np.uint8]


def decode(data: bytes, name: str, width: int, height: int) -> Image | None:
    """Return the image as (height, width, 3), uint8, BGR; None if `data` is too short.

    `name` is one of FORMATS. Of 10, 12 and 16 bits the upper eight are kept.
    """
    bits, unpack = FORMATS[name]
    needed = (width * height * bits + 7) // 8
    if len(data) < needed:
        return None
    return unpack(np.frombuffer(data, np.uint8, needed), width, height)


def _grey(levels: Bytes, width: int, height: int) -> Image:
    return np.asarray(cv2.cvtColor(levels.reshape(height, width), cv2.COLOR_GRAY2BGR), np.uint8)


def _mono8(data: Bytes, width: int, height: int) -> Image:
    return _grey(data, width, height)


def _unpacked(bits: int) -> Callable[[Bytes, int, int], Image]:
    """Decode one pixel in two bytes, the lower byte first."""

    def unpack(data: Bytes, width: int, height: int) -> Image:
        return _grey((data.view("<u2") >> (bits - 8)).astype(np.uint8), width, height)

    return unpack


def _packed(data: Bytes, width: int, height: int) -> Image:
    """Decode two pixels in three bytes, each one's upper eight bits in a byte of their own (GigE Vision)."""
    levels = np.empty(width * height, np.uint8)
    levels[0::2] = data[0::3]
    levels[1::2] = data[2::3][: levels.size // 2]
    return _grey(levels, width, height)


def _mono12p(data: Bytes, width: int, height: int) -> Image:
    """Decode two pixels in three bytes, lowest bits first (the "p" formats of GenICam's PFNC)."""
    levels = np.empty(width * height, np.uint8)
    levels[0::2] = data[0::3] >> 4 | data[1::3] << 4
    levels[1::2] = data[2::3][: levels.size // 2]
    return _grey(levels, width, height)


def _mono10p(data: Bytes, width: int, height: int) -> Image:
    """Decode four pixels in five bytes, lowest bits first."""
    levels = np.empty(width * height, np.uint8)
    for place in range(4):
        low, high = data[place::5], data[place + 1 :: 5]
        upper = low[: high.size] >> (2 * place + 2) | (high << (6 - 2 * place))
        levels[place::4] = upper[: levels[place::4].size]
    return _grey(levels, width, height)


def _colour(code: int, channels: int = 1) -> Callable[[Bytes, int, int], Image]:
    def unpack(data: Bytes, width: int, height: int) -> Image:
        shape = (height, width, channels) if channels > 1 else (height, width)
        return np.asarray(cv2.cvtColor(data.reshape(shape), code), np.uint8)

    return unpack


def _bgr(data: Bytes, width: int, height: int) -> Image:
    return data.reshape(height, width, 3).copy()


FORMATS: dict[str, tuple[int, Callable[[Bytes, int, int], Image]]] = {
    "Mono8": (8, _mono8),
    "Mono10": (16, _unpacked(10)),
    "Mono12": (16, _unpacked(12)),
    "Mono16": (16, _unpacked(16)),
    "Mono10Packed": (12, _packed),
    "Mono12Packed": (12, _packed),
    "Mono10p": (10, _mono10p),
    "Mono12p": (12, _mono12p),
    "BayerRG8": (8, _colour(cv2.COLOR_BayerRGGB2BGR)),
    "BayerGR8": (8, _colour(cv2.COLOR_BayerGRBG2BGR)),
    "BayerGB8": (8, _colour(cv2.COLOR_BayerGBRG2BGR)),
    "BayerBG8": (8, _colour(cv2.COLOR_BayerBGGR2BGR)),
    "RGB8": (24, _colour(cv2.COLOR_RGB2BGR, 3)),
    "BGR8": (24, _bgr),
}
"""GenICam's name -> bits per pixel and decoder."""
