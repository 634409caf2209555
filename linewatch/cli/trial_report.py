"""What a model on trial would have done otherwise: from the journal's comparisons, with pictures."""

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
from linewatch.vision.image_io import read_image, shrunk

SHOWN_MAX = 60  # Disagreements with pictures on a page.
SIDE_PX = 320
JUDGED = (Result.PASS, Result.UNSURE, Result.FAIL)


@dataclass(frozen=True, slots=True)
class Report:
    """The comparison of two models on the same parts."""

    product: str
    version: str  # On trial.
    live: tuple[str, ...]  # What judged on the line meanwhile.
    parts: int
    counts: dict[tuple[Result, Result], int]  # Line's result, trial's result.
    disagreements: tuple[Comparison, ...]  # Newest first.
    live_ms: tuple[float, float]  # Exposure to verdict on the line: median and 95 %.
    trial_ms: tuple[float, float]  # Decoding and scoring beside it.

    @property
    def agreements(self) -> int:
        """Return on how many parts both said the same."""
        return self.parts - len(self.disagreements)

    def as_dict(self) -> dict[str, object]:
        """Return it for JSON."""
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
            "parts_in_disagreement": [asdict(found) for found in self.disagreements],
        }


def report(settings: Settings, product: str, version: str, last: int) -> Report:
    """Sum up the newest `last` comparisons. Raises UsageError when there are none."""
    path = settings.journal.path
    found: Sequence[Comparison] = []
    if path.exists():
        with JournalReader(JournalFile(path)) as reader:
            found = reader.comparisons(product, version, last)
    if not found:
        raise UsageError(
            f"nothing was compared with {product}/{version} in {str(path)!r}; put it on trial "
            f"(linewatch models try {product} {version}) and let the line judge some parts"
        )
    return Report(
        product=product,
        version=version,
        live=tuple(sorted({one.model for one in found})),
        parts=len(found),
        counts=dict(Counter((one.result, one.trial_result) for one in found)),
        disagreements=tuple(one for one in found if not one.agrees),
        live_ms=_quantiles([one.latency_ms for one in found]),
        trial_ms=_quantiles([one.trial_ms for one in found]),
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
    """Return the report as one HTML file, with the pictures of the newest disagreements inside."""
    shown = [
        (one, _picture(evidence, one.image), _picture(evidence, one.heatmap))
        for one in report.disagreements[:SHOWN_MAX]
    ]
    return _PAGE.render(report=report, results=JUDGED, shown=shown)


def _quantiles(values: Sequence[int]) -> tuple[float, float]:
    median, high = np.quantile(values, (0.5, 0.95))
    return float(median), float(high)


def _picture(evidence: Path, name: str) -> str:
    """Return a data address, "" for a picture that is not kept any more."""
    try:
        image = read_image(evidence / name) if name else None
    except ImageError:
        return ""
    if image is None:
        return ""
    jpeg = cv2.imencode(".jpg", shrunk(image, SIDE_PX))[1].tobytes()
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
{% for one, image, heatmap in shown %}<figure><figcaption>{{ one.boot }}-{{ one.seq }}: {{ one.result }}
({{ "%.3f"|format(one.raw) }} of {{ "%.3f"|format(one.threshold) }}) on the line, {{ one.trial_result }}
({{ "%.3f"|format(one.trial_raw) }} of {{ "%.3f"|format(one.trial_threshold) }}) on trial</figcaption>
{% if image %}<img src="{{ image }}" alt="frame">{% endif %}
{% if heatmap %}<img src="{{ heatmap }}" alt="heatmap">{% endif %}</figure>{% endfor %}</html>
"""
)
