"""Full load for a long time: memory, descriptors and threads stay constant."""

import statistics
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

from tests.chaos.findings import Finding
from tests.chaos.watch import (
    CONTRACT_LIMITS,
    FULL_SPEED,
    descriptors,
    last_seq,
    memory_mb,
    metric,
    threads,
    wait,
)
from tests.daemon import Daemon
from tests.mosquitto import Mosquitto

WARM_SHARE = 0.25  # Share of the run before samples count,
WARM_S = 60.0  # and the least time.
SAMPLE_S = 1.0
SLOPE_MB_MAX = 1.0  # Per hour.
EVIDENCE_BYTES_MAX = 100_000_000  # Reached during the warm-up, so retention runs as well.


def trial(options: Namespace, folder: Path, broker: Mosquitto) -> Iterator[Finding]:
    """Judge at full speed; sample memory, descriptors and threads every second."""
    changes = FULL_SPEED | CONTRACT_LIMITS | {"evidence.bytes_max": EVIDENCE_BYTES_MAX}
    run_s = 60 * options.minutes
    samples: list[tuple[float, float, int, int]] = []
    with Daemon(folder, broker.port, changes) as daemon:
        wait(lambda: last_seq(daemon) > 100)
        started, first = time.monotonic(), last_seq(daemon)
        while (passed_s := time.monotonic() - started) < run_s:
            samples.append((passed_s / 3600, memory_mb(daemon), descriptors(daemon), threads(daemon)))
            time.sleep(SAMPLE_S)
        rate = (last_seq(daemon) - first) / (time.monotonic() - started)
        misses, waiting = metric(daemon, "deadline_misses_total"), metric(daemon, "outbox_messages")
        kept = sum(path.stat().st_size for path in daemon.evidence.rglob("*.*"))
        status = daemon.stop()
        seqs = [row["seq"] for row in daemon.rows()]
    whole = status == 0 and seqs == list(range(1, len(seqs) + 1))
    yield Finding("soak", "every exposure has its verdict", f"{len(seqs)}", whole)
    yield Finding("soak", "the history keeps up", f"{waiting:.0f} waiting", waiting < 1000)
    yield Finding("soak", "evidence keeps its bound", f"{kept / 1e6:.0f} MB", kept < 1.1 * EVIDENCE_BYTES_MAX)

    warm_h = max(WARM_S, WARM_SHARE * run_s) / 3600
    hours, memory, files, running = zip(*(sample for sample in samples if sample[0] > warm_h), strict=True)
    for what, counts in (("file descriptors", files), ("threads", running)):
        half = len(counts) // 2
        before, after = statistics.median(counts[:half]), statistics.median(counts[half:])
        seen = f"{min(counts)} to {max(counts)}, median {before:g}, later {after:g}"
        yield Finding("soak", f"{what} are constant", seen, before == after)
    slope = statistics.linear_regression(hours, memory).slope
    yield Finding(
        "soak",
        f"resident memory grows less than {SLOPE_MB_MAX:g} MB an hour",
        f"{slope:+.2f} MB/h over {60 * (hours[-1] - hours[0]):.0f} min, at {memory[-1]:.1f} MB",
        slope < SLOPE_MB_MAX,
        figure=True,  # Not significant for runs shorter than 20 minutes.
    )
    yield Finding(
        "soak",
        "no deadline is missed",
        f"{misses:.0f} of {len(seqs)}, {rate:.0f} verdicts/s",
        not misses,
        figure=True,
    )
