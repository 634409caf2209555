"""Compare a model on trial with the one on the line, from the comparisons in the journal."""

import base64
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import jinja2
import numpy as np

from linewatch.domain import Comparison, Result
from linewatch.errors import ImageError, UsageError
from linewatch.settings import Settings
from linewatch.storage.journal_reader import JournalFile, JournalReader
from linewatch.vision.image_io import read_image, shrink_to

SHOWN_MAX = 60  # Disagreements shown with images in the HTML report.
SIDE_PX = 320
JUDGED = (Result.PASS, Result.UNSURE, Result.FAIL)


@dataclass(frozen=True, slots=True)
class Report:
    """The verdicts of two models on the same parts."""

    product: str
    version: str  # On trial.
    live: tuple[str, ...]  # Versions that were active on the line meanwhile.
    parts: int
    counts: dict[tuple[Result, Result], int]  # Keys: (line's result, trial's result).
    disagreements: tuple[Comparison, ...]  # Newest first.
    live_ms: tuple[float, float]  # Latency on the line: median and 95th percentile.
    trial_ms: tuple[float, float]  # Decoding and scoring on trial: the same.

    @property
    def agreements(self) -> int:
        """Return the number of parts with the same result from both."""
        return self.parts - len(self.disagreements)

    def as_dict(self) -> dict[str, object]:
        """Return the report for JSON."""
        return {
            "product": self.product,
            "version": self.version,
            "live": list(self.live),
            "parts": self.parts,
            "agreements": self.agreements,
            "disagreements": len(self.disagreements),
            "counts": {f"{line} to {trial}": number for (line, trial), number in self.counts.items()},
            "live_ms_p50": self.live_ms[0],
            "live_ms_p95": self.live_ms[1],
            "trial_ms_p50": self.trial_ms[0],
            "trial_ms_p95": self.trial_ms[1],
            "parts_in_disagreement": [asdict(part) for part in self.disagreements],
        }


def report(settings: Settings, product: str, version: str, last: int) -> Report:
    """Summarise the newest `last` comparisons. Raises UsageError if there are none."""
    path = settings.journal.path
    compared: Sequence[Comparison] = []
    if path.exists():
        with JournalReader(JournalFile(path)) as reader:
            compared = reader.comparisons(product, version, last)
    if not compared:
        raise UsageError(
            f"nothing was compared with {product}/{version} in {str(path)!r}; put it on trial "
            f"(linewatch models try {product} {version}) and let the line judge some parts"
        )
    return Report(
        product=product,
        version=version,
        live=tuple(sorted({part.model for part in compared})),
        parts=len(compared),
        counts=dict(Counter((part.result, part.trial_result) for part in compared)),
        disagreements=tuple(part for part in compared if not part.agrees),
        live_ms=_quantiles([part.latency_ms for part in compared]),
        trial_ms=_quantiles([part.trial_ms for part in compared]),
    )


def table(report: Report) -> str:
    """Return the report as text."""
    lines = [
        f"{report.product}: {report.version} on trial beside {', '.join(report.live)}, {report.parts} parts",
        f"agree {report.agreements}, disagree {len(report.disagreements)}",
    ]
    lines += [
        f"  {line} on the line, {trial} on trial: {report.counts[line, trial]}"
        for line in JUDGED
        for trial in JUDGED
        if line is not trial and (line, trial) in report.counts
    ]
    for name, (median, high) in (("line", report.live_ms), ("trial", report.trial_ms)):
        lines.append(f"{name}: {median:.0f} ms, 95 % within {high:.0f} ms")
    return "\n".join(lines)


def page(report: Report, evidence: Path) -> str:
    """Return the report as one HTML file that embeds the images of the newest disagreements."""
    shown = [
        (part, _data_url(evidence, part.image), _data_url(evidence, part.heatmap))
        for part in report.disagreements[:SHOWN_MAX]
    ]
    return _PAGE.render(report=report, results=JUDGED, shown=shown)


def _quantiles(values: Sequence[int]) -> tuple[float, float]:
    median, high = np.quantile(values, (0.5, 0.95))
    return float(median), float(high)


def _data_url(evidence: Path, name: str) -> str:
    """Return an image of the evidence as a data URL, "" if it is no longer kept."""
    try:
        image = read_image(evidence / name) if name else None
    except ImageError:
        return ""
    if image is None:
        return ""
    jpeg = cv2.imencode(".jpg", shrink_to(image, SIDE_PX))[1].tobytes()
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


_PAGE = jinja2.Environment(autoescape=True).from_string(
    """<!doctype html><html lang="en"><meta charset="utf-8"><title>{{ report.product }}: trial</title>
<style>body{font:16px/1.5 sans-serif;margin:2em;max-width:60em}td,th{padding:.2em .8em;text-align:right}
img{max-width:320px;vertical-align:top}figure{margin:1em 0}</style>
<h1>{{ report.product }}: {{ report.version }} on trial</h1>
<p>Beside {{ report.live|join(", ") }} on {{ report.parts }} parts: {{ report.agreements }} agreements,
{{ report.disagreements|length }} disagreements.</p>
<table><tr><th>line \\ trial</th>{% for trial in results %}<th>{{ trial }}</th>{% endfor %}</tr>
{% for line in results %}<tr><th>{{ line }}</th>{% for trial in results %}
<td>{{ report.counts.get((line, trial), 0) }}</td>{% endfor %}</tr>{% endfor %}</table>
<p>Line: {{ "%.0f"|format(report.live_ms[0]) }} ms, 95 % within {{ "%.0f"|format(report.live_ms[1]) }} ms.
Trial: {{ "%.0f"|format(report.trial_ms[0]) }} ms, 95 % within {{ "%.0f"|format(report.trial_ms[1]) }} ms.</p>
{% for part, image, heatmap in shown %}<figure><figcaption>
Part {{ part.boot }}-{{ part.seq }}: {{ part.result }} on the line
(score {{ "%.3f"|format(part.raw) }}, threshold {{ "%.3f"|format(part.threshold) }}),
{{ part.trial_result }} on trial
(score {{ "%.3f"|format(part.trial_raw) }}, threshold {{ "%.3f"|format(part.trial_threshold) }})</figcaption>
{% if image %}<img src="{{ image }}" alt="frame">{% endif %}
{% if heatmap %}<img src="{{ heatmap }}" alt="heatmap">{% endif %}</figure>{% endfor %}</html>
"""
)
