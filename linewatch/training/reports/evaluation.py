"""The report of an evaluation on labelled images."""

from collections.abc import Mapping, Sequence

from linewatch.training.reports.figures import CurvePlot, draw_curve, draw_histogram
from linewatch.training.reports.page import GalleryImage, Thresholds, gallery, render


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
    figures = [("Scores of good and defective pictures", draw_histogram(scores, thresholds))]
    return render(
        title=f"Evaluation of {product}",
        rows=list(rows),
        figures=figures + [(curve.title, draw_curve(curve)) for curve in curves],
        galleries=[(title, gallery(images, thresholds)) for title, images in galleries],
    )
