"""What a study's side process costs the line: verdict latency while results are verified, and beside that.

    python -m tests.benchmarks.study [--rounds 6] [--seconds 8]

Runs a daemon on the simulator at 10 parts a second, and interleaves windows in which the page verifies one
result after the other (each starts a process that loads SciPy) with quiet ones. Prints p50 and p95 of the
latency in both, their ratios, and the daemon's resident memory before and after.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import requests

from linewatch.capability.certificate import render
from tests.capability.test_study import complete
from tests.daemon import Daemon
from tests.mosquitto import Mosquitto

TOKEN = "a-long-random-token"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=8.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "token").write_text(TOKEN)
        broker = Mosquitto(folder)
        broker.start()
        changes = {
            "source.fps": 10,
            "source.uri": "defects=0.02&pool=32",
            "http.token_file": folder / "token",
        }
        try:
            with Daemon(folder, broker.port, changes) as daemon:
                measure(daemon, arguments.rounds, arguments.seconds)
        finally:
            broker.stop()


def measure(daemon: Daemon, rounds: int, seconds: float) -> None:
    """Interleave quiet and busy windows, and print the latencies of each."""
    page = render(complete()).encode()
    headers = {"Authorization": f"Bearer {TOKEN}"}
    took: list[float] = []

    def verify() -> None:
        started = time.monotonic()
        files = {"page": ("study.html", page)}
        answer = requests.post(f"{daemon.address}/api/study/verify", files=files, headers=headers, timeout=60)
        assert answer.json()["intact"] is True, answer.text
        took.append(time.monotonic() - started)

    time.sleep(5)
    memory_before = resident_mb(daemon)
    latencies: dict[str, list[int]] = {"quiet": [], "verifying": []}
    for _ in range(rounds):
        for name, work in (("quiet", lambda: time.sleep(0.5)), ("verifying", verify)):
            latencies[name] += window(daemon, seconds, work)
    for name, values in latencies.items():
        p50, p95 = np.quantile(values, (0.5, 0.95))
        print(f"{name:10} {len(values):5} parts, p50 {p50:.0f} ms, p95 {p95:.0f} ms")
    ratios = np.quantile(latencies["verifying"], (0.5, 0.95)) / np.quantile(latencies["quiet"], (0.5, 0.95))
    print(f"ratio      p50 {ratios[0]:.2f}, p95 {ratios[1]:.2f}")
    print(f"{len(took)} results verified, {np.median(took):.2f} s each")
    print(f"resident memory of the daemon: {memory_before:.0f} MB before, {resident_mb(daemon):.0f} MB after")


def window(daemon: Daemon, seconds: float, work: Callable[[], None]) -> list[int]:
    """Repeat `work` for some seconds; return the latencies of the parts of that time, in ms."""
    first, until = len(daemon.rows()), time.monotonic() + seconds
    while time.monotonic() < until:
        work()
    return [int(row["latency_ms"]) for row in daemon.rows()[first:]]


def resident_mb(daemon: Daemon) -> float:
    """Return the daemon's resident memory."""
    pages = int(Path(f"/proc/{daemon.process.pid}/statm").read_text().split()[1])
    return pages * 4096 / 1e6


if __name__ == "__main__":
    main()
