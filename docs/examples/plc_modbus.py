"""The PLC's side over Modbus TCP, runnable: trigger each part, wait for its verdict, pass or reject it.

    python docs/examples/plc_modbus.py --product-index 1 [--host STATION] [--port 5020] [--parts 10]
        [--window-ms 400] [--poll-ms 10]

`Gate` is what belongs into a PLC program: no sockets, no threads, time as an argument. docs/plc.md has it in
Structured Text. The station runs with modbus.enabled = true and trigger.mode = "mqtt".
"""

import argparse
import random
import socket
import struct
import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

HEARTBEAT_S = 2.0
SILENCE_S = 10.0  # Without an answer for so long the program gives up.
READY = 1 << 1
NUMBERS = 65535  # Request numbers are 1 to this.
# Registers; docs/plc.md has all of them.
READ = 36  # 0 to 35: word, verdict block and acknowledgements in one request, so they are of one moment.
WORD, BLOCK, BOOT, CODE, REASON, PRODUCT, TRIGGER, BLOCK_END, ACKNOWLEDGED, ANSWER = (
    0, 10, 11, 14, 15, 16, 23, 29, 30, 31,
)  # fmt: skip
CLIENT_BEAT, CLIENT_BOOT, REQUEST = 100, 101, 110
RECENT, RECENT_READ, BLOCK_SIZE = 200, 120, 20  # The last six verdicts, the newest first, as in 10 to 29.


class Gate:
    """Opens for a part only after its PASS. All times are seconds of one monotonic clock.

    `window_s` begins with the trigger and must be twice the station's limits.deadline_ms at least.
    """

    def __init__(self, product_index: int, window_s: float) -> None:
        self._product_index = product_index
        self._window_s = window_s
        self._heartbeat = -1
        self._beaten_s = float("-inf")
        self._block = 0  # Number of the newest verdict seen.
        self._request = 0  # The trigger that is open; 0 is none.
        self._until_s = 0.0
        self._refusal = ""
        self.boot = 0
        self.why = ""  # For people: the cause of the last reject.

    def trigger(self, request: int, now_s: float) -> None:
        """Note that a part is in place and its request is written now."""
        self._request, self._until_s = request, now_s + self._window_s
        self._refusal = "no acknowledgement of the trigger in the window"

    def missed(self, registers: list[int]) -> bool:
        """Whether more than one verdict came since the last scan: then read 200 to 319, too."""
        return registers[BLOCK] != 0 and (registers[BLOCK] - self._block) % NUMBERS > 1

    def scan(self, registers: list[int] | None, now_s: float, recent: Sequence[int] = ()) -> str:
        """Take registers 0 to 35, None if they could not be read; call it every scan.

        `recent` are registers 200 to 319 if verdicts were `missed`. Return "PASS", "REJECT", or "" while
        no part waits or its verdict is not there.
        """
        decision = self._taken(registers, recent, now_s) if registers else ""
        if self._request and not decision and now_s >= self._until_s:
            decision, self.why = "REJECT", self._refusal
        if decision:
            self._request = 0  # One verdict for one part, whatever it says.
        return decision

    def _taken(self, registers: list[int], recent: Sequence[int], now_s: float) -> str:
        if registers[WORD] >> 12 != self._heartbeat:
            self._heartbeat, self._beaten_s = registers[WORD] >> 12, now_s
        if registers[BOOT] != self.boot:
            self.boot, self._block = registers[BOOT], 0  # The station counts from the beginning.
        verdict = self._new_verdict(registers, recent)
        if not self._request or registers[ACKNOWLEDGED] != self._request:
            return ""
        if registers[ANSWER]:
            self._refusal = f"trigger refused: code {registers[ANSWER]}"
            return ""
        self._refusal = "no verdict in the window"
        if not verdict:
            return ""
        self.why = self._objection(registers[WORD], verdict, now_s)
        return "REJECT" if self.why else "PASS"

    def _new_verdict(self, registers: list[int], recent: Sequence[int]) -> dict[int, int]:
        """Return the new block of the open request, by register as in 10 to 29; {} if there is none."""
        contents = [registers[BLOCK : BLOCK_END + 1]]
        contents += [list(recent[at : at + BLOCK_SIZE]) for at in range(0, len(recent), BLOCK_SIZE)]
        blocks = [dict(enumerate(content, BLOCK)) for content in contents]
        whole = [block for block in blocks if block[BLOCK] == block[BLOCK_END] != 0]
        new = [block for block in whole if not self._block or self._is_later(block[BLOCK])]
        if new:
            self._block = new[0][BLOCK]
        return next((block for block in new if block[TRIGGER] == self._request), {})

    def _is_later(self, number: int) -> bool:
        """Whether a block came after the newest one seen; after 65535 comes 1."""
        return 0 < (number - self._block) % NUMBERS < NUMBERS // 2

    def _objection(self, word: int, verdict: dict[int, int], now_s: float) -> str:
        """Return why a verdict does not open the gate, "" if it does."""
        product = verdict[PRODUCT]
        objections = {
            f"result {verdict[CODE]}, reason {verdict[REASON]}": verdict[CODE] != 1,
            f"product {product}, not {self._product_index}": product != self._product_index,
            "verdict after the window": now_s >= self._until_s,
            "station not ready": not word & READY,
            "heartbeat stands still": now_s - self._beaten_s >= HEARTBEAT_S,
        }
        return next((why for why, holds in objections.items() if holds), "")


