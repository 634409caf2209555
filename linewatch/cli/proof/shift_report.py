"""What a shift made: parts, rates, reasons, places of defects, states, latency and changes, as one page."""

import base64
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from html import escape
from pathlib import Path

import cv2

from linewatch.domain import Box, Reason, Result, State, Verdict
from linewatch.errors import ImageError
from linewatch.storage.audit.chain import Head
from linewatch.storage.audit.reading import AuditEntry
from linewatch.storage.states import StateSpan
from linewatch.vision.image_io import read_image, shrink_to

BOXES_MAX = 2000  # Drawn for one product, the newest.
REASONS_SHOWN = 5
IMAGE_SIDE_PX = 640
REVIEWED = "part_reviewed"
RUNNING = (State.READY, State.DEGRADED)


@dataclass(slots=True)
class ProductTotals:
    """What was judged of one product. Rows are added newest first."""

    results: Counter[Result] = field(default_factory=Counter)
    reasons: Counter[Reason] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    latencies_ms: Counter[int] = field(default_factory=Counter)
    boxes: list[Box] = field(default_factory=list)
    image: str = ""  # Of the newest kept frame.
    first: dict[str, Result] = field(default_factory=dict)  # The first result of each named part.
    unnamed: Counter[Result] = field(default_factory=Counter)

    def add(self, verdict: Verdict) -> None:
        """Add the verdict before those that were added."""
        self.results[verdict.result] += 1
        self.models[verdict.model] += 1
        self.latencies_ms[verdict.latency_ms] += 1
        if verdict.result is not Result.PASS:
            self.reasons[verdict.reason] += 1
        if verdict.result is Result.FAIL and verdict.box[2] and len(self.boxes) < BOXES_MAX:
            self.boxes.append(verdict.box)
        self.image = self.image or verdict.image
        if verdict.part:
            self.first[verdict.part] = verdict.result  # The oldest comes last.
        else:
            self.unnamed[verdict.result] += 1

    @property
    def parts(self) -> int:
        """The number of verdicts."""
        return self.results.total()

    @property
    def first_pass(self) -> tuple[int, int]:
        """How many parts passed when first inspected, and of how many; one without a name is a new one."""
        passed = sum(result is Result.PASS for result in self.first.values()) + self.unnamed[Result.PASS]
        return passed, len(self.first) + self.unnamed.total()

    def latency_ms(self, share: float) -> int:
        """Return the quantile of the latency, 0 without parts."""
        seen = 0
        for value in sorted(self.latencies_ms):
            seen += self.latencies_ms[value]
            if seen >= share * self.parts:
                return value
        return 0


def total(verdicts: Iterable[Verdict]) -> dict[str, ProductTotals]:
    """Return the totals of each product; `verdicts` are newest first."""
    found: dict[str, ProductTotals] = {}
    for verdict in verdicts:
        found.setdefault(verdict.product, ProductTotals()).add(verdict)
    return dict(sorted(found.items()))


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftReport:
    """One shift of one station. Times are UTC milliseconds since 1970."""

    station: str
    since_ms: int
    until_ms: int
    products: dict[str, ProductTotals]
    states: Sequence[StateSpan]
    changes: Sequence[AuditEntry]
    head: Head  # Of the audit, when the report was made.
    evidence: Path

    def state_shares(self) -> dict[str, float]:
        """Return the share of the time in each state, 0 to 1; "off" is when nothing ran."""
        whole = self.until_ms - self.since_ms
        spent: Counter[str] = Counter()
        for span in self.states:
            spent[span.state.value] += max(0, span.until_ms - span.since_ms)
        spent["off"] = max(0, whole - spent.total())
        return {state: ms / whole for state, ms in spent.most_common() if ms}

    @property
    def uptime(self) -> float:
        """The share of the time in which a part could pass, 0 to 1."""
        shares = self.state_shares()
        return sum(shares.get(state.value, 0.0) for state in RUNNING)

    def html(self) -> str:
        """Return the report as one page without scripts, which a browser prints."""
        title = f"{self.station}: {_local(self.since_ms)} to {_local(self.until_ms)}"
        return _PAGE.format(title=escape(title), body="\n".join(self._sections()))

    def text(self) -> str:
        """Return the figures for the terminal."""
        lines = [f"{self.station}  {_local(self.since_ms)} to {_local(self.until_ms)}"]
        for name, totals in self.products.items():
            lines.append(f"{name}: {'; '.join(f'{label} {value}' for label, value in _figures(totals))}")
        lines.append(f"parts could pass {self.uptime:.1%} of the time; {len(self.changes)} acts in the audit")
        return "\n".join(lines)

    def _sections(self) -> Iterator[str]:
        for name, totals in self.products.items():
            yield f"<section><h2>{escape(name)}</h2>{_table(_figures(totals))}"
            reasons = totals.reasons.most_common(REASONS_SHOWN)
            named = ((reason.name.lower().replace("_", " "), number) for reason, number in reasons)
            yield f"<h3>Most frequent reasons</h3>{_table(named)}"
            yield f"{_places(totals, self.evidence)}</section>"
        if not self.products:
            yield "<p>No part was judged.</p>"
        shares = ((state, f"{share:.1%}") for state, share in self.state_shares().items())
        yield f"<h2>States</h2>{_table(shares)}"
        reviews = sum(change.action == REVIEWED for change in self.changes)
        yield f"<h2>Changes</h2><p>{reviews} parts were reviewed.</p><table>"
        for change in self.changes:
            if change.action != REVIEWED:
                moved = " → ".join(str(change.facts.get(key) or "-") for key in ("from", "to"))
                why = change.facts.get("why") or ""
                cells = (_local(change.at_ms), change.who, change.action, change.product, moved, why)
                yield f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in cells)}</tr>"
        yield f"</table><p class=head>Audit {self.head.row}:{self.head.hash}</p>"


