"""Draw the anomaly map over the frame, for people; verdicts never depend on it."""

import cv2
import numpy as np
from numpy.typing import NDArray

from linewatch.domain import Box, Image, Scored
from linewatch.vision.image_io import shrink_to

_HOTTEST = 230  # Of TURBO's 255 levels: those above are dark, which on a dark part does not stand out.
_MARK, _MARK_EDGE = (255, 255, 255), (20, 20, 20)
_MARK_SIDE_MIN = 0.05  # Share of the image width; a smaller box would be overlooked.


def draw_heatmap(image: Image, scored: Scored, threshold: float, side_px_max: int | None = None) -> Image:
    """Return the frame with the anomaly map laid over it and a box around the largest defect.

    The colour scale runs from half the threshold to one and a half times the threshold; the map is
    smoothed for display. With `side_px_max`, in pixels, the frame is shrunk first, which saves time on
    large frames. Returns (height, width, 3) uint8, blue-green-red.
    """
    frame = image if side_px_max is None else shrink_to(image, side_px_max)
    size = (frame.shape[1], frame.shape[0])
    zoom = np.array([size[0] / image.shape[1], size[1] / image.shape[0]])
    matrix = scored.placement * zoom[:, None]
    matrix[:, 2] += (zoom - 1) / 2  # Pixel centres are at integer coordinates.
    # Smoothing alone would lower the peak of a small defect below the threshold.
    smooth = np.maximum(scored.anomaly_map, cv2.GaussianBlur(scored.anomaly_map, (0, 0), 1.0))
    level = np.clip((smooth / max(threshold, 1e-6) - 0.5) * _HOTTEST, 0, _HOTTEST).astype(np.uint8)
    strength = cv2.warpAffine(level, matrix, size, flags=cv2.INTER_LINEAR)
    colours = cv2.applyColorMap(strength, cv2.COLORMAP_TURBO)
    weight = cv2.LUT(strength, _OPACITY)
    overlay = np.asarray(cv2.blendLinear(frame, colours, 1 - weight, weight), np.uint8)
    if scored.defects:
        _mark(overlay, scored.defects[0].box, zoom)
    return overlay


def _opacities() -> NDArray[np.float32]:
    """Return the overlay's opacity for each of 256 levels: 0 at 0, 0.55 at the threshold, 0.65 at _HOTTEST.

    The curve starts flat so that good parts keep their look.
    """
    heat = np.arange(256) / _HOTTEST
    rise = np.clip(2 * heat, 0, 1)
    return (0.55 * rise**2 * (3 - 2 * rise) + 0.2 * np.clip(heat - 0.5, 0, 0.5)).astype(np.float32)


_OPACITY = _opacities()


def _mark(overlay: Image, box: Box, zoom: NDArray[np.float64]) -> None:
    """Draw a box around a defect, white with a dark edge and not below the smallest visible size.

    `zoom` is the factor from frame pixels to overlay pixels, across and down.
    """
    size = np.array([overlay.shape[1], overlay.shape[0]])
    line = max(2, round(int(size.max()) / 220))
    low, high = np.floor(box[:2] * zoom), np.ceil((np.array(box[:2]) + box[2:]) * zoom) - 1
    missing = np.maximum(_MARK_SIDE_MIN * size[0] - (high - low), 0) / 2
    inside = size - 1 - line // 2  # Keeps the whole line inside the image.
    left, top = np.clip(low - missing - line, line // 2, inside).astype(int).tolist()
    right, bottom = np.clip(high + missing + line, line // 2, inside).astype(int).tolist()
    for colour, width in ((_MARK_EDGE, line + 2 * max(1, line // 2)), (_MARK, line)):
        cv2.rectangle(overlay, (left, top), (right, bottom), colour, width)
