"""Twice as many parts arrive as can be judged."""

import time
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.chaos.findings import Finding
from tests.chaos.watch import CONTRACT_LIMITS, FULL_SPEED, GROWTH_MB_MAX, last_seq, memory_mb, wait
from tests.daemon import Daemon
from tests.mosquitto import Mosquitto

MEASURE_S = 5.0
WARM_S = 5.0


def trial(options: Namespace, folder: Path, broker: Mosquitto) -> Iterator[Finding]:
    """Measure the sustainable rate, then expose at twice that rate."""
    with Daemon(folder, broker.port, FULL_SPEED) as daemon:
        wait(lambda: last_seq(daemon) > 100)
        first, started = last_seq(daemon), time.monotonic()
        time.sleep(MEASURE_S)
        rate = (last_seq(daemon) - first) / (time.monotonic() - started)
    changes = FULL_SPEED | CONTRACT_LIMITS | {"source.fps": min(1000, round(2 * rate))}
    with Daemon(folder, broker.port, changes) as daemon:
        time.sleep(WARM_S)
        memory_before = memory_mb(daemon)
        time.sleep(options.seconds)
        memory_after = memory_mb(daemon)
        status = daemon.stop()
        rows = [row for row in daemon.rows() if row["boot"] == 2]
    captured = int(daemon.log.rpartition("last_seq=")[2])
    counts = Counter(row["result"] if row["result"] != "ERROR" else f"ERROR {row['reason']}" for row in rows)
    seen = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
    whole = [row["seq"] for row in rows] == list(range(1, captured + 1)) and status == 0
    yield Finding("overload", f"each of {captured} exposures has its verdict", seen, whole)
    judged = sorted(row["latency_ms"] for row in rows if row["result"] in ("PASS", "FAIL"))
    yield Finding(
        "overload",
        "judged parts are in time",
        f"p50 {judged[len(judged) // 2]} ms, longest {judged[-1]} ms, {2 * rate:.0f} exposures/s",
        judged[-1] <= 200,
    )
    grown = memory_after - memory_before
    yield Finding("overload", "memory is flat", f"{grown:+.1f} MB", grown < GROWTH_MB_MAX)
    others = sum(
        count for name, count in counts.items() if name not in ("PASS", "FAIL", "UNSURE", "ERROR 31")
    )
    yield Finding(
        "overload",
        "all others are ERROR 31, queue full",
        f"{others} of {captured} otherwise",
        not others,
        figure=True,
    )
