"""What all reports share: the HTML page, its galleries of images, and scores on the scale of the verdicts.

No matplotlib: a line PC writes the report of a calibration without the extra `train`.
"""

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import jinja2
import numpy as np
from numpy.typing import NDArray

from linewatch.domain import AnomalyMap, Image, Scored
from linewatch.models.bundle import Calibration
from linewatch.training.calibrate import images_needed
from linewatch.vision.heatmap import draw_heatmap
from linewatch.vision.scoring import map_placement

GALLERY_SIZE = 6


class Thresholds(Protocol):
    """Both raw thresholds: a recipe or a calibration."""

    @property
    def threshold(self) -> float:
        """Raw score above which a part is FAIL."""

    @property
    def unsure_threshold(self) -> float:
        """Raw score above which a part is UNSURE."""


@dataclass(frozen=True, slots=True)
class GalleryImage:
    """One image of a gallery, with its score and anomaly map."""

    name: str
    score: float  # Raw; infinite if the part was not found.
    crop: Image  # (height, width, 3) uint8 BGR
    anomaly_map: AnomalyMap  # (rows, columns) float32, over the whole crop.
    truth: NDArray[np.bool_] | None = None  # Ground truth mask (height, width).


def calibration_rows(calibration: Calibration) -> list[tuple[str, str]]:
    """Return the table rows on thresholds, and on what their images prove."""
    count, needed = len(calibration.scores), images_needed(calibration.false_reject)
    wanted = f"{calibration.false_reject:.1%}"
    proven = []
    if calibration.bound is not None:
        proven.append(f"at most {calibration.bound:.1%} with 95 % confidence")
    if count < needed:
        proven.append(f"{needed} good pictures are needed to state {wanted}, these are {count}")
    unsure = format_score(calibration.unsure_threshold, calibration)
    return [
        ("Wanted false rejects", wanted),
        ("What these pictures prove", "; ".join(proven)),
        ("Limit", f"score 1000, which is a raw score of {calibration.threshold:.3f}"),
        ("Unsure from", f"score {unsure}, raw {calibration.unsure_threshold:.3f}"),
    ]


def format_score(raw: float, thresholds: Thresholds) -> str:
    """Return a raw score on the scale of the page and the verdicts, where 1000 is the threshold."""
    if not math.isfinite(raw):
        return "none, the part was not found"
    return str(round(1000 * raw / thresholds.threshold))


def gallery(images: Sequence[GalleryImage], thresholds: Thresholds) -> list[dict[str, str]]:
    """Return what the template shows of each image: name, score, picture and heatmap."""
    return [
        {
            "name": image.name,
            "score": format_score(image.score, thresholds),
            "failed": "failed" if image.score > thresholds.threshold else "",
            "picture": jpeg(image.crop),
            "heatmap": jpeg(_heatmap(image, thresholds.threshold)),
        }
        for image in images
    ]


def jpeg(image: Image) -> str:
    """Return an image as the data URL of a JPEG."""
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 80])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()


def render(**content: Any) -> str:
    """Return the page; the template names what it needs."""
    loader = jinja2.PackageLoader("linewatch.training.reports")
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True)
    return environment.get_template("report.html").render(**content)


def _heatmap(image: GalleryImage, threshold: float) -> Image:
    """Return the crop under its heatmap, in the colours of the page, with the ground truth outlined."""
    placement = map_placement(np.eye(2, 3), image.crop.shape, image.anomaly_map.shape)
    overlay = draw_heatmap(image.crop, Scored(image.score, image.anomaly_map, placement), threshold)
    if image.truth is not None:
        outlines, _ = cv2.findContours(image.truth.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(overlay, outlines, -1, (255, 255, 255), 1)
    return overlay
