"""Ask a running daemon for its health, as the container's health check does."""

import urllib.error
import urllib.request

from linewatch.errors import LinewatchError, UsageError
from linewatch.settings import HttpSettings

ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}
TIMEOUT_S = 4.0


class Unhealthy(LinewatchError):
    """The daemon does not answer, or a stage makes no progress."""


def check_health(http: HttpSettings) -> str:
    """Return the address that answered. Raises Unhealthy, and UsageError without a fixed port."""
    if http.port == 0:
        raise UsageError("http.port is 0, any free port, so nothing can ask it; set a fixed http.port")
    host = ANY_ADDRESS.get(http.host, http.host)
    url = f"http://{f'[{host}]' if ':' in host else host}:{http.port}/healthz"
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # Not through a proxy of the plant.
    try:
        with direct.open(url, timeout=TIMEOUT_S):
            return url
    except urllib.error.HTTPError as error:
        raise Unhealthy(f"{url} answers {error.code}; a stage makes no progress, see the log") from error
    except OSError as error:
        raise Unhealthy(
            f"{url} does not answer ({error}); does the daemon run with these settings?"
        ) from error
