"""Plots of the reports, as data URLs of PNG images."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from linewatch.training.reports.page import Thresholds

mpl.use("Agg")
_COLOURS = {"good": "#2a9d8f", "defect": "#c1121f", "line": "#222222"}
_SIZE = (4, 3.4)


@dataclass(frozen=True, slots=True)
class CurvePlot:
    """A plot of one curve; both axes run from 0 to 1."""

    title: str
    x_label: str
    y_label: str
    legend: str
    x: Sequence[float]
    y: Sequence[float]


def draw_histogram(scores: Mapping[str, Sequence[float]], thresholds: Thresholds) -> str:
    """Draw the distribution of raw scores by "good" and "defect", with both thresholds."""
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
    axes.set(xlabel="score; 1000 is the limit", ylabel="pictures")
    axes.legend()
    return _png(figure)


def draw_curve(curve: CurvePlot) -> str:
    """Draw one curve."""
    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.subplots()
    axes.plot(curve.x, curve.y, color=_COLOURS["line"], label=curve.legend)
    axes.set(xlabel=curve.x_label, ylabel=curve.y_label, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.legend(loc="lower center")
    return _png(figure)


def draw_shares(shares: Mapping[str, Mapping[float, float]], x_label: str, y_label: str) -> str:
    """Draw a line for each label over shares (0 to 1) by a share, all in per cent."""
    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.subplots()
    for label, points in shares.items():
        places = sorted(points)
        axes.plot([100 * x for x in places], [100 * points[x] for x in places], "o-", label=label)
    axes.set(xlabel=x_label, ylabel=y_label, ylim=(-2, 102))
    axes.legend(loc="best")
    return _png(figure)


def _png(figure: Figure) -> str:
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110, metadata={"Software": None})
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()
