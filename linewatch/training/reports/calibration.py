"""The report of a calibration: a version's own thresholds, and where they come from."""

from collections.abc import Sequence

from linewatch.models.bundle import Calibration
from linewatch.training.reports.page import calibration_rows, render


def calibration_report(
    product: str, version: str, created: str, trained: str, calibration: Calibration, effects: Sequence[str]
) -> str:
    """Return the report of a calibrated version as HTML.

    `trained` is the version whose network it shares; `effects` are sentences on what changes.
    """
    return render(
        title=f"Calibration {product} {version}",
        rows=[
            ("Version", f"{version}, {created}"),
            ("Network and training report", f"of version {trained}; only the thresholds differ"),
            *calibration_rows(calibration),
            *(("What changes" if number == 0 else "", text) for number, text in enumerate(effects)),
            ("Threshold computed by", calibration.method),
        ],
    )
