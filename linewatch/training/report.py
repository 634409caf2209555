"""Self-contained HTML reports of a training or an evaluation: figures, plots and galleries of images."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import cv2
import jinja2
import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from linewatch.domain import AnomalyMap, Image, Scored
from linewatch.models.bundle import Calibration
from linewatch.models.training_quality import is_adequate, summarize_training
from linewatch.training.calibrate import IMAGES_MIN, calibrate, images_needed
from linewatch.training.detection import Detection
from linewatch.vision.heatmap import draw_heatmap
from linewatch.vision.image_io import shrink_to
from linewatch.vision.scoring import map_placement

mpl.use("Agg")
GALLERY_SIZE = 6
ABOVE_SHOWN_MAX = 24  # Good images above the limit that the report names and shows.
_EXAMPLE_SIDE_PX = 256
_OUTLINE_BGR = (80, 220, 80)
_COLOURS = {"good": "#2a9d8f", "defect": "#c1121f", "line": "#222222"}


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


@dataclass(frozen=True, slots=True)
class CurvePlot:
    """A plot of one curve; both axes run from 0 to 1."""

    title: str
    x_label: str
    y_label: str
    legend: str
    x: Sequence[float]
    y: Sequence[float]


def training_report(
    product: str,
    calibration: Calibration,
    facts: Mapping[str, Any],
    images: Sequence[GalleryImage],
    *,
    detection: Detection | None = None,
    part_mask: NDArray[np.float32] | None = None,
) -> str:
    """Return a training report as HTML.

    `facts` are the training facts of the manifest, `images` the good images with their out-of-fold
    scores. The outline of `part_mask` (rows, columns) is drawn on them.
    """
    ordered = sorted(images, key=lambda image: -image.score)
    scores = [image.score for image in images]
    above = [image for image in ordered if image.score > calibration.threshold]
    unusual = [replace(image, crop=_outline(image.crop, part_mask)) for image in ordered]
    shown = max(GALLERY_SIZE, min(len(above), ABOVE_SHOWN_MAX))
    return _page(
        title=f"Training {product}",
        lead=summarize_training(facts),
        learnt=is_adequate(facts),
        rows=_calibration_rows(calibration) + _above_rows(above, calibration) + _facts_rows(facts),
        details=_details(calibration, facts),
        figures=[
            (
                "Scores of good pictures, each by a model trained without it",
                _histogram({"good": scores}, calibration),
            ),
            *_detection_figures(detection),
        ],
        galleries=[
            (
                "Most unusual good pictures: is every one of them really good, "
                "and taken with the usual light and background?",
                _gallery(unusual[:shown], calibration),
            ),
            ("Most usual good pictures", _gallery(unusual[::-1][:GALLERY_SIZE], calibration)),
        ],
        examples=_example_rows(detection, calibration),
    )


def evaluation_report(
    product: str,
    thresholds: Thresholds,
    rows: Sequence[tuple[str, str]],
    scores: Mapping[str, Sequence[float]],
    curves: Sequence[CurvePlot],
    galleries: Sequence[tuple[str, Sequence[GalleryImage]]],
) -> str:
    """Return an evaluation report as HTML.

    `rows` are (name, value) pairs of the table, `scores` the finite raw scores by "good" and "defect",
    `galleries` (title, images) pairs.
    """
    figures = [("Scores of good and defective pictures", _histogram(scores, thresholds))]
    figures += [(curve.title, _plot(curve)) for curve in curves]
    return _page(
        title=f"Evaluation of {product}",
        lead="",
        rows=list(rows),
        details=[],
        figures=figures,
        galleries=[(title, _gallery(images, thresholds)) for title, images in galleries],
    )


def _calibration_rows(calibration: Calibration) -> list[tuple[str, str]]:
    count, needed = len(calibration.scores), images_needed(calibration.false_reject)
    wanted = f"{calibration.false_reject:.1%}"
    proven = []
    if calibration.bound is not None:
        proven.append(f"at most {calibration.bound:.1%} with 95 % confidence")
    if count < needed:
        proven.append(f"{needed} good pictures are needed to state {wanted}, these are {count}")
    unsure = _score(calibration.unsure_threshold, calibration)
    return [
        ("Wanted false rejects", wanted),
        ("What these pictures prove", "; ".join(proven)),
        ("Limit", f"score 1000, which is a raw score of {calibration.threshold:.3f}"),
        ("Unsure from", f"score {unsure}, raw {calibration.unsure_threshold:.3f}"),
    ]


def _above_rows(above: Sequence[GalleryImage], calibration: Calibration) -> list[tuple[str, str]]:
    """Return which good images would be rejected, and the threshold without them."""
    if not above:
        return [("Good pictures above the limit", "none")]
    names = ", ".join(image.name for image in above[:ABOVE_SHOWN_MAX])
    rest = tuple(score for score in calibration.scores if score <= calibration.threshold)
    text = f"{len(above)}: {names}. If they are not good, leave these out and train again"
    if len(rest) >= IMAGES_MIN:
        lower = calibrate(rest, calibration.false_reject).threshold / calibration.threshold
        text += f"; the limit would fall to about {lower:.0%} of what it is"
    return [("Good pictures above the limit", text)]


def _detection_figures(detection: Detection | None) -> list[tuple[str, str]]:
    """Return the plot of recall over defect size."""
    if detection is None:
        return []
    figure = Figure(figsize=(4, 3.4), layout="constrained")
    axes = figure.subplots()
    sizes = sorted(detection.recall)
    for kind in detection.recall[sizes[0]]:
        axes.plot(
            [100 * s for s in sizes], [100 * detection.recall[s][kind] for s in sizes], "o-", label=kind
        )
    axes.set(xlabel="size, % of the shorter side", ylabel="found, %", ylim=(-2, 102))
    axes.legend(loc="lower right")
    return [("Synthetic defects found, by size", _png(figure))]


def _example_rows(detection: Detection | None, calibration: Calibration) -> list[dict[str, str]]:
    """Return the synthetic defects that the scorer was tried with, as images."""
    if detection is None:
        return []
    return [
        {
            "name": example.kind,
            "score": _score(example.score, calibration),
            "found": "found" if example.score > calibration.threshold else "missed",
            "picture": _jpeg(shrink_to(example.image, _EXAMPLE_SIDE_PX)),
        }
        for example in detection.examples
    ]


def _outline(crop: Image, part_mask: NDArray[np.float32] | None) -> Image:
    """Return the crop with the outline of the inspected area, unless that is all of it."""
    if part_mask is None or part_mask.all():
        return crop
    size = (crop.shape[1], crop.shape[0])
    mask = cv2.resize(part_mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    drawn = crop.copy()
    cv2.drawContours(drawn, outlines, -1, _OUTLINE_BGR, 1)
    return drawn


def _facts_rows(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    overlap = facts["overlap"]
    aligned = (
        "not tried"
        if overlap is None
        else (f"parts overlap {overlap['raw']:.0%} as they lie, {overlap['registered']:.0%} when registered")
    )
    share = facts.get("inspected_share", 1.0)
    inspected = "the whole area"
    if share < 1:
        inspected = (
            f"{share:.0%} of the area, outlined in the pictures: the part stands out from its background, "
            "which is not inspected; train with --foreground off to inspect everything"
        )
    darkest, brightest = facts.get("light_band", (0.0, 0.0))
    distinct = facts.get("images_distinct", facts["images"])
    copies = (
        "" if distinct == facts["images"] else f", {distinct} of them distinct; near-duplicates count once"
    )
    return [
        ("Good pictures", f"{facts['images']}{copies}"),
        ("Inspected", inspected),
        ("Good parts pass", f"in light from {darkest:+.0%} to {brightest:+.0%} of the usual"),
        ("Left out, part not found", ", ".join(facts["images_left_out"]) or "none"),
        ("Registration", f"{'on' if facts['registered'] else 'off'}; {aligned}"),
    ]


def _details(calibration: Calibration, facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return rows for those who maintain the models; the report collapses them."""
    settings = ("pixels", "align", "foreground")
    return [
        ("Version and date", "the name of the folder of this report, and created in its manifest.json"),
        ("Pictures", f"{facts.get('folder', '')} SHA-256 {facts.get('images_digest', '')}".strip()),
        ("Settings", ", ".join(f"{name} {facts[name]}" for name in settings if name in facts)),
        ("Threshold computed by", calibration.method),
        ("Architecture", f"{facts['architecture']}, seed {facts['seed']}"),
        ("Compiled against trained model", f"scores differ by {facts['parity']:.2%} at most"),
    ]


