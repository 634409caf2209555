"""The flow of docs/examples in a real Node-RED: it passes a part only by the rules of docs/plc.md."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import ROOT, Daemon, verdicts
from tests.mosquitto import Mosquitto, Subscriber
from tests.node_red import NodeRed

FLOW = ROOT / "docs/examples/node_red.json"
BASE, PART, GATE = "linewatch/station1", "plant/station1/part", "plant/station1/gate"
LONG_MS, SHORT_MS = 9000, 2000  # Windows: this machine may be busy with other tests.
READY, LINE = 2, "00041;0000001023;1;00;001;00024;#"


@pytest.fixture(scope="module")
def node_red(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeRed]:
    """Run one Node-RED for all tests: it starts slowly."""
    with NodeRed(tmp_path_factory.mktemp("node-red")) as program:
        yield program


def flow(port: int, window_ms: int) -> list[dict[str, Any]]:
    """Return the flow for this broker and with this window."""
    text = FLOW.read_text()
    assert '"port": "1883"' in text and "WINDOW_MS = 400;" in text
    text = text.replace('"port": "1883"', f'"port": "{port}"')
    nodes: list[dict[str, Any]] = json.loads(text.replace("WINDOW_MS = 400;", f"WINDOW_MS = {window_ms};"))
    return nodes


class Plant:
    """What is around the flow: the sensor, and what the gate decides."""

    def __init__(self, ear: Subscriber) -> None:
        self.ear = ear
        self.parts = 0

    def decisions(self) -> list[dict[str, Any]]:
        """Return what the gate decided, in order."""
        return verdicts(self.ear.on(GATE))

    def part(self) -> None:
        """Put a part in place."""
        self.parts += 1
        self.ear.say(PART, f"P{self.parts}")

    def decided(self) -> tuple[str, str]:
        """Wait for this part's decision; return it and its cause."""
        self.ear.wait(lambda ear: len(ear.on(GATE)) >= self.parts, "a decision")
        decision = self.decisions()[self.parts - 1]
        assert decision["part"] == f"P{self.parts}"
        return decision["decision"], decision["why"]


class Station:
    """A station that says what the test wants, one message after the other."""

    def __init__(self, ear: Subscriber) -> None:
        self.ear = ear
        self._beat = 0

    def word(self, bits: int = READY) -> None:
        """Publish a status word with a new heartbeat."""
        self._beat = (self._beat + 1) % 16
        self.ear.say(f"{BASE}/plc/word", str(self._beat << 12 | bits))

    def triggered(self, parts: int) -> int:
        """Wait for the trigger of the newest part; return its request number."""
        self.ear.wait(lambda ear: len(ear.on(f"{BASE}/cmd/trigger")) >= parts, "a trigger")
        return int(verdicts(self.ear.on(f"{BASE}/cmd/trigger"))[-1]["rid"])

    def reply(self, rid: int, code: int = 0) -> None:
        """Answer a trigger."""
        self.ear.say(f"{BASE}/cmd/trigger/res", json.dumps({"rid": rid, "ok": int(not code), "code": code}))

    def verdict(self, line: str = LINE) -> None:
        """Publish a verdict's line."""
        self.ear.say(f"{BASE}/plc/verdict", line)


@pytest.fixture
def plant(node_red: NodeRed, mosquitto: Mosquitto) -> Iterator[tuple[Plant, Station]]:
    """Deploy the flow with a short window, beside a scripted station that lives."""
    with Subscriber(mosquitto.port) as ear:
        node_red.deploy(flow(mosquitto.port, SHORT_MS))
        ear.wait_for(f"{GATE}/online", "1")
        plant, station = Plant(ear), Station(ear)
        station.word()
        plant.part()
        station.reply(station.triggered(1), 1)
        assert plant.decided() == ("REJECT", "trigger refused: code 1")
        ear.heard.clear()
        plant.parts = 0
        yield plant, station
        node_red.deploy([])


