"""JSON endpoints for programs."""

from collections.abc import Mapping
from json import loads
from urllib.parse import urlencode

from flask import Blueprint, Response, abort, jsonify, request, url_for

from linewatch.errors import LinewatchError
from linewatch.mqtt.messages import verdict_payload
from linewatch.web.backend import Backend, Row, key_of
from linewatch.web.openapi import Reviewed
from linewatch.web.params import ProductBody, read_body, read_query, read_review
from linewatch.web.people.access import AccessControl
from linewatch.web.uploads import Uploads


class Api:
    """Routes below `/api`. Whatever changes something needs the token, reading does not.

    `openapi.OPERATIONS` describes each of them.
    """

    def __init__(
        self, backend: Backend, access: AccessControl, uploads: Uploads, texts: Mapping[str, str]
    ) -> None:
        self._backend = backend
        self._access = access
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
        """Send the payload of `B/state`."""
        return jsonify(self._backend.state())

    def verdicts(self) -> Response:
        """Send what is found in 0.2 s as an array, newest first; the header `Link` says where to go on.

        Without that header nothing older is left. With it the array may be empty.
        """
        found = self._backend.search(read_query(request.args, self._texts))
        response = jsonify([_row_payload(row) for row in found.rows])
        if found.searched_to is not None:
            args = {**request.args.to_dict(), "before": key_of(found.searched_to)}
            response.headers["Link"] = f'<{request.script_root}{request.path}?{urlencode(args)}>; rel="next"'
        return response

    def inspect(self) -> Response:
        """Inspect the multipart file `image` as `product`."""
        result = self._uploads.inspect()
        name = self._uploads.keep(result.heatmap)
        url = url_for("pages.heatmap", name=name) if name else ""
        return jsonify(verdict_payload(result.verdict, history=False) | {"heatmap_url": url})

    def review(self, boot: int, seq: int) -> Response:
        """Store a review of one verdict."""
        review = read_review(self._json_object(), self._texts)
        if not self._backend.review(boot, seq, review.actual, review.note, self._access.who):
            abort(404, self._texts["error_no_verdict"])
        stored = Reviewed(boot=boot, seq=seq, actual=review.actual, note=review.note)
        return jsonify(stored.model_dump())

    def product(self) -> Response:
        """Change over to another product; answers when it is ready."""
        sentences = {"product": self._texts["error_no_product"]}
        product = read_body(ProductBody, self._json_object(), sentences).product
        if all(product != known.name for known in self._backend.products()):
            abort(404, self._texts["error_unknown_product"])
        try:
            self._backend.switch(product, self._access.who)
        except LinewatchError as error:
            abort(409, str(error))
        return jsonify(self._backend.state())

    def _json_object(self) -> dict[str, object]:
        try:
            body = loads(request.get_data())
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            abort(400, self._texts["error_not_json"])
        return body


def _row_payload(row: Row) -> dict[str, object]:
    review = row.review
    return verdict_payload(row.verdict, history=False) | {
        "actual": review.actual.value if review else "",
        "note": review.note if review else "",
    }
