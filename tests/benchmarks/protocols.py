"""What the protocols beside MQTT cost, and how soon each has a verdict; exits 1 beyond the limits.

    python -m tests.benchmarks.protocols [--rounds 3] [--parts 300] [--off opcua] [--no-clients]

Each round runs the daemon as fast as it can without and with Modbus, OPC UA and Sparkplug, one after the
other, each between two runs of the bare engine: their share of the engine's rate must be 0.93 at least, and
60 MB more memory at most. With the protocols a Modbus client reads every 20 ms and a Sparkplug host listens.
Then, at 10 parts a second: from the exposure to the verdict's arrival over MQTT, Modbus and Sparkplug.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from docs.examples.plc_modbus import Modbus
from linewatch.cli.bench import (
    MEASURE_S,
    WARM_UP_S,
    _throughput,
    machine,
    run_broker,
    run_daemon,
    take_images,
    time_engine,
)
from linewatch.models.engine import OpenVinoEngine
from linewatch.models.loader import prepare
from linewatch.settings import Settings, load
from tests.mosquitto import free_port
from tests.plc.sparkplug import decode

CONFIG = Path("config/bench.toml")
PROTOCOLS = ("modbus", "opcua", "sparkplug")
RATIO_MIN, MEMORY_MB_MAX = 0.93, 60
RATE = 10.0
POLLER = """
import sys, time
from docs.examples.plc_modbus import Modbus
with Modbus("127.0.0.1", int(sys.argv[1])) as station:
    while True:
        station.read(0, 36)
        time.sleep(0.02)
"""


@dataclass(frozen=True, slots=True)
class Full:
    """A daemon at full speed."""

    parts_per_s: float
    ratio: float  # Of the engine's rate just before and after it.
    memory_mb: float  # Its largest.
    cpu_ms: float  # Of the process, for each part: on a busy machine a steadier measure than the rate.


def switched(names: tuple[str, ...], modbus_port: int, broker_port: int) -> Mapping[str, str]:
    """Return the environment that enables protocols."""
    settings = {
        "modbus": {"PORT": str(modbus_port), "CLIENTS_MAX": "4"},
        "opcua": {"ENDPOINT": f"opc.tcp://127.0.0.1:{free_port()}/linewatch"},
        "sparkplug": {"PORT": str(broker_port)},
    }
    return {
        f"LINEWATCH_{name.upper()}__{key}": value
        for name in names
        for key, value in {"ENABLED": "true", **settings[name]}.items()
    }


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables for what is started inside the block."""
    os.environ.update(values)
    yield
    for name in values:
        del os.environ[name]


@contextmanager
def clients(names: tuple[str, ...], modbus_port: int, broker_port: int) -> Iterator[None]:
    """Run a client of each protocol in a process of its own; OPC UA's are measured in its own benchmark."""
    if "modbus" in names:
        await_port(modbus_port)
    commands = {
        "modbus": [sys.executable, "-c", POLLER, str(modbus_port)],
        "sparkplug": ["mosquitto_sub", "-p", str(broker_port), "-t", "spBv1.0/#", "-F", "%l"],
    }
    running = [
        subprocess.Popen(commands[name], stdout=subprocess.DEVNULL) for name in names if name in commands
    ]
    yield
    for process in running:
        assert process.poll() is None, "a client ended early"
        process.kill()
        process.wait()


def await_port(port: int) -> None:
    """Wait until something listens there: the protocols start after the station says it is ready."""
    until_s = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            assert time.monotonic() < until_s, "nothing listens"
            time.sleep(0.05)
        else:
            return


def compare(
    settings: Settings, names: tuple[str, ...], rounds: int, *, served: bool
) -> list[tuple[Full, Full]]:
    """Return what each round measured without and with the protocols, `served` with clients, too."""
    prepared, bundle = prepare(settings.station.product, settings.models)
    images = take_images(settings)
    engine = OpenVinoEngine(bundle.graph, threads=settings.models.threads)

    def engine_s() -> float:
        return statistics.mean(time_engine(engine, bundle, prepared, images))

    found = []
    with tempfile.TemporaryDirectory() as folder, run_broker(Path(folder)) as (_, broker_port):
        for number in range(rounds):
            pair = []
            before_s = engine_s()
            for chosen in ((), names):
                port = free_port()
                state = Path(folder) / f"{number}-{len(chosen)}"
                with (
                    environment(switched(chosen, port, broker_port)),
                    run_daemon(settings, CONFIG, state, broker_port, fps=0) as daemon,
                    clients(chosen if served else (), port, broker_port),
                ):
                    cpu_s = -cpu_seconds(daemon.process.pid)
                    rate, memory_mb = _throughput(daemon)
                    cpu_s += cpu_seconds(daemon.process.pid)
                after_s = engine_s()
                cpu_ms = 1000 * cpu_s / (rate * (WARM_UP_S + MEASURE_S))
                pair.append(Full(rate, rate * (before_s + after_s) / 2, memory_mb, cpu_ms))
                before_s = after_s
            found.append((pair[0], pair[1]))
            print(f"round {number + 1}: without {_words(pair[0])}; with {_words(pair[1])}", flush=True)
    return found


