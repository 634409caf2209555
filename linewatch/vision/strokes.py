"""Strokes of a brush on a frame, as text: `radius x y x y ...`, one stroke after each semicolon.

Text, unlike an image, is checked before anything is drawn, and can be edited again.
"""

import re

import cv2
import numpy as np
from numpy.typing import NDArray

from linewatch.errors import UsageError

CHARACTERS_MAX = 12_000
RADIUS_MAX = 2_000
_STROKE = re.compile(r"\s*([0-9]{1,5}(?:\s+[0-9]{1,5}){2,})\s*", re.ASCII)


def draw_mask(strokes: str, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a mask (height, width) uint8 of `shape`: 0 where a stroke passed, 255 elsewhere.

    Raises UsageError for anything but strokes, and for a point outside the frame.
    """
    height, width = shape
    mask = np.full(shape, 255, np.uint8)
    for radius, points in parse_strokes(strokes):
        if not ((points >= 0) & (points < (width, height))).all():
            raise UsageError(f"a stroke leaves the frame of {width}x{height} pixels; draw it again")
        if len(points) == 1:
            cv2.circle(mask, (int(points[0][0]), int(points[0][1])), radius, 0, cv2.FILLED)
        else:
            cv2.polylines(mask, [points.reshape(-1, 1, 2)], False, 0, 2 * radius)
    return mask


def parse_strokes(strokes: str) -> list[tuple[int, NDArray[np.int32]]]:
    """Return radius and points (n, 2) of each stroke; [] for "". Raises UsageError."""
    if len(strokes) > CHARACTERS_MAX:
        raise UsageError("too much was painted to be stored; use a larger brush")
    found = []
    for text in filter(str.strip, strokes.split(";")):
        stroke = _STROKE.fullmatch(text)
        numbers = [int(word) for word in stroke[1].split()] if stroke else []
        if len(numbers) % 2 == 0 or not 1 <= numbers[0] <= RADIUS_MAX:
            raise UsageError("what was painted out cannot be read; draw it again")
        found.append((numbers[0], np.array(numbers[1:], np.int32).reshape(-1, 2)))
    return found