class Modbus:
    """A connection to the station. Every method raises OSError when it is lost or a request is refused."""

    def __init__(self, host: str, port: int, timeout_s: float = 1.0) -> None:
        self._socket = socket.create_connection((host, port), timeout_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._transaction = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def read(self, first: int, count: int) -> list[int]:
        """Read input registers (function 4)."""
        answer = self._ask(struct.pack(">BHH", 4, first, count))
        return list(struct.unpack(f">{count}H", answer[2:]))

    def write(self, first: int, *values: int) -> None:
        """Write holding registers (function 16)."""
        count = len(values)
        self._ask(struct.pack(f">BHHB{count}H", 16, first, count, 2 * count, *values))

    def _ask(self, pdu: bytes) -> bytes:
        self._transaction = (self._transaction + 1) & 0xFFFF
        self._socket.sendall(struct.pack(">HHHB", self._transaction, 0, len(pdu) + 1, 1) + pdu)
        transaction, _, length, _ = struct.unpack(">HHHB", self._receive(7))
        answer = self._receive(length - 1)
        if transaction != self._transaction:
            raise ConnectionError("an answer to another request")
        if answer[0] & 0x80:
            raise ConnectionError(f"exception {answer[1]}")
        return answer

    def _receive(self, count: int) -> bytes:
        received = b""
        while len(received) < count:
            more = self._socket.recv(count - len(received))
            if not more:
                raise ConnectionError("the station closed the connection")
            received += more
        return received


def text_registers(text: str) -> list[int]:
    """Return a part's text as 32 registers of two characters each."""
    payload = text.encode()[:64].ljust(64, b"\0")
    return list(struct.unpack(">32H", payload))


def main() -> int:
    """Trigger parts and print each decision; exit 1 if one was rejected."""
    parser = argparse.ArgumentParser(prog="plc_modbus.py")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=5020)
    parser.add_argument("--product-index", type=int, default=1)
    parser.add_argument("--parts", type=int, default=10)
    parser.add_argument("--window-ms", type=int, default=400)
    parser.add_argument("--poll-ms", type=int, default=10)
    options = parser.parse_args()
    gate = Gate(options.product_index, options.window_ms / 1000)
    first = random.randrange(NUMBERS)  # Not that of the last run: the same number again is the same trigger.
    try:
        with Modbus(options.host, options.port) as station:
            decisions = [
                _one_part(gate, station, (first + part) % NUMBERS + 1, f"P{part}", options.poll_ms / 1000)
                for part in range(1, options.parts + 1)
            ]
            station.write(CLIENT_BEAT, 0)  # Going is not dying.
    except OSError as error:
        sys.exit(
            f"plc_modbus.py: no station at {options.host}:{options.port} ({error}); does it run with "
            "modbus.enabled = true, and is this address in its modbus.clients?"
        )
    return int("REJECT" in decisions)


def _one_part(gate: Gate, station: Modbus, request: int, part: str, poll_s: float) -> str:
    _await_heartbeat(gate, station, poll_s)  # Every part begins with a fresh heartbeat.
    station.write(CLIENT_BEAT, request, gate.boot)  # A station started since then refuses the request.
    gate.trigger(request, time.monotonic())
    station.write(REQUEST, request, 0, *text_registers(part))  # Number, expiry, part.
    decision = ""
    while not decision:
        registers = station.read(0, READ)
        recent = station.read(RECENT, RECENT_READ) if gate.missed(registers) else ()
        decision = gate.scan(registers, time.monotonic(), recent)
        time.sleep(0 if decision else poll_s)
    print(f"part {part}: {decision}", f"({gate.why})" if decision == "REJECT" else "", flush=True)
    return decision


def _await_heartbeat(gate: Gate, station: Modbus, poll_s: float) -> None:
    silent_s = time.monotonic() + SILENCE_S
    before = station.read(WORD, 1)[0] >> 12
    while time.monotonic() < silent_s:
        registers = station.read(0, READ)
        gate.scan(registers, time.monotonic())
        if registers[WORD] >> 12 != before:
            return
        time.sleep(poll_s)
    sys.exit("plc_modbus.py: the station's heartbeat stands still")


if __name__ == "__main__":
    sys.exit(main())
