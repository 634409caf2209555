"""Connections: what asyncua's server leaves open is closed here, before a request is carried out.

asyncua accepts any certificate on a channel, sessions on channels without security, services before a
session, messages of any size, and writes to a client that does not read. Each is bounded or refused below.
"""

import asyncio
import logging
import socket
import time
from collections.abc import Callable
from typing import Any

from asyncua import ua
from asyncua.common.connection import TransportLimits
from asyncua.common.utils import ServiceError
from asyncua.crypto.security_policies import SecurityPolicyNone
from asyncua.server.binary_server_asyncio import OPCUAProtocol
from asyncua.server.uaprocessor import UaProcessor
from asyncua.ua.ua_binary import nodeid_from_binary, uatcp_to_binary

from linewatch.plc.opcua import bounds
from linewatch.plc.opcua.sessions import CODES, StationServer, is_closed

log = logging.getLogger(__name__)

_IDS = ua.ObjectIds
HEADER_BYTES = 8  # Message type, chunk type, size (OPC 10000-6, 7.1.2.2).
KINDS = (b"HEL", b"OPN", b"MSG", b"CLO")


def _service(name: str) -> int:
    return int(getattr(_IDS, f"{name}Request_Encoding_DefaultBinary"))


DISCOVERY = frozenset(map(_service, ("GetEndpoints", "FindServers", "CloseSecureChannel")))
SIGNING_IN = frozenset(map(_service, ("CreateSession", "ActivateSession", "CloseSession")))
SERVICES = frozenset(
    map(
        _service,
        (
            "Read", "Write", "Browse", "TranslateBrowsePathsToNodeIds", "Call", "RegisterNodes",
            "UnregisterNodes", "CreateSubscription", "ModifySubscription", "DeleteSubscriptions",
            "TransferSubscriptions", "CreateMonitoredItems", "ModifyMonitoredItems", "DeleteMonitoredItems",
            "SetMonitoringMode", "SetPublishingMode", "Publish", "Republish",
        ),
    )
)  # fmt: skip
CREATE_SESSION, CALL = _service("CreateSession"), _service("Call")

Trusted = Callable[[bytes], str]
"""Return why a client's certificate (DER) is not accepted, "" if it is."""


class Refused(Exception):
    """The connection is closed, for this reason."""


class Processor(UaProcessor):
    """Carries out the requests of one connection that may be carried out."""

    def __init__(self, server: StationServer, transport: Any, limits: TransportLimits, gate: "Gate") -> None:
        super().__init__(server, transport, limits)
        self._gate = gate
        self._calls: set[asyncio.Task[Any]] = set()

    def open_secure_channel(self, algohdr: Any, seqhdr: Any, body: Any) -> None:
        """Open a channel for a trusted client, or one without security for discovery. Raises Refused."""
        if algohdr.SecurityPolicyURI != SecurityPolicyNone.URI:
            why = self._gate.trusted(algohdr.SenderCertificate or b"")
            if why:
                raise Refused(why)
        super().open_secure_channel(algohdr, seqhdr, body)

    async def process_message(self, seqhdr: Any, body: Any) -> Any:
        """Carry out one request; method calls beside those that follow."""
        if nodeid_from_binary(body.copy()).Identifier != CALL:
            return await super().process_message(seqhdr, body)
        if len(self._calls) >= bounds.CALLS_MAX:
            raise Refused(f"more than {bounds.CALLS_MAX} method calls at once")
        task = asyncio.create_task(super().process_message(seqhdr, body))
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        return True

    async def _process_message(self, typeid: ua.NodeId, requesthdr: Any, seqhdr: Any, body: Any) -> Any:
        service = typeid.Identifier if typeid.NamespaceIndex == 0 else 0
        if not self._connection.is_open():
            raise Refused("a request without a secure channel")
        if service not in DISCOVERY | SIGNING_IN | SERVICES:
            raise ServiceError(CODES.BadServiceUnsupported)
        policy = self._connection.security_policy
        if service not in DISCOVERY:
            if isinstance(policy, SecurityPolicyNone) and not self._gate.open_to_programs:
                raise ServiceError(CODES.BadSecurityPolicyRejected)
            if service == CREATE_SESSION and not is_closed(self.session):
                raise ServiceError(CODES.BadTooManySessions)
        return await super()._process_message(typeid, requesthdr, seqhdr, body)

    def _should_close_session_on_transport_loss(self) -> bool:
        return True  # A subscription ends with its connection, and with it what it had queued.

    @property
    def signed_in(self) -> bool:
        """Whether there is an activated session."""
        return self.session is not None and self.session.is_activated()


class Gate:
    """What all connections share: who is trusted, the strangers' budget, counts."""

    def __init__(
        self,
        server: StationServer,
        policies: list[Any],
        trusted: Trusted,
        count: Callable[[str], None],
        note: Callable[..., None],
        *,
        open_to_programs: bool,
    ) -> None:
        self.server = server
        self.policies = policies
        self.trusted = trusted
        self.count = count
        self.note = note
        self.open_to_programs = open_to_programs
        self.strangers = bounds.Budget()
        self.everyone = bounds.Budget(bounds.TOTAL_SHARE)
        self.connections: list[OPCUAProtocol] = []
        self.closing: list[Any] = []

    def connect(self) -> "Connection":
        """Return the protocol for a new connection."""
        return Connection(self)

    def watch(self) -> None:
        """Close connections that do not sign in, or do not take what they asked for."""
        for connection in list(self.connections):
            connection.watch()

    async def clean_up(self) -> None:
        """Wait for the ends of closed connections."""
        while self.closing:
            await asyncio.gather(self.closing.pop(), return_exceptions=True)


