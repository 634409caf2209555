"""Serve below a path prefix and under another host name, as a reverse proxy publishes the page."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)*")
_HOST = re.compile(r"[A-Za-z0-9.-]+(:\d+)?|\[[0-9A-Fa-f:]+\](:\d+)?")


class BehindProxy:
    """WSGI middleware: takes prefix, host and scheme from `X-Forwarded-Prefix`, `-Host` and `-Proto`.

    `prefix` applies without the header. A proxy may cut the prefix off the path or leave it there. No web
    page can make a browser send these headers, so believing them opens nothing to other sites.
    """

    def __init__(self, app: "WSGIApplication", prefix: str = "") -> None:
        self._app = app
        self._prefix = prefix

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer one request."""
        prefix = _first(environ, "HTTP_X_FORWARDED_PREFIX").rstrip("/")
        if not (prefix and PREFIX.fullmatch(prefix)):
            prefix = self._prefix
        if prefix:
            path = str(environ.get("PATH_INFO", ""))
            environ["SCRIPT_NAME"] = prefix
            if path == prefix or path.startswith(f"{prefix}/"):
                environ["PATH_INFO"] = path[len(prefix) :] or "/"
        host = _first(environ, "HTTP_X_FORWARDED_HOST")
        if host and _HOST.fullmatch(host):
            environ["HTTP_HOST"] = host
        if _first(environ, "HTTP_X_FORWARDED_PROTO").lower() == "https":
            environ["wsgi.url_scheme"] = "https"  # Cookies are for TLS only then.
        return self._app(environ, start_response)


def _first(environ: "WSGIEnvironment", name: str) -> str:
    """Return the value that the outermost proxy set."""
    return str(environ.get(name, "")).partition(",")[0].strip()
