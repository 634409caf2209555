"""The JSON endpoints for programs."""

from collections.abc import Mapping
from json import loads
from urllib.parse import urlencode

from flask import Blueprint, Response, abort, jsonify, request

from linewatch.errors import LinewatchError
from linewatch.mqtt.messages import verdict_payload
from linewatch.web.auth import AccessControl
from linewatch.web.backend import Backend, Row
from linewatch.web.params import read_query, read_review
from linewatch.web.uploads import Uploads

LIMIT = 50


class Api:
    """`/api/...`: reading needs nothing, changing needs the token."""

    def __init__(
        self, desk: Backend, gate: AccessControl, uploads: Uploads, texts: Mapping[str, str]
    ) -> None:
        self._desk = desk
        self._gate = gate
        self._uploads = uploads
        self._texts = texts

    def blueprint(self) -> Blueprint:
        """Return the routes."""
        routes = Blueprint("api", __name__, url_prefix="/api")
        routes.get("/state")(self.state)
        routes.get("/verdicts")(self.verdicts)
        routes.post("/verdicts/<ordinal:boot>/<ordinal:seq>/review")(self.review)
        routes.post("/inspect")(self.inspect)
        routes.post("/product")(self.product)
        return routes

    def state(self) -> Response:
        """Give the JSON of `B/state`."""
        return jsonify(self._desk.state())

    def verdicts(self) -> Response:
        """Give journaled verdicts as an array, newest first; `Link` names the next page."""
        query = read_query(request.args, self._texts, limit=LIMIT)
        rows = self._desk.verdicts(query)
        response = jsonify([_row_facts(row) for row in rows])
        if len(rows) == query.limit:
            last = rows[-1].verdict
            args = {**request.args.to_dict(), "before": f"{last.boot}-{last.seq}"}
            response.headers["Link"] = f'<{request.path}?{urlencode(args)}>; rel="next"'
        return response

    def inspect(self) -> Response:
        """Judge the multipart picture `image` as `product`."""
        result = self._uploads.inspect()
        name = self._uploads.keep(result.heatmap)
        url = f"/heatmap/{name}.jpg" if name else ""
        return jsonify(verdict_payload(result.verdict, history=False) | {"heatmap_url": url})

    def review(self, boot: int, seq: int) -> Response:
        """Keep a person's word on one verdict."""
        self._gate.require_token()
        actual, note = read_review(self._body(), self._texts)
        if not self._desk.review(boot, seq, actual, note):
            abort(404, self._texts["error_no_verdict"])
        return jsonify({"boot": boot, "seq": seq, "actual": actual, "note": note})

    def product(self) -> Response:
        """Change what the line inspects; answers when that is done."""
        self._gate.require_token()
        product = self._body().get("product")
        if not isinstance(product, str) or not product:
            abort(400, self._texts["error_no_product"])
        if all(product != known.name for known in self._desk.products()):
            abort(404, self._texts["error_unknown_product"])
        try:
            self._desk.switch(product)
        except LinewatchError as error:
            abort(409, str(error))
        return jsonify(self._desk.state())

    def _body(self) -> dict[str, object]:
        try:
            body = loads(request.get_data())
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            abort(400, self._texts["error_not_json"])
        return body


def _row_facts(row: Row) -> dict[str, object]:
    review = row.review
    return verdict_payload(row.verdict, history=False) | {
        "actual": review.actual.value if review else "",
        "note": review.note if review else "",
    }
