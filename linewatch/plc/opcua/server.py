"""The OPC UA adapter: takes verdicts from the line, and serves them from an event loop of its own."""

import asyncio
import importlib.util
import logging
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from linewatch.domain import Verdict
from linewatch.errors import ConfigError, LinewatchError
from linewatch.plc.adapter import Announce, SignIn, Submit
from linewatch.plc.newest import Block, NewestVerdict
from linewatch.plc_settings import OpcuaSettings
from linewatch.runtime.listening import bind

if TYPE_CHECKING:  # Without the extra only its absence can be reported.
    from linewatch.plc.opcua.certificates import Certificates
    from linewatch.plc.opcua.core_nodes import Nodes

log = logging.getLogger(__name__)

TICK_S = 0.05  # Between two looks at the station's state; a verdict is sent at once.
BACKLOG = 50
WAITING_MAX = 200  # Verdicts not sent yet; the oldest are given up.
LOG_LINES = 20  # About connections, a minute; a client that reconnects for ever must not fill the log.


@dataclass(frozen=True)
class Meters:
    """What the server counts."""

    connection: Callable[[str], None]  # Outcome "accepted", "refused", "malformed" or "dropped".
    clients: Callable[[float], None]  # Sessions now.


class OpcuaServer:
    """Serves the station as a machine vision system; an adapter.

    `on_change` gets why the server cannot listen, then "".
    """

    name = "opcua"

    def __init__(
        self,
        settings: OpcuaSettings,
        folder: Path,
        announce: Announce,
        submit: Submit,
        meters: Meters,
        sign_in: SignIn,
        *,
        station: str,
        products: Callable[[], dict[str, int]],
        triggered: bool,
        on_change: Callable[[str], None],
        load_nodes: "Callable[[], Nodes] | None" = None,
    ) -> None:
        """Take what the server shows and commands; `folder` is for certificates.

        Raises ConfigError without asyncua or with unusable certificates. `load_nodes` returns
        the nodes of the standard for one server.
        """
        self._certificates = load_certificates(settings, folder)
        from linewatch.plc.opcua import core_nodes  # noqa: PLC0415 - asyncua is optional
        from linewatch.plc.opcua.endpoint import Station  # noqa: PLC0415

        self._settings = settings
        self._announce = announce
        self._meters = meters
        self._on_change = on_change
        self._newest = NewestVerdict(announce, settings.pass_s)
        self._waiting: deque[Block] = deque(maxlen=WAITING_MAX)
        self._wake: Callable[[], None] = _nothing
        self._log_from_s = self._log_lines = 0.0
        self._load_nodes = load_nodes or core_nodes.load
        self._station = Station(
            station, announce, submit, products, sign_in, triggered=triggered, pass_s=settings.pass_s
        )

    def publish_verdict(self, verdict: Verdict) -> None:
        """Keep a verdict and wake the server's thread."""
        self._waiting.append(self._newest.publish(verdict))
        self._wake()

    def serve(self, ended: Callable[[], bool], beat: Callable[[], None]) -> None:
        """Listen and answer until `ended`. Raises LinewatchError when the address is not available."""
        nodes = self._load_nodes()  # Before listening: until then clients are refused at once.
        with listen(self._settings) as listener:
            asyncio.run(self._serve(nodes, listener, ended, beat))

    async def _serve(
        self, nodes: "Nodes", listener: socket.socket, ended: Callable[[], bool], beat: Callable[[], None]
    ) -> None:
        from linewatch.plc.opcua.endpoint import serving  # noqa: PLC0415 - asyncua is optional

        settings, loop = self._settings, asyncio.get_running_loop()
        async with serving(
            self._station,
            self._newest,
            nodes,
            self._certificates,
            listener,
            settings.endpoint,
            sessions_max=settings.sessions_max,
            open_to_programs=settings.is_local,
            count=self._meters.connection,
            note=self._log,
        ) as server:
            news = asyncio.Event()
            self._wake = _waker(loop, news)
            log.info("opcua endpoint=%s", settings.endpoint)
            self._on_change("")
            try:
                while not ended():
                    beat()
                    await server.tell(self._taken())
                    server.gate.watch()
                    self._meters.clients(server.clients())
                    await _wait(news)
            finally:
                self._wake = _nothing
                self._meters.clients(0)

    def _taken(self) -> list[Block]:
        blocks = []
        while self._waiting:
            blocks.append(self._waiting.popleft())
        return blocks

    def _log(self, text: str, *facts: object) -> None:
        now_s = time.monotonic()
        if now_s - self._log_from_s > 60:
            self._log_from_s, self._log_lines = now_s, 0
        self._log_lines += 1
        if self._log_lines <= LOG_LINES:
            log.info(text, *facts)
        elif self._log_lines == LOG_LINES + 1:
            log.warning("opcua_log_paused reason='more than %d connections a minute'", LOG_LINES)


async def _wait(news: asyncio.Event) -> None:
    """Wait for a verdict, at most TICK_S."""
    try:
        async with asyncio.timeout(TICK_S):
            await news.wait()
    except TimeoutError:
        return
    news.clear()


def _waker(loop: asyncio.AbstractEventLoop, news: asyncio.Event) -> Callable[[], None]:
    def wake() -> None:
        try:
            loop.call_soon_threadsafe(news.set)
        except RuntimeError:  # The loop has ended since; the next one finds the verdict.
            return

    return wake


def _nothing() -> None:
    """Do nothing: the server is not running."""


def listen(settings: OpcuaSettings) -> socket.socket:
    """Bind the endpoint's address. Raises LinewatchError when it is not available."""
    host, port = settings.address
    try:
        return bind(host, port, BACKLOG)
    except OSError as error:
        raise LinewatchError(
            f"opcua: cannot listen on {host}:{port} ({error.strerror}); stop the program that uses it, or "
            "set another opcua.endpoint"
        ) from error


def load_certificates(settings: OpcuaSettings, folder: Path) -> "Certificates":
    """Return the folder of certificates. Raises ConfigError, which says what to install, without asyncua."""
    if importlib.util.find_spec("asyncua") is None:
        raise ConfigError(
            "opcua.enabled needs the extra [opcua]; install it: pip install 'linewatch[opcua]', "
            "in a clone: .venv/bin/pip install -c config/constraints.txt -e '.[opcua]'"
        )
    from linewatch.plc.opcua.certificates import Certificates  # noqa: PLC0415 - asyncua is optional

    return Certificates(folder, settings.certificate, settings.private_key)
