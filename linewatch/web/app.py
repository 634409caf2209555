"""The Flask app: pages, API, evidence, metrics and health checks on one port."""

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from flask import Flask, Response, jsonify, render_template, request, send_file
from jinja2 import StrictUndefined
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

from linewatch.domain import Reason, Result, State
from linewatch.errors import LinewatchError
from linewatch.people.people import NAME, People
from linewatch.settings import HttpSettings
from linewatch.web.api import Api
from linewatch.web.backend import Backend, ImageStatus
from linewatch.web.formatting import Formatter
from linewatch.web.openapi import Error, Health, Readiness
from linewatch.web.pages import Pages, own_path
from linewatch.web.params import Ordinal, sentence_of, trouble, typed
from linewatch.web.people.access import AccessControl
from linewatch.web.people.api import PeopleApi
from linewatch.web.people.pages import PeoplePages
from linewatch.web.people.protection import protect
from linewatch.web.promise.pages import PromisePages
from linewatch.web.proxy import BehindProxy
from linewatch.web.recall.pages import RecallPages
from linewatch.web.records.api import RecordApi
from linewatch.web.records.exports import Exports
from linewatch.web.records.pages import RecordPages
from linewatch.web.shifts.interface import Shifts
from linewatch.web.shifts.pages import ShiftPages
from linewatch.web.study.interface import Studies
from linewatch.web.study.routes import register_studies
from linewatch.web.teach.description import description
from linewatch.web.teach.interface import Teaching
from linewatch.web.teach.routes import register
from linewatch.web.texts import Languages, languages
from linewatch.web.uploads import Uploads

BODY_BYTES_MAX = 16_384  # Of every request that is not an upload.
IMAGE_WAIT_S = 1.0  # A frame follows its verdict within this, or was shed.
IMAGE_POLL_S = 0.02
IMAGE_WAITERS_MAX = 4  # Of the server's 8 threads.
IMAGE_TYPES = {".png": "image/png", ".jpg": "image/jpeg"}

MetricsText = Callable[[], tuple[bytes, str]]
"""Returns the exposition and its content type."""


def create_app(
    backend: Backend,
    metrics_text: MetricsText,
    token: str | Callable[[], str],
    evidence: Path,
    *,
    teaching: Teaching | None = None,
    shifts: Shifts | None = None,
    studies: Studies | None = None,
    http: HttpSettings = HttpSettings(),  # noqa: B008 - immutable
    people: People | None = None,
) -> Flask:
    """Build the app. With an empty `token`, or while it returns "", nothing can be changed by HTTP.

    `teaching`, `shifts` and `studies` add their pages.

    `http` has the path prefix of a proxy and the origins that may embed the page.
    """
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = BODY_BYTES_MAX
    app.json.sort_keys = False  # type: ignore[attr-defined]  # keys keep their order
    app.url_map.converters["ordinal"] = Ordinal
    app.jinja_env.undefined = StrictUndefined
    app.jinja_env.globals.update(
        results=list(Result),
        reasons=list(Reason),
        region_reasons=(Reason.ABOVE_THRESHOLD, Reason.NEAR_THRESHOLD),  # Those that a region can give.
    )
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True

    language = Languages(http.language)
    texts = language.texts
    uploads = Uploads(backend, texts)
    station = str(backend.state().get("station", ""))
    people = people or People()
    access = AccessControl(people, token if callable(token) else lambda: token, texts, station)
    protect(app, texts, http.frame_ancestors)
    access.protect(app)
    app.wsgi_app = BehindProxy(app.wsgi_app, http.prefix)  # type: ignore[method-assign]  # as Flask documents
    Formatter(language).register(app.jinja_env)
    app.register_blueprint(Api(backend, access, uploads, texts).blueprint())
    app.register_blueprint(Pages(backend, access, uploads, language).blueprint())
    app.register_blueprint(RecallPages(backend, evidence.resolve(), texts).blueprint())
    app.register_blueprint(PeopleApi(people, access, texts).blueprint())
    app.register_blueprint(PeoplePages(people, access, texts).blueprint())
    app.register_blueprint(RecordPages(backend.records, access, texts).blueprint())
    app.register_blueprint(RecordApi(backend.records, texts).blueprint())
    app.register_blueprint(Exports(backend, access, evidence.resolve(), texts).blueprint())
    app.register_blueprint(PromisePages(backend.records, texts).blueprint())
    if teaching is not None:
        register(app, teaching, backend, access, texts)
    if shifts is not None:
        app.register_blueprint(ShiftPages(shifts, access, language).blueprint())
    if studies is not None:
        register_studies(app, studies, backend, access, texts)
    _add_monitoring(app, backend, metrics_text)
    _add_description(app)
    _add_evidence(app, backend, evidence.resolve(), texts)
    _add_errors(app, texts)

    @app.context_processor
    def page_context() -> dict[str, object]:
        now = backend.state()
        return {
            "t": language.current.texts,
            "language": language.current,
            "languages": languages(),
            "access": access,
            "form_token": access.form_token,
            "now": now,
            "state": State(str(now["state"])),
            "has_line": backend.has_line,
            "teaches": teaching is not None,
            "trouble": trouble(),
            "typed": typed,
            "reports_shifts": shifts is not None,
            "studies": studies,
        }

    return app


