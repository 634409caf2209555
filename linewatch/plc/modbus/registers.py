"""The registers' content: verdict block, handshakes and the client's watchdog."""

import time
from collections.abc import Callable, Sequence
from typing import Literal

from linewatch.domain import Answer, ReplyCode, Verdict
from linewatch.mqtt.messages import Command, InvalidCommand
from linewatch.plc.adapter import Announce, Submit
from linewatch.plc.modbus import register_map as at
from linewatch.plc.newest import NewestVerdict, Shown

Watchdog = Literal["off", "alive", "lost"]
_WATCHDOG_NUMBERS: dict[Watchdog, int] = {"off": 0, "alive": 1, "lost": 2}


class Registers:
    """What clients read and write.

    `publish` is called by one thread, answers come from any, everything else from the server's thread. Each
    value is one reference to something frozen, so a read in one request is consistent without a lock.
    """

    def __init__(
        self,
        announce: Announce,
        submit: Submit,
        *,
        pass_s: float,
        watchdog_s: float,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._announce = announce
        self._submit = submit
        self._newest = NewestVerdict(announce, pass_s, clock_ns)
        self._watchdog_ns = round(watchdog_s * 1e9)
        self._clock_ns = clock_ns
        self._acknowledged = dict.fromkeys(at.REQUESTED, (0, 0))  # Number and code of the newest answer.
        self._asked = dict.fromkeys(at.REQUESTED, 0)  # Number of the newest request.
        self._written = [0] * len(at.WRITABLE)
        self._client_beat_ns = 0
        self.clients = 0  # Connections, as the server counts them.

    def publish(self, verdict: Verdict) -> None:
        """Put the block of a new verdict before the others."""
        self._newest.publish(verdict)

    @property
    def watchdog(self) -> Watchdog:
        """Whether the client's heartbeat goes on: "off" until one is written, or while it is 0."""
        if not self._written[at.CLIENT_BEAT - at.WRITABLE.start]:
            return "off"
        return "alive" if self._clock_ns() - self._client_beat_ns <= self._watchdog_ns else "lost"

    def read(self, first: int, count: int) -> list[int] | None:
        """Return registers, all of one moment; None if there are none at these addresses."""
        wanted = range(first, first + count)
        areas = {
            at.READ_ONLY: self._station_registers,
            at.RECENT: self._recent_registers,
            at.WRITABLE: self._written.copy,
        }
        for known, registers in areas.items():
            if wanted and wanted[0] in known and wanted[-1] in known:
                return registers()[first - known.start :][:count]
        return None

    def write(self, first: int, values: Sequence[int]) -> bool:
        """Write registers and carry out new requests; return False if a client may not write there."""
        written = range(first, first + len(values))
        if not written or written[0] not in at.WRITABLE or written[-1] not in at.WRITABLE:
            return False
        start = first - at.WRITABLE.start
        if at.CLIENT_BEAT in written and values[0] != self._written[start]:
            self._client_beat_ns = self._clock_ns()
        self._written[start : start + len(values)] = values
        for name, register in at.REQUESTED.items():
            number = self._register(register)
            if register in written and number not in (0, self._asked[name]):
                self._asked[name] = number
                self._carry_out(name, number)
        return True

    def _station_registers(self) -> list[int]:
        now, shown = self._newest.show()
        registers = [0] * len(at.READ_ONLY)
        registers[at.WORD] = now.word
        registers[at.MAP_VERSION] = at.VERSION
        registers[at.STATE] = at.STATE_NUMBERS[now.facts.state]
        registers[at.PRODUCT] = now.facts.product_index
        registers[at.BOOT] = at.low_word(now.facts.boot)  # Also before the first verdict.
        registers[at.WATCHDOG] = _WATCHDOG_NUMBERS[self.watchdog]
        registers[at.CLIENTS] = self.clients
        if shown is not None:
            registers[at.BLOCK : at.BLOCK_END + 1] = _content(shown)
        for name, register in at.ACKNOWLEDGED.items():
            registers[register : register + 2] = self._acknowledged[name]
        return registers

    def _recent_registers(self) -> list[int]:
        registers = [register for shown in self._newest.recent() for register in _content(shown)]
        return registers + [0] * (len(at.RECENT) - len(registers))

    def _carry_out(self, name: str, number: int) -> None:
        def done(answer: Answer) -> None:
            self._acknowledged[name] = (number, int(answer.code))

        boot = self._register(at.CLIENT_BOOT)
        command: Command | InvalidCommand
        if boot not in (0, at.low_word(self._announce().facts.boot)):
            why = f"the request is for boot {boot}; the station has been started since"
            command = InvalidCommand(name, number, why, ReplyCode.EXPIRED)
        else:
            command = self._command(name, number)
        self._submit(command, done)

    def _command(self, name: str, number: int) -> Command | InvalidCommand:
        if name == "trigger":
            part = at.text_of([self._register(register) for register in at.PART])
            exp_ms = self._register(at.TRIGGER_EXPIRY_MS)
            for register in (at.TRIGGER_EXPIRY_MS, *at.PART):  # They are this part's, not the next one's.
                self._written[register - at.WRITABLE.start] = 0
            return Command(name, number, part=part, exp_ms=exp_ms, who="modbus")
        if name == "product":
            index = self._register(at.PRODUCT_INDEX)
            if not 1 <= index <= 999:
                return InvalidCommand(name, number, f"product index {index} is not one of 1 to 999")
            return Command(name, number, index=index, who="modbus")
        control = self._register(at.CONTROL_COMMAND)
        if control not in at.CONTROLS:
            known = ", ".join(f"{number} ({name})" for number, name in at.CONTROLS.items())
            return InvalidCommand(name, number, f"control {control} is not one of {known}")
        return Command(at.CONTROLS[control], number, who="modbus")

    def _register(self, address: int) -> int:
        return self._written[address - at.WRITABLE.start]


def _content(shown: Shown) -> list[int]:
    return at.block_registers(shown.number, shown.verdict, shown.code, shown.age_ms)
