"""End to end over Sparkplug: the real daemon, beside MQTT, as a host sees it."""

import json
import subprocess
from pathlib import Path
from typing import Any

from linewatch.mqtt.messages import Topics
from tests.daemon import Daemon, verdicts
from tests.mosquitto import Mosquitto, Subscriber, free_port
from tests.npm import node_and_package
from tests.plc.sparkplug import Host, is_consecutive, results, written

DECODER = """
const payloads = require(process.argv[1]).get('spBv1.0');
const numbers = (_, value) => value && value.low !== undefined ? Number(value.toString()) : value;
const lines = require('fs').readFileSync(0, 'utf8').trim().split('\\n');
for (const line of lines)
    console.log(JSON.stringify(payloads.decodePayload(Buffer.from(line, 'hex')), numbers));
"""


def settings(port: int, **changes: object) -> dict[str, object]:
    """Return settings of a station that is triggered over MQTT and passes every part."""
    # A machine that is busy with other tests shows a PASS later than a platform waits.
    sparkplug = {"enabled": True, "port": port, "group": "plant", "pass_s": 60.0, "commands": True}
    usual = {f"sparkplug.{name}": value for name, value in sparkplug.items()}
    return {"trigger.mode": "mqtt", "source.uri": "defects=0", **usual, **changes}


def trigger(ear: Subscriber, rid: int) -> None:
    """Have one part judged."""
    ear.say("t/cmd/trigger", json.dumps({"rid": rid, "part": f"A{rid}"}))


