"""An OPC UA server over a station in memory, and certificates for its clients."""

import asyncio
import pickle
from collections.abc import Callable, Coroutine
from functools import cache
from pathlib import Path
from typing import Any, Self, TypeVar

from asyncua import Client, ua
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from linewatch.domain import Answer, ReplyCode
from linewatch.mqtt.live import Announcement
from linewatch.mqtt.messages import Command, InvalidCommand, StateFacts, status_word
from linewatch.people.people import People
from linewatch.people.roles import Role
from linewatch.people.sign_in import SignIn
from linewatch.plc.opcua import core_nodes
from linewatch.plc.opcua.certificates import _self_signed
from linewatch.plc.opcua.server import Meters, OpcuaServer
from linewatch.plc_settings import OpcuaSettings
from tests.mosquitto import free_port
from tests.plc.served import ServedAdapter

WAIT_S = 20.0
PASSWORD = "correct horse battery"
T = TypeVar("T")


@cache
def _pickled_nodes() -> bytes:
    return pickle.dumps(core_nodes.build())


class Served(ServedAdapter):
    """A running server; every command is answered as done. `changes` are its settings."""

    patience_s = WAIT_S

    def __init__(self, folder: Path, *, users: bool = False, **changes: Any) -> None:
        super().__init__()
        self.port = free_port()
        host = changes.pop("host", "127.0.0.1")
        self.folder = folder
        self.url = f"opc.tcp://127.0.0.1:{self.port}/linewatch"
        endpoint = f"opc.tcp://{host}:{self.port}/linewatch"
        self.settings = OpcuaSettings(enabled=True, endpoint=endpoint, **changes)
        self.product, self.busy = 3, False
        self.answer = Answer(ReplyCode.DONE)
        self.bug: Exception | None = None
        self.people = People()
        if users:
            self.people.add_user("anna", PASSWORD, Role.OPERATOR, "test")
        self.server = OpcuaServer(
            self.settings,
            folder,
            self._announce,
            self._submit,
            Meters(connection=self._count, clients=self._show_clients),
            SignIn(self.people),
            station="station1",
            products=lambda: {"bottle": 3, "cookie": 4},
            triggered=True,
            on_change=self._note,
            load_nodes=lambda: pickle.loads(_pickled_nodes()),
        )

    @property
    def adapter(self) -> OpcuaServer:
        """The server."""
        return self.server

    def __enter__(self) -> Self:
        super().__enter__()
        self.wait(lambda: bool(self.troubles))
        return self

    def answer_to(self, command: Command | InvalidCommand) -> Answer:
        """Return the answer that the test has chosen."""
        del command
        return self.answer

    def session(self, work: Callable[[Client], Coroutine[Any, Any, T]]) -> T:
        """Run `work` with an anonymous client without security."""
        return connected(Client(self.url), work)

    def secured(
        self,
        identity: "Identity",
        work: Callable[[Client], Coroutine[Any, Any, T]],
        user: str = "",
        word: str = "",
    ) -> T:
        """Run `work` with a client that signs and encrypts."""

        async def run() -> T:
            client = Client(self.url, timeout=WAIT_S)
            own = self.folder / "own/certificate.pem"
            text = f"Basic256Sha256,SignAndEncrypt,{identity.certificate},{identity.key},{own}"
            await client.set_security_string(text)
            client.application_uri = identity.uri
            if user:
                client.set_user(user)
                client.set_password(word)
            async with client:
                return await work(client)

        return asyncio.run(run())

    def _announce(self) -> Announcement:
        if self.bug:
            bug, self.bug = self.bug, None
            raise bug
        product = {3: "bottle", 4: "cookie"}[self.product]
        facts = StateFacts(
            station="s",
            boot=41,
            state=self.state,
            product=product,
            product_index=self.product,
            model="7f3a91c2",
        )
        return Announcement(facts, status_word(self.state, busy=self.busy))


class Identity:
    """A client's certificate and key, in files."""

    def __init__(self, folder: Path, name: str) -> None:
        self.uri = f"urn:test:{name}"
        key = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
        self.der = _self_signed(key, self.uri).public_bytes(Encoding.DER)
        self.certificate, self.key = folder / f"{name}.der", folder / f"{name}.pem"
        self.certificate.write_bytes(self.der)
        self.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

    def trust(self, folder: Path) -> None:
        """Put the certificate where the server looks for those it trusts."""
        (folder / "trusted").mkdir(parents=True, exist_ok=True)
        (folder / "trusted" / self.certificate.name).write_bytes(self.der)


def connected(client: Client, work: Callable[[Client], Coroutine[Any, Any, T]]) -> T:
    """Run `work` with a connected client."""

    async def run() -> T:
        async with client:
            return await work(client)

    return asyncio.run(run())


def node(client: Client, path: str) -> Any:
    """Return one of the station's nodes."""
    return client.get_node(ua.NodeId(path, 3))
