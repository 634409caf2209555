"""A Modbus server over a station in memory, and clients that are not pymodbus."""

import shutil
import socket
import struct
import subprocess
import time
from types import TracebackType
from typing import Any, Self

from linewatch.domain import Answer, State
from linewatch.mqtt.live import Announcement
from linewatch.mqtt.messages import Command, InvalidCommand, StateFacts, status_word
from linewatch.plc.modbus.server import Meters, ModbusServer
from linewatch.plc_settings import ModbusSettings
from tests.mosquitto import free_port
from tests.plc.served import WAIT_S, ServedAdapter


class Served(ServedAdapter):
    """A running server; every command is answered as done. `changes` are its settings."""

    def __init__(self, **changes: Any) -> None:
        super().__init__()
        self.settings = ModbusSettings(enabled=True, port=free_port(), **changes)
        self.client_troubles: list[str] = []
        self.bug: Exception | None = None
        self.server = ModbusServer(
            self.settings,
            self._announce,
            self._submit,
            Meters(request=self._count, connection=self._count, clients=self._show_clients),
            on_change=self._note,
            client_changed=self._note_client,
        )

    @property
    def adapter(self) -> ModbusServer:
        """The server."""
        return self.server

    def __enter__(self) -> Self:
        super().__enter__()
        self.wait(lambda: bool(self.troubles))
        return self

    def answer_to(self, command: Command | InvalidCommand) -> Answer:
        """Carry out a pause, and return what the station answers."""
        if isinstance(command, Command) and command.name == "pause":
            self.state = State.PAUSED
        return super().answer_to(command)

    def connect(self, address: str = "127.0.0.1") -> "Raw":
        """Connect from one of this machine's addresses."""
        return Raw(self.settings.port, address)

    def _announce(self) -> Announcement:
        if self.bug:
            bug, self.bug = self.bug, None
            raise bug
        return Announcement(StateFacts(station="s", boot=41, state=self.state), status_word(self.state))

    def _note_client(self, trouble: str) -> None:
        with self._changed:
            self.client_troubles.append(trouble)
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
