"""An OPC UA server over a station in memory, and certificates for its clients."""

import asyncio
import pickle
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from asyncua import Client, ua
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from linewatch.domain import Answer, ReplyCode, State
from linewatch.mqtt.live import Announcement
from linewatch.mqtt.messages import Command, InvalidCommand, StateFacts, status_word
from linewatch.people.people import People
from linewatch.people.roles import Role
from linewatch.people.sign_in import SignIn
from linewatch.plc.adapter import keep_serving
from linewatch.plc.opcua import core_nodes
from linewatch.plc.opcua.certificates import _self_signed
from linewatch.plc.opcua.server import Meters, OpcuaServer
from linewatch.plc_settings import OpcuaSettings
from tests.mosquitto import free_port

WAIT_S = 20.0
PASSWORD = "correct horse battery"
T = TypeVar("T")


@cache
def _pickled_nodes() -> bytes:
    return pickle.dumps(core_nodes.build())


class Served:
    """A running server; every command is answered as done. `changes` are its settings."""

    def __init__(self, folder: Path, *, users: bool = False, **changes: Any) -> None:
        self.port = free_port()
        host = changes.pop("host", "127.0.0.1")
        self.folder = folder
        self.url = f"opc.tcp://127.0.0.1:{self.port}/linewatch"
        endpoint = f"opc.tcp://{host}:{self.port}/linewatch"
        self.settings = OpcuaSettings(enabled=True, endpoint=endpoint, **changes)
        self.state, self.product, self.busy = State.READY, 3, False
        self.answer = Answer(ReplyCode.DONE)
        self.commands: list[Command | InvalidCommand] = []
        self.counts: Counter[str] = Counter()
        self.clients = 0.0
        self.troubles: list[str] = []
        self.bug: Exception | None = None
        self.people = People()
        if users:
            self.people.add_user("anna", PASSWORD, Role.OPERATOR, "test")
        self._changed = threading.Condition()
        self._ended = threading.Event()
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
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        self.wait(lambda: bool(self.troubles))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()

    def wait(self, done: Callable[[], bool]) -> None:
        """Wait until something about the server is true."""
        with self._changed:
            assert self._changed.wait_for(done, WAIT_S), (self.counts, self.troubles)

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

    def _run(self) -> None:
        keep_serving(self.server, self._ended.is_set, lambda: None, self._note, backoff_first_s=0.01)

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

    def _submit(self, command: Command | InvalidCommand, done: Callable[[Answer], None]) -> None:
        with self._changed:
            self.commands.append(command)
            self._changed.notify_all()
        done(self.answer)

    def _count(self, outcome: str) -> None:
        with self._changed:
            self.counts[outcome] += 1
            self._changed.notify_all()

    def _show_clients(self, clients: float) -> None:
        with self._changed:
            self.clients = clients
            self._changed.notify_all()

    def _note(self, trouble: str) -> None:
        with self._changed:
            self.troubles.append(trouble)
            self._changed.notify_all()


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
