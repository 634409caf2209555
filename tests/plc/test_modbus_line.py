"""End to end over Modbus: the real daemon, beside MQTT, with the client of docs/examples."""

import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from docs.examples.plc_modbus import Gate, Modbus, text_registers
from tests.daemon import ROOT, Daemon, verdicts
from tests.mosquitto import Mosquitto, Subscriber, free_port
from tests.plc.modbus import Raw

WAIT_S = 15.0
WORD, STATE, BLOCK, BOOT, CODE, REASON, TRIGGER, BLOCK_END = 0, 2, 10, 11, 14, 15, 23, 29
CHANGEOVER, READY, PAUSED, FAULT = 3, 4, 6, 7


def settings(**changes: object) -> dict[str, object]:
    """Return settings of a station that is triggered over Modbus and passes every part."""
    # A machine that is busy with other tests may read a PASS later than a PLC does.
    modbus = {"modbus.enabled": True, "modbus.port": free_port(), "modbus.pass_s": 60.0}
    return {"trigger.mode": "mqtt", "source.uri": "defects=0", **modbus, **changes}


def connected(port: int) -> Modbus:
    """Connect once the server listens, which it does soon after the daemon's start."""
    until_s = time.monotonic() + WAIT_S
    while True:
        try:
            return Modbus("127.0.0.1", port)
        except ConnectionRefusedError:
            assert time.monotonic() < until_s
            time.sleep(0.01)


def until(station: Modbus, seen: Callable[[list[int]], bool]) -> list[int]:
    """Read until the registers show something; return them."""
    until_s = time.monotonic() + WAIT_S
    while not seen(registers := station.read(0, 36)):
        assert time.monotonic() < until_s, registers
        time.sleep(0.01)
    return registers


def answered(station: Modbus, register: int, number: int) -> int:
    """Wait for the acknowledgement of a request; return its code."""
    return until(station, lambda registers: registers[register] == number)[register + 1]