def _figures(totals: ProductTotals) -> Iterator[tuple[str, str]]:
    from linewatch.capability.intervals import counted_rate

    rejected = totals.parts - totals.results[Result.PASS]
    yield "parts", str(totals.parts)
    yield "results", ", ".join(f"{result} {totals.results[result]}" for result in Result)
    rate = counted_rate(totals.results[Result.FAIL], totals.parts)
    yield "defect rate", f"{rate.value:.2%} (95 % interval {rate.low:.2%} to {rate.high:.2%})"
    yield "not passed", f"{rejected / max(1, totals.parts):.2%}"
    passed, parts = totals.first_pass
    yield "first-pass yield", f"{passed / max(1, parts):.2%} of {parts}"
    yield "latency", f"median {totals.latency_ms(0.5)} ms, p95 {totals.latency_ms(0.95)} ms"
    yield "models", ", ".join(f"{model} ({number})" for model, number in totals.models.most_common())


def _places(totals: ProductTotals, evidence: Path) -> str:
    """Return the boxes of the defects over a kept frame: where they overlap, the red is stronger."""
    if not totals.boxes or not totals.image:
        return ""
    try:
        image = read_image(evidence / totals.image)
    except ImageError:  # Removed by retention.
        return ""
    height, width = image.shape[:2]
    jpeg = cv2.imencode(".jpg", shrink_to(image, IMAGE_SIDE_PX), [cv2.IMWRITE_JPEG_QUALITY, 80])[1]
    data = base64.b64encode(jpeg.tobytes()).decode()
    opacity = max(0.03, min(0.4, 4 / len(totals.boxes)))
    boxes = "".join(f'<rect x="{x}" y="{y}" width="{w}" height="{h}"/>' for x, y, w, h in totals.boxes)
    return (
        f"<h3>Places of {len(totals.boxes)} defects</h3>"
        f'<svg viewBox="0 0 {width} {height}" role="img"><image width="{width}" height="{height}" '
        f'href="data:image/jpeg;base64,{data}"/><g fill="red" fill-opacity="{opacity:.2f}">{boxes}</g></svg>'
    )


def _table(rows: Iterable[tuple[str, object]]) -> str:
    cells = (f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>" for name, value in rows)
    return f"<table>{''.join(cells)}</table>"


def _local(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000).astimezone():%Y-%m-%d %H:%M %Z}"


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; width: 100%; }} th, td {{ text-align: left; padding: .25rem .6rem; }}
th, td {{ vertical-align: top; border-bottom: 1px solid #d5d9df; overflow-wrap: anywhere; }}
th {{ width: 12rem; font-weight: 600; }}
svg {{ max-width: 40rem; width: 100%; height: auto; }} .head {{ font-size: .8rem; overflow-wrap: anywhere; }}
@media print {{ section {{ break-inside: avoid; }} body {{ margin: 0; max-width: none; }} }}
</style></head><body><h1>{title}</h1>
{body}
</body></html>
"""
