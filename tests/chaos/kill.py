"""The process is killed at random times under load."""

import random
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import cv2

from tests.chaos.findings import Finding
from tests.chaos.watch import CONTRACT_LIMITS, FULL_SPEED, late_passes, wait
from tests.daemon import Daemon, verdicts
from tests.mosquitto import Mosquitto, Subscriber

START_S_MAX = 2.5


def trial(options: Namespace, folder: Path, broker: Mosquitto) -> Iterator[Finding]:
    """Kill and restart it many times, then compare live verdicts, history, journal and evidence."""
    rng = random.Random(options.seed)
    boots, starts = [], []
    with Subscriber(broker.port) as subscriber:
        for _ in range(options.kills):
            started = time.monotonic()
            with Daemon(folder, broker.port, FULL_SPEED | CONTRACT_LIMITS) as daemon:
                starts.append(time.monotonic() - started)
                time.sleep(rng.uniform(0.2, 1.5))
                daemon.process.kill()
                daemon.process.wait()
            boots.append(int((folder / "journal.db.boot").read_text()))
        with Daemon(folder, broker.port, FULL_SPEED | {"source.uri": "count=3"}) as daemon:
            daemon.end()  # Delivers the history that the last run left.
            wait(lambda: len(set(subscriber.on("t/history"))) >= len(daemon.rows()))
        rows = daemon.rows()
    live = verdicts(subscriber.on("t/verdict"))
    key = ("boot", "seq", "result", "reason")
    kept = {tuple(row[name] for name in key) for row in rows}
    lost = [v for v in live if tuple(v[name] for name in key) not in kept]
    yield Finding(
        "kill", "every live verdict is journaled as it was", f"{len(lost)} of {len(live)} missing", not lost
    )
    late = late_passes(live)
    yield Finding("kill", "no PASS is late", f"{late} of {len(live)}", not late)
    history = list(dict.fromkeys((v["boot"], v["seq"]) for v in verdicts(subscriber.on("t/history"))))
    parts = [(row["boot"], row["seq"]) for row in rows]
    seen = f"{len(history)} distinct of {len(parts)}"
    yield Finding("kill", "history has every row, in order", seen, history == parts)
    numbered: dict[int, list[int]] = {}
    for boot, seq in parts:
        numbered.setdefault(boot, []).append(seq)
    gaps = sum(seqs != list(range(1, len(seqs) + 1)) for seqs in numbered.values())
    yield Finding(
        "kill",
        "no sequence number is missing within a boot",
        f"{gaps} of {len(numbered)} boots with gaps",
        not gaps,
    )
    yield Finding("kill", "boot always grows", f"{boots[0]} to {boots[-1]}", boots == sorted(set(boots)))
    torn = sum(
        cv2.imread(str(path)) is None
        for path in daemon.evidence.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    )
    yield Finding("kill", "no partial image", f"{torn}", not torn)
    named = [v["heatmap"] for v in live if v["heatmap"]]
    absent = sum(not (daemon.evidence / name).exists() for name in named)
    yield Finding(
        "kill", "the heatmap of every live FAIL is there", f"{absent} of {len(named)} missing", not absent
    )
    starts.sort()
    yield Finding(
        "kill",
        f"ready again within {START_S_MAX} s",
        f"median {starts[len(starts) // 2]:.2f} s, longest {starts[-1]:.2f} s of {len(starts)}",
        starts[-1] <= START_S_MAX,
        figure=True,
    )
