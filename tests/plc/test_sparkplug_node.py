"""The edge node on a real broker: births, deaths, data, numbers, commands; no PASS that does not stand."""

import random
import struct
from pathlib import Path

import pytest

from linewatch.domain import Result, State
from linewatch.errors import ConfigError
from linewatch.mqtt.messages import Command, InvalidCommand
from linewatch.plc.sparkplug.edge_node import require_protobuf
from linewatch.plc.sparkplug.host import PrimaryHost
from linewatch.plc.sparkplug.session_number import SessionNumber
from tests.disks import SmallDisk
from tests.fakes import verdict
from tests.mosquitto import Mosquitto, free_port
from tests.plc.sparkplug import Host, Node, is_consecutive, results, written


def test_a_birth_names_every_metric(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """Name, alias, type, time and value of each; the two that every host must find have no alias."""
    with Host(mosquitto.port) as host, Node(tmp_path, mosquitto.port, commands=True):
        host.wait(lambda: bool(host.on("NBIRTH")))
    (birth,) = host.on("NBIRTH")

    assert (birth.seq, birth.qos, birth.retained) == (0, 0, False)
    assert (birth.metric("bdSeq")["value"], birth.metric("bdSeq")["datatype"]) == (0, 4)
    rebirth = birth.metric("Node Control/Rebirth")
    assert (rebirth["value"], rebirth["datatype"]) == (False, 11)
    metrics = birth.payload["metrics"]
    plain = {"bdSeq", "Node Control/Rebirth", "LinewatchVerdict"}
    assert {metric["name"] for metric in metrics if "alias" not in metric} == plain
    aliases = [metric["alias"] for metric in metrics if metric["name"] not in plain]
    assert len(aliases) == len(set(aliases)) == 22
    assert all({"name", "timestamp", "datatype", "value"} <= metric.keys() for metric in metrics)
    names = [metric["name"].lower() for metric in metrics]
    assert len(names) == len(set(names))


def test_a_birth_defines_the_template_of_a_verdict(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """The definition has no reference; the instance refers to it and has all of its members."""
    with Host(mosquitto.port) as host, Node(tmp_path, mosquitto.port):
        host.wait(lambda: bool(host.on("NBIRTH")))
    (birth,) = host.on("NBIRTH")
    definition, instance = birth.metric("LinewatchVerdict")["value"], birth.metric("Verdict")["value"]

    assert definition["is_definition"] is True and "template_ref" not in definition
    assert instance["is_definition"] is False and instance["template_ref"] == "LinewatchVerdict"
    assert definition["metrics"].keys() == instance["metrics"].keys()
    assert (instance["metrics"]["code"], instance["metrics"]["result"]) == (0, "")
    assert not any(metric["name"].startswith("Command/") for metric in birth.payload["metrics"])


def test_a_verdict_is_one_instance_of_the_template(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """Its members are those of MQTT's JSON, at the time of the exposure, by alias only."""
    given = verdict(
        70_000,
        Result.FAIL,
        part="Ä\x1d1",
        trigger=17,
        latency_ms=24,
        box=(412, 80, 60, 44),
        region="Gewinde",
        region_index=2,
        defects=2,
        late=True,
    )
    with Host(mosquitto.port) as host, Node(tmp_path, mosquitto.port) as node:
        host.wait(lambda: bool(host.on("NBIRTH")))
        node.node.publish_verdict(given)
        host.wait(lambda: len(host.live) == 2)

    assert host.live[-1] == {
        "boot": 41, "seq": 70_000, "trigger": 17, "part": "Ä\x1d1", "product": "bottle", "product_index": 3,
        "model": "7f3a91c2", "result": "FAIL", "code": 2, "reason": 10, "score": 1155, "raw": 2.31,
        "threshold": 2.0, "captured_ms": given.captured_ms, "age_ms": 0, "latency_ms": 24, "late": True,
        "simulated": False, "defects": 2, "box_x": 412, "box_y": 80, "box_width": 60, "box_height": 44,
        "region": "Gewinde", "region_index": 2, "image": "", "heatmap": "",
    }  # fmt: skip
    (metric,) = [m for heard in host.on("NDATA") for m in heard.payload["metrics"] if m["datatype"] == 19]
    assert "name" not in metric and metric["timestamp"] == given.captured_ms
    assert metric["value"]["is_definition"] is False


def test_data_is_numbered_from_the_birth_and_wraps(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """0 to 255, then 0 again; one verdict after the other, none left out."""
    with Host(mosquitto.port) as host, Node(tmp_path, mosquitto.port) as node:
        host.wait(lambda: bool(host.on("NBIRTH")))
        for seq in range(1, 301):
            node.node.publish_verdict(verdict(seq, Result.FAIL))
        host.wait(lambda: len(host.live) == 301)

    assert results(host.live) == [(0, 0), *((seq, 2) for seq in range(1, 301))]
    assert is_consecutive(host.heard) and max(heard.seq for heard in host.heard) == 255
    assert {(heard.qos, heard.retained) for heard in host.on("NDATA")} == {(0, False)}


def test_only_what_changes_is_sent(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """A new heartbeat is one metric; nothing is sent while nothing changes."""
    with Host(mosquitto.port) as host, Node(tmp_path, mosquitto.port) as node:
        host.wait(lambda: bool(host.on("NBIRTH")))
        beats = node.beats
        node.wait(lambda: node.beats > beats + 3)
        assert host.on("NDATA") == []
        node.word = 1 << 12
        host.wait(lambda: bool(host.on("NDATA")))
        assert host.values["Station/Word"] >> 12 == 1

    assert len(host.on("NDATA")[0].payload["metrics"]) == 1


@pytest.mark.parametrize("state", [state for state in State if not state.judging])
def test_a_pass_is_withdrawn_with_the_state(tmp_path: Path, mosquitto: Mosquitto, state: State) -> None:
    """In the message that says so; it does not come back with the state."""
    with Host(mosquitto.port) as host, Node(tmp_path, mosquitto.port) as node:
        host.wait(lambda: bool(host.on("NBIRTH")))
        node.node.publish_verdict(verdict(1))
        host.wait(lambda: results(host.live)[-1] == (1, 1))
        node.state = state
        host.wait(lambda: results(host.live)[-1] == (1, 0))
        both = host.heard[-1].payload["metrics"]
        assert [metric["value"] for metric in both if metric["datatype"] == 12] == [state.value]
        node.state = State.READY
        host.wait(lambda: host.values["Station/Ready"])
        host.ask_for_rebirth()
        host.wait(lambda: len(host.on("NBIRTH")) == 2)

    assert results(host.live) == [(0, 0), (1, 1), (1, 0), (1, 0)]
    assert host.live[-1]["result"] == ""


def test_a_pass_is_withdrawn_with_age_and_product(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """A reject stays what it is."""
    with Host(mosquitto.port) as host, Node(tmp_path, mosquitto.port, pass_s=0.5) as node:
        host.wait(lambda: bool(host.on("NBIRTH")))
        node.node.publish_verdict(verdict(1))
        host.wait(lambda: results(host.live)[-1] == (1, 0))
        node.product_index = 4
        node.node.publish_verdict(verdict(2))  # Of the product before.
        node.node.publish_verdict(verdict(3, Result.UNSURE))
        host.wait(lambda: host.live[-1]["seq"] == 3 and bool(host.history))

    assert results(host.live) == [(0, 0), (1, 1), (1, 0), (2, 0), (3, 3)]
    assert results(host.history) == [(2, 1)]  # What it was, for the record.


def test_a_rebirth_repeats_everything_in_the_same_session(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """Same bdSeq, sequence from 0, the present verdict; by name, as a host asks that knows no alias."""
    with Host(mosquitto.port) as host, Node(tmp_path, mosquitto.port) as node:
        host.wait(lambda: bool(host.on("NBIRTH")))
        node.node.publish_verdict(verdict(1))
        node.node.publish_verdict(verdict(2, Result.FAIL))
        host.wait(lambda: results(host.live)[-1] == (2, 2))
        host.ask_for_rebirth()
        host.wait(lambda: len(host.on("NBIRTH")) == 2)
        assert node.counts["rebirth"] == 1

    first, second = host.on("NBIRTH")
    assert (first.bdseq, second.bdseq) == (0, 0)
    assert second.metric("Verdict")["value"]["metrics"]["seq"] == 2
    assert is_consecutive(host.heard)


def test_a_host_that_asks_all_the_time_gets_ten_births_a_second(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """And the verdicts between them, live and in order."""
    with Host(mosquitto.port) as host, Node(tmp_path, mosquitto.port) as node:
        host.wait(lambda: bool(host.on("NBIRTH")))
        for seq in range(1, 101):
            host.ask_for_rebirth()
            node.node.publish_verdict(verdict(seq, Result.FAIL))
        node.wait(lambda: node.counts["rebirth"] == 100)
        host.wait(lambda: any(verdict["seq"] == 100 for verdict in host.live))

    assert node.counts["live"] == 100 and host.history == []
    assert len(host.on("NBIRTH")) < 90
    assert is_consecutive(host.heard)


def test_an_outage_of_the_broker_ends_the_session(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """The next one has the next bdSeq; verdicts of the outage are historical, in order, after the birth."""
    node = Node(tmp_path, mosquitto.port)
    with Host(mosquitto.port) as host, node:
        host.wait(lambda: bool(host.on("NBIRTH")))
        node.node.publish_verdict(verdict(1))
        host.wait(lambda: results(host.live)[-1] == (1, 1))
        mosquitto.stop()
        node.wait(lambda: any("refuses connections" in trouble for trouble in node.troubles))
        for seq in range(2, 53):
            node.node.publish_verdict(verdict(seq, Result.FAIL if seq % 2 else Result.PASS))
        node.state = State.PAUSED
        mosquitto.start()
        with Host(mosquitto.port) as again:
            node.wait(lambda: node.counts["historical"] == 51)
            again.ask_for_rebirth()  # The birth may have come before this host.
            again.wait(lambda: bool(again.on("NBIRTH")))
            host_number = again.on("NBIRTH")[-1].bdseq
            node.node.publish_verdict(verdict(53, Result.FAIL))
            again.wait(lambda: bool(again.live) and results(again.live)[-1] == (53, 2))

    assert host_number > host.on("NBIRTH")[0].bdseq
    assert 1 not in {code for _, code in results(again.live)}
    assert is_consecutive(again.heard[again.heard.index(again.on("NBIRTH")[0]) :])


def test_verdicts_of_an_outage_come_as_historical(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """Once each, oldest first, with what they were; a host that waited for its birth has them all."""
    with Host(mosquitto.port) as host:
        host.be("scada", False, 1)
        with Node(tmp_path, mosquitto.port, primary_host="scada") as node:
            node.wait(lambda: any("'scada' is offline" in trouble for trouble in node.troubles))
            for seq in range(1, 51):
                node.node.publish_verdict(verdict(seq, Result.FAIL if seq % 2 else Result.PASS))
            beats = node.beats
            node.wait(lambda: node.beats > beats + 2)
            host.be("scada", True, 2)
            host.wait(lambda: len(host.history) == 50)

    assert results(host.history) == [(seq, 2 if seq % 2 else 1) for seq in range(1, 51)]
    assert results(host.live) == [(0, 0)]
    assert host.heard[0].kind == "NBIRTH" and is_consecutive(host.heard)


def test_memory_is_bounded_while_nothing_can_be_sent(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """The oldest are dropped and counted; the newest come as historical."""
    with (
        Host(mosquitto.port) as host,
        Node(tmp_path, mosquitto.port, primary_host="scada", history_max=30) as node,
    ):
        node.wait(lambda: bool(node.troubles))
        for seq in range(1, 501):
            node.node.publish_verdict(verdict(seq))
        node.wait(lambda: node.counts["dropped"] == 470)
        host.be("scada", True, 2)
        host.wait(lambda: len(host.history) == 30)

    assert [seq for seq, _ in results(host.history)] == list(range(471, 501))


def test_memory_is_bounded_without_a_thread_that_takes_the_verdicts(tmp_path: Path) -> None:
    """As while the node's thread looks up the name of a broker that does not answer."""
    node = Node(tmp_path, free_port())
    for seq in range(1, 2001):
        node.node.publish_verdict(verdict(seq))

    assert node.counts["dropped"] == 1000


def test_a_verdict_too_old_to_be_the_present_one_is_historical(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """Nothing undelivered is published as if it were new."""
    with Host(mosquitto.port) as host, Node(tmp_path, mosquitto.port, live_s=0.0) as node:
        host.wait(lambda: bool(host.on("NBIRTH")))
        node.node.publish_verdict(verdict(1))
        host.wait(lambda: bool(host.history))

    assert results(host.history) == [(1, 1)] and results(host.live) == [(0, 0)]


def test_a_broker_that_hangs_gets_no_more(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """Once its network is full, verdicts wait in bounded memory until the connection is given up."""
    with Host(mosquitto.port) as host, Node(tmp_path, mosquitto.port, live_s=0.01, keepalive_s=1) as node:
        host.wait(lambda: bool(host.on("NBIRTH")))
        mosquitto.hang()
        long = verdict(1, Result.FAIL, part="x" * 128)
        sent = 0
        while not node.counts["dropped"]:
            node.node.publish_verdict(long)
            sent += 1
        node.wait(lambda: any("lost" in trouble for trouble in node.troubles))
        mosquitto.go_on()

    assert sent < 100_000


def test_taking_leave_withdraws_the_pass_and_says_so(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """A stopped station: its last state, then NDEATH with the number of its birth and nothing else."""
    with Host(mosquitto.port) as host:
        with Node(tmp_path, mosquitto.port) as node:
            host.wait(lambda: bool(host.on("NBIRTH")))
            node.node.publish_verdict(verdict(1))
            host.wait(lambda: results(host.live)[-1] == (1, 1))
            node.state = State.STOPPED
        host.wait(lambda: bool(host.on("NDEATH")))

    assert results(host.live)[-1] == (1, 0) and host.values["Station/State"] == "STOPPED"
    death = host.on("NDEATH")[0]
    assert [metric["name"] for metric in death.payload["metrics"]] == ["bdSeq"]
    assert (death.seq, death.bdseq, death.qos, death.retained) == (-1, 0, 1, False)
    kinds = [heard.kind for heard in host.heard]
    assert kinds.index("NDEATH") > max(at for at, kind in enumerate(kinds) if kind == "NDATA")


def test_the_session_number_outlives_the_process(tmp_path: Path) -> None:
    """From 0 to 255 and again; it is on the disk before it is used."""
    path = tmp_path / "var" / "session"
    assert SessionNumber(path).next == 0
    path.parent.mkdir()
    path.write_text("252\n")
    seen = []
    for _ in range(5):
        number = SessionNumber(path)
        assert number.next == (number.last + 1) % 256
        number.use()
        seen.append(number.last)
        assert int(path.read_text()) == number.last

    assert seen == [253, 254, 255, 0, 1]


@pytest.mark.parametrize("content", ["", "nonsense", "\0", "9" * 400])
def test_a_damaged_session_file_is_no_reason_to_fail(tmp_path: Path, content: str) -> None:
    """A number in it is taken modulo 256, anything else begins at 0."""
    path = tmp_path / "session"
    path.write_text(content)

    assert SessionNumber(path).next in range(256)


def test_a_full_disk_does_not_stop_the_sessions(
    small_disk: SmallDisk, caplog: pytest.LogCaptureFixture
) -> None:
    """The number is counted in memory, which is logged once."""
    path = small_disk.folder / "session"
    small_disk.fill()
    number = SessionNumber(path)
    for _ in range(3):
        number.use()

    assert number.last == 2
    assert caplog.text.count("sparkplug_session_not_kept") == 1


def test_nothing_is_published_before_the_primary_host_is_online(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """Another host, a damaged STATE or an old one does not count; going offline ends the session."""
    with (
        Host(mosquitto.port) as host,
        Node(tmp_path, mosquitto.port, primary_host="scada") as node,
    ):
        node.wait(lambda: any("'scada' is offline" in trouble for trouble in node.troubles))
        host.be("other", True, 50)
        for damaged in (b"", b"ONLINE", b"{}", b"[" * 2000, b'{"online":1,"timestamp":60}', b"\xff"):
            host.say("spBv1.0/STATE/scada", damaged)
        beats = node.beats
        node.wait(lambda: node.counts["refused"] == 6 and node.beats > beats + 2)
        assert host.heard == []

        host.be("scada", True, 100)
        host.wait(lambda: bool(host.on("NBIRTH")))
        host.be("scada", False, 99)  # Of an older connection of the host: it counts no more.
        node.word = 1 << 12
        host.wait(lambda: bool(host.on("NDATA")))
        assert host.on("NDEATH") == []

        host.be("scada", False, 100)
        host.wait(lambda: bool(host.on("NDEATH")))
        node.wait(lambda: node.troubles[-1].startswith("sparkplug: the primary host"))
        host.be("scada", True, 101)
        host.wait(lambda: len(host.on("NBIRTH")) == 2)
        assert node.troubles[-1] == ""

    first, second = host.on("NBIRTH")
    assert host.on("NDEATH")[0].bdseq == first.bdseq != second.bdseq
    assert is_consecutive(host.heard)


def test_a_state_message_counts_unless_it_is_older() -> None:
    """Equal times count; what is no STATE message changes nothing."""
    host = PrimaryHost()
    messages = [(True, 5, True), (False, 4, True), (False, 5, False), (True, 5, True), (False, 6, False)]
    for online, ms, expected in messages:
        assert host.receive(f'{{"online":{str(online).lower()},"timestamp":{ms}}}'.encode())
        assert host.online is expected
    for damaged in (b'{"online":true,"timestamp":true}', b'{"online":true,"timestamp":-1}', b'"online"'):
        assert not host.receive(damaged)
        assert not host.online


def test_hosts_write_commands_if_they_may(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """By name or alias, one at a time; the answer has the host's number and the code of MQTT."""
    with Host(mosquitto.port) as host, Node(tmp_path, mosquitto.port, commands=True) as node:
        host.wait(lambda: bool(host.on("NBIRTH")))
        alias = host.on("NBIRTH")[0].metric("Command/Pause")["alias"]
        host.write(written("Command/Request", 17), written("Command/Product Index", 3))
        host.wait(lambda: host.values["Answer/Request"] == 17)
        host.write(written("", True, alias=alias))
        host.write(written("Command/Product", "bottle"))
        host.write(written("Command/Reset", True), written("Command/Resume", True))
        host.write(written("Command/Product Index", 1000))
        host.write(written("Command/Self-Test", "yes"))
        host.write(written("Command/Resume", False), written("Command/Unknown", 5))
        host.wait(lambda: "Self-Test" in host.values["Answer/Reason"])
        assert host.values["Answer/Code"] == 4
        host.ask_for_rebirth()
        host.wait(lambda: len(host.on("NBIRTH")) == 2)

    who = {"who": "sparkplug"}
    assert node.commands[:3] == [
        Command("product", 17, index=3, **who),  # type: ignore[arg-type]
        Command("pause", 2, **who),  # type: ignore[arg-type]
        Command("product", 3, product="bottle", **who),  # type: ignore[arg-type]
    ]
    refused = [command.reason for command in node.commands[3:] if isinstance(command, InvalidCommand)]
    assert refused == [
        "write one command at a time",
        "Command/Product Index must be a whole number from 1 to 999",
        "Command/Self-Test must be true or false",
    ]


def test_commands_are_refused_unless_they_are_allowed(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """A platform that only watches cannot change anything; a retained command never counts."""
    with Host(mosquitto.port) as host:
        host.write(written("Node Control/Rebirth", True), retain=True)
        with Node(tmp_path, mosquitto.port) as node:
            host.wait(lambda: bool(host.on("NBIRTH")))
            host.write(written("Command/Pause", True))
            node.wait(lambda: node.counts["refused"] == 2)
            host.write(written("Node Control/Rebirth", False))
            host.ask_for_rebirth()
            host.wait(lambda: len(host.on("NBIRTH")) == 2)

    assert node.commands == [] and node.counts["rebirth"] == 1


def test_hostile_commands_change_nothing(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """Noise, nesting, texts that are none, payloads without end: refused; the node goes on."""
    chance = random.Random(7)
    nested = b""
    for _ in range(200):
        nested = b"\x92\x01" + bytes([len(nested) & 0x7F]) + nested[:120]
    hostile = [
        b"\xff" * 50,
        b"\x12\x7f",
        b"\x12\x05\x0a\x03\xff\xfe\xfd",
        b"\x12\x02\x08\x01" * 1000,
        b"\x12\x02\x08\x01" * 40,
        b"\0" * 100_000,
        nested,
        b"\x12\x0a\x0a\x08" + struct.pack("<Q", 2**63),
        *(chance.randbytes(chance.randrange(1, 400)) for _ in range(1000)),
    ]
    with Host(mosquitto.port) as host, Node(tmp_path, mosquitto.port, commands=True) as node:
        host.wait(lambda: bool(host.on("NBIRTH")))
        for payload in hostile:
            host.say("spBv1.0/plant/NCMD/station1", payload)
        node.node.publish_verdict(verdict(1))
        host.wait(lambda: results(host.live)[-1] == (1, 1))
        host.ask_for_rebirth()
        host.wait(lambda: len(host.on("NBIRTH")) == 2)

    assert node.commands == [] and node.troubles == [""]
    assert node.counts["refused"] > 500
    assert is_consecutive(host.heard)


def test_its_broker_has_settings_of_its_own(tmp_path: Path) -> None:
    """What is wrong with them is named by their section, not by that of MQTT."""
    with pytest.raises(
        ConfigError, match=r"^sparkplug\.tls_cert and sparkplug\.tls_key need sparkplug\.tls_ca"
    ):
        Node(tmp_path, 1, tls_cert=tmp_path / "cert.pem")
    with Node(tmp_path, free_port(), tls_ca=tmp_path / "ca.pem") as node:
        node.wait(lambda: any("sparkplug.tls_ca" in trouble for trouble in node.troubles))


def test_without_protobuf_one_sentence_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where nothing of its namespace is installed."""

    def missing(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr("importlib.util.find_spec", missing)
    with pytest.raises(ConfigError, match=r"needs the extra \[sparkplug\]"):
        require_protobuf()
    with pytest.raises(ConfigError, match="sparkplug"):
        Node(tmp_path, 1)
