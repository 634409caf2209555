"""Trigger parts over Modbus with libmodbus, beside MQTT; exits 1 unless each has its one verdict, in time.

    python -m tests.benchmarks.modbus [--count 2000] [--rate 10] [--hostile]

First the same number of parts is triggered over MQTT with Modbus off: the verdicts' latency (exposure to
verdict) may grow by a tenth at most. With --hostile, other clients send 1,000 malformed frames, half a
request, and vanish.
"""

import argparse
import ctypes
import ctypes.util
import json
import random
import socket
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tests.daemon import Daemon, verdicts
from tests.mosquitto import Mosquitto, Subscriber, free_port

DEADLINE_MS = 200
WINDOW_S = 2 * DEADLINE_MS / 1000  # Of the PLC, from the trigger.
POLL_S = 0.01
ALLOWED_RATIO = 1.1
MALFORMED = 1000
SETTINGS: dict[str, object] = {
    "trigger.mode": "mqtt",
    "source.uri": "defects=0.2",
    "limits.deadline_ms": DEADLINE_MS,
    "limits.frame_age_ms_max": 500,
}


class LibModbus:
    """A connection by libmodbus, the C library."""

    def __init__(self, port: int) -> None:
        name = ctypes.util.find_library("modbus")
        assert name, "libmodbus is not installed; apt-get install mbpoll"
        self._library = ctypes.CDLL(name, use_errno=True)
        self._library.modbus_new_tcp.restype = ctypes.c_void_p
        self._context = ctypes.c_void_p(self._library.modbus_new_tcp(b"127.0.0.1", port))
        assert self._library.modbus_connect(self._context) == 0, ctypes.get_errno()

    def read(self, first: int, count: int) -> list[int]:
        """Read input registers."""
        registers = (ctypes.c_uint16 * count)()
        got = self._library.modbus_read_input_registers(self._context, first, count, registers)
        assert got == count, ctypes.get_errno()
        return list(registers)

    def write(self, first: int, values: list[int]) -> None:
        """Write holding registers."""
        registers = (ctypes.c_uint16 * len(values))(*values)
        put = self._library.modbus_write_registers(self._context, first, len(values), registers)
        assert put == len(values), ctypes.get_errno()

    def close(self) -> None:
        """Disconnect."""
        self._library.modbus_close(self._context)
        self._library.modbus_free(self._context)


@dataclass
class Seen:
    """What the PLC read in the block, and what MQTT said of the same parts."""

    blocks: dict[int, list[list[int]]] = field(default_factory=dict)  # By request number, 20 registers each.
    answered_ms: list[float] = field(default_factory=list)  # From the trigger's write to the block's reading.
    live: list[dict[str, object]] = field(default_factory=list)
    block: int = 0  # Number of the newest.
    jumps: int = 0  # Readings after which the recent blocks were read, too.
    refused: int = 0  # Readings with a trigger that was answered with another code than 0.

    @property
    def latencies_ms(self) -> list[float]:
        """Return each verdict's latency."""
        return [float(str(verdict["latency_ms"])) for verdict in self.live]

    def faults(self, count: int) -> list[str]:
        """Return what is wrong, [] if each part has its one verdict on both sides, and none is late."""
        by_trigger = {verdict["trigger"]: verdict for verdict in self.live}
        found = [f"{self.refused} readings with a refused trigger"] if self.refused else []
        if by_trigger.keys() != set(range(1, count + 1)) or len(self.live) != count:
            found.append(f"{len(self.live)} verdicts on MQTT")
        for number in range(1, count + 1):
            blocks, verdict = self.blocks.get(number, []), by_trigger.get(number, {})
            if len(blocks) != 1:
                found.append(f"part {number} has {len(blocks)} blocks")
                continue
            (block,) = blocks
            same = (verdict.get("seq"), verdict.get("code"), verdict.get("score"), verdict.get("part"))
            if same != ((block[2] << 16) + block[3], block[4], block[8], f"A{number:05d}"):
                found.append(f"part {number} is {block} in the block and {same} on MQTT")
            if verdict.get("late"):
                found.append(f"part {number} is late")
        return found


def by_mqtt(folder: Path, broker: Mosquitto, count: int, rate: float) -> Seen:
    """Trigger parts over MQTT, with Modbus off."""
    with Subscriber(broker.port) as ear, Daemon(folder, broker.port, SETTINGS) as daemon:
        ear.wait(lambda ear: any('"READY"' in state for state in ear.on("t/state")))
        for number in paced(count, rate):
            ear.say("t/cmd/trigger", json.dumps({"rid": number, "part": f"A{number:05d}"}))
        ear.wait(lambda ear: len(ear.on("t/verdict")) >= count, "every verdict")
        assert daemon.stop() == 0
    return Seen(live=verdicts(ear.on("t/verdict")))


