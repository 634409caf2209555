"""The disk fills up during a run and is freed again: the evidence's disk, then the journal's as well."""

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

from tests.chaos.findings import Finding
from tests.chaos.watch import CONTRACT_LIMITS, late_passes, metric, states, wait
from tests.daemon import Daemon, verdicts
from tests.disks import SmallDisk
from tests.mosquitto import Mosquitto, Subscriber

PARTS = 100
"""Parts judged while the disk is full."""


def trial(options: Namespace, folder: Path, broker: Mosquitto) -> Iterator[Finding]:
    """Fill a small disk with the evidence on it, then one with the journal as well."""
    yield from _fill("disk", folder / "evidence", broker, "evidence_write_errors_total", {})
    yield from _fill(
        "journal disk", folder / "journal", broker, "journal_errors_total", {"journal.path": "journal.db"}
    )


def _fill(
    name: str, folder: Path, broker: Mosquitto, counter: str, journal: dict[str, str]
) -> Iterator[Finding]:
    folder.mkdir()
    disk = SmallDisk(folder / "disk", size_mb=40)
    if not disk.mount():
        yield Finding(name, "a small disk can be mounted", "needs root", False)
        return
    changes = CONTRACT_LIMITS | {
        "source.fps": 20,
        "source.uri": "defects=0.5&pool=64",
        "evidence.path": disk.folder / "evidence",
        **{key: disk.folder / value for key, value in journal.items()},
    }
    try:
        with Subscriber(broker.port) as subscriber, Daemon(folder, broker.port, changes) as daemon:

            def received() -> int:
                return len(subscriber.on("t/verdict"))

            wait(lambda: received() > 40)
            disk.fill()
            wait(lambda: states(subscriber)[-1] == "DEGRADED")
            full = received()
            wait(lambda: received() > full + PARTS)
            errors = metric(daemon, counter)
            disk.empty()
            wait(lambda: states(subscriber)[-1] == "READY")
            freed = received()
            wait(lambda: received() > freed + 40)
            daemon.stop()
            path = disk.folder / "journal.db" if journal else None
            rows = daemon.rows(path)
            kept = [row["heatmap"] for row in rows if row["seq"] > freed and row["heatmap"]]
            there = sum((disk.folder / "evidence" / heatmap).exists() for heatmap in kept)
    finally:
        disk.unmount()
    live = verdicts(subscriber.on("t/verdict"))
    seqs = [v["seq"] for v in live]
    seen = f"{len(seqs)} of {seqs[-1]}"
    yield Finding(
        name, "every part has a live verdict, disk full or not", seen, seqs == list(range(1, len(seqs) + 1))
    )
    late = late_passes(live)
    yield Finding(name, "no PASS is late", f"{late} of {len(live)}", not late)
    journaled = [row["seq"] for row in rows]
    yield Finding(name, "every part is in the journal at the end", f"{len(journaled)}", journaled == seqs)
    events = [event["event"] for event in verdicts(subscriber.on("t/event"))]
    announced = "disk_full" in events and "evidence_restored" in events
    yield Finding(name, "events when it is full and when it works again", ", ".join(events), announced)
    announced_states = states(subscriber)
    steady = [state for state in announced_states if state in ("READY", "DEGRADED")]
    yield Finding(
        name,
        "DEGRADED, and READY again, once",
        ", ".join(announced_states),
        steady == ["READY", "DEGRADED", "READY"],
    )
    yield Finding(name, "the metric counts", f"{counter} {errors:.0f}", errors > 0)
    yield Finding(
        name, "evidence resumes by itself", f"{there} of {len(kept)} heatmaps after", there == len(kept) > 0
    )
    over = sum(v["late"] for v in live[full : full + PARTS])
    yield Finding(name, "verdicts go on in time", f"{over} of {PARTS} late", not over, figure=True)
