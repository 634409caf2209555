"""Exports that are passed on from a process beside the line, and counts."""

from collections.abc import Mapping
from pathlib import Path

from flask import Blueprint, Response, jsonify, request

from linewatch.web.backend import Backend, ExportForm, key_of
from linewatch.web.params import read_query
from linewatch.web.people.access import AccessControl
from linewatch.web.records.bodies import CountedVerdicts
from linewatch.web.records.params import read_export
from linewatch.web.records.streams import Streams

KINDS = {
    ExportForm.CSV: "text/csv; charset=utf-8",
    ExportForm.JSONL: "application/x-ndjson",
    ExportForm.ZIP: "application/zip",
}


class Exports:
    """Routes of exports and counts, for the page and for programs."""

    def __init__(
        self, backend: Backend, access: AccessControl, evidence: Path, texts: Mapping[str, str]
    ) -> None:
        self._backend = backend
        self._access = access
        self._evidence = evidence
        self._texts = texts
        self._streams = Streams(texts)

    def blueprint(self) -> Blueprint:
        """Return the routes."""
        routes = Blueprint("exports", __name__)
        routes.get("/history/export")(self.export)
        routes.get("/api/export", endpoint="api_export")(self.export)
        routes.get("/api/counts")(self.counts)
        return routes

    def export(self) -> Response:
        """Send the verdicts, or the images, that meet the conditions."""
        query, form = read_export(request.args, self._texts)
        return self._streams.send(
            lambda: self._backend.export(query, form, self._evidence),
            kind=KINDS[form],
            name=f"{self._backend.state().get('station', '')}.{form}",
            log_as=f"who={self._access.who!r} form={form}",
        )

    def counts(self) -> Response:
        """Send how many verdicts of each result meet the conditions, and how far back they are counted."""
        found = self._backend.count(read_query(request.args, self._texts))
        place = key_of(found.searched_to) if found.searched_to else ""
        counted = CountedVerdicts(
            counts=dict(found.counts),
            total=found.total,
            counted_to=place,
            counted_to_ms=found.searched_to_ms,
        )
        return jsonify(counted.model_dump(mode="json"))
