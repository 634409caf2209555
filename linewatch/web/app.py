"""The Flask app: pages, API, evidence, metrics and health on one port."""

from collections.abc import Callable
from pathlib import Path

from flask import Flask, Response, abort, jsonify, render_template, request, send_file
from jinja2 import StrictUndefined
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

from linewatch.domain import Reason, Result, State
from linewatch.errors import LinewatchError
from linewatch.web.api import Api
from linewatch.web.auth import AccessControl, guard
from linewatch.web.backend import Backend
from linewatch.web.formatting import Formatter
from linewatch.web.pages import Pages, way_back
from linewatch.web.params import Ordinal
from linewatch.web.texts import ENGLISH, Language
from linewatch.web.uploads import Uploads

BODY_BYTES_MAX = 16_384  # Of everything that is not an upload.
PICTURES = {".png": "image/png", ".jpg": "image/jpeg"}

MetricsText = Callable[[], tuple[bytes, str]]
"""Returns the exposition and its content type."""


def create_app(
    desk: Backend, metrics_text: MetricsText, token: str, evidence: Path, language: Language = ENGLISH
) -> Flask:
    """Build the app. `token` may be empty: then nothing can be changed through it."""
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = BODY_BYTES_MAX
    app.json.sort_keys = False  # type: ignore[attr-defined]  # the wire's order
    app.url_map.converters["ordinal"] = Ordinal
    app.jinja_env.undefined = StrictUndefined
    app.jinja_env.globals.update(results=list(Result), reasons=list(Reason))
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True

    gate = AccessControl(token, language.texts)
    uploads = Uploads(desk, language.texts)
    station = str(desk.state().get("station", ""))
    guard(app, station, language.texts["error_cross_site"])
    Formatter(language).register(app)
    app.register_blueprint(Api(desk, gate, uploads, language.texts).blueprint())
    app.register_blueprint(Pages(desk, gate, uploads, language).blueprint())
    _add_machine_addresses(app, desk, metrics_text)
    _add_evidence(app, evidence.resolve(), language)
    _add_errors(app, language)

    @app.context_processor
    def every_page() -> dict[str, object]:
        now = desk.state()
        return {
            "t": language.texts,
            "gate": gate,
            "now": now,
            "state": State(str(now["state"])),
            "has_line": desk.has_line,
        }

    return app


def _add_machine_addresses(app: Flask, desk: Backend, metrics_text: MetricsText) -> None:
    @app.get("/metrics")
    def metrics() -> Response:
        body, content_type = metrics_text()
        return Response(body, content_type=content_type)

    @app.get("/healthz")
    def health() -> tuple[Response, int]:
        alive = desk.alive()
        return jsonify({"alive": alive}), 200 if alive else 503

    @app.get("/readyz")
    def ready() -> tuple[Response, int]:
        reasons = desk.not_ready()
        now = desk.state()
        told = reasons or [str(reason) for reason in [now["reason"]] if reason]  # DEGRADED has one too.
        return jsonify(
            {"ready": not reasons, "state": now["state"], "reasons": told}
        ), 503 if reasons else 200


def _add_evidence(app: Flask, folder: Path, language: Language) -> None:
    @app.get("/evidence/<path:path>")
    def evidence(path: str) -> AnyResponse:
        file = _kept(folder, path)
        if file is None:
            abort(404, language.texts["error_no_picture"])
        response = send_file(file, mimetype=PICTURES[file.suffix], conditional=True)
        response.headers["Cache-Control"] = "private, max-age=86400"  # Evidence never changes.
        return response


def _kept(folder: Path, path: str) -> Path | None:
    """Return the picture at `path` below `folder`; None for anything else, wherever links lead.

    A name that begins with a dot is a picture that is still being written.
    """
    try:
        file = (folder / path).resolve(strict=True)
    except (OSError, ValueError, RuntimeError):  # Absent, too long, a NUL in it, a circle of links.
        return None
    whole = file.suffix in PICTURES and not file.name.startswith(".")
    return file if whole and file.is_relative_to(folder) and file.is_file() else None


def _add_errors(app: Flask, language: Language) -> None:
    """Every error is one sentence: JSON for programs, a page for people."""

    @app.errorhandler(LinewatchError)
    def trouble(error: LinewatchError) -> AnyResponse:
        return _answer(503, str(error))

    @app.errorhandler(HTTPException)
    def refused(error: HTTPException) -> AnyResponse:
        code = error.code or 500
        if error.description and error.description != type(error).description:
            sentence = error.description
        else:
            sentence = language.texts.get(f"error_{code}", language.texts["error_400"])
        response = _answer(code, sentence)
        for name, value in error.get_headers():
            if name.lower() not in ("content-type", "content-length"):
                response.headers[name] = value
        return response


def _answer(code: int, sentence: str) -> AnyResponse:
    if request.path.startswith("/api/"):
        response = jsonify({"error": sentence})
    else:
        response = Response(render_template("error.html", sentence=sentence, then=_after_sign_in(code)))
    response.status_code = code
    return response


def _after_sign_in(code: int) -> str:
    """Return where to go on once somebody has signed in; "" when that is not what is missing."""
    if code != 401:
        return ""
    return way_back() if request.endpoint == "pages.sign_in" else request.path
