"""The pages on records, for engineers and admins."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from flask import Blueprint, Response, render_template, request, url_for

from linewatch.web.records.interface import Act, Records
from linewatch.web.records.params import read_audit_query

ACTS_SHOWN = 100
FILTER = ("from", "to", "who", "action", "product")
FACTS_HIDDEN = frozenset({"product", "from", "to", "why", "values"})  # Shown in their own way, or too long.


class RecordPages:
    """Routes on what was done."""

    def __init__(self, records: Records, texts: Mapping[str, str]) -> None:
        self._records = records
        self._texts = texts

    def blueprint(self) -> Blueprint:
        """Return the routes."""
        routes = Blueprint("records", __name__)
        routes.get("/audit")(self.audit)
        routes.get("/audit/export")(self.export_audit)
        return routes

    def audit(self) -> str:
        """Show the audit and whether it is whole."""
        wanted = read_audit_query(request.args, self._texts)
        acts = list(islice(self._records.acts(wanted), ACTS_SHOWN + 1))
        chosen: dict[str, Any] = {name: request.args[name] for name in FILTER if request.args.get(name)}
        older = acts[ACTS_SHOWN - 1].row if len(acts) > ACTS_SHOWN else None
        return render_template(
            "records/audit.html",
            acts=[(act, _more(act)) for act in acts[:ACTS_SHOWN]],
            whole=self._records.audit_state(),
            chosen=chosen,
            older=url_for(".audit", **chosen, before=older) if older else "",
            newest=url_for(".audit", **chosen) if wanted.before else "",
            export=url_for(".export_audit", **chosen),
        )

    def export_audit(self) -> Response:
        """Send the rows as JSON lines, a few hundred at a time."""
        wanted = read_audit_query(request.args, self._texts)
        response = Response(_lines(self._records.acts(wanted)), mimetype="application/x-ndjson")
        response.headers["Content-Disposition"] = 'attachment; filename="audit.jsonl"'
        return response


def _lines(acts: Iterator[Act]) -> Iterator[str]:
    for act in acts:
        when = datetime.fromtimestamp(act.at_ms / 1000, UTC).isoformat(timespec="milliseconds")
        named = {"row": act.row, "time": when, "who": act.who, "action": act.action, "product": act.product}
        yield json.dumps(named | {"facts": act.facts, "hash": act.hash}, ensure_ascii=False) + "\n"


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)


def _more(act: Act) -> str:
    """Return the facts of an act that the page has no column for."""
    shown = {name: value for name, value in act.facts.items() if name not in FACTS_HIDDEN and value}
    return ", ".join(f"{name} {_text(value)}" for name, value in shown.items())
