"""A Modbus server over a station in memory, and clients that are not pymodbus."""

import shutil
import socket
import struct
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from linewatch.domain import Answer, ReplyCode, State
from linewatch.mqtt.live import Announcement
from linewatch.mqtt.messages import Command, InvalidCommand, StateFacts, status_word
from linewatch.plc.adapter import keep_serving
from linewatch.plc.modbus.server import Meters, ModbusServer
from linewatch.plc_settings import ModbusSettings
from tests.mosquitto import free_port

WAIT_S = 10.0


class Served:
    """A running server; every command is answered as done. `changes` are its settings."""

    def __init__(self, **changes: Any) -> None:
        self.settings = ModbusSettings(enabled=True, port=free_port(), **changes)
        self.state = State.READY
        self.commands: list[Command | InvalidCommand] = []
        self.counts: Counter[str] = Counter()
        self.clients = 0.0
        self.troubles: list[str] = []
        self.client_troubles: list[str] = []
        self.bug: Exception | None = None
        self._changed = threading.Condition()
        self._ended = threading.Event()
        self.server = ModbusServer(
            self.settings,
            self._announce,
            self._submit,
            Meters(request=self._count, connection=self._count, clients=self._show_clients),
            on_change=lambda trouble: self._note(self.troubles, trouble),
            client_changed=lambda trouble: self._note(self.client_troubles, trouble),
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
            assert self._changed.wait_for(done, WAIT_S), (self.counts, self.troubles, self.client_troubles)

    def connect(self, address: str = "127.0.0.1") -> "Raw":
        """Connect from one of this machine's addresses."""
        return Raw(self.settings.port, address)

    def _run(self) -> None:
        keep_serving(
            self.server,
            self._ended.is_set,
            lambda: None,
            lambda trouble: self._note(self.troubles, trouble),
            backoff_first_s=0.01,
        )

    def _announce(self) -> Announcement:
        if self.bug:
            bug, self.bug = self.bug, None
            raise bug
        return Announcement(StateFacts(station="s", boot=41, state=self.state), status_word(self.state))

    def _submit(self, command: Command | InvalidCommand, done: Callable[[Answer], None]) -> None:
        with self._changed:
            self.commands.append(command)
            self._changed.notify_all()
        if isinstance(command, Command) and command.name == "pause":
            self.state = State.PAUSED
        done(Answer(command.code if isinstance(command, InvalidCommand) else ReplyCode.DONE))

    def _count(self, outcome: str) -> None:
        with self._changed:
            self.counts[outcome] += 1
            self._changed.notify_all()

    def _show_clients(self, clients: float) -> None:
        with self._changed:
            self.clients = clients
            self._changed.notify_all()

    def _note(self, troubles: list[str], trouble: str) -> None:
        with self._changed:
            troubles.append(trouble)
            self._changed.notify_all()


class Raw:
    """A TCP connection that sends any bytes."""

    def __init__(self, port: int, address: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), WAIT_S, source_address=(address, 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def send(self, pdu: bytes, transaction: int = 1, unit: int = 1) -> None:
        """Send one request."""
        self.socket.sendall(struct.pack(">HHHB", transaction, 0, len(pdu) + 1, unit) + pdu)

    def receive(self) -> tuple[int, int, bytes]:
        """Return transaction, unit and PDU of the next response. Raises ConnectionError once it is closed."""
        transaction, _, length, unit = struct.unpack(">HHHB", self._exactly(7))
        return transaction, unit, self._exactly(length - 1)

    def ask(self, pdu: bytes) -> bytes:
        """Send one request and return the response's PDU."""
        self.send(pdu)
        return self.receive()[2]

    def read(self, first: int, count: int, function: int = 4) -> list[int]:
        """Read registers."""
        answer = self.ask(struct.pack(">BHH", function, first, count))
        assert answer[:2] == bytes([function, 2 * count]), answer
        return list(struct.unpack(f">{count}H", answer[2:]))

    def is_closed(self) -> bool:
        """Wait until the server closes the connection; return whether it did."""
        started_s = time.monotonic()
        try:
            while self.socket.recv(4096):
                assert time.monotonic() - started_s < WAIT_S
        except TimeoutError:
            return False
        except OSError:
            pass
        return True

    def _exactly(self, count: int) -> bytes:
        received = b""
        while len(received) < count:
            more = self.socket.recv(count - len(received))
            if not more:
                raise ConnectionError("closed")
            received += more
        return received


def mbpoll(port: int, *arguments: str | int) -> list[int]:
    """Run mbpoll, a client over libmodbus; return the registers that it prints."""
    program = shutil.which("mbpoll")
    assert program, "mbpoll is not installed; `make test` does that, or: apt-get install mbpoll"
    command = [program, "-m", "tcp", "-0", "-1", "-p", str(port), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=WAIT_S)
    lines = [line.partition("\t") for line in done.stdout.splitlines() if line.startswith("[")]
    return [int(value.split()[0]) for _, _, value in lines]
