"""Benchmark the whole daemon against the bare engine: same model, same images, in one run."""

import json
import os
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.progress import Progress

from linewatch.acquisition.sources import open_source
from linewatch.cli.demo_broker import EmbeddedBroker, free_port
from linewatch.domain import Image
from linewatch.errors import BrokerLost, LinewatchError, UsageError
from linewatch.models.bundle import Bundle
from linewatch.models.engine import OpenVinoEngine
from linewatch.models.loader import Prepared, prepare
from linewatch.mqtt.broker import Broker
from linewatch.mqtt.messages import Incoming, Topics
from linewatch.settings import MqttSettings, Settings
from linewatch.vision.scoring import cut_roi, standard_crop

WARM_UP_S = 2.0
MEASURE_S = 10.0
ENGINE_S = 4.0
IMAGES = 64
RATES = (5, 10, 20, 40)  # Parts per second.
LOAD = 0.5  # Latency is measured at this share of the engine's rate.
READY_TIMEOUT_S = 60.0
BROKER_TIMEOUT_S = 5.0

Figures = Mapping[str, float | str]


@dataclass(frozen=True, slots=True)
class Daemon:
    """A running daemon."""

    process: subprocess.Popen[bytes]
    start_s: float  # From exec to READY=1.
    port: int
    journal: Path


def measure(settings: Settings, config: Path) -> Figures:
    """Measure throughput and latency, about 45 s. Raises UsageError, RecipeError and LinewatchError.

    Throughput: the daemon as fast as it can run, broker and journal included; before and after it the
    engine alone on crops that are ready. Latency: from capture to arrival at a subscriber, with the
    daemon at half the engine's rate.
    """
    _refuse_cameras(settings)
    prepared, bundle = prepare(settings.station.product, settings.models)
    images = take_images(settings)
    engine = OpenVinoEngine(bundle.graph, threads=settings.models.threads)
    with (
        Progress(console=Console(stderr=True), transient=True) as progress,
        tempfile.TemporaryDirectory(prefix="linewatch-bench-", dir=".") as folder,
        run_broker(Path(folder)) as (broker_name, broker_port),
    ):
        task = progress.add_task("Engine alone", total=5)

        def step(name: str) -> None:
            progress.update(task, advance=1, description=name)

        before = time_engine(engine, bundle, prepared, images)
        step("Daemon at full speed")
        with run_daemon(settings, config, Path(folder) / "full", broker_port, fps=0) as daemon:
            start_s = daemon.start_s
            rate, memory_mb = _throughput(daemon)
        step("Engine alone again")
        after = time_engine(engine, bundle, prepared, images)
        step("Daemon at half the rate")
        engine_ms = 1000 * statistics.median(before + after)
        engine_fps = 2 / (statistics.mean(before) + statistics.mean(after))
        paced_fps = round(LOAD * engine_fps, 1)
        with run_daemon(settings, config, Path(folder) / "paced", broker_port, fps=paced_fps) as daemon:
            latencies_ms = [verdict.latency_ms for verdict in receive_verdicts(settings, broker_port)]
        step("Done")
    quantiles = statistics.quantiles(latencies_ms, n=100)
    return {
        "machine": machine(),
        "product": f"{prepared.recipe.product} {bundle.version}",
        "broker": broker_name,
        "engine_ms_p50": round(engine_ms, 2),
        "engine_fps": round(engine_fps, 1),
        "daemon_fps": round(rate, 1),
        "daemon_to_engine": round(rate / engine_fps, 3),
        "latency_at_fps": paced_fps,
        "latency_ms_p50": round(quantiles[49], 1),
        "latency_ms_p95": round(quantiles[94], 1),
        "latency_ms_p99": round(quantiles[98], 1),
        "latency_over_engine_ms_p50": round(quantiles[49] - engine_ms, 1),
        "verdicts_seen": len(latencies_ms),
        "start_to_ready_s": round(start_s, 2),
        "memory_mb_max": round(memory_mb),
    }