def by_modbus(folder: Path, broker: Mosquitto, count: int, rate: float, hostile: bool) -> Seen:
    """Trigger parts over Modbus and read their verdicts there, as a PLC does."""
    port, seen = free_port(), Seen()
    written_s: dict[int, float] = {}
    changes = SETTINGS | {"modbus.enabled": True, "modbus.port": port}
    with Subscriber(broker.port) as ear, Daemon(folder, broker.port, changes) as daemon:
        ear.wait(lambda ear: any('"READY"' in state for state in ear.on("t/state")))
        plc = LibModbus(port)
        with hostility(port, count / rate) if hostile else nothing():
            due_s = time.monotonic()
            for number in range(1, count + 1):
                part = struct.unpack(">3H", f"A{number:05d}".encode())
                written_s[number] = time.monotonic()
                plc.write(110, [number, 0, *part])
                due_s = max(due_s + 1 / rate, time.monotonic())
                poll(plc, seen, written_s, due_s)
            poll(plc, seen, written_s, time.monotonic() + WINDOW_S)
        ear.wait(lambda ear: len(ear.on("t/verdict")) >= count, "every verdict")
        plc.close()
        assert daemon.stop() == 0
        print("     " + "; ".join(_metrics_lines(daemon)))
    seen.live = verdicts(ear.on("t/verdict"))
    return seen


def poll(plc: LibModbus, seen: Seen, written_s: dict[int, float], until_s: float) -> None:
    """Read the block until then, and keep each new one; after a jump of its number also the recent ones."""
    while time.monotonic() < until_s:
        registers = plc.read(0, 36)
        blocks = [registers[10:30]]
        if registers[10] > seen.block + 1:  # Two verdicts in one interval.
            recent = plc.read(200, 120)
            blocks = [recent[at : at + 20] for at in range(0, 120, 20)]
            seen.jumps += 1
        for block in reversed(blocks):
            if block[0] == block[19] > seen.block:
                seen.block = block[0]
                seen.blocks.setdefault(block[13], []).append(block)
                seen.answered_ms.append(1000 * (time.monotonic() - written_s[block[13]]))
        seen.refused += registers[31] != 0
        time.sleep(POLL_S)


def _metrics_lines(daemon: Daemon) -> Iterator[str]:
    """Yield what the log says about the server."""
    for event in ("adapter_failed", "modbus_client_malformed", "impaired part"):
        yield f"{event} {daemon.log.count(event)}"


def paced(count: int, rate: float) -> Iterator[int]:
    """Yield 1 to `count`, `rate` a second."""
    due_s = time.monotonic()
    for number in range(1, count + 1):
        time.sleep(max(0.0, due_s - time.monotonic()))
        due_s = max(due_s + 1 / rate, time.monotonic())
        yield number


@contextmanager
def nothing() -> Iterator[None]:
    """Do nothing."""
    yield


@contextmanager
def hostility(port: int, for_s: float) -> Iterator[None]:
    """Disturb the server from another address while the block runs."""
    ended = threading.Event()

    def disturb() -> None:
        chance, pause_s = random.Random(7), 0.8 * for_s / MALFORMED
        request = struct.pack(">HHHBBHH", 1, 0, 6, 1, 4, 0, 36)
        half_open: list[socket.socket] = []
        for turn in range(MALFORMED):
            if ended.wait(pause_s):
                return
            client = socket.create_connection(("127.0.0.1", port), 5, source_address=("127.0.0.3", 0))
            damaged = bytearray(request)
            damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
            client.sendall(chance.choice([bytes(damaged), chance.randbytes(200), request[:5]]))
            if turn % 10 == 0:  # Half-open: neither closed nor continued.
                half_open.append(client)
            elif turn % 10 == 1:  # Gone, with a reset.
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()
            else:
                client.close()
        for client in half_open:
            client.close()

    thread = threading.Thread(target=disturb)
    thread.start()
    yield
    ended.set()
    thread.join()


def main() -> int:
    """Run both and print the outcome; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.modbus")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--rate", type=float, default=10.0)
    parser.add_argument("--hostile", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        broker = Mosquitto(Path(name))
        broker.start()
        folders = [Path(name, folder) for folder in ("mqtt", "modbus")]
        for folder in folders:
            folder.mkdir()
        try:
            without = by_mqtt(folders[0], broker, options.count, options.rate)
            beside = by_modbus(folders[1], broker, options.count, options.rate, options.hostile)
        finally:
            broker.stop()
    faults = beside.faults(options.count)
    before, after = (np.quantile(seen.latencies_ms, (0.5, 0.95, 0.99)) for seen in (without, beside))
    read_ms = np.quantile(beside.answered_ms or [0.0], (0.5, 0.95, 0.99, 1.0))
    held = not faults and after[1] <= ALLOWED_RATIO * before[1]
    print(
        f"{'ok ' if held else 'BAD'} {options.count} parts over Modbus: {len(faults)} faults {faults[:3]}; "
        f"exposure to verdict p50/p95/p99 {_ms(after)} ms, without Modbus {_ms(before)} ms (p95 x "
        f"{after[1] / before[1]:.2f}); recent blocks read {beside.jumps} times; trigger "
        f"written to verdict read p50/p95/p99/max {_ms(read_ms)} ms"
    )
    return 0 if held else 1


def _ms(values: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> str:
    return " / ".join(f"{value:.1f}" for value in values)


if __name__ == "__main__":
    sys.exit(main())