def _add_monitoring(app: Flask, backend: Backend, metrics_text: MetricsText) -> None:
    @app.get("/metrics")
    def metrics() -> Response:
        body, content_type = metrics_text()
        return Response(body, content_type=content_type)

    @app.get("/healthz")
    def healthz() -> tuple[Response, int]:
        health = Health(alive=backend.alive())
        return jsonify(health.model_dump()), 200 if health.alive else 503

    @app.get("/readyz")
    def readyz() -> tuple[Response, int]:
        reasons = backend.not_ready()
        now = backend.state()
        impairments = [str(now["reason"])] if now["reason"] else []  # Of DEGRADED, which is ready.
        readiness = Readiness(
            ready=not reasons, state=State(str(now["state"])), reasons=reasons or impairments
        )
        return jsonify(readiness.model_dump()), 200 if readiness.ready else 503


def _add_description(app: Flask) -> None:
    @app.get("/static/openapi.json")
    def serve_description() -> AnyResponse:
        response = jsonify(description())
        response.headers["Cache-Control"] = "no-cache"  # As of the other static files.
        response.add_etag()
        return response.make_conditional(request)


def _add_evidence(app: Flask, backend: Backend, folder: Path, texts: Mapping[str, str]) -> None:
    waiting = threading.BoundedSemaphore(IMAGE_WAITERS_MAX)

    def wait_for(path: str) -> tuple[Path | None, ImageStatus]:
        """Return an image that is written within IMAGE_WAIT_S, and what is known of it otherwise."""
        status = backend.image_status(path)
        if status in (ImageStatus.QUEUED, ImageStatus.EXPECTED) and waiting.acquire(blocking=False):
            try:
                until = time.monotonic() + IMAGE_WAIT_S
                while status in (ImageStatus.QUEUED, ImageStatus.EXPECTED) and time.monotonic() < until:
                    time.sleep(IMAGE_POLL_S)
                    if file := _find_evidence(folder, path):
                        return file, status
                    status = backend.image_status(path)
            finally:
                waiting.release()
        return _find_evidence(folder, path), status  # It may have been written between the two looks.

    @app.get("/evidence/<path:path>")
    def evidence(path: str) -> AnyResponse:
        file = _find_evidence(folder, path)
        if file is None:
            file, status = wait_for(path)
            if file is None:
                return _missing_image(status, texts)
        response = send_file(file, mimetype=IMAGE_TYPES[file.suffix], conditional=True)
        response.headers["Cache-Control"] = "private, max-age=86400"  # Evidence never changes.
        return response


def _missing_image(status: ImageStatus, texts: Mapping[str, str]) -> AnyResponse:
    """Return the error for an image that is not there."""
    if status is ImageStatus.UNKNOWN:
        return _error_response(404, texts["error_no_picture"])
    if status is ImageStatus.QUEUED:
        response = _error_response(503, texts["error_picture_queued"])
        response.headers["Retry-After"] = "1"
        return response
    return _error_response(410, texts["error_picture_gone"])


def _find_evidence(folder: Path, path: str) -> Path | None:
    """Return the image file at `path` below `folder`, links resolved; None for anything else.

    Files whose name begins with a dot are still being written.
    """
    try:
        file = (folder / path).resolve(strict=True)
    except (OSError, ValueError, RuntimeError):  # Missing, too long, a NUL in it, a loop of links.
        return None
    complete = file.suffix in IMAGE_TYPES and not file.name.startswith(".")
    return file if complete and file.is_relative_to(folder) and file.is_file() else None


def _add_errors(app: Flask, texts: Mapping[str, str]) -> None:
    """Answer every error with one sentence: JSON below /api, a page elsewhere."""

    @app.errorhandler(LinewatchError)
    def failed(error: LinewatchError) -> AnyResponse:
        return _error_response(503, str(error))

    @app.errorhandler(HTTPException)
    def refused(error: HTTPException) -> AnyResponse:
        response = _error_response(error.code or 500, sentence_of(error, texts))
        for name, value in error.get_headers():
            if name.lower() not in ("content-type", "content-length"):
                response.headers[name] = value
        return response


def _error_response(code: int, sentence: str) -> AnyResponse:
    if request.path.startswith("/api/"):
        response = jsonify(Error(error=sentence).model_dump())
    else:
        then = _path_after_sign_in() if code in (401, 429) else ""
        user = request.form.get("user", "") if then and request.endpoint == "people.sign_in" else ""
        shown = user if NAME.fullmatch(user) else ""
        response = Response(render_template("error.html", sentence=sentence, then=then, user=shown))
    response.status_code = code
    return response


def _path_after_sign_in() -> str:
    return own_path(request.form) if request.endpoint == "people.sign_in" else request.path