def test_each_part_has_one_verdict_in_the_block_and_it_is_that_of_mqtt(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    """20 parts triggered over Modbus: block, MQTT and journal say the same of each, and so does the word."""
    changes = settings(**{"source.uri": "defects=0.4"})
    port = int(str(changes["modbus.port"]))
    blocks = []
    with (
        Subscriber(mosquitto.port) as ear,
        Daemon(tmp_path, mosquitto.port, changes) as daemon,
        connected(port) as station,
    ):
        until(station, lambda registers: registers[STATE] == READY)
        ear.wait(lambda ear: bool(ear.on("t/plc/word")), "the status word")
        for number in range(1, 21):
            station.write(110, number, 0, *text_registers(f"A{number:03}"))
            blocks.append(
                until(station, lambda registers, number=number: registers[TRIGGER] == number)  # type: ignore[misc]  # bound now
            )
        words_before = len(ear.on("t/plc/word"))
        ear.wait(lambda ear: len(ear.on("t/plc/word")) > words_before + 2, "two more words")
        word = station.read(WORD, 1)[0]
        words = [int(text) for text in ear.on("t/plc/word")]
        assert daemon.stop() == 0

    live = verdicts(ear.on("t/verdict"))
    assert [(v["trigger"], v["part"]) for v in live] == [(n, f"A{n:03}") for n in range(1, 21)]
    assert {v["result"] for v in live} == {"PASS", "FAIL"}
    keys = ("boot", "seq", "code", "reason", "product_index", "latency_ms", "score")
    assert [
        (r[11], (r[12] << 16) + r[13], *r[14:19], r[19:23], r[23]) for r in blocks
    ] == [(*(v[key] for key in keys), v["box"], v["trigger"]) for v in live]  # fmt: skip
    assert [(r[BLOCK], r[BLOCK_END]) for r in blocks] == [(n, n) for n in range(1, 21)]
    assert [row["seq"] for row in daemon.rows()] == list(range(1, 21))
    assert word in words  # With the heartbeat, if it was read in the same half second.
    assert word & 0xFFF == words[-1] & 0xFFF


def test_pause_changeover_fault_stop_and_kill_as_the_client_sees_them(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    """No PASS of a part before can be read in any of them; the table in docs/plc.md."""
    changes = settings()
    port = int(str(changes["modbus.port"]))
    with Daemon(tmp_path, mosquitto.port, changes) as daemon:
        with connected(port) as station:

            def passes(number: int) -> None:
                until(station, lambda registers: registers[STATE] == READY)
                station.write(110, number)
                registers = until(station, lambda registers: registers[TRIGGER] == number)
                assert (registers[CODE], registers[WORD] >> 1 & 1) == (1, 1)

            def refuses(number: int, state: int) -> None:
                registers = until(station, lambda registers: registers[STATE] == state)
                block = registers[BLOCK]
                assert (registers[CODE], registers[WORD] >> 1 & 1) == (0, 0)
                station.write(110, number)
                assert answered(station, 30, number) == 1
                assert station.read(BLOCK, 1) == [block]

            passes(1)
            station.write(160, 1, 2)  # Pause.
            assert answered(station, 34, 1) == 0
            refuses(2, PAUSED)
            station.write(160, 2, 3)  # Resume.
            assert answered(station, 34, 2) == 0
            passes(3)
            station.write(150, 1, 999)  # A product without a recipe.
            assert answered(station, 32, 1) == 5
            refuses(4, FAULT)
            station.write(150, 2, 1)
            assert answered(station, 32, 2) == 0
            passes(5)
            with Raw(port, "127.0.0.1") as raw:  # A product request and a read, of one moment.
                answer = raw.ask(struct.pack(">BHHHHBHH", 23, 0, 30, 150, 2, 4, 3, 1))
            registers = list(struct.unpack(">30H", answer[2:]))
            assert (registers[STATE], registers[TRIGGER], registers[CODE]) == (CHANGEOVER, 5, 0)
            assert answered(station, 32, 3) == 0
            passes(6)
            assert daemon.stop() == 0
            with pytest.raises(OSError):
                station.read(WORD, 1)
        with Daemon(tmp_path, mosquitto.port, changes) as again, connected(port) as station:
            registers = until(station, lambda registers: registers[STATE] == READY)
            assert (registers[BLOCK], registers[BOOT], registers[CODE]) == (0, 2, 0)
            station.write(101, 1)
            station.write(110, 5)  # As a client does that repeats its outputs.
            assert answered(station, 30, 5) == 3
            assert station.read(BLOCK, 1) == [0]
            again.process.kill()
            again.process.wait()
            with pytest.raises(OSError):
                station.read(WORD, 1)

    assert [row["trigger"] for row in daemon.rows()] == [1, 3, 5, 6]


def test_a_lost_camera_is_an_error_for_every_trigger(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """The part gets its verdict in time, ERROR 40, from a station in FAULT."""
    changes = settings(**{"source.kind": "camera", "source.uri": "/dev/video97"})
    with (
        Daemon(tmp_path, mosquitto.port, changes),
        connected(int(str(changes["modbus.port"]))) as station,
    ):
        until(station, lambda registers: registers[STATE] == FAULT)
        station.write(110, 7)
        registers = until(station, lambda registers: registers[TRIGGER] == 7)

    assert (registers[CODE], registers[REASON]) == (4, 40)
    assert not registers[WORD] & 2


def test_a_client_that_dies_pauses_the_station_if_it_is_set_so(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """Its heartbeat stood still: DEGRADED, an event, PAUSED; it comes back and resumes."""
    changes = settings(**{"modbus.client_lost": "pause", "modbus.watchdog_s": 0.3})
    port = int(str(changes["modbus.port"]))
    with Subscriber(mosquitto.port) as ear, Daemon(tmp_path, mosquitto.port, changes):
        with connected(port) as station:
            until(station, lambda registers: registers[STATE] == READY)
            station.write(100, 1)
        with connected(port) as station:
            assert until(station, lambda registers: registers[STATE] == PAUSED)[4] == 2
            station.write(100, 2)
            station.write(100, 0)
            station.write(160, 1, 3)
            until(station, lambda registers: registers[STATE] == READY)
        ear.wait(lambda ear: len(ear.on("t/event")) >= 2, "both edges")

    events = [event["event"] for event in verdicts(ear.on("t/event"))]
    assert [name for name in events if name.startswith("plc_")] == ["plc_impaired", "plc_restored"]


def test_modbus_works_without_mqtt(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """A PLC that has nothing else triggers parts, and the program of docs/examples decides on each."""
    changes = settings(**{"mqtt.enabled": False})
    port = str(changes["modbus.port"])
    with Daemon(tmp_path, mosquitto.port, changes):
        with connected(int(port)) as station:
            until(station, lambda registers: registers[STATE] == READY)
        enough = play("--port", port, "--parts", "3", "--window-ms", "8000")
        none = play("--port", port, "--parts", "1", "--window-ms", "1")
        other = play("--port", port, "--parts", "1", "--window-ms", "8000", "--product-index", "2")

    assert enough == (0, ["PASS"] * 3)
    assert none[0] == 1 and none[1][0].startswith("REJECT (no ")
    assert other == (1, ["REJECT (product 1, not 2)"])


def play(*options: str) -> tuple[int, list[str]]:
    """Run the example; return its exit status and its decision for each part."""
    command = [sys.executable, "docs/examples/plc_modbus.py", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr == ""
    return done.returncode, [line.partition(": ")[2].rstrip() for line in done.stdout.splitlines()]


def registers_of(**changes: int) -> list[int]:
    """Return registers 0 to 35 with a PASS of product 3 for request 17; `changes` by name."""
    usual = {"word": 0x5003, "block": 8, "boot": 41, "code": 1, "reason": 0, "product": 3, "trigger": 17,
             "block_end": 8, "acknowledged": 17, "answer": 0}  # fmt: skip
    places = dict(zip(usual, (0, 10, 11, 14, 15, 16, 23, 29, 30, 31), strict=True))
    registers = [0] * 36
    for name, value in {**usual, **changes}.items():
        registers[places[name]] = value
    return registers


def open_gate() -> Gate:
    """Return a gate for product 3 with a window of 0.4 s, whose request 17 was written at 10.0."""
    gate = Gate(3, 0.4)
    gate.scan(registers_of(word=0x4003, block=7, block_end=7, trigger=16, acknowledged=16), 9.5)
    gate.trigger(17, 10.0)
    return gate


def test_the_examples_gate_opens_for_a_pass_of_this_part() -> None:
    """The only case that opens it; a second reading counts for no part."""
    gate = open_gate()

    assert gate.scan(registers_of(), 10.3) == "PASS"
    assert gate.scan(registers_of(), 10.31) == ""


@pytest.mark.parametrize(
    "changes",
    [{"code": 0}, {"code": 2}, {"code": 3}, {"code": 4}, {"product": 4}, {"word": 0x5001}],
    ids=["withdrawn", "FAIL", "UNSURE", "ERROR", "other product", "not ready"],
)
def test_the_examples_gate_rejects_every_other_verdict(changes: dict[str, int]) -> None:
    """At once, with the cause."""
    gate = open_gate()

    assert gate.scan(registers_of(**changes), 10.3) == "REJECT"
    assert gate.why


@pytest.mark.parametrize(
    "changes",
    [{"block": 7, "block_end": 7}, {"block_end": 7}, {"trigger": 16}, {"acknowledged": 16}, {"answer": 2}],
    ids=["seen before", "torn", "another part's", "not acknowledged", "refused"],
)
def test_the_examples_gate_waits_for_this_parts_verdict_and_then_rejects(changes: dict[str, int]) -> None:
    """What is not this part's verdict is none, and when the window is over the part is a reject."""
    gate = open_gate()

    assert gate.scan(registers_of(**changes), 10.3) == ""
    assert gate.scan(registers_of(**changes), 10.4) == "REJECT"
    assert gate.scan(registers_of(), 10.41) == ""


def test_the_examples_gate_finds_its_verdict_among_the_recent_ones() -> None:
    """Two verdicts came since the last scan: its own is not the newest."""
    newest = registers_of(block=9, block_end=9, trigger=18)
    mine = registers_of()[10:30]
    seen_before = registers_of(block=7, block_end=7, code=2)[10:30]

    gate = open_gate()
    assert not gate.missed(registers_of()) and gate.missed(newest)
    assert gate.scan(newest, 10.3, [*newest[10:30], *mine, *seen_before]) == "PASS"

    gate = open_gate()
    assert gate.scan(newest, 10.3, [*newest[10:30], *seen_before]) == ""


def test_the_examples_gate_rejects_without_a_station() -> None:
    """A connection that is lost and a heartbeat that stands still."""
    gate = open_gate()
    assert gate.scan(None, 10.39) == ""
    assert gate.scan(None, 10.4) == "REJECT"

    silent = Gate(3, 0.4)
    silent.scan(registers_of(block=7, block_end=7), 8.0)
    silent.trigger(17, 10.0)
    assert silent.scan(registers_of(), 10.1) == "REJECT"
    assert silent.why == "heartbeat stands still"
