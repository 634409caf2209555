"""Draw the anomaly map over the frame, for people; never used to decide."""

import cv2
import numpy as np
from numpy.typing import NDArray

from linewatch.domain import Box, Image, Scored
from linewatch.vision.image_io import shrunk

_HOTTEST = 230  # Of the 255 colours of a heatmap: those above are dark, which on a dark part is no alarm.


_MARK, _MARK_EDGE = (255, 255, 255), (20, 20, 20)


_MARK_SIDE_MIN = 0.05  # Of the picture's width: a smaller box would not be found.


def heatmap(image: Image, scored: Scored, threshold: float, side_px_max: int | None = None) -> Image:
    """Return the frame with the anomaly map laid over it and a box around the largest defect.

    For people only: the map is smoothed here and nowhere else. Half the threshold is the coldest
    colour, one and a half times the threshold the hottest. With `side_px_max` the frame is shrunk
    before anything is drawn, which is quick however large the camera's pictures are.
    """
    frame = image if side_px_max is None else shrunk(image, side_px_max)
    size = (frame.shape[1], frame.shape[0])
    zoom = np.array([size[0] / image.shape[1], size[1] / image.shape[0]])
    matrix = scored.placement * zoom[:, None]
    matrix[:, 2] += (zoom - 1) / 2  # Centres lie on whole numbers.
    # A peak stays as high as it scored: smoothed alone, a small defect would look harmless.
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
    """Return how much of the picture each level hides: nothing, 55 % at the threshold, 65 % at the hottest.

    It begins flat, so that good parts stay as they are.
    """
    heat = np.arange(256) / _HOTTEST
    rise = np.clip(2 * heat, 0, 1)
    return (0.55 * rise**2 * (3 - 2 * rise) + 0.2 * np.clip(heat - 0.5, 0, 0.5)).astype(np.float32)


_OPACITY = _opacities()


def _mark(overlay: Image, box: Box, zoom: NDArray[np.float64]) -> None:
    """Draw the box of a defect around it, white on dark and large enough to be found."""
    size = np.array([overlay.shape[1], overlay.shape[0]])
    line = max(2, round(int(size.max()) / 220))
    low, high = np.floor(box[:2] * zoom), np.ceil((np.array(box[:2]) + box[2:]) * zoom) - 1
    missing = np.maximum(_MARK_SIDE_MIN * size[0] - (high - low), 0) / 2
    inside = size - 1 - line // 2  # All of the line is in the picture.
    left, top = np.clip(low - missing - line, line // 2, inside).astype(int).tolist()
    right, bottom = np.clip(high + missing + line, line // 2, inside).astype(int).tolist()
    for colour, width in ((_MARK_EDGE, line + 2 * max(1, line // 2)), (_MARK, line)):
        cv2.rectangle(overlay, (left, top), (right, bottom), colour, width)
