"""Refusal of cross-site requests, and the security headers of every response."""

from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from flask import Flask, abort, request
from werkzeug.wrappers import Response

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


def protect(app: Flask, texts: Mapping[str, str], frame_ancestors: Sequence[str] = ()) -> None:
    """Refuse cross-site POST requests and add security headers.

    Pages of the origins `frame_ancestors` may show the page in a frame, and the newest image.
    """
    headers = _HEADERS | (_embedding(frame_ancestors) if frame_ancestors else {})

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


def is_marked_own() -> bool:
    """Whether a browser marks the request as sent by a page of this station."""
    names = ("Sec-Fetch-Site", "Origin")
    return any(name in request.headers for name in names) and not _is_cross_site()