class Connection(OPCUAProtocol):
    """One client."""

    def __init__(self, gate: Gate) -> None:
        limits = TransportLimits(
            max_recv_buffer=bounds.CHUNK_BYTES,
            max_send_buffer=bounds.CHUNK_BYTES,
            max_chunk_count=bounds.CHUNKS_MAX,
            max_message_size=bounds.MESSAGE_BYTES_MAX,
        )
        super().__init__(gate.server, gate.policies, gate.connections, gate.closing, limits)
        self._gate = gate
        self._budget = bounds.Budget()
        self._received = bytearray()
        self._since_s = time.monotonic()  # The connection, or the end of its last session.
        self._stuck_s = 0.0  # Since then something waits to be taken.

    @property
    def address(self) -> str:
        """The client's address."""
        return str(self.peer_name[0]) if self.peer_name else ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept the connection; when there are too many, in place of the oldest that has not signed in."""
        gate = self._gate
        if len(gate.connections) >= gate.server.max_connections:
            strangers = [other for other in gate.connections if not other.processor.signed_in]
            if strangers:
                strangers[0].drop("too many connections")
        full = len(gate.connections) >= gate.server.max_connections
        super().connection_made(transport)
        gate.count("refused" if full else "accepted")
        transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_SNDBUF, bounds.SENT_BYTES_MAX
        )
        if not full:
            self.processor = Processor(gate.server, transport, self.limits, gate)
            self.processor.set_policies(gate.policies)

    def data_received(self, data: bytes) -> None:
        """Take bytes; read no more while requests wait."""
        if self.transport is None or self.transport.is_closing():
            return
        self._received += data
        self._queue()
        if len(self._received) > bounds.UNREAD_BYTES_MAX:
            self.transport.pause_reading()

    def _queue(self) -> None:
        """Queue whole messages while there is room; close the connection when they are none."""
        while len(self._received) >= HEADER_BYTES and self.messages.qsize() < bounds.PENDING_MAX:
            size = int.from_bytes(self._received[4:8], "little")
            if self._received[:3] not in KINDS or not HEADER_BYTES < size <= bounds.CHUNK_BYTES:
                self.refuse("not OPC UA, or too long", "malformed")
                return
            if len(self._received) < size:
                break
            message = bytes(self._received[:size])
            del self._received[:size]
            super().data_received(message)
            if self.transport is None or self.transport.is_closing():
                return
        if self.transport is not None and len(self._received) <= bounds.UNREAD_BYTES_MAX:
            self.transport.resume_reading()  # Does nothing while it is reading.

    async def _process_one_msg(self, header: Any, buf: Any) -> bool:
        started_s = time.thread_time()
        try:
            going_on = await super()._process_one_msg(header, buf)
        except Refused as why:
            self.refuse(str(why), "refused")
            return False
        except Exception as error:  # noqa: BLE001 - asyncua raises all kinds for damaged messages
            self.refuse(repr(error), "malformed")
            return False
        if not going_on:
            return False
        if self.transport is None or self.transport.get_write_buffer_size() > bounds.WRITE_BYTES_MAX:
            self.drop("does not take its responses")
            return False
        signed_in = self.processor is not None and self.processor.signed_in
        budget = self._budget if signed_in else self._gate.strangers
        self._queue()
        taken_s = time.thread_time() - started_s
        await asyncio.sleep(max(budget.spend(taken_s), self._gate.everyone.spend(taken_s)))
        return True

    def watch(self) -> None:
        """Drop the connection if it is of no use any more."""
        now_s = time.monotonic()
        if self.processor is None or self.transport is None:
            return
        if self.processor.signed_in:
            self._since_s = now_s
        elif now_s - self._since_s > bounds.SIGN_IN_S:
            self.drop("did not sign in")
        if not self.transport.get_write_buffer_size():
            self._stuck_s = now_s
        elif now_s - self._stuck_s > bounds.WRITE_S:
            self.drop("does not take its responses")

    def refuse(self, why: str, outcome: str) -> None:
        """Close the connection because of what the client sent, and say so to it."""
        self._gate.count(outcome)
        self._gate.note("opcua_client_refused address=%s reason=%r", self.address, why)
        if self.transport is not None:
            error = ua.ErrorMessage(ua.StatusCode(CODES.BadSecurityChecksFailed), "refused")
            self.transport.write(uatcp_to_binary(ua.MessageType.Error, error))
            self.transport.close()

    def drop(self, why: str) -> None:
        """Close the connection at once."""
        self._gate.count("dropped")
        self._gate.note("opcua_client_dropped address=%s reason=%r", self.address, why)
        if self.transport is not None:
            self.transport.abort()
        if self in self._gate.connections:
            self._gate.connections.remove(self)
