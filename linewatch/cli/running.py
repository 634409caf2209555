"""Ask the station's running daemon what it judges with, so that commands say what is true on the line."""

import json
from http.client import HTTPConnection, HTTPException
from typing import Any

from linewatch.cli.health import ANY_ADDRESS
from linewatch.settings import Settings

PAGE_TIMEOUT_S = 2.0
STATE_BYTES_MAX = 10_000


def read_state(settings: Settings) -> dict[str, Any]:
    """Return `/api/state` of this station's running daemon, {} if none answers on its page's address."""
    host = ANY_ADDRESS.get(settings.http.host, settings.http.host)
    page = HTTPConnection(host, settings.http.port, timeout=PAGE_TIMEOUT_S)
    try:
        page.request("GET", "/api/state")
        state = json.loads(page.getresponse().read(STATE_BYTES_MAX))
    except (OSError, HTTPException, ValueError):
        return {}
    finally:
        page.close()
    return state if isinstance(state, dict) and state.get("station") == settings.station.name else {}


def reload_advice(settings: Settings, product: str, version: str) -> str:
    """Return what a running daemon still uses instead of a new active version, and the next step.

    "" if no daemon answers, or if it uses the version already.
    """
    state = read_state(settings)
    if not state or (state.get("product"), state.get("model")) == (product, version):
        return ""
    if state.get("product") != product:
        return (
            f"the line inspects {state.get('product')!r}; {product!r} comes into use at its next changeover"
        )
    return (
        f"the line still judges with {state.get('model') or 'no model'}; to use {version}: "
        f"systemctl reload linewatch@{settings.station.name}, or SIGHUP, or the PLC's product command"
    )
