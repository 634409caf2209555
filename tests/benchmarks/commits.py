"""Measure what the journal's own thread costs a verdict: commits by the caller and by the writer, in turn.

    python -m tests.benchmarks.commits [--commits 500] [--python-threads 0]

Both write to the same journal in the system's temporary folder (TMPDIR chooses the disk). Between two commits
the caller waits 5 ms, as a line does. `--python-threads` compute beside it, as a busy page does.
"""

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from linewatch.domain import Verdict
from linewatch.storage.journal import Journal
from linewatch.storage.journal_writer import JournalWriter
from tests.fakes import verdict
from tests.stages import running

PAUSE_S = 0.005


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.commits")
    parser.add_argument("--commits", type=int, default=500, help="of each kind")
    parser.add_argument("--python-threads", type=int, default=0)
    options = parser.parse_args()
    stop = threading.Event()
    busy = [threading.Thread(target=_compute, args=[stop]) for _ in range(options.python_threads)]
    with tempfile.TemporaryDirectory() as folder, Journal.open(Path(folder) / "journal.db") as journal:
        writer = JournalWriter(journal, failed=print, restored=lambda: None, warn=print)

        def by_the_writer(appended: Verdict) -> None:
            writer.append(appended)
            assert writer.settled(1.0)

        kinds: dict[str, Callable[[Verdict], None]] = {
            "by the caller": journal.append,
            "by the writer": by_the_writer,
        }
        times: dict[str, list[float]] = {kind: [] for kind in kinds}
        with running(writer):
            for thread in busy:
                thread.start()
            for number in range(options.commits * len(kinds)):
                kind = list(kinds)[number % len(kinds)]
                appended = verdict(number + 1, boot=journal.boot)
                time.sleep(PAUSE_S)
                started = time.perf_counter()
                kinds[kind](appended)
                times[kind].append(1000 * (time.perf_counter() - started))
            stop.set()
    print("| commit | p50 ms | p95 ms | p99 ms |\n|---|---|---|---|")
    for kind, found in times.items():
        cuts = statistics.quantiles(found, n=100)
        print(f"| {kind} | {cuts[49]:.3f} | {cuts[94]:.3f} | {cuts[98]:.3f} |")


def _compute(stop: threading.Event) -> None:
    while not stop.is_set():
        sum(range(1000))


if __name__ == "__main__":
    main()
