"""Twice as many parts arrive as can be judged."""

import time
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from linewatch.cli.bench_frames import resize_model
from linewatch.settings import Settings
from tests.chaos.findings import Finding
from tests.chaos.watch import CONTRACT_LIMITS, FULL_SPEED, GROWTH_MB_MAX, last_seq, memory_mb, wait
from tests.daemon import Daemon
from tests.mosquitto import Mosquitto

MEASURE_S = 5.0
WARM_S = 5.0


def trial(options: Namespace, folder: Path, broker: Mosquitto) -> Iterator[Finding]:
    """Measure the sustainable rate, then expose at twice that rate."""
    full_speed = FULL_SPEED | (_large_frames(options.megapixels, folder) if options.megapixels else {})
    with Daemon(folder, broker.port, full_speed) as daemon:
        wait(lambda: last_seq(daemon) > 100)
        first, started = last_seq(daemon), time.monotonic()
        time.sleep(MEASURE_S)
        rate = (last_seq(daemon) - first) / (time.monotonic() - started)
    changes = full_speed | CONTRACT_LIMITS | {"source.fps": min(1000, round(2 * rate))}
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
    latencies = sorted(row["latency_ms"] for row in rows)
    yield Finding(
        "overload",
        "every verdict is in time",
        f"p50 {latencies[len(latencies) // 2]} ms, longest {latencies[-1]} ms, {2 * rate:.0f} exposures/s",
        latencies[-1] <= 200,
    )
    judged = sum(row["result"] in ("PASS", "FAIL") for row in rows) * 2 * rate / len(rows)
    yield Finding(
        "overload",
        "at least 80 % of the sustainable rate is judged",
        f"{judged:.1f} of {rate:.1f} parts/s",
        judged >= 0.8 * rate,
        figure=True,
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


def _large_frames(megapixels: float, folder: Path) -> dict[str, object]:
    """Return the settings for frames of a large camera, and a model for them."""
    side = round((megapixels * 1e6) ** 0.5)
    place = resize_model(Settings(), folder / "large", side).models
    return {
        "models.path": str(place.path),
        "models.recipes": str(place.recipes),
        "source.uri": f"defects=0.02&pool=8&enlarge={side}",
    }
