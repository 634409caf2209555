"""The page "since when": an image of a part in, the similar parts of the journal out."""

import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, abort, jsonify, render_template, request

from linewatch.domain import Result
from linewatch.web.backend import Backend, RecallQuery
from linewatch.web.cache import ImageCache
from linewatch.web.params import read_body
from linewatch.web.recall.forms import RecallForm
from linewatch.web.uploads import limit_form, read_image, refusals

ANSWERS_MAX = 8  # Kept for their files.
HOURS_MAX = 72  # Shown on the page; the files have them all.


class RecallPages:
    """Routes of the page, its files, and the address for programs. One search runs at a time."""

    def __init__(self, backend: Backend, evidence: Path, texts: Mapping[str, str]) -> None:
        self._backend = backend
        self._evidence = evidence
        self._texts = texts
        self._searching = threading.Lock()
        self._files = ImageCache(ANSWERS_MAX)

    def blueprint(self) -> Blueprint:
        """Return the routes."""
        routes = Blueprint("recall", __name__)
        routes.get("/recall")(self.page)
        routes.post("/recall")(self.found)
        routes.get("/recall/<name>.csv")(self.as_csv)
        routes.get("/recall/<name>.json")(self.as_json)
        routes.post("/api/recall")(self.api)
        return routes

    def page(self) -> str:
        """Show the form."""
        return self._render()

    def found(self) -> str:
        """Search, and show what was found."""
        answer = self._search()
        sheet = str(answer.pop("csv"))
        name = self._files.add(json.dumps({"csv": sheet, "answer": answer}).encode())
        hours = [hour for hour in answer["hours"] if hour["similar"]][-HOURS_MAX:]
        for part in answer["parts"]:
            part["result"] = Result(part["result"])
            part["again"] = Result(part["again"]) if part["again"] else None
        return self._render(answer=answer, hours=hours, name=name)

    def as_csv(self, name: str) -> Response:
        """Send the parts of an answer that was just shown."""
        return Response(self._kept(name)["csv"], content_type="text/csv; charset=utf-8")

    def as_json(self, name: str) -> Response:
        """Send an answer that was just shown."""
        return jsonify(self._kept(name)["answer"])

    def api(self) -> Response:
        """Search, and send what was found."""
        answer = self._search()
        answer.pop("csv")
        return jsonify(answer)

    def _kept(self, name: str) -> dict[str, Any]:
        data = self._files.get(name)
        if data is None:
            abort(404)
        kept: dict[str, Any] = json.loads(data)
        return kept

    def _render(self, **found: object) -> str:
        chosen = request.form.get("product") or str(self._backend.state().get("product", ""))
        return render_template("recall.html", products=self._backend.products(), chosen=chosen, **found)

    def _search(self) -> dict[str, Any]:
        """Return the answer to the form of this request; aborts with one sentence."""
        if not self._searching.acquire(blocking=False):
            abort(503, self._texts["error_recall_busy"])
        try:
            query, data = self._read_form()
            with refusals():
                return self._backend.recall(query, data)
        finally:
            self._searching.release()

    def _read_form(self) -> tuple[RecallQuery, bytes]:
        limit_form()
        sentences = {
            "image": self._texts["error_not_multipart"],
            "product": self._texts["error_no_product"],
            "since": self._texts["error_recall_time"],
            "until": self._texts["error_recall_time"],
            "model": self._texts["error_recall_model"],
        }
        given = {name: word for name, word in request.form.items() if word}  # What is empty is not given.
        fields = {**given, "image": request.files.get("image")}
        form = read_body(RecallForm, fields, sentences)
        data = read_image(self._backend, self._texts, form.product, form.image)
        return RecallQuery(form.product, form.since, form.until, form.model, self._evidence), data