def measure_rates(
    settings: Settings,
    config: Path,
    *,
    rates: Sequence[int] = RATES,
    warm_up_s: float = WARM_UP_S,
    measure_s: float = MEASURE_S,
) -> list[Figures]:
    """Measure the daemon at each of `rates` parts per second. Raises UsageError and LinewatchError.

    A part counts as judged if its result is PASS, FAIL or UNSURE, which implies in time. Latency is
    measured as in `measure`.
    """
    _refuse_cameras(settings)
    figures: list[Figures] = []
    with (
        Progress(console=Console(stderr=True), transient=True) as progress,
        tempfile.TemporaryDirectory(prefix="linewatch-bench-", dir=".") as folder,
        run_broker(Path(folder)) as (_, broker_port),
    ):
        for rate in progress.track(rates, description="Parts per second"):
            with run_daemon(settings, config, Path(folder) / str(rate), broker_port, fps=rate):
                verdicts = receive_verdicts(settings, broker_port, warm_up_s, measure_s)
            latencies_ms = sorted(verdict.latency_ms for verdict in verdicts)
            judged = sum(verdict.judged for verdict in verdicts)
            quantiles = statistics.quantiles(latencies_ms, n=100)
            figures.append(
                {
                    "parts/s": float(rate),
                    "judged/s": round(judged / measure_s, 1),
                    "late": float(sum(verdict.late for verdict in verdicts)),
                    "not judged": float(len(verdicts) - judged),
                    "p50 ms": round(quantiles[49], 1),
                    "p95 ms": round(quantiles[94], 1),
                    "p99 ms": round(quantiles[98], 1),
                    "max ms": round(latencies_ms[-1], 1),
                }
            )
    return figures


def rates_table(figures: Sequence[Figures], deadline_ms: int) -> str:
    """Return the figures of `measure_rates` as a table with one line per rate."""
    lines = ["".join(f"{name:>12}" for name in figures[0])]
    lines += ["".join(f"{value:>12g}" for value in row.values()) for row in figures]
    return "\n".join([*lines, f"late: published after the deadline of {deadline_ms} ms; on {machine()}"])


def table(figures: Figures) -> str:
    """Return the figures of `measure` as text, one per line."""
    return "\n".join(f"{name:28}{value}" for name, value in figures.items())


def machine() -> str:
    """Return processor, number of cores and operating system of this machine."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "?")
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    return f"{model}, {os.cpu_count()} cores, {system}"


def _refuse_cameras(settings: Settings) -> None:
    if settings.source.kind not in ("simulator", "folder"):
        raise UsageError("bench needs source.kind simulator or folder: a camera sets its own pace")


def take_images(settings: Settings) -> list[Image]:
    """Return up to IMAGES frames of the configured source. Raises ConfigError and LinewatchError."""
    with open_source(settings.source) as source:
        frames = [source.read() for _ in range(IMAGES)]
    images = [frame.image for frame in frames if frame is not None and frame.image is not None]
    if not images:
        raise LinewatchError(f"source {source.name!r} gives no image; check source.uri")
    return images


def time_engine(
    engine: OpenVinoEngine, bundle: Bundle, prepared: Prepared, images: list[Image]
) -> list[float]:
    """Return the seconds of each run of the graph alone, on crops prepared before."""
    crops = [
        standard_crop(cut_roi(image, prepared.recipe.roi)[0], bundle.registration, engine.input_shape)[0]
        for image in images
    ]
    times: list[float] = []
    ends_s = time.perf_counter() + ENGINE_S
    while time.perf_counter() < ends_s:
        started = time.perf_counter()
        engine.run(crops[len(times) % len(crops)])
        times.append(time.perf_counter() - started)
    return times[10:]


@contextmanager
def run_broker(folder: Path) -> Iterator[tuple[str, int]]:
    """Run mosquitto, or the embedded broker if it is not installed; yield its name and port."""
    binary = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if binary is None:
        with EmbeddedBroker() as broker:
            yield "embedded", broker.port
        return
    port = free_port()
    config = folder / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n", encoding="utf-8")
    process = subprocess.Popen([binary, "-c", str(config)], stderr=subprocess.DEVNULL)
    try:
        _wait_for(port, process)
        yield "mosquitto", port
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def run_daemon(
    settings: Settings,
    config: Path,
    folder: Path,
    broker_port: int,
    *,
    fps: float,
    pool: int = IMAGES,
) -> Iterator[Daemon]:
    """Run `linewatch run` in a child process with its state in `folder`; enter once it is READY.

    The simulator repeats `pool` rendered frames, so that rendering costs nothing.
    """
    folder.mkdir()
    port = free_port()
    uri = settings.source.uri
    if settings.source.kind == "simulator":
        uri = "&".join(part for part in (uri, f"pool={pool}") if part)
    environment = os.environ | {
        "LINEWATCH_SOURCE__FPS": str(fps),
        "LINEWATCH_SOURCE__URI": uri,
        "LINEWATCH_SOURCE__LOOP": "true",
        "LINEWATCH_MODELS__PATH": str(settings.models.path),
        "LINEWATCH_MODELS__RECIPES": str(settings.models.recipes),
        "LINEWATCH_MQTT__PORT": str(broker_port),
        "LINEWATCH_MQTT__HOST": "127.0.0.1",
        "LINEWATCH_JOURNAL__PATH": str(folder / "journal.db"),
        "LINEWATCH_EVIDENCE__PATH": str(folder / "evidence"),
        "LINEWATCH_HTTP__PORT": str(port),
        "NOTIFY_SOCKET": str(folder / "notify"),
    }
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify, (folder / "log").open("wb") as log:
        notify.bind(environment["NOTIFY_SOCKET"])
        notify.settimeout(READY_TIMEOUT_S)
        started = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "linewatch", "run", "--config", str(config)],
            env=environment,
            stdout=log,
            stderr=log,
        )
        try:
            while b"READY=1" not in notify.recv(4096):
                pass
            start_s = time.monotonic() - started
            threading.Thread(target=_drain, args=(notify,), daemon=True).start()
            yield Daemon(process, start_s, port, folder / "journal.db")
        except TimeoutError as error:
            raise LinewatchError(
                f"the daemon was not ready after {READY_TIMEOUT_S:.0f} s; see {log.name}"
            ) from error
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def _wait_for(port: int, broker: subprocess.Popen[bytes]) -> None:
    """Wait until the broker listens, else the daemon's back-off would count as start time."""
    until = time.monotonic() + BROKER_TIMEOUT_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=BROKER_TIMEOUT_S).close()
        except OSError as error:
            if broker.poll() is not None or time.monotonic() > until:
                raise LinewatchError(f"mosquitto does not start ({error}); try: mosquitto -v") from error
            time.sleep(0.01)
        else:
            return


