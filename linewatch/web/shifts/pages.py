"""The list of shifts, the report of one as page and file, and their addresses for programs."""

import re
from datetime import date
from io import BytesIO

from flask import Blueprint, Response, abort, jsonify, render_template, send_file, url_for

from linewatch.errors import LinewatchError, StorageFull
from linewatch.people.roles import Role
from linewatch.reporting.calendar import Shift
from linewatch.reporting.figures import ShiftFigures
from linewatch.web.people.access import AccessControl
from linewatch.web.shifts.document import shift_document
from linewatch.web.shifts.interface import KeptReport, ShiftRow, Shifts
from linewatch.web.shifts.operations import Awaited, ShiftSummary
from linewatch.web.texts import Languages

REFRESH_S = 3  # Of a page that waits for figures.
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)


class ShiftPages:
    """Routes of shift reports. Who changed what is for those who may read the audit."""

    def __init__(self, shifts: Shifts, access: AccessControl, languages: Languages) -> None:
        self._shifts = shifts
        self._access = access
        self._languages = languages
        self._texts = languages.texts

    def blueprint(self) -> Blueprint:
        """Return the routes."""
        routes = Blueprint("shifts", __name__)
        routes.get("/shifts")(self.recent)
        routes.get("/shifts/<day>/<name>")(self.report)
        routes.get("/shifts/<day>/<name>/file")(self.file)
        routes.get("/shifts/<day>/<name>/<int:number>.jpg")(self.picture)
        routes.get("/api/shifts")(self.api_recent)
        routes.get("/api/shifts/<day>/<name>")(self.api_report)
        return routes

    def recent(self) -> str:
        """List the last shifts; those without figures yet come by themselves."""
        rows = self._shifts.recent()
        waiting = any(row.figures is None for row in rows)
        return render_template("shifts/recent.html", rows=rows, refresh_s=REFRESH_S if waiting else 0)

    def report(self, day: str, name: str) -> str | tuple[str, int, dict[str, str]]:
        """Show the report of a shift, or that it is being worked out."""
        shift = self._find(day, name)
        kept = self._report(shift)
        if kept is None:
            return self._awaited(shift)
        figures = kept.figures
        addresses = [
            url_for(".picture", day=day, name=name, number=number, at=figures.made_ms)
            if made.defects_placed
            else ""
            for number, made in enumerate(figures.products)
        ]
        return render_template(
            "shifts/report.html",
            report=figures,
            pictures=addresses,
            with_changes=self._sees_changes,
            refresh_s=REFRESH_S if kept.renewing else 0,
        )

    def file(self, day: str, name: str) -> Response | tuple[str, int, dict[str, str]]:
        """Send the report as one HTML file."""
        shift = self._find(day, name)
        kept = self._report(shift)
        if kept is None:
            return self._awaited(shift)
        figures = kept.figures
        pictures = [self._shifts.picture(shift, number) for number in range(len(figures.products))]
        language = self._languages.current.code
        html = shift_document(figures, pictures, language, with_changes=self._sees_changes)
        title = f"{figures.station}-{figures.day}-{figures.shift}.html"
        return send_file(BytesIO(html.encode()), "text/html", as_attachment=True, download_name=title)

    def picture(self, day: str, name: str, number: int) -> Response:
        """Send the heatmap of a product's defects."""
        jpeg = self._shifts.picture(self._find(day, name), number)
        if not jpeg:
            abort(404, self._texts["error_no_picture"])
        return Response(jpeg, mimetype="image/jpeg")

    def api_recent(self) -> Response:
        """Send the last shifts with the figures that are known."""
        return jsonify([_summary(row).model_dump(mode="json") for row in self._shifts.recent()])

    def api_report(self, day: str, name: str) -> Response:
        """Send all figures of a shift, or 202 while they are being worked out."""
        kept = self._report(self._find(day, name))
        if kept is None:
            response = jsonify(Awaited(awaited=self._texts["shift_awaited"]).model_dump())
            response.status_code = 202
            response.headers["Retry-After"] = str(REFRESH_S)
            return response
        figures = kept.figures
        if not self._sees_changes:
            figures = figures.model_copy(update={"changes": []})
        return jsonify(figures.model_dump(mode="json"))

    @property
    def _sees_changes(self) -> bool:
        return self._access.may(Role.ENGINEER)

    def _find(self, day: str, name: str) -> Shift:
        """Return the shift of an address; aborts with 404."""
        try:
            began = date.fromisoformat(day) if _DAY.fullmatch(day) else None
        except ValueError:
            began = None
        shift = self._shifts.find(began, name) if began else None
        if shift is None:
            abort(404, self._texts["error_shift"])
        return shift

    def _report(self, shift: Shift) -> KeptReport | None:
        """Return a report, None while it is being worked out; aborts with 503 when that failed."""
        try:
            return self._shifts.report(shift)
        except StorageFull:
            raise
        except LinewatchError:
            abort(503, self._texts["error_shift_failed"])

    def _awaited(self, shift: Shift) -> tuple[str, int, dict[str, str]]:
        page = render_template("shifts/awaited.html", shift=shift, refresh_s=REFRESH_S)
        return page, 202, {"Retry-After": str(REFRESH_S)}


def _summary(row: ShiftRow) -> ShiftSummary:
    figures: ShiftFigures | None = row.figures
    return ShiftSummary(
        day=row.shift.day,
        shift=row.shift.name,
        since_ms=row.shift.since_ms,
        until_ms=row.shift.until_ms,
        running=row.running,
        inspections=figures.inspections if figures else None,
        defect_rate=figures.defect_rate if figures else None,
        first_pass=figures.first_pass if figures else None,
        uptime=figures.uptime if figures else None,
    )
