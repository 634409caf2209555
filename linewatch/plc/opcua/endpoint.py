"""The OPC UA server while it listens: asyncua's parts, put together within our bounds."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from asyncua import Server, ua
from asyncua.crypto.security_policies import (
    SecurityPolicyBasic256Sha256,
    SecurityPolicyFactory,
    SecurityPolicyNone,
)

from linewatch import __version__
from linewatch.plc.adapter import Announce, SignIn, Submit
from linewatch.plc.newest import Block, NewestVerdict
from linewatch.plc.opcua import address_space, bounds
from linewatch.plc.opcua.builder import Builder
from linewatch.plc.opcua.certificates import Certificates
from linewatch.plc.opcua.connections import Gate
from linewatch.plc.opcua.core_nodes import Nodes
from linewatch.plc.opcua.methods import Methods
from linewatch.plc.opcua.results import Results
from linewatch.plc.opcua.sessions import StationServer
from linewatch.plc.opcua.structures import STATION, STATION_URI, VISION, VISION_URI
from linewatch.plc.opcua.view import View

_BUILT = datetime(2026, 11, 28, tzinfo=UTC)  # OPC UA wants a date beside the version.
_IDS = ua.ObjectIds
_LIMITS = "Server_ServerCapabilities_OperationLimits_"


@dataclass(frozen=True)
class Station:
    """What the server shows and commands."""

    name: str
    announce: Announce
    submit: Submit
    products: Callable[[], dict[str, int]]  # Index of each product that has a recipe, by name.
    sign_in: SignIn
    triggered: bool  # Whether parts are triggered by commands.
    pass_s: float


@dataclass(frozen=True)
class Serving:
    """A server that listens."""

    view: View
    gate: Gate
    clients: Callable[[], int]  # Sessions that are signed in.

    async def tell(self, blocks: list[Block]) -> None:
        """Show new verdicts and what else changed."""
        await self.view.tell(blocks)
        await self.view.follow()


@asynccontextmanager
async def serving(
    station: Station,
    newest: NewestVerdict,
    nodes: Nodes,
    certificates: Certificates,
    listener: socket.socket,
    url: str,
    *,
    sessions_max: int,
    open_to_programs: bool,
    count: Callable[[str], None],
    note: Callable[..., None],
) -> AsyncIterator[Serving]:
    """Serve clients inside the block. Raises ConfigError for unusable certificates."""
    uri = f"urn:{socket.gethostname()}:linewatch:{station.name}"
    certificate, key = certificates.own(uri)
    inner = StationServer(
        nodes, station.sign_in, sessions_max=sessions_max, open_to_programs=open_to_programs
    )
    inner.certificate, inner.private_key = certificate, key
    server = Server(inner)
    server.product_uri, server.manufacturer_name = "urn:linewatch", "linewatch"
    server.name = f"linewatch {station.name}"
    server.application_type = ua.ApplicationType.Server
    server.set_endpoint(url)
    policies = [ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt]
    if open_to_programs:
        policies.append(ua.SecurityPolicyType.NoSecurity)
    server.set_security_policy(policies)
    await server.init()
    await server.set_application_uri(uri)
    assert [await server.register_namespace(one) for one in (VISION_URI, STATION_URI)] == [VISION, STATION]
    await _describe(server, sessions_max)
    address_space.build(Builder(inner.node_mgt_service), station.name)
    results = Results()
    view = View(inner, newest, results, station.name, pass_s=station.pass_s, triggered=station.triggered)
    inner.access = view
    Methods(station.announce, station.submit, station.products, results, view.start_job).connect(inner)
    await view.update()
    await server._setup_server_nodes()
    await inner.start()
    factories = [
        SecurityPolicyFactory(
            SecurityPolicyBasic256Sha256, ua.MessageSecurityMode.SignAndEncrypt, certificate, key
        ),
        SecurityPolicyFactory(SecurityPolicyNone, ua.MessageSecurityMode.None_),
    ]
    gate = Gate(inner, factories, certificates.why_untrusted, count, note, open_to_programs=open_to_programs)
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(gate.connect, sock=listener)
    try:
        yield Serving(view, gate, lambda: len(inner.sessions))
    finally:
        listening.close()
        for connection in list(gate.connections):
            if connection.transport is not None:
                connection.transport.abort()
        await asyncio.sleep(0)
        await gate.clean_up()
        await inner.stop()


async def _describe(server: Server, sessions_max: int) -> None:
    """Say which software this is and what it can do."""
    await server.set_build_info("urn:linewatch", "linewatch", "linewatch", __version__, __version__, _BUILT)
    limits: dict[str, Any] = {
        f"{_LIMITS}{name}": bounds.OPERATIONS_MAX
        for name in (
            "MaxNodesPerRead", "MaxNodesPerWrite", "MaxNodesPerMethodCall", "MaxNodesPerBrowse",
            "MaxNodesPerTranslateBrowsePathsToNodeIds", "MaxMonitoredItemsPerCall",
        )
    }  # fmt: skip
    limits["Server_ServerCapabilities_MaxSessions"] = sessions_max
    limits["Server_ServerCapabilities_MaxSubscriptionsPerSession"] = bounds.SUBSCRIPTIONS_EACH
    for name, value in limits.items():
        node = server.get_node(ua.NodeId(getattr(_IDS, name)))
        await node.write_value(ua.Variant(value, ua.VariantType.UInt32))