def _words(full: Full) -> str:
    speed = f"{full.parts_per_s:.1f} parts/s, {full.ratio:.3f} of the engine"
    return f"{speed}, {full.memory_mb:.0f} MB, {full.cpu_ms:.1f} ms CPU"


def cpu_seconds(process: int) -> float:
    """Return the processor time that a process has taken (proc(5), stat)."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def arrivals(settings: Settings, names: tuple[str, ...], parts: int) -> dict[str, list[float]]:
    """Return for each protocol how long after its exposure each verdict arrived, in ms."""
    captured_ms: dict[int, int] = {}
    seen_ms: dict[str, dict[int, float]] = {"mqtt": {}, "sparkplug": {}, "modbus": {}}
    ended = threading.Event()

    def hear(_client: Client, _userdata: object, message: MQTTMessage) -> None:
        now_ms = time.time() * 1000
        if message.topic.startswith("spBv1.0"):
            for metric in decode(bytes(message.payload))["metrics"]:
                if metric.get("datatype") == 19 and "seq" in metric["value"]["metrics"]:
                    seen_ms["sparkplug"].setdefault(metric["value"]["metrics"]["seq"], now_ms)
        else:
            verdict = json.loads(message.payload)
            captured_ms[verdict["seq"]] = verdict["captured_ms"]
            seen_ms["mqtt"][verdict["seq"]] = now_ms

    def poll(port: int) -> None:
        with Modbus("127.0.0.1", port) as station:
            while not ended.is_set():
                registers = station.read(0, 36)
                seq = (registers[12] << 16) + registers[13]
                seen_ms["modbus"].setdefault(seq, time.time() * 1000)
                time.sleep(0.01)

    with (
        tempfile.TemporaryDirectory() as folder,
        run_broker(Path(folder)) as (_, broker_port),
        ExitStack() as stack,
    ):
        port = free_port()
        stack.enter_context(environment(switched(names, port, broker_port)))
        stack.enter_context(run_daemon(settings, CONFIG, Path(folder) / "state", broker_port, fps=RATE))
        client = Client(CallbackAPIVersion.VERSION2)
        client.on_message = hear
        client.connect("127.0.0.1", broker_port)
        client.subscribe([(f"{settings.mqtt.base_topic}/verdict", 1), ("spBv1.0/+/NDATA/+", 1)])
        client.loop_start()
        poller = threading.Thread(target=poll, args=(port,))
        if "modbus" in names:
            await_port(port)
            poller.start()
        until_s = time.monotonic() + 3 * parts / RATE + 10
        while len(captured_ms) < parts and time.monotonic() < until_s:
            time.sleep(0.1)
        ended.set()
        if "modbus" in names:
            poller.join()
        client.disconnect()
        client.loop_stop()
    return {
        name: [at_ms - captured_ms[seq] for seq, at_ms in seen.items() if seq in captured_ms]
        for name, seen in seen_ms.items()
        if seen
    }


def main() -> int:
    """Print the comparison and the arrivals; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.protocols")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parts", type=int, default=300)
    parser.add_argument("--off", action="append", default=[], choices=PROTOCOLS)
    parser.add_argument("--no-clients", action="store_true")
    options = parser.parse_args()
    names = tuple(name for name in PROTOCOLS if name not in options.off)
    settings = load(CONFIG)
    print(f"{', '.join(names)}; {machine()}", flush=True)
    held = True
    if options.rounds:
        rounds = compare(settings, names, options.rounds, served=not options.no_clients)
        without, beside = (
            statistics.median(full.ratio for full in column) for column in zip(*rounds, strict=True)
        )
        cpu_ms = [statistics.median(full.cpu_ms for full in column) for column in zip(*rounds, strict=True)]
        more_mb = statistics.median(after.memory_mb - before.memory_mb for before, after in rounds)
        held = beside >= RATIO_MIN and more_mb <= MEMORY_MB_MAX
        print(
            f"{'ok ' if held else 'BAD'} daemon to engine {without:.3f} without, {beside:.3f} with them "
            f"(at least {RATIO_MIN}); {more_mb:+.1f} MB (at most {MEMORY_MB_MAX}); "
            f"CPU for a part {cpu_ms[0]:.1f} and {cpu_ms[1]:.1f} ms"
        )
    for name, times_ms in (arrivals(settings, names, options.parts) if options.parts else {}).items():
        quantiles = statistics.quantiles(times_ms, n=100)
        print(
            f"{name:10} exposure to arrival p50/p95/max {quantiles[49]:.1f} / {quantiles[94]:.1f} / "
            f"{max(times_ms):.1f} ms, {len(times_ms)} verdicts"
        )
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
