"""Access control: the station's token, the operator's session, and refusal of cross-site requests.

Programs send the token with every call. A browser sends it once, in the body of the sign-in
form, and gets a session: a signed cookie (HttpOnly, SameSite=Strict) that expires after a shift or
with the process. The token itself is never stored in a browser and never logged.
"""

import hmac
import logging
import re
import secrets
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from urllib.parse import urlsplit

from flask import Flask, abort, request, session
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Unauthorized
from werkzeug.wrappers import Response

log = logging.getLogger(__name__)

SESSIONS_MAX = 100
SESSION_H = 10  # A shift with its handover; then the operator signs in again.
_KEY = "operator"
_OWN = frozenset({"same-origin", "none"})

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not no-referrer: it would make browsers send "Origin: null" with our own forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}


class AccessControl:
    """Authorizes state-changing requests; others are aborted with 401 or 403 and one sentence.

    While `token` returns "" every one of them is refused.
    """

    def __init__(self, token: Callable[[], str], texts: Mapping[str, str]) -> None:
        self._token = token
        self._texts = texts
        self._sessions: deque[str] = deque(
            maxlen=SESSIONS_MAX
        )  # Of those signed in; the oldest are dropped first.

    @property
    def has_token(self) -> bool:
        """Whether the station has a token."""
        return bool(self._token())

    @property
    def signed_in(self) -> bool:
        """Whether the current request has a valid operator session."""
        return self.has_token and session.get(_KEY) in self._sessions

    def require_token(self) -> None:
        """Abort unless the request has `Authorization: Bearer TOKEN`."""
        self._require_configured()
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        # WSGI decodes headers as Latin-1; encoding them again restores the bytes that were sent.
        if scheme.lower() != "bearer" or not self._matches(token.strip().encode("latin-1", "replace")):
            self._refuse()

    def require_session(self) -> None:
        """Abort unless the request has a session from the sign-in form."""
        self._require_configured()
        if not self.signed_in:
            self._refuse()

    def sign_in(self, token: str) -> None:
        """Start a session; aborts when the token is wrong."""
        self._require_configured()
        if not self._matches(token.strip().encode()):
            self._refuse()
        session.clear()
        session.permanent = True
        session[_KEY] = secrets.token_urlsafe(16)
        self._sessions.append(session[_KEY])
        log.info("operator_signed_in from=%s", request.remote_addr)

    def sign_out(self) -> None:
        """End the session of this browser; a copy of its cookie becomes invalid, too."""
        with suppress(ValueError):
            self._sessions.remove(session.get(_KEY, ""))
        session.clear()

    def _matches(self, sent: bytes) -> bool:
        return hmac.compare_digest(sent, self._token().encode())

    def _require_configured(self) -> None:
        if not self.has_token:
            abort(403, self._texts["error_no_token"])

    def _refuse(self) -> None:
        log.warning("token_refused path=%r from=%s", request.path, request.remote_addr)
        raise Unauthorized(
            self._texts["error_wrong_token"],
            www_authenticate=WWWAuthenticate("bearer", {"realm": "linewatch"}),
        )


def protect(app: Flask, station: str, texts: Mapping[str, str], frame_ancestors: Sequence[str] = ()) -> None:
    """Set up sessions, refuse cross-site POST requests and add security headers.

    Pages of the origins `frame_ancestors` may show the page in a frame, and the newest image.
    """
    headers = _HEADERS | (_embedding(frame_ancestors) if frame_ancestors else {})
    app.config.update(
        SECRET_KEY=secrets.token_bytes(32),  # Of this process: a restart ends every session.
        # Stations on one host share its cookies whatever their port, so each has its own name.
        SESSION_COOKIE_NAME=f"linewatch_{re.sub('[^A-Za-z0-9]', '_', station)}",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Strict",
        SESSION_REFRESH_EACH_REQUEST=False,  # A page left open must not stay signed in for ever.
        PERMANENT_SESSION_LIFETIME=timedelta(hours=SESSION_H),
    )

    @app.before_request
    def refuse_other_sites() -> None:
        if request.method not in ("GET", "HEAD", "OPTIONS") and _is_cross_site():
            abort(403, texts["error_cross_site"])

    @app.after_request
    def harden(response: Response) -> Response:
        for name, value in headers.items():
            if value:
                response.headers.setdefault(name, value)
        return response


def _embedding(frame_ancestors: Sequence[str]) -> dict[str, str]:
    """Return the headers that let these origins embed the page; "" is a header that is left out."""
    policy = _HEADERS["Content-Security-Policy"]
    return {
        "Content-Security-Policy": policy.replace(
            "frame-ancestors 'none'", f"frame-ancestors {' '.join(frame_ancestors)}"
        ),
        "X-Frame-Options": "",  # It cannot name an origin.
        "Cross-Origin-Resource-Policy": "cross-origin",
    }


def _is_cross_site() -> bool:
    """Whether a browser marks the request as sent by another site. Programs send no such headers."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site not in _OWN
    origin = request.headers.get("Origin")  # Browsers on plain HTTP send only this one.
    return origin is not None and urlsplit(origin).netloc.lower() != request.host.lower()
