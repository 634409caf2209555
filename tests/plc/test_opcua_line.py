"""End to end over OPC UA: the real daemon, node-opcua as a client of another make, the example."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from asyncua import Client, ua

from docs.examples.plc_opcua import Gate
from tests.daemon import ROOT, Daemon, verdicts
from tests.mosquitto import Mosquitto, Subscriber, free_port
from tests.npm import node_and_package
from tests.plc.opcua import PASSWORD, Identity, Served, node

WAIT_S = 30.0
T = TypeVar("T")


def settings(**changes: object) -> dict[str, object]:
    """Return settings of a station that is triggered over OPC UA and passes every part."""
    # A machine that is busy with other tests may read a PASS later than a client does.
    opcua = {"opcua.enabled": True, "opcua.endpoint": f"opc.tcp://127.0.0.1:{free_port()}/linewatch"}
    return {"trigger.mode": "mqtt", "source.uri": "defects=0", "opcua.pass_s": 60.0, **opcua, **changes}


def session(changes: dict[str, object], work: Callable[[Client], Coroutine[Any, Any, T]]) -> T:
    """Run `work` with a client, once the server listens, which it does soon after the daemon's start."""

    async def run() -> T:
        until_s = time.monotonic() + WAIT_S
        while True:
            try:
                async with Client(str(changes["opcua.endpoint"]), timeout=WAIT_S) as client:
                    return await work(client)
            except ConnectionRefusedError:
                assert time.monotonic() < until_s
                await asyncio.sleep(0.05)

    return asyncio.run(run())


async def value(client: Client, path: str) -> Any:
    """Read one variable."""
    return await node(client, path).read_value()


async def until(client: Client, path: str, wanted: object) -> None:
    """Read a variable until it has a value."""
    until_s = time.monotonic() + WAIT_S
    while (found := await value(client, path)) != wanted:
        assert time.monotonic() < until_s, (path, found)
        await asyncio.sleep(0.02)


async def trigger(client: Client, part: str = "A") -> tuple[int, int]:
    """Trigger a part; return its request and the code."""
    nothing = ua.Variant(0, ua.VariantType.UInt32)
    request, code, _ = await node(client, "Station").call_method("3:Trigger", part, nothing)
    return request, code


