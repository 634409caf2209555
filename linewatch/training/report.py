"""Self-contained HTML reports: how well a product can be told apart, with pictures to look at."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from linewatch.training.calibrate import images_to_state
from linewatch.vision.heatmap import draw_heatmap
from linewatch.vision.scoring import map_placement

mpl.use("Agg")
SHOWN = 6  # Pictures in each row.
_COLOURS = {"good": "#2a9d8f", "defect": "#c1121f", "line": "#222222"}


class Limits(Protocol):
    """A recipe or a calibration: what has both thresholds."""

    @property
    def threshold(self) -> float:
        """Above it a part fails."""

    @property
    def unsure_threshold(self) -> float:
        """Above it a part is unsure."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One picture of a report, as the scorer saw it."""

    name: str
    score: float
    crop: Image
    anomaly_map: AnomalyMap
    truth: NDArray[np.bool_] | None = None  # The marked defect, of the crop's size.


@dataclass(frozen=True, slots=True)
class Curve:
    """Points of a curve, and what to call it."""

    x: Sequence[float]
    y: Sequence[float]
    label: str


def training_report(
    product: str, calibration: Calibration, facts: Mapping[str, Any], shown: Sequence[Shown]
) -> str:
    """Return the HTML of what was learnt from good pictures, most unusual ones first."""
    ordered = sorted(shown, key=lambda one: -one.score)
    scores = [one.score for one in shown]
    return _page(
        title=f"Training {product}",
        lead=summarize_training(facts),
        learnt=is_adequate(facts),
        rows=_calibration_rows(calibration) + _facts_rows(facts),
        details=_details(calibration, facts),
        figures=[
            (
                "Scores of good pictures, each by a model that never saw it",
                _histogram({"good": scores}, calibration),
            )
        ],
        galleries=[
            (
                "Most unusual good pictures: is every one of them really good, "
                "and taken with the usual light and background?",
                _gallery(ordered[:SHOWN], calibration),
            ),
            ("Most usual good pictures", _gallery(ordered[::-1][:SHOWN], calibration)),
        ],
    )


def evaluation_report(
    product: str,
    limits: Limits,
    rows: Sequence[tuple[str, str]],
    scores: Mapping[str, Sequence[float]],
    curves: Sequence[tuple[str, str, str, Curve]],
    galleries: Sequence[tuple[str, Sequence[Shown]]],
) -> str:
    """Return the HTML of how labelled pictures score.

    `curves` are (title, x axis, y axis, curve), `scores` the raw scores by "good" and "defect".
    """
    figures = [("Scores of good and defective pictures", _histogram(scores, limits))]
    figures += [(title, _line(curve, x, y)) for title, x, y, curve in curves]
    return _page(
        title=f"Evaluation of {product}",
        lead="",
        rows=list(rows),
        details=[],
        figures=figures,
        galleries=[(title, _gallery(shown, limits)) for title, shown in galleries],
    )


def _calibration_rows(calibration: Calibration) -> list[tuple[str, str]]:
    count, needed = len(calibration.scores), images_to_state(calibration.false_reject)
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


def _facts_rows(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    overlap = facts["overlap"]
    aligned = (
        "not asked for"
        if overlap is None
        else (f"parts overlap {overlap['raw']:.0%} as they lie, {overlap['registered']:.0%} when registered")
    )
    return [
        ("Good pictures", str(facts["images"])),
        ("Left out, part not found", ", ".join(facts["images_left_out"]) or "none"),
        ("Registration", f"{'on' if facts['registered'] else 'off'}; {aligned}"),
    ]


def _details(calibration: Calibration, facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what only who looks after the models asks for."""
    return [
        ("Threshold follows from", calibration.method),
        ("Architecture", f"{facts['architecture']}, seed {facts['seed']}"),
        ("Graph against network", f"scores differ by {facts['parity']:.2%} at most"),
    ]


def _score(raw: float, limits: Limits) -> str:
    """Return a score as the page and the wire tell it: 1000 is the threshold."""
    return str(round(1000 * raw / limits.threshold)) if math.isfinite(raw) else "none, the part was not found"


def _histogram(scores: Mapping[str, Sequence[float]], limits: Limits) -> str:
    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.subplots()
    scaled = {label: 1000 * np.asarray(raws) / limits.threshold for label, raws in scores.items()}
    everything = np.concatenate(list(scaled.values()))
    bins = np.linspace(0.9 * everything.min(), 1.05 * max(everything.max(), 1000.0), 40)
    for label, values in scaled.items():
        axes.hist(values, bins.tolist(), alpha=0.7, color=_COLOURS[label], label=label)
    axes.axvline(1000, color=_COLOURS["line"], label="limit")
    unsure = 1000 * limits.unsure_threshold / limits.threshold
    axes.axvline(unsure, color=_COLOURS["line"], linestyle=":", label="unsure from")
    axes.set_xlabel("score; 1000 is the limit")
    axes.set_ylabel("pictures")
    axes.legend()
    return _png(figure)


def _line(curve: Curve, x: str, y: str) -> str:
    figure = Figure(figsize=(4, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.plot(curve.x, curve.y, color=_COLOURS["line"], label=curve.label)
    axes.set(xlabel=x, ylabel=y, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.legend(loc="lower center")
    return _png(figure)


def _png(figure: Figure) -> str:
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110, metadata={"Software": None})
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()


def _gallery(shown: Sequence[Shown], limits: Limits) -> list[dict[str, str]]:
    return [
        {
            "name": one.name,
            "score": _score(one.score, limits),
            "failed": "failed" if one.score > limits.threshold else "",
            "picture": _jpeg(one.crop),
            "heatmap": _jpeg(_heatmap(one, limits.threshold)),
        }
        for one in shown
    ]


def _heatmap(one: Shown, threshold: float) -> Image:
    """Return the crop under its heat, in the colours of the page; the truth as an outline."""
    placement = map_placement(np.eye(2, 3), one.crop.shape, one.anomaly_map.shape)
    hot = draw_heatmap(one.crop, Scored(one.score, one.anomaly_map, placement), threshold)
    if one.truth is not None:
        outline, _ = cv2.findContours(one.truth.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(hot, outline, -1, (255, 255, 255), 1)
    return hot


def _jpeg(picture: Image) -> str:
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 80])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()


def _page(**content: Any) -> str:
    loader = jinja2.PackageLoader("linewatch.training")
    template = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True).get_template(
        "report.html"
    )
    return template.render(**content)