def test_a_pass_of_this_part_in_time_opens_the_gate(plant: tuple[Plant, Station]) -> None:
    """The only case that does; the next verdict counts for no part."""
    gate, station = plant
    station.word()
    gate.part()
    station.reply(station.triggered(1))
    station.verdict()
    assert gate.decided() == ("PASS", "")
    station.verdict()
    station.word()
    gate.part()
    station.reply(station.triggered(2), 1)
    assert gate.decided() == ("REJECT", "trigger refused: code 1")
    assert len(gate.decisions()) == 2


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("00041;0000001023;2;10;001;00024;#", "result 2, reason 10"),
        ("00041;0000001023;4;40;001;00024;#", "result 4, reason 40"),
        ("00041;0000001023;0;00;001;00024;#", "result 0, reason 00"),
        ("00041;0000001023;1;00;002;00024;#", "product 002"),
        ("00041;0000001023;1;00;001;00024;", "incomplete line"),
        ("", "incomplete line"),
    ],
)
def test_every_other_verdict_is_a_reject(plant: tuple[Plant, Station], line: str, why: str) -> None:
    """At once, with its cause; a PASS after it changes nothing."""
    gate, station = plant
    station.word()
    gate.part()
    station.reply(station.triggered(1))
    station.verdict(line)
    station.verdict()

    assert gate.decided() == ("REJECT", why)
    station.word()
    gate.part()
    gate.decided()
    assert [decision["decision"] for decision in gate.decisions()] == ["REJECT", "REJECT"]


def test_a_pass_that_was_not_earned_in_time_is_a_reject(plant: tuple[Plant, Station]) -> None:
    """Before the reply, without a reply, from a station that is not ready, after the window."""
    gate, station = plant
    causes = []
    for bits, replied, early in ((READY, True, True), (READY, False, False), (0, True, False)):
        station.word(bits)
        gate.part()
        rid = station.triggered(gate.parts)
        if early:
            station.verdict()
        station.reply(rid if replied else rid % 65535 + 1)
        if not early:
            station.verdict()
        causes.append(gate.decided())

    late = "no verdict in the window"
    assert causes == [("REJECT", late), ("REJECT", late), ("REJECT", "station not ready")]
    station.verdict()  # After the window of the first two.
    assert len(gate.decisions()) == 3


def test_a_station_without_heartbeat_passes_nothing(plant: tuple[Plant, Station]) -> None:
    """The broker said it is offline, its state is not ready, or its word does not change any more."""
    gate, station = plant
    station.word()
    gate.part()
    rid = station.triggered(1)
    station.ear.say(f"{BASE}/state", '{"state":"PAUSED"}')
    station.reply(rid)
    station.verdict()
    assert gate.decided() == ("REJECT", "station not ready")

    station.word()
    station.ear.say(f"{BASE}/online", "0")
    gate.part()
    assert gate.decided() == ("REJECT", "no station")


def test_the_flow_beside_the_real_station(node_red: NodeRed, mosquitto: Mosquitto, tmp_path: Path) -> None:
    """Each part is decided as the station judged it; paused and killed, every part is a reject."""
    changes = {"trigger.mode": "mqtt", "source.uri": "defects=0.4", "mqtt.base_topic": BASE}
    with Subscriber(mosquitto.port) as ear, Daemon(tmp_path, mosquitto.port, changes) as daemon:
        node_red.deploy(flow(mosquitto.port, LONG_MS))
        ear.wait_for(f"{GATE}/online", "1")
        gate = Plant(ear)
        ear.wait(lambda ear: any('"READY"' in state for state in ear.on(f"{BASE}/state")), "READY")
        while True:  # Until the flow has seen the heartbeat.
            gate.part()
            if gate.decided()[1] != "no station":
                break
        for _ in range(9):
            gate.part()
            gate.decided()
        ear.say(f"{BASE}/cmd/pause", '{"rid":7}')
        ear.wait(lambda ear: '"PAUSED"' in ear.on(f"{BASE}/state")[-1], "PAUSED")
        gate.part()
        assert gate.decided() == ("REJECT", "trigger refused: code 1")
        daemon.process.kill()
        daemon.process.wait()
        ear.wait(lambda ear: ear.on(f"{BASE}/online")[-1] == "0", "offline")
        gate.part()
        assert gate.decided() == ("REJECT", "no station")

    judged = {verdict["trigger"]: verdict["result"] for verdict in verdicts(ear.on(f"{BASE}/verdict"))}
    decided = [(d["decision"], judged[d["rid"]]) for d in gate.decisions() if d["rid"] in judged]
    assert len(decided) == len(judged) == 10
    assert set(decided) == {("PASS", "PASS"), ("REJECT", "FAIL")}
