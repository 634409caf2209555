"""The Modbus register map: addresses, and how values become registers. No I/O.

All registers are unsigned, 16 bits, high byte first; what needs more has its high word first. Function codes
3 and 4 read the same registers. docs/plc.md has the map as a table.
"""

from linewatch.domain import State, Verdict
from linewatch.plc.newest import RECENT as RECENT_VERDICTS

VERSION = 1

# What the station writes.
READ_ONLY = range(48)
WORD, MAP_VERSION, STATE, PRODUCT, WATCHDOG, CLIENTS = range(6)
BLOCK, BLOCK_END = 10, 29  # Both hold the block's number.
BOOT = 11
RECENT = range(200, 200 + 20 * RECENT_VERDICTS)  # The newest verdict's block, then that before it, and so on.
ACKNOWLEDGED = {"trigger": 30, "product": 32, "control": 34}  # Request number; the code follows.

# What the client writes.
WRITABLE = range(100, 164)
CLIENT_BEAT, CLIENT_BOOT = 100, 101
REQUESTED = {"trigger": 110, "product": 150, "control": 160}  # Request numbers.
TRIGGER_EXPIRY_MS, PRODUCT_INDEX, CONTROL_COMMAND = 111, 151, 161
PART = range(112, 144)  # Two characters each.
CONTROLS = {1: "reset", 2: "pause", 3: "resume", 4: "selftest", 5: "rebirth"}

REGISTER_MAX = 0xFFFF

STATE_NUMBERS = {
    State.STARTING: 1,
    State.SELFTEST: 2,
    State.CHANGEOVER: 3,
    State.READY: 4,
    State.DEGRADED: 5,
    State.PAUSED: 6,
    State.FAULT: 7,
    State.STOPPED: 8,
}


def low_word(number: int) -> int:
    """Return the last 16 bits, as for a counter that wraps."""
    return number & REGISTER_MAX


def saturated(number: int) -> int:
    """Return the number, at least 0 and at most 65535."""
    return max(0, min(number, REGISTER_MAX))


def block_registers(number: int, verdict: Verdict, code: int, age_ms: int) -> list[int]:
    """Return registers 10 to 29: one verdict between two copies of its number."""
    return [
        number,
        low_word(verdict.boot),
        low_word(verdict.seq >> 16),
        low_word(verdict.seq),
        code,
        int(verdict.reason),
        saturated(verdict.product_index),
        saturated(verdict.latency_ms),
        saturated(verdict.score),
        *map(saturated, verdict.box),
        verdict.trigger,
        saturated(age_ms),
        saturated(verdict.defects),
        int(verdict.late) | int(verdict.simulated) << 1,
        verdict.region_index,
        0,
        number,
    ]


def text_of(registers: list[int]) -> str:
    """Return the text in registers of two characters each, up to the first NUL.

    It is UTF-8 or, if it is not, Latin-1, as in MQTT commands.
    """
    payload = b"".join(register.to_bytes(2, "big") for register in registers).partition(b"\0")[0]
    try:
        return payload.decode()
    except UnicodeDecodeError:
        return payload.decode("latin-1")
