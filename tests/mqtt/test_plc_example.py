"""The PLC example: it opens only for a PASS of this part, in time, from a running station."""

import subprocess
import sys
from pathlib import Path

import pytest

from docs.examples.plc import Gate
from linewatch.domain import State
from linewatch.mqtt.messages import status_word
from tests.daemon import ROOT, Daemon
from tests.mosquitto import Mosquitto, Subscriber

PASS_LINE = "00041;0000001023;1;00;003;00024;#"


def gate_with_a_part(*, state: State = State.READY) -> Gate:
    """Return a gate for product 3 with a window of 0.4 s, whose part 17 was triggered at 10.0 and taken."""
    gate = Gate(3, 0.4)
    gate.word(str(status_word(state, heartbeat=5)), 9.5)
    gate.trigger(17, 10.0)
    gate.reply(17, 0)
    return gate


def test_a_pass_in_time_opens_the_gate() -> None:
    """The only case that opens it."""
    assert gate_with_a_part().verdict(PASS_LINE, 10.3) == "PASS"


@pytest.mark.parametrize(
    "line",
    [
        PASS_LINE.replace(";1;", ";2;"),
        PASS_LINE.replace(";1;", ";3;"),
        PASS_LINE.replace(";1;", ";4;"),
        PASS_LINE.replace(";1;", ";0;"),
        PASS_LINE.replace(";003;", ";004;"),
        PASS_LINE[:-1],
        PASS_LINE + "#",
        "0" * 33,
        "",
    ],
    ids=["FAIL", "UNSURE", "ERROR", "cleared", "other product", "cut", "longer", "zeros", "empty"],
)
def test_everything_else_is_a_reject(line: str) -> None:
    """Every other verdict rejects, an incomplete line included."""
    gate = gate_with_a_part()

    assert gate.verdict(line, 10.3) == "REJECT"
    assert gate.why


def test_a_pass_after_the_window_counts_for_no_part() -> None:
    """The part is rejected when its window ends; a later PASS does not count for the next part."""
    gate = gate_with_a_part()
    assert gate.tick(10.399) == ""
    assert gate.tick(10.4) == "REJECT"

    assert gate.verdict(PASS_LINE, 10.45) == ""
    gate.trigger(18, 10.5)
    assert gate.verdict(PASS_LINE, 10.51) == ""  # Held back by the broker: it comes before the reply.
    assert gate.tick(10.9) == "REJECT"


def test_one_verdict_opens_for_one_part() -> None:
    """A second verdict, or the same again, counts for no part."""
    gate = gate_with_a_part()
    assert gate.verdict(PASS_LINE.replace(";1;", ";2;"), 10.1) == "REJECT"

    assert gate.verdict(PASS_LINE, 10.2) == ""
    assert gate.tick(11.0) == ""


def test_a_refused_trigger_is_a_reject() -> None:
    """Without an accepted trigger (busy, not ready, another rid) the part is rejected."""
    for rid, code in ((17, 2), (16, 0)):
        gate = gate_with_a_part()
        gate.reply(rid, code, "as it is")
        assert gate.verdict(PASS_LINE, 10.1) == ""
        assert gate.tick(10.4) == "REJECT"
        assert gate.why == ("trigger refused: code 2, as it is" if code else "no verdict in the window")


def test_a_station_that_is_silent_or_not_ready_passes_nothing() -> None:
    """A heartbeat that stands still for two seconds counts as a dead station."""
    silent = gate_with_a_part()
    silent.word(str(status_word(State.READY, heartbeat=5)), 11.9)  # The same count again.
    silent.trigger(18, 11.9)
    silent.reply(18, 0)

    assert silent.verdict(PASS_LINE, 12.0) == "REJECT"
    assert gate_with_a_part(state=State.PAUSED).verdict(PASS_LINE, 10.1) == "REJECT"


def play(port: int, *options: str) -> tuple[int, list[str]]:
    """Run the program beside a broker; return its exit status and its decision for each part."""
    command = [sys.executable, "docs/examples/plc.py", "--port", str(port), "--base", "t", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr == ""
    return done.returncode, [line.partition(": ")[2].rstrip() for line in done.stdout.splitlines()]


def test_the_program_passes_good_parts_and_rejects_what_comes_too_late(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    """Against a real station: with a long window every good part passes, with a short one none does."""
    changes = {"trigger.mode": "mqtt", "source.uri": "defects=0"}
    with Subscriber(mosquitto.port) as ear, Daemon(tmp_path, mosquitto.port, changes):
        ear.wait(lambda ear: any('"READY"' in state for state in ear.on("t/state")))
        enough = play(mosquitto.port, "--parts", "3", "--window-ms", "8000")
        none = play(mosquitto.port, "--parts", "2", "--window-ms", "1")
        other = play(mosquitto.port, "--parts", "1", "--window-ms", "8000", "--product-index", "2")

    assert enough == (0, ["PASS"] * 3)
    assert none == (1, ["REJECT (no reply to the trigger in the window)"] * 2)
    assert other == (1, ["REJECT (product 001, not 002)"])


def test_the_program_says_that_nothing_can_be_triggered(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """A station as it is shipped runs free: the reject says why, and what to set."""
    with Subscriber(mosquitto.port) as ear, Daemon(tmp_path, mosquitto.port):
        ear.wait(lambda ear: any('"READY"' in state for state in ear.on("t/state")))
        status, (decision,) = play(mosquitto.port, "--parts", "1", "--window-ms", "8000")

    assert (status, decision.startswith("REJECT (trigger refused: code ")) == (1, True)
    assert 'trigger.mode = "mqtt"' in decision
