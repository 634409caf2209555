"""Decide from the good pictures whether parts must be registered, and learn how."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from linewatch.domain import Image
from linewatch.errors import NotRegistered
from linewatch.vision.registration import (
    Pose,
    Registration,
    find_pose,
    foreground,
    pose_matrix,
    shrink_to_working_size,
)

IOU_GAIN_MIN = 0.2  # Registering must make the parts lie this much better on each other,
IOU_MIN = 0.75  # and reach this, else the masks are not the part.
ELONGATION_MIN = 1.25  # A rounder part has no long axis to turn by; it is only centred.
_QUANTILE = 0.98
_MARGIN = 1.06
_REACHED = 0.25  # Where fewer parts reach lies their shadow, or a speck on their support.


@dataclass(frozen=True, slots=True)
class Overlap:
    """How well the masks of the good parts lie on their median: mean intersection over union."""

    raw: float
    registered: float


def learn_registration(images: Iterable[Image]) -> tuple[Registration | None, Overlap]:
    """Return how to register, whether or not it pays, and the overlap without and with it.

    None when hardly any part stands out from its background.
    """
    smalls = [shrink_to_working_size(image) for image in images]
    bright = float(np.mean([_border_is_dark(small) for small, _ in smalls])) >= 0.5
    masks = [foreground(small, bright) for small, _ in smalls]
    poses: list[tuple[Pose, NDArray[np.uint8]]] = []
    for mask in masks:
        try:
            poses.append((find_pose(mask), mask))
        except NotRegistered:
            continue
    if len(poses) < 0.9 * len(masks):
        return None, Overlap(_overlap(masks), 0.0)
    areas = np.array([pose.area_px / mask.size for pose, mask in poses])
    middle = float(np.median(areas))
    spread = float(np.ptp(areas))
    turn = float(np.quantile([pose.elongation for pose, _ in poses], 0.05)) >= ELONGATION_MIN
    ahead, length = _extent([(pose.along if turn else _upright(pose, mask)[0], mask) for pose, mask in poses])
    aside, width = _extent([(pose.across if turn else _upright(pose, mask)[1], mask) for pose, mask in poses])
    registration = Registration(
        bright_part=bright,
        turn=turn,
        length=length,
        width=width,
        ahead=ahead,
        aside=aside,
        area_min=max(0.0, min(float(areas.min()) - spread, 0.7 * middle)),
        area_max=max(float(areas.max()) + spread, 1.3 * middle),
    )
    registered = [_registered(mask, pose, registration) for pose, mask in poses]
    return registration, Overlap(_overlap(masks), _overlap(registered))


def pays(overlap: Overlap) -> bool:
    """Whether registering is worth it: it brings loose parts into order, and disturbs others."""
    return overlap.registered >= IOU_MIN and overlap.registered - overlap.raw >= IOU_GAIN_MIN


def fitted(registration: Registration, shape: tuple[int, int]) -> Registration:
    """Return the registration with room added on two sides, so that `shape` is not distorted."""
    height, width = shape
    across, down = registration.extent
    scale = max(across / width, down / height)
    return replace(registration, length=scale * width, width=scale * height)


def cover(
    images: Iterable[Image], registration: Registration, shape: tuple[int, int], cell_px: int
) -> NDArray[np.float32]:
    """Return (rows, columns): 1 in every cell of the standard crop that good parts reach, else 0.

    What they enclose counts too: a bright spot on a dark part is no hole.
    """
    height, width = shape
    seen = np.zeros(shape, np.int32)
    count = 0
    for image in images:
        small, _ = shrink_to_working_size(image)
        mask = foreground(small, registration.bright_part)
        matrix = pose_matrix(find_pose(mask), 1.0, max(mask.shape), registration, shape)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        seen += cv2.warpAffine(mask, matrix, (width, height), flags=flags) > 127
        count += 1
    cells = seen.reshape(height // cell_px, cell_px, width // cell_px, cell_px).max(axis=(1, 3))
    reached = np.asarray(cells > _REACHED * count, np.uint8)
    outlines, _ = cv2.findContours(reached, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(reached, outlines, -1, 1, cv2.FILLED), np.float32)


def _extent(spans: list[tuple[tuple[float, float], NDArray[np.uint8]]]) -> tuple[float, float]:
    """Return middle and length of what nearly all spans (begin, end) cover, per longer picture side."""
    sides = np.array([max(mask.shape) for _, mask in spans])
    begin, end = np.array([span for span, _ in spans]).T / sides
    low, high = float(np.quantile(begin, 1 - _QUANTILE)), float(np.quantile(end, _QUANTILE))
    return (low + high) / 2, (high - low) * _MARGIN


def _upright(pose: Pose, mask: NDArray[np.uint8]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return how far the part reaches from its centroid, across and down the picture."""
    x, y, width, height = cv2.boundingRect(mask)
    left, top = x - 0.5 - pose.centre[0], y - 0.5 - pose.centre[1]
    return (left, left + width), (top, top + height)


def _border_is_dark(small: Image) -> bool:
    grey = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)
    level, _ = cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    border = np.concatenate((grey[:3].ravel(), grey[-3:].ravel(), grey[:, :3].ravel(), grey[:, -3:].ravel()))
    return float(np.mean(border <= level)) >= 0.5


def _registered(mask: NDArray[np.uint8], pose: Pose, registration: Registration) -> NDArray[np.uint8]:
    across, down = registration.extent
    scale = 128 / max(across, down)
    shape = (max(8, round(down * scale)), max(8, round(across * scale)))
    matrix = pose_matrix(pose, 1.0, max(mask.shape), registration, shape)
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(mask, matrix, (shape[1], shape[0]), flags=flags), np.uint8)


def _overlap(masks: list[NDArray[np.uint8]]) -> float:
    shape = masks[0].shape
    size = (shape[1], shape[0])
    stack = np.stack([cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST) > 0 for mask in masks])
    median = stack.mean(axis=0) >= 0.5
    both = (stack & median).sum(axis=(1, 2))
    either = (stack | median).sum(axis=(1, 2))
    return float(np.mean(both / np.maximum(either, 1)))
