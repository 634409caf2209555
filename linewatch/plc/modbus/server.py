"""The Modbus TCP server: connections, their limits, and the watch over the client's heartbeat."""

import asyncio
import importlib.util
import ipaddress
import logging
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from linewatch.domain import Answer, Verdict
from linewatch.errors import ConfigError, LinewatchError
from linewatch.mqtt.messages import Command
from linewatch.plc.adapter import BEAT_S, Announce, Submit
from linewatch.plc.modbus.registers import Registers
from linewatch.plc_settings import ModbusSettings
from linewatch.runtime.listening import bind

if TYPE_CHECKING:  # Without the extra only its absence can be reported.
    from linewatch.plc.modbus.codec import Codec

log = logging.getLogger(__name__)

FRAME_S = 1.0  # From the first to the last byte of a request, and for taking the response.
REQUESTS_PER_S = 200  # Of one connection, in the mean; a faster client waits for its responses.
BURST = 20
BACKLOG = 100  # A full backlog delays a connection by a second.
LOG_LINES = 20  # About connections, a minute; a client that reconnects for ever must not fill the log.


class Malformed(Exception):
    """The bytes are no Modbus TCP, so it is not known where the next request begins."""


@dataclass(eq=False)
class Connection:
    """One client."""

    address: str
    writer: asyncio.StreamWriter
    active_s: float = field(default_factory=time.monotonic)  # Of the last request.
    allowance: float = BURST  # Requests that are answered without waiting.

    def pause_s(self) -> float:
        """Count one request; return how long to wait before the next one."""
        now_s = time.monotonic()
        self.allowance = min(BURST, self.allowance + REQUESTS_PER_S * (now_s - self.active_s)) - 1
        self.active_s = now_s
        return max(0.0, -self.allowance / REQUESTS_PER_S)


@dataclass(frozen=True)
class Meters:
    """What the server counts."""

    request: Callable[[str], None]  # Outcome "answered", "exception" or "malformed".
    connection: Callable[[str], None]  # Outcome "accepted", "refused" or "idle".
    clients: Callable[[float], None]  # Connections now.


