"""Learn from good images how to register the part, and whether registration is needed."""

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

IOU_GAIN_MIN = 0.2  # Registration must raise the mean IoU of the part masks by this much,
IOU_MIN = 0.75  # and to this value; else the masks do not show the part.
ELONGATION_MIN = 1.25  # A rounder part has no stable long axis; it is centred but not rotated.
_QUANTILE = 0.98  # Share of the parts that the crop covers in each direction.
_MARGIN = 1.06  # Size of the crop relative to that extent.
_COVERAGE_MIN = 0.25  # Cells that fewer parts cover show a shadow, or dirt on the support.


@dataclass(frozen=True, slots=True)
class Overlap:
    """Mean intersection over union (IoU, 0 to 1) of the good parts' masks with their median mask."""

    raw: float
    registered: float


def learn_registration(images: Iterable[Image]) -> tuple[Registration | None, Overlap]:
    """Return the registration learnt from BGR images, and the overlap without and with it.

    The registration is None when the part does not stand out from its background in 90 % of the images.
    Whether to use it is decided by `registration_helps`.
    """
    small_images = [shrink_to_working_size(image) for image in images]
    bright = float(np.mean([_border_is_dark(small) for small, _ in small_images])) >= 0.5
    masks = [foreground(small, bright) for small, _ in small_images]
    poses: list[tuple[Pose, NDArray[np.uint8]]] = []
    for mask in masks:
        try:
            poses.append((find_pose(mask), mask))
        except NotRegistered:
            continue
    if len(poses) < 0.9 * len(masks):
        return None, Overlap(_mean_iou(masks), 0.0)
    areas = np.array([pose.area_px / mask.size for pose, mask in poses])
    median = float(np.median(areas))
    spread = float(np.ptp(areas))
    turn = float(np.quantile([pose.elongation for pose, _ in poses], 0.05)) >= ELONGATION_MIN
    spans = [(pose.along, pose.across) if turn else _axis_aligned_spans(pose, mask) for pose, mask in poses]
    sides_px = np.array([max(mask.shape) for _, mask in poses])
    ahead, length = _common_extent([along for along, _ in spans], sides_px)
    aside, width = _common_extent([across for _, across in spans], sides_px)
    registration = Registration(
        bright_part=bright,
        turn=turn,
        length=length,
        width=width,
        ahead=ahead,
        aside=aside,
        area_min=max(0.0, min(float(areas.min()) - spread, 0.7 * median)),
        area_max=max(float(areas.max()) + spread, 1.3 * median),
    )
    registered = [_register_mask(mask, pose, registration) for pose, mask in poses]
    return registration, Overlap(_mean_iou(masks), _mean_iou(registered))


def registration_helps(overlap: Overlap) -> bool:
    """Return whether registration aligns the parts better; parts in a fixture lose accuracy by it."""
    return overlap.registered >= IOU_MIN and overlap.registered - overlap.raw >= IOU_GAIN_MIN


def pad_to_aspect(registration: Registration, shape: tuple[int, int]) -> Registration:
    """Return the registration with one extent padded to the aspect ratio of `shape` (height, width)."""
    height, width = shape
    across, down = registration.extent
    scale = max(across / width, down / height)
    return replace(registration, length=scale * width, width=scale * height)


def compute_part_mask(
    images: Iterable[Image], registration: Registration, shape: tuple[int, int], cell_px: int
) -> NDArray[np.float32]:
    """Return a float32 mask (rows, columns): 1 in each cell of the standard crop that good parts cover.

    Enclosed cells count too: a bright spot on a dark part is no hole. A cell is `cell_px` input pixels
    square.
    """
    height, width = shape
    covered = np.zeros(shape, np.int32)
    count = 0
    for image in images:
        small, _ = shrink_to_working_size(image)
        mask = foreground(small, registration.bright_part)
        matrix = pose_matrix(find_pose(mask), 1.0, max(mask.shape), registration, shape)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        covered += cv2.warpAffine(mask, matrix, (width, height), flags=flags) > 127
        count += 1
    cells = covered.reshape(height // cell_px, cell_px, width // cell_px, cell_px).max(axis=(1, 3))
    reached = np.asarray(cells > _COVERAGE_MIN * count, np.uint8)
    outlines, _ = cv2.findContours(reached, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(reached, outlines, -1, 1, cv2.FILLED), np.float32)


def _common_extent(spans: list[tuple[float, float]], sides_px: NDArray[np.int_]) -> tuple[float, float]:
    """Return centre and length of the range that nearly all spans (begin, end) cover.

    Spans are in mask pixels, the result is a share of the longer mask side (`sides_px`).
    """
    begin, end = np.array(spans).T / sides_px
    low, high = float(np.quantile(begin, 1 - _QUANTILE)), float(np.quantile(end, _QUANTILE))
    return (low + high) / 2, (high - low) * _MARGIN


def _axis_aligned_spans(
    pose: Pose, mask: NDArray[np.uint8]
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the spans of the part from its centroid, horizontal and vertical, in mask pixels."""
    x, y, width, height = cv2.boundingRect(mask)
    left, top = x - 0.5 - pose.centre[0], y - 0.5 - pose.centre[1]
    return (left, left + width), (top, top + height)


def _border_is_dark(small: Image) -> bool:
    grey = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)
    level, _ = cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    border = np.concatenate((grey[:3].ravel(), grey[-3:].ravel(), grey[:, :3].ravel(), grey[:, -3:].ravel()))
    return float(np.mean(border <= level)) >= 0.5


def _register_mask(mask: NDArray[np.uint8], pose: Pose, registration: Registration) -> NDArray[np.uint8]:
    across, down = registration.extent
    scale = 128 / max(across, down)
    shape = (max(8, round(down * scale)), max(8, round(across * scale)))
    matrix = pose_matrix(pose, 1.0, max(mask.shape), registration, shape)
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(mask, matrix, (shape[1], shape[0]), flags=flags), np.uint8)


def _mean_iou(masks: list[NDArray[np.uint8]]) -> float:
    shape = masks[0].shape
    size = (shape[1], shape[0])
    stack = np.stack([cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST) > 0 for mask in masks])
    median = stack.mean(axis=0) >= 0.5
    both = (stack & median).sum(axis=(1, 2))
    either = (stack | median).sum(axis=(1, 2))
    return float(np.mean(both / np.maximum(either, 1)))