def _score(raw: float, thresholds: Thresholds) -> str:
    """Return a raw score on the scale of the page and the verdicts, where 1000 is the threshold."""
    if not math.isfinite(raw):
        return "none, the part was not found"
    return str(round(1000 * raw / thresholds.threshold))


def _histogram(scores: Mapping[str, Sequence[float]], thresholds: Thresholds) -> str:
    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.subplots()
    scaled = {label: 1000 * np.asarray(raws) / thresholds.threshold for label, raws in scores.items()}
    combined = np.concatenate(list(scaled.values()))
    bins = np.linspace(0.9 * combined.min(), 1.05 * max(combined.max(), 1000.0), 40)
    for label, values in scaled.items():
        axes.hist(values, bins.tolist(), alpha=0.7, color=_COLOURS[label], label=label)
    axes.axvline(1000, color=_COLOURS["line"], label="limit")
    unsure = 1000 * thresholds.unsure_threshold / thresholds.threshold
    axes.axvline(unsure, color=_COLOURS["line"], linestyle=":", label="unsure from")
    axes.set_xlabel("score; 1000 is the limit")
    axes.set_ylabel("pictures")
    axes.legend()
    return _png(figure)


def _plot(curve: CurvePlot) -> str:
    figure = Figure(figsize=(4, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.plot(curve.x, curve.y, color=_COLOURS["line"], label=curve.legend)
    axes.set(xlabel=curve.x_label, ylabel=curve.y_label, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.legend(loc="lower center")
    return _png(figure)


def _png(figure: Figure) -> str:
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110, metadata={"Software": None})
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()


def _gallery(images: Sequence[GalleryImage], thresholds: Thresholds) -> list[dict[str, str]]:
    return [
        {
            "name": image.name,
            "score": _score(image.score, thresholds),
            "failed": "failed" if image.score > thresholds.threshold else "",
            "picture": _jpeg(image.crop),
            "heatmap": _jpeg(_heatmap(image, thresholds.threshold)),
        }
        for image in images
    ]


def _heatmap(image: GalleryImage, threshold: float) -> Image:
    """Return the crop under its heatmap, in the colours of the page, with the ground truth outlined."""
    placement = map_placement(np.eye(2, 3), image.crop.shape, image.anomaly_map.shape)
    overlay = draw_heatmap(image.crop, Scored(image.score, image.anomaly_map, placement), threshold)
    if image.truth is not None:
        outlines, _ = cv2.findContours(image.truth.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(overlay, outlines, -1, (255, 255, 255), 1)
    return overlay


def _jpeg(image: Image) -> str:
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 80])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()


def _page(**content: Any) -> str:
    loader = jinja2.PackageLoader("linewatch.training")
    template = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True).get_template(
        "report.html"
    )
    return template.render(**content)
