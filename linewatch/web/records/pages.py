"""The pages on records, for engineers and admins."""

import json
from collections.abc import Generator, Iterator, Mapping
from itertools import islice
from typing import Any

from flask import Blueprint, Response, render_template, request, url_for

from linewatch.web.people.access import AccessControl
from linewatch.web.records.interface import Act, Records, RowForm
from linewatch.web.records.params import read_audit_export, read_audit_query
from linewatch.web.records.streams import Streams

ACTS_SHOWN = 100
LINES_AT_ONCE = 200
KINDS = {RowForm.CSV: "text/csv; charset=utf-8", RowForm.JSONL: "application/x-ndjson"}
FILTER = ("from", "to", "who", "action", "product")
FACTS_HIDDEN = frozenset({"product", "from", "to", "why", "values"})  # Shown in their own way, or too long.


class RecordPages:
    """Routes on what was done."""

    def __init__(self, records: Records, access: AccessControl, texts: Mapping[str, str]) -> None:
        self._records = records
        self._access = access
        self._texts = texts
        self._streams = Streams(texts)

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
            exports={form: url_for(".export_audit", **chosen, format=form) for form in KINDS},
        )

    def export_audit(self) -> Response:
        """Send the rows as a file, a few hundred at a time."""
        wanted, form = read_audit_export(request.args, self._texts)
        return self._streams.send(
            lambda: _pieces(self._records.act_lines(wanted, form)),
            kind=KINDS[form],
            name=f"audit.{form}",
            log_as=f"who={self._access.who!r} form=audit",
        )


def _pieces(lines: Iterator[str]) -> Generator[bytes, None, None]:
    while piece := "".join(islice(lines, LINES_AT_ONCE)):
        yield piece.encode()


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)


def _more(act: Act) -> str:
    """Return the facts of an act that the page has no column for."""
    shown = {name: value for name, value in act.facts.items() if name not in FACTS_HIDDEN and value}
    return ", ".join(f"{name} {_text(value)}" for name, value in shown.items())
