"""Measure verdict latency with and without a shift report being worked out.

    python -m tests.benchmarks.shift_report [--rows 300000] [--rounds 4]

A daemon judges simulated parts beside a journal with a shift of `--rows` parts. Spans in which the report of
that shift is worked out take turns with as long spans in which it is not, in one run.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from linewatch.reporting.calendar import Calendar, Shift
from linewatch.reporting.worker import job_of
from linewatch.runtime.side_process import SideProcess
from linewatch.settings import EvidenceSettings, JournalSettings, Settings
from linewatch.web.shifts.shifts_backend import NICE
from tests.daemon import Daemon
from tests.mosquitto import Mosquitto
from tests.shift_journal import fill, produce

ROWS, ROUNDS, FPS = 300_000, 4, 10.0


def main() -> None:
    """Print both latencies, their ratio, and how long a report took."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.shift_report")
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    shift = Calendar({}).last(time.time_ns() // 1_000_000)
    with tempfile.TemporaryDirectory(prefix="linewatch-shift-") as name:
        folder = Path(name)
        fill(folder / "journal.db", produce(shift.since_ms, shift.until_ms, options.rows))
        broker = Mosquitto(folder, "set_tcp_nodelay true")
        broker.start()
        try:
            with Daemon(folder, broker.port, {"source.fps": FPS}) as daemon:
                spans = [measure(folder, shift) for _ in range(options.rounds)]
                assert daemon.stop() == 0
                show(daemon, spans)
        finally:
            broker.stop()


def measure(folder: Path, shift: Shift) -> tuple[float, float, float]:
    """Return the times (s) at which a report was begun, was there, and as long after that."""
    settings = Settings(
        journal=JournalSettings(path=folder / "journal.db"), evidence=EvidenceSettings(path=folder)
    )
    process = SideProcess("linewatch.reporting.worker", settings.shifts_folder, NICE)
    begun = time.time()
    assert process.start(job_of(settings, [shift]))
    assert process.wait(600) == 0
    there = time.time()
    time.sleep(max(5.0, there - begun))
    return begun, there, time.time()


def show(daemon: Daemon, spans: list[tuple[float, float, float]]) -> None:
    """Print the latencies of the parts that were captured in the spans."""
    rows = [row for row in daemon.rows() if row["captured_ms"] >= 1000 * spans[0][0]]

    def latencies(place: int) -> list[int]:
        return [
            row["latency_ms"]
            for row in rows
            if any(1000 * span[place] <= row["captured_ms"] < 1000 * span[place + 1] for span in spans)
        ]

    beside, alone = latencies(0), latencies(1)
    for text, values in (("beside a report", beside), ("alone", alone)):
        p50, p95 = np.quantile(values, (0.5, 0.95))
        print(f"{text}: {len(values)} parts, median {p50:.0f} ms, p95 {p95:.0f} ms")
    ratio = np.quantile(beside, 0.95) / np.quantile(alone, 0.95)
    print(f"p95 ratio {ratio:.2f}; a report took {np.median([span[1] - span[0] for span in spans]):.0f} s")


if __name__ == "__main__":
    main()