def run_node_opcua(**options: object) -> dict[str, Any]:
    """Run the client of another make; return what it found."""
    program, package = node_and_package("node-opcua-client")
    done = subprocess.run(
        [program, "tests/plc/node_opcua_client.js", json.dumps(options)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=90,
        env=os.environ | {"NODE_PATH": str(package.parent)},
    )  # fmt: skip
    assert done.stdout, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_a_client_of_another_make_starts_jobs_and_receives_each_result(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    """node-opcua browses, subscribes, starts 10 jobs, selects the recipe; each result is that of MQTT."""
    node_and_package("node-opcua-client")
    changes = settings(**{"source.uri": "defects=0.4"})
    with Subscriber(mosquitto.port) as ear, Daemon(tmp_path, mosquitto.port, changes) as daemon:
        session(changes, lambda client: until(client, "Live.State", "READY"))
        found = run_node_opcua(endpoint=changes["opcua.endpoint"], parts=10, product="demo")
        assert daemon.stop() == 0

    live = {verdict["trigger"]: verdict for verdict in verdicts(ear.on("t/verdict"))}
    told = {int(part["job"].partition("-")[2]): part for part in found["parts"]}
    assert "2:VisionStateMachine" in found["browsed"]
    assert [job["error"] for job in found["jobs"]] == [0] * 10
    assert sorted(live) == sorted(told) == list(range(1, 11))
    for number, part in told.items():
        assert part["part"] == f"A{number}"
        assert {**part["told"], "image": "", "heatmap": ""} == {**live[number], "image": "", "heatmap": ""}
    assert found["codes"][-1] == 10  # Of Verdict.Seq.
    assert {1013, 1024} <= set(found["events"])
    assert (found["prepared"], found["product"]) == (["demo", True, 0], "demo")
    assert found["again"] == {"part": "A1", "state": 1, "error": 0}
    assert [row["seq"] for row in daemon.rows()] == list(range(1, 11))


def test_a_client_of_another_make_needs_the_right_certificate_and_user(tmp_path: Path) -> None:
    """node-opcua signs and encrypts; with another certificate or password it does not get in."""
    node_and_package("node-opcua-client")
    known, stranger = Identity(tmp_path, "mes"), Identity(tmp_path, "stranger")
    known.trust(tmp_path)

    def attempt(identity: Identity, word: str) -> dict[str, Any]:
        return run_node_opcua(
            endpoint=served.url, parts=0, user="anna", password=word, folder=str(tmp_path / "node"),
            certificate=str(identity.certificate), key=str(identity.key), uri=identity.uri,
        )  # fmt: skip

    with Served(tmp_path, host="0.0.0.0", users=True) as served:
        right = attempt(known, PASSWORD)
        wrong_word, wrong_certificate = attempt(known, "wrong"), attempt(stranger, PASSWORD)

    assert right.get("state") == "Operational", right
    assert "BadUserAccessDenied" in wrong_word["failed"]
    assert "failed" in wrong_certificate
    assert served.counts["refused"] >= 1


def test_pause_changeover_fault_stop_and_kill_as_the_client_sees_them(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    """No PASS of a part before can be read in any of them; the table in docs/plc.md."""
    changes = settings()

    async def passes(client: Client) -> None:
        await until(client, "Live.State", "READY")
        request, code = await trigger(client)
        assert code == 0
        await until(client, "Verdict.Trigger", request)
        assert await client.read_values([node(client, "Verdict.Code"), node(client, "Live.Ready")]) == [
            1,
            True,
        ]

    async def refuses(client: Client, state: str, machine: str) -> None:
        await until(client, "Live.State", state)
        paths = ("Verdict.Code", "Verdict.Result", "Live.Ready", "VisionStateMachine.CurrentState")
        *values, shown = await client.read_values([node(client, path) for path in paths])
        assert (*values, shown.Text) == (0, "", False, machine)
        seq = await value(client, "Verdict.Seq")
        assert (await trigger(client))[1] == 1
        assert await value(client, "Verdict.Seq") == seq

    async def whole_shift(client: Client) -> None:
        system = node(client, "Station")
        await passes(client)
        assert (await system.call_method("3:Pause"))[0] == 0
        await refuses(client, "PAUSED", "Halted")
        assert (await system.call_method("3:Resume"))[0] == 0
        await passes(client)
        unknown = ua.Variant(999, ua.VariantType.UInt16)
        assert (await system.call_method("3:SelectRecipe", "", unknown))[0] == 5
        await refuses(client, "FAULT", "Error")
        known = ua.Variant(1, ua.VariantType.UInt16)
        assert (await system.call_method("3:SelectRecipe", "", known))[0] == 0
        await passes(client)
        changing = asyncio.create_task(system.call_method("3:SelectRecipe", "", known))
        state = node(client, "Live.State")
        while not changing.done():
            code, now = await client.read_values([node(client, "Verdict.Code"), state])
            assert code == 0 or now == "READY"
        assert (await changing)[0] == 0
        assert await value(client, "Verdict.Code") == 0
        await passes(client)

    async def ended(client: Client) -> None:
        with pytest.raises((ConnectionError, ua.UaError, asyncio.TimeoutError, OSError)):
            while True:
                await value(client, "Live.Word")

    async def stop_seen(client: Client) -> None:
        stopping = asyncio.create_task(asyncio.to_thread(daemon.stop))
        await ended(client)
        assert await stopping == 0

    async def kill_seen(client: Client) -> None:
        assert await client.read_values([node(client, f"Verdict.{name}") for name in ("Number", "Code")]) == [
            0,
            0,
        ]
        assert await value(client, "Live.Boot") == 2
        await passes(client)
        again.process.kill()
        await ended(client)

    with Daemon(tmp_path, mosquitto.port, changes) as daemon:
        session(changes, whole_shift)
        session(changes, stop_seen)
    with Daemon(tmp_path, mosquitto.port, changes) as again:
        session(changes, kill_seen)


def test_the_example_triggers_parts_and_keeps_its_window(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """It passes what passes in time, and rejects what does not or is of another product."""
    changes = settings()
    with Daemon(tmp_path, mosquitto.port, changes) as daemon:
        session(changes, lambda client: until(client, "Live.State", "READY"))
        endpoint = ("--endpoint", str(changes["opcua.endpoint"]))
        enough = play(*endpoint, "--parts", "3", "--window-ms", "8000", "--product-index", "1")
        none = play(*endpoint, "--parts", "1", "--window-ms", "1", "--product-index", "1")
        other = play(*endpoint, "--parts", "1", "--window-ms", "8000", "--product-index", "2")
        assert daemon.stop() == 0

    assert enough == (0, ["PASS"] * 3)
    assert none[0] == 1 and none[1][0].startswith("REJECT (no verdict in the window")
    assert other == (1, ["REJECT (product 1, not 2)"])


def play(*options: str) -> tuple[int, list[str]]:
    """Run the example; return its exit status and its decision for each part."""
    command = [sys.executable, "docs/examples/plc_opcua.py", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr == ""
    parts = [line.partition(": ")[2] for line in done.stdout.splitlines() if line.startswith("part ")]
    return done.returncode, parts


VALUES = {
    "Live.Heartbeat": 5, "Live.Ready": True, "Live.Boot": 41, "Verdict.Trigger": 17, "Verdict.Boot": 41,
    "Verdict.Code": 1, "Verdict.Reason": 0, "Verdict.ProductIndex": 3,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "now_s", "decision"),
    [
        ({}, 10.3, ""),
        ({"Verdict.Trigger": 16}, 10.3, None),
        ({"Verdict.Boot": 40}, 10.3, None),
        ({}, 10.4, "no verdict in the window"),
        ({"Verdict.Code": 0}, 10.3, "result 0, reason 0"),
        ({"Verdict.Code": 2, "Verdict.Reason": 10}, 10.3, "result 2, reason 10"),
        ({"Verdict.ProductIndex": 4}, 10.3, "product 4, not 3"),
        ({"Live.Ready": False}, 10.3, "station not ready"),
    ],
)
def test_the_examples_gate_opens_only_for_a_pass_of_this_part(
    changes: dict[str, object], now_s: float, decision: str | None
) -> None:
    """All others are rejects, or are waited for until the window is over."""
    gate = Gate(3, 0.4)
    gate.scan(VALUES, 9.9)

    assert gate.decide(VALUES | changes, 17, 10.0, now_s) == decision


def test_the_examples_gate_does_not_open_without_a_heartbeat() -> None:
    """A station whose heartbeat stands still for 2 s counts as dead."""
    gate = Gate(3, 10.0)
    gate.scan(VALUES, 8.0)
    gate.scan(VALUES, 10.2)

    assert gate.decide(VALUES, 17, 10.0, 10.3) == "heartbeat stands still"
