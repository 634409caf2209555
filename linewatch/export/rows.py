"""Verdicts with their reviews, and the audit, as CSV or JSON lines: of command, page and API alike."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum

from linewatch.domain import Verdict
from linewatch.mqtt.messages import verdict_payload
from linewatch.storage.audit.reading import AuditEntry
from linewatch.storage.export import Exported
from linewatch.storage.journal_reader import Review
from linewatch.text_files import harmless_cell

COLUMNS = (
    *("captured", "v", "station", "boot", "seq", "trigger", "part", "product", "product_index", "model"),
    *("result", "code", "reason", "score", "raw", "threshold", "captured_ms", "age_ms", "latency_ms", "late"),
    *("simulated", "history", "defects", "box", "region", "region_index", "image", "heatmap"),
    *("actual", "note", "reviewer"),
)
_WHOLE = ("part", "product", "region", "region_index", "model", "image", "heatmap")  # Not cut as on the wire.
AUDIT_COLUMNS = ("row", "time", "who", "action", "product", "facts", "hash")


class Form(StrEnum):
    """How rows are written."""

    CSV = "csv"
    JSONL = "jsonl"


def verdict_row(verdict: Verdict, review: Review | None) -> dict[str, object]:
    """Return one verdict as it is exported: COLUMNS, with the time of exposure in UTC."""
    row = {"captured": _utc(verdict.captured_ms)} | verdict_payload(verdict, history=True)
    row |= {name: getattr(verdict, name) for name in _WHOLE}
    reviewed = (review.actual, review.note, review.who) if review else ("", "", "")
    return row | dict(zip(("actual", "note", "reviewer"), reviewed, strict=True))


def verdict_lines(rows: Iterable[Exported], form: Form) -> Iterator[str]:
    """Yield a line for each verdict; as CSV the names of the columns first."""
    return _lines((verdict_row(verdict, review) for verdict, review in rows), COLUMNS, form)


def audit_row(entry: AuditEntry) -> dict[str, object]:
    """Return one row of the audit as it is exported: AUDIT_COLUMNS."""
    values = (entry.row, _utc(entry.at_ms), entry.who, entry.action, entry.product, entry.facts, entry.hash)
    return dict(zip(AUDIT_COLUMNS, values, strict=True))


def audit_lines(entries: Iterable[AuditEntry], form: Form) -> Iterator[str]:
    """Yield a line for each row of the audit; as CSV the names of the columns first."""
    return _lines(map(audit_row, entries), AUDIT_COLUMNS, form)


def _lines(rows: Iterable[Mapping[str, object]], columns: Sequence[str], form: Form) -> Iterator[str]:
    if form is Form.JSONL:
        for row in rows:
            yield json.dumps(row, ensure_ascii=False) + "\n"
        return
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow(columns)
    yield _taken(text)
    for row in rows:
        table.writerow([harmless_cell(_plain(row[name])) for name in columns])
        yield _taken(text)


def _taken(text: io.StringIO) -> str:
    line = text.getvalue()
    text.seek(0)
    text.truncate()
    return line


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return json.dumps(value)
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else value


def _utc(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")
