"""Measure the line's latency without page clients, and under twenty busy ones.

    python -m tests.benchmarks.page_load [--clients 20] [--fps 20] [--seconds 15]

A daemon runs the simulated line with mosquitto beside it. Idle and busy phases alternate, so that
other load on the machine affects both. Each client requests the live view and its image once a second
and uploads an image as often. The clients run at the lowest priority, because on a real station they
are other machines. Latency is measured by a subscriber: arrival of the live verdict minus capture.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

import cv2

from linewatch.acquisition.sources.simulator.source import render
from tests.daemon import Daemon
from tests.mosquitto import Mosquitto
from tests.multipart import upload

ROUNDS = 2  # Each of an idle and a busy phase.
SETTLE_S = 2.0
RATIO_MAX = 1.3  # Of the 95th percentiles, busy over idle.


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--fps", type=float, default=20.0)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--be-clients-of", metavar="ADDRESS", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.be_clients_of:
        be_clients(options.be_clients_of, options.clients)
        return
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), options)


def measure(folder: Path, options: argparse.Namespace) -> None:
    """Run the daemon through its phases and print a table."""
    broker = Mosquitto(folder)
    broker.start()
    times: dict[str, list[float]] = {"idle": [], "busy": []}
    answers: Counter[str] = Counter()
    try:
        changes = {
            "source.uri": "defects=0.3&pool=64",
            "source.fps": options.fps,
            "limits.deadline_ms": 200,
            "limits.frame_age_ms_max": 500,
        }
        with Daemon(folder, broker.port, changes) as daemon, Subscriber(broker.port) as subscriber:
            for _ in range(ROUNDS):
                times["idle"] += subscriber.latencies_ms(options.seconds)
                command = ["--be-clients-of", daemon.address, "--clients", str(options.clients)]
                clients = subprocess.Popen(
                    [sys.executable, "-m", "tests.benchmarks.page_load", *command],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                )
                times["busy"] += subscriber.latencies_ms(options.seconds)
                answers.update(json.loads(clients.communicate(b"")[0]))
    finally:
        broker.stop()
    print(f"{options.clients} clients, {options.fps:g} parts a second, {os.cpu_count()} processors\n")
    print("| phase | parts | p50 ms | p95 ms | p99 ms |\n|---|---|---|---|---|")
    p95 = {}
    for phase, found in times.items():
        cuts = statistics.quantiles(found, n=100)
        p95[phase] = cuts[94]
        print(f"| {phase} | {len(found)} | {cuts[49]:.1f} | {cuts[94]:.1f} | {cuts[98]:.1f} |")
    print(f"\np95 busy / idle: {p95['busy'] / p95['idle']:.2f} (wanted: at most {RATIO_MAX})")
    print("answers:", ", ".join(f"{count} x {what}" for what, count in sorted(answers.items())))


class Subscriber:
    """`mosquitto_sub` in its own process, so that load in this one does not delay arrivals."""

    def __init__(self, port: int) -> None:
        self.seen: list[float] = []  # Latency of each verdict so far, ms.
        command = ["mosquitto_sub", "-p", str(port), "-t", "t/verdict", "-F", "%U %p"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def __enter__(self) -> "Subscriber":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._thread.join()
        self._process.wait()

    def latencies_ms(self, seconds: float) -> list[float]:
        """Return the latencies of the verdicts that arrive in `seconds`, after a settling time."""
        time.sleep(SETTLE_S)
        first = len(self.seen)
        time.sleep(seconds)
        return self.seen[first:]

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            arrived_s, _, payload = line.partition(" ")
            # captured_ms is truncated to milliseconds: on average half a millisecond early.
            self.seen.append(1000 * float(arrived_s) - json.loads(payload)["captured_ms"] - 0.5)


def be_clients(address: str, count: int) -> None:
    """Poll and upload from `count` threads until stdin ends; print the number of each answer as JSON."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    answers: Counter[str] = Counter()
    stop = threading.Event()
    body, content_type = upload(cv2.imencode(".png", render(1, 1, "scratch"))[1].tobytes(), "demo")
    picture = urllib.request.Request(address + "/api/inspect", body, {"Content-Type": content_type})
    clients = [threading.Thread(target=_client, args=(address, picture, answers, stop)) for _ in range(count)]
    for client in clients:
        client.start()
    sys.stdin.read()
    stop.set()
    for client in clients:
        client.join()
    print(json.dumps(answers))


def _client(
    address: str, picture: urllib.request.Request, answers: Counter[str], stop: threading.Event
) -> None:
    while not stop.is_set():
        started = time.monotonic()
        page = _ask(address + "/", answers, "page")
        shown = re.search(rb'src="(/live\.jpg[^"]*)"', page)
        if shown:
            _ask(address + shown[1].decode(), answers, "picture")
        _ask(picture, answers, "upload")
        stop.wait(max(0.0, 1 - (time.monotonic() - started)))


def _ask(what: str | urllib.request.Request, answers: Counter[str], name: str) -> bytes:
    try:
        with urllib.request.urlopen(what, timeout=30) as answer:
            answers[f"{name} {answer.status}"] += 1
            body: bytes = answer.read()
            return body
    except urllib.error.HTTPError as error:
        answers[f"{name} {error.code}"] += 1
    except OSError:
        answers[f"{name} without an answer"] += 1
    return b""


if __name__ == "__main__":
    main()