def _drain(notify: socket.socket) -> None:
    """Read the watchdog messages, so that the socket's buffer never fills."""
    try:
        while notify.recv(4096):
            pass
    except OSError:
        pass  # Closed: the daemon has ended.


def _throughput(daemon: Daemon) -> tuple[float, float]:
    """Return verdicts per second by the daemon's own counter, and its peak memory in MB."""
    time.sleep(WARM_UP_S)
    first, started = _count_judged(daemon), time.monotonic()
    time.sleep(MEASURE_S)
    rate = (_count_judged(daemon) - first) / (time.monotonic() - started)
    status = Path(f"/proc/{daemon.process.pid}/status").read_text(encoding="utf-8")
    memory_kb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    return rate, memory_kb / 1024


def _count_judged(daemon: Daemon) -> float:
    """Return how many parts got PASS or FAIL; an ERROR takes no scoring and would flatter the figure."""
    with socket.create_connection(("127.0.0.1", daemon.port), timeout=10) as connection:
        connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        text = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    body = text.partition("\r\n\r\n")[2]
    return sum(
        sample.value
        for family in text_string_to_metric_families(body)
        for sample in family.samples
        if sample.name == "linewatch_inspections_total" and sample.labels["result"] in ("PASS", "FAIL")
    )


@dataclass(frozen=True, slots=True)
class ReceivedVerdict:
    """One verdict as a subscriber received it."""

    latency_ms: float  # From capture to arrival.
    late: bool
    judged: bool  # PASS, FAIL or UNSURE.
    arrived_s: float  # Monotonic.


def receive_verdicts(
    settings: Settings, broker_port: int, warm_up_s: float = WARM_UP_S, measure_s: float = MEASURE_S
) -> list[ReceivedVerdict]:
    """Return the verdicts that a subscriber receives within `measure_s`."""
    received: list[ReceivedVerdict] = []

    def arrived(incoming: Incoming) -> None:
        verdict = json.loads(incoming.payload)
        # captured_ms is rounded down: on average half a millisecond early.
        latency_ms = time.time() * 1000 - verdict["captured_ms"] - 0.5
        judged = verdict["result"] != "ERROR"
        received.append(ReceivedVerdict(latency_ms, bool(verdict["late"]), judged, time.monotonic()))

    mqtt = MqttSettings(port=broker_port)
    try:
        with Broker(mqtt, "linewatch-bench").connect(arrived) as session:
            session.subscribe(Topics(settings.mqtt.base_topic).verdict)
            session.idle(warm_up_s)
            received.clear()
            session.idle(measure_s)
    except BrokerLost as error:
        raise LinewatchError(f"the benchmark's own broker: {error}") from error
    if len(received) < 10:
        raise LinewatchError(f"only {len(received)} verdicts arrived; is the model fit? try: linewatch check")
    return received
