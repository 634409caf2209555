"""Subscribe to verdicts with many OPC UA clients at a time; exits 1 unless each receives every part's result.

    python -m tests.benchmarks.opcua [--parts 600] [--rate 10] [--sessions 24] [--turns 2]

Parts are triggered over MQTT, in turn with OPC UA off and with it on and 24 sessions of node-opcua, each
with a subscription to five values and the event ResultReady: the 95th percentile of exposure to verdict may
grow by a tenth. Prints what the server takes of memory and processor, without clients and with them.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.modbus import paced
from tests.daemon import ROOT, Daemon, verdicts
from tests.mosquitto import Mosquitto, Subscriber, free_port
from tests.npm import node_and_package

DEADLINE_MS = 1000  # Wide, so that a busy machine loses no verdict: what counts is the ratio.
ALLOWED_RATIO = 1.1
START_S = 30.0
SETTINGS: dict[str, object] = {
    "trigger.mode": "mqtt",
    "source.uri": "defects=0.2",
    "limits.deadline_ms": DEADLINE_MS,
    "limits.frame_age_ms_max": 1000,
}


@dataclass
class Seen:
    """What runs of one kind showed."""

    latencies_ms: list[float] = field(default_factory=list)
    late: int = 0
    refused: int = 0  # Triggers, as by a machine that is busy with other work.
    lost: int = 0  # Parts whose trigger was taken, without a verdict on MQTT or at a subscriber.
    twice: int = 0  # Events that a subscriber got twice.
    rss_mb: list[float] = field(default_factory=list)  # Before the first part, clients not yet connected.
    rss_end_mb: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)  # Processor time for the parts.
    received: list[dict[str, Any]] = field(default_factory=list)  # By the subscribers of each run.


def run(folder: Path, broker: Mosquitto, seen: Seen, options: argparse.Namespace, *, on: bool) -> None:
    """Trigger parts over MQTT and add what was seen."""
    endpoint = f"opc.tcp://127.0.0.1:{free_port()}/linewatch"
    changes = SETTINGS | ({"opcua.enabled": True, "opcua.endpoint": endpoint} if on else {})
    folder.mkdir()
    with Subscriber(broker.port) as ear, Daemon(folder, broker.port, changes) as daemon:
        ear.wait(lambda ear: any('"READY"' in state for state in ear.on("t/state")))
        wait_for(lambda: not on or "opcua endpoint=" in daemon.log)
        seen.rss_mb.append(rss_mb(daemon.process.pid))
        with subscribers(endpoint, options, seen) if on and options.sessions else nothing():
            before_s = cpu_s(daemon.process.pid)
            for number in paced(options.parts, options.rate):
                ear.say("t/cmd/trigger", json.dumps({"rid": number, "part": f"A{number:05d}"}))
            ear.wait(lambda ear: len(ear.on("t/cmd/trigger/res")) >= options.parts, "every reply")
            taken = sum(json.loads(reply)["ok"] for reply in ear.on("t/cmd/trigger/res"))
            ear.wait(lambda ear: len(ear.on("t/verdict")) >= taken, "every verdict")
            seen.cpu_s.append(cpu_s(daemon.process.pid) - before_s)
            seen.rss_end_mb.append(rss_mb(daemon.process.pid))
        assert daemon.stop() == 0
    live = verdicts(ear.on("t/verdict"))
    seen.latencies_ms += [float(verdict["latency_ms"]) for verdict in live]
    seen.late += sum(verdict["late"] for verdict in live)
    seen.refused += options.parts - taken
    seen.lost += taken - len({verdict["trigger"] for verdict in live})
    if on and options.sessions:
        seen.lost += taken - seen.received[-1]["fewest"]
        seen.twice += seen.received[-1]["twice"]


@contextmanager
def subscribers(endpoint: str, options: argparse.Namespace, seen: Seen) -> Iterator[None]:
    """Connect the clients, and wait at the end until they have everything."""
    node, package = node_and_package("node-opcua-client")
    argument = json.dumps({"endpoint": endpoint, "sessions": options.sessions, "parts": options.parts})
    with subprocess.Popen(
        [node, "tests/benchmarks/opcua_subscribers.js", argument],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env=os.environ | {"NODE_PATH": str(package.parent)},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        assert "ready\n" in lines  # Before it stand warnings of the client.
        yield
        seen.received.append(next(json.loads(line) for line in lines if line.startswith("{")))


@contextmanager
def nothing() -> Iterator[None]:
    """Do nothing."""
    yield


def wait_for(done: Any) -> None:
    """Wait until something about the daemon is true."""
    until_s = time.monotonic() + START_S
    while not done():
        assert time.monotonic() < until_s
        time.sleep(0.05)


def rss_mb(pid: int) -> float:
    """Return a process's resident memory in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def cpu_s(pid: int) -> float:
    """Return the processor time that a process has taken in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    """Run both in turn and print the outcome; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.opcua")
    parser.add_argument("--parts", type=int, default=600)
    parser.add_argument("--rate", type=float, default=10.0)
    parser.add_argument("--sessions", type=int, default=24)
    parser.add_argument("--turns", type=int, default=2)
    options = parser.parse_args()
    off, on = Seen(), Seen()
    with tempfile.TemporaryDirectory() as name:
        broker = Mosquitto(Path(name))
        broker.start()
        try:
            for turn in range(options.turns):
                run(Path(name, f"off{turn}"), broker, off, options, on=False)
                run(Path(name, f"on{turn}"), broker, on, options, on=True)
        finally:
            broker.stop()
    before, after = (np.quantile(seen.latencies_ms, (0.5, 0.95, 0.99, 1.0)) for seen in (off, on))
    held = not on.late + on.lost + on.twice and after[1] <= ALLOWED_RATIO * before[1]
    parts = options.parts
    print(
        f"{'ok ' if held else 'BAD'} {options.turns} x {parts} parts, {options.sessions} sessions: "
        f"{on.refused} refused ({off.refused} without), {on.late} late, {on.lost} lost, {on.twice} twice; "
        f"exposure to verdict p50/p95/p99/max {_ms(after)} ms, without OPC UA {_ms(before)} ms "
        f"(p95 x {after[1] / before[1]:.2f})\n"
        f"    received {on.received}\n"
        f"    memory {_mean(on.rss_mb):.0f} MB, without {_mean(off.rss_mb):.0f} MB; at the end "
        f"{_mean(on.rss_end_mb):.0f} and {_mean(off.rss_end_mb):.0f} MB; processor a part "
        f"{1000 * _mean(on.cpu_s) / parts:.1f} and {1000 * _mean(off.cpu_s) / parts:.1f} ms"
    )
    return 0 if held else 1


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _ms(values: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> str:
    return " / ".join(f"{value:.0f}" for value in values)


if __name__ == "__main__":
    sys.exit(main())