def test_pause_changeover_fault_and_stop_as_a_host_sees_them(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """The PASS before reads as none in each of them; the table is in docs/plc.md."""
    with Subscriber(mosquitto.port, topic="t/#") as ear, Host(mosquitto.port) as host:
        with Daemon(tmp_path, mosquitto.port, settings(mosquitto.port)) as daemon:

            def passes(rid: int) -> None:
                host.wait(lambda: bool(host.values.get("Station/Ready")))
                trigger(ear, rid)
                host.wait(lambda: (host.live[-1]["trigger"], host.live[-1]["code"]) == (rid, 1))

            def withdrawn(rid: int, state: str) -> None:
                host.wait(lambda: host.values["Station/State"] == state)
                host.wait(lambda: (host.live[-1]["trigger"], host.live[-1]["code"]) == (rid, 0))
                assert host.values["Station/Ready"] is False

            passes(1)
            host.write(written("Command/Pause", True))
            withdrawn(1, "PAUSED")
            host.write(written("Command/Resume", True))
            passes(2)
            host.write(written("Command/Request", 77), written("Command/Product Index", 999))
            withdrawn(2, "FAULT")
            host.wait(lambda: (host.values["Answer/Request"], host.values["Answer/Code"]) == (77, 5))
            host.write(written("Command/Product", "demo"))
            passes(3)
            host.write(written("Command/Product Index", 1))
            host.wait(lambda: (host.live[-1]["trigger"], host.live[-1]["code"]) == (3, 0))
            passes(4)
            assert daemon.stop() == 0
        host.wait(lambda: bool(host.on("NDEATH")))

    assert results(host.live)[-1] == (4, 0) and host.values["Station/State"] == "STOPPED"
    assert host.on("NDEATH")[0].bdseq == 0
    assert is_consecutive(host.heard)
    assert [row["trigger"] for row in daemon.rows()] == [1, 2, 3, 4]
    assert "adapter_failed" not in daemon.log


def test_a_killed_station_is_dead_for_its_hosts(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """The broker says so at once, with the number of the birth; the next start has the next number."""
    with Subscriber(mosquitto.port, topic="t/#") as ear, Host(mosquitto.port) as host:
        for start in (0, 1, 2):
            with Daemon(tmp_path, mosquitto.port, settings(mosquitto.port)) as daemon:
                host.wait(lambda start=start: len(host.on("NBIRTH")) == start + 1)  # type: ignore[misc]  # bound now
                host.wait(lambda: host.values["Station/Ready"])
                trigger(ear, start + 1)
                host.wait(lambda start=start: host.live[-1]["trigger"] == start + 1)  # type: ignore[misc]
                daemon.process.kill()
                daemon.process.wait()
            host.wait(lambda start=start: len(host.on("NDEATH")) == start + 1)  # type: ignore[misc]

    assert [birth.bdseq for birth in host.on("NBIRTH")] == [0, 1, 2]
    assert [death.bdseq for death in host.on("NDEATH")] == [0, 1, 2]
    births = [birth.metric("Verdict")["value"]["metrics"] for birth in host.on("NBIRTH")]
    assert [(birth["seq"], birth["code"]) for birth in births] == [(0, 0)] * 3
    assert is_consecutive(host.heard)


def test_a_lost_camera_is_an_error_for_every_trigger(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """The host sees a station that is not ready, and ERROR 40 for the part."""
    camera = {"source.kind": "camera", "source.uri": "/dev/video97"}
    changes = settings(mosquitto.port, **camera)
    with (
        Subscriber(mosquitto.port, topic="t/#") as ear,
        Host(mosquitto.port) as host,
        Daemon(tmp_path, mosquitto.port, changes),
    ):
        host.wait(lambda: host.values.get("Station/State") == "FAULT")
        trigger(ear, 7)
        host.wait(lambda: host.live[-1]["trigger"] == 7)

    assert (host.live[-1]["code"], host.live[-1]["reason"], host.live[-1]["result"]) == (4, 40, "ERROR")
    assert (host.values["Station/Ready"], host.values["Station/Camera"]) == (False, False)


def test_a_dead_sparkplug_broker_leaves_line_and_mqtt_alone(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """The station is DEGRADED with a sentence, and every part has its verdict on MQTT."""
    changes = settings(free_port())
    with (
        Subscriber(mosquitto.port, topic="t/#") as ear,
        Daemon(tmp_path, mosquitto.port, changes) as daemon,
    ):
        ear.wait(lambda ear: any('"DEGRADED"' in state for state in ear.on("t/state")), "DEGRADED")
        for rid in range(1, 6):
            trigger(ear, rid)
            ear.wait(lambda ear, rid=rid: len(ear.on(Topics("t").verdict)) == rid, "its verdict")  # type: ignore[misc]
        assert daemon.stop() == 0

    assert [verdict["result"] for verdict in verdicts(ear.on("t/verdict"))] == ["PASS"] * 5
    events = verdicts(ear.on("t/event"))
    assert any("refuses connections" in event.get("reason", "") for event in events)
    assert "sparkplug_impaired" in {event["event"] for event in events}


def test_the_hosts_say_what_mqtt_says_and_tahu_decodes_it(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """20 parts: each message as Eclipse Tahu's own library reads it has the verdicts of MQTT."""
    node, package = node_and_package("sparkplug-payload")
    changes = settings(mosquitto.port, **{"source.uri": "defects=0.4"})
    with Subscriber(mosquitto.port, topic="t/#") as ear, Host(mosquitto.port) as host:
        with Daemon(tmp_path, mosquitto.port, changes) as daemon:
            host.wait(lambda: bool(host.values.get("Station/Ready")))
            for rid in range(1, 21):
                trigger(ear, rid)
                host.wait(lambda rid=rid: host.live[-1]["trigger"] == rid)  # type: ignore[misc]  # bound now
            host.ask_for_rebirth()
            host.wait(lambda: len(host.on("NBIRTH")) == 2)
            assert daemon.stop() == 0
        host.wait(lambda: bool(host.on("NDEATH")))
        ear.wait(lambda ear: len(ear.on("t/verdict")) == 20, "every verdict")

    lines = "\n".join(heard.raw.hex() for heard in host.heard)
    command = [node, "-e", DECODER, str(package)]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=True, timeout=30)
    decoded = [json.loads(line) for line in done.stdout.splitlines()]

    assert [payload.get("seq", -1) for payload in decoded] == [heard.seq for heard in host.heard]
    assert [[_plain(metric) for metric in payload["metrics"]] for payload in decoded] == [
        [_ours(metric) for metric in heard.payload["metrics"]] for heard in host.heard
    ]
    live = verdicts(ear.on("t/verdict"))
    shared = ("boot", "seq", "trigger", "part", "result", "code", "reason", "score", "latency_ms")
    seen = {verdict["seq"]: verdict for verdict in host.live if verdict["result"]}
    assert [[seen[v["seq"]][key] for key in shared] for v in live] == [
        [v[key] for key in shared] for v in live
    ]
    assert {v["result"] for v in live} == {"PASS", "FAIL"}


def _plain(metric: dict[str, Any]) -> tuple[object, ...]:
    """Return name or alias, time and value of a metric as Tahu reads it."""
    value = metric["value"]
    if isinstance(value, dict):
        value = {member["name"]: member["value"] for member in value["metrics"]}
    return metric.get("name", ""), metric.get("alias", 0), metric["timestamp"], value


def _ours(metric: dict[str, Any]) -> tuple[object, ...]:
    """Return the same of a metric as the test reads it."""
    value = metric["value"]
    if isinstance(value, dict):
        value = value["metrics"]
    return metric.get("name", ""), metric.get("alias", 0), metric["timestamp"], value