class ModbusServer:
    """Serves registers to the clients of the settings; an adapter.

    Limits, so that neither many nor slow nor half-open clients matter: see docs/plc.md, Connections.
    `on_change` gets why the server cannot listen, then ""; `client_changed` why the client counts as lost,
    then "".
    """

    name = "modbus"

    def __init__(
        self,
        settings: ModbusSettings,
        announce: Announce,
        submit: Submit,
        meters: Meters,
        *,
        on_change: Callable[[str], None],
        client_changed: Callable[[str], None],
    ) -> None:
        """Take what the server shows and commands. Raises ConfigError without pymodbus."""
        self._settings = settings
        self._announce = announce
        self._submit = submit
        self._meters = meters
        self._on_change = on_change
        self._client_changed = client_changed
        self._allowed = [ipaddress.ip_network(network) for network in settings.clients]
        self._connections: set[Connection] = set()
        self._failure: BaseException | None = None
        self._client_lost = self._pausing = False
        self._log_from_s = self._log_lines = 0.0
        self._codec = load_codec()
        self._registers = Registers(announce, submit, pass_s=settings.pass_s, watchdog_s=settings.watchdog_s)

    def publish_verdict(self, verdict: Verdict) -> None:
        """Replace the verdict block."""
        self._registers.publish(verdict)

    def serve(self, ended: Callable[[], bool], beat: Callable[[], None]) -> None:
        """Listen and answer until `ended`. Raises LinewatchError when the address is not available."""
        self._failure = None
        with listen(self._settings) as listener:
            asyncio.run(self._serve(listener, ended, beat))

    async def _serve(
        self, listener: socket.socket, ended: Callable[[], bool], beat: Callable[[], None]
    ) -> None:
        codec = self._codec(self._registers)
        server = await asyncio.start_server(
            lambda reader, writer: self._guard(codec, reader, writer), sock=listener, backlog=BACKLOG
        )
        log.info("modbus address=%s:%d", self._settings.host, self._settings.port)
        self._on_change("")
        try:
            while not ended() and self._failure is None:
                beat()
                self._watch_client()
                await asyncio.sleep(BEAT_S)
        finally:
            server.close()
            for connection in self._connections:
                connection.writer.transport.abort()
            await asyncio.sleep(0)  # Until the sockets are closed.
        if self._failure is not None:
            raise self._failure

    async def _guard(
        self, codec: "Codec", reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Serve one connection; a bug ends the server, which is started again."""
        try:
            await self._serve_connection(codec, reader, writer)
        except Exception as error:  # noqa: BLE001 - the boundary: kept, and raised by serve()
            self._failure = error
        finally:
            writer.transport.abort()

    async def _serve_connection(
        self, codec: "Codec", reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        connection = self._admit(writer)
        if connection is None:
            return
        writer.transport.set_write_buffer_limits(high=0)  # `drain` waits until the kernel has all of it.
        try:
            while True:
                header, pdu = await _receive(reader, self._settings.idle_s)
                response, success = await codec.respond(header, pdu)
                self._meters.request("answered" if success else "exception")
                writer.write(response)
                async with asyncio.timeout(FRAME_S):
                    await writer.drain()
                await asyncio.sleep(connection.pause_s())
        except TimeoutError:
            self._meters.connection("idle")
            self._log("modbus_client_idle address=%s", connection.address)
        except Malformed as why:
            self._meters.request("malformed")
            self._log("modbus_client_malformed address=%s reason=%r", connection.address, str(why))
        except (asyncio.IncompleteReadError, OSError):
            self._log("modbus_client_closed address=%s", connection.address)
        finally:
            self._connections.discard(connection)
            self._show_clients()

    def _admit(self, writer: asyncio.StreamWriter) -> Connection | None:
        """Return the connection; None if its address is not allowed, or if there are too many."""
        peer = writer.get_extra_info("peername")
        address = str(peer[0]) if peer else ""  # It may have gone already.
        if not self._is_allowed(address):
            self._meters.connection("refused")
            self._log("modbus_client_refused address=%s reason='not in modbus.clients'", address)
            return None
        if len(self._connections) >= self._settings.clients_max:
            same = [other for other in self._connections if other.address == address]
            if not same:
                self._meters.connection("refused")
                self._log("modbus_client_refused address=%s reason='modbus.clients_max reached'", address)
                return None
            # A PLC that was switched off and on leaves connections that it no longer knows.
            oldest = min(same, key=lambda other: other.active_s)
            oldest.writer.transport.abort()
            self._connections.discard(oldest)
        connection = Connection(address, writer)
        self._connections.add(connection)
        self._meters.connection("accepted")
        self._show_clients()
        self._log("modbus_client_connected address=%s", address)
        return connection

    def _is_allowed(self, address: str) -> bool:
        try:
            peer = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        peer = getattr(peer, "ipv4_mapped", None) or peer
        return peer.is_loopback if not self._allowed else any(peer in network for network in self._allowed)

    def _watch_client(self) -> None:
        """Report a client whose heartbeat stands still, and pause the station if the settings say so."""
        lost = self._registers.watchdog == "lost"
        if lost != self._client_lost:
            self._client_lost = lost
            why = f"no heartbeat of the Modbus client for {self._settings.watchdog_s:g} s; check the PLC"
            self._client_changed(why if lost else "")
        if lost and self._settings.client_lost == "pause" and self._announce().facts.state.judging:
            self._pause()

    def _pause(self) -> None:
        def done(_answer: Answer) -> None:
            self._pausing = False

        if not self._pausing:
            self._pausing = True
            self._submit(Command("pause", 0, who="modbus watchdog"), done)

    def _show_clients(self) -> None:
        self._registers.clients = len(self._connections)
        self._meters.clients(len(self._connections))

    def _log(self, text: str, *facts: object) -> None:
        now_s = time.monotonic()
        if now_s - self._log_from_s > 60:
            self._log_from_s, self._log_lines = now_s, 0
        self._log_lines += 1
        if self._log_lines <= LOG_LINES:
            log.info(text, *facts)
        elif self._log_lines == LOG_LINES + 1:
            log.warning("modbus_log_paused reason='more than %d connections a minute'", LOG_LINES)


async def _receive(reader: asyncio.StreamReader, idle_s: float) -> tuple[bytes, bytes]:
    """Return header and PDU of the next request. Raises Malformed, TimeoutError, IncompleteReadError."""
    async with asyncio.timeout(idle_s):
        start = await reader.readexactly(1)
    async with asyncio.timeout(FRAME_S):
        header = start + await reader.readexactly(6)
        protocol, length = int.from_bytes(header[2:4], "big"), int.from_bytes(header[4:6], "big")
        if protocol:
            raise Malformed(f"protocol {protocol} instead of 0")
        if not 2 <= length <= 254:
            raise Malformed(f"length {length} is not one of 2 to 254")
        return header, await reader.readexactly(length - 1)


def listen(settings: ModbusSettings) -> socket.socket:
    """Bind the server's address. Raises LinewatchError when it is not available."""
    try:
        return bind(settings.host, settings.port, BACKLOG)
    except OSError as error:
        raise LinewatchError(
            f"modbus: cannot listen on {settings.host}:{settings.port} ({error.strerror}); stop the program "
            "that uses it, or set another modbus.host or modbus.port (below 1024 only with "
            "CAP_NET_BIND_SERVICE)"
        ) from error


def load_codec() -> "type[Codec]":
    """Return the codec. Raises ConfigError, which says what to install, without pymodbus."""
    if importlib.util.find_spec("pymodbus") is None:
        raise ConfigError(
            "modbus.enabled needs the extra [modbus]; install it: pip install 'linewatch[modbus]', "
            "in a clone: .venv/bin/pip install -c config/constraints.txt -e '.[modbus]'"
        )
    from linewatch.plc.modbus.codec import Codec  # noqa: PLC0415 - pymodbus is optional

    return Codec
