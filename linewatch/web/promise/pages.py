"""The page and the endpoints on the promised rates."""

from collections.abc import Mapping
from dataclasses import asdict

from flask import Blueprint, Response, jsonify, render_template, request

from linewatch.mqtt.messages import verdict_payload
from linewatch.web.promise.params import read_reinspection_query
from linewatch.web.records.interface import PromisedRate, Records

SCALE_PX = 400
HEADROOM = 1.15  # Of the largest figure on the scale.


class PromisePages:
    """Routes on whether the station keeps its promises. `operations.PROMISE_OPERATIONS` describes the API."""

    def __init__(self, records: Records, texts: Mapping[str, str]) -> None:
        self._records = records
        self._texts = texts

    def blueprint(self) -> Blueprint:
        """Return the routes."""
        routes = Blueprint("promise", __name__)
        routes.get("/promise")(self.promise)
        routes.get("/api/promises")(self.promises)
        routes.get("/api/reinspections")(self.reinspections)
        return routes

    def promise(self) -> str:
        """Show what is promised of each product, and whether it holds."""
        return render_template("promise/promise.html", promises=self._records.promises(), scale=scale)

    def promises(self) -> Response:
        """Send the same."""
        return jsonify([asdict(state) for state in self._records.promises()])

    def reinspections(self) -> Response:
        """Send unmarked drawn PASS parts, the oldest first."""
        asked = read_reinspection_query(request.args, self._texts)
        drawn = self._records.reinspections(asked.limit, asked.after, asked.product)
        none = {"actual": "", "note": ""}
        return jsonify([verdict_payload(verdict, history=False) | none for verdict in drawn])


def scale(rate: PromisedRate) -> dict[str, float]:
    """Return where the limits and the promised rate stand on a scale of SCALE_PX that begins at 0."""
    most = max(HEADROOM * max(rate.high, rate.promised or 0.0), 1e-9)
    places = {name: SCALE_PX * figure / most for name, figure in (("low", rate.low), ("high", rate.high))}
    return places | {"promised": SCALE_PX * (rate.promised or 0.0) / most}
