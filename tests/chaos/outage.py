"""The broker is unreachable for the duration of many verdicts."""

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

from tests.cable import Cable
from tests.chaos.findings import Finding
from tests.chaos.watch import (
    CONTRACT_LIMITS,
    FULL_SPEED,
    GROWTH_MB_MAX,
    last_seq,
    late_passes,
    memory_mb,
    wait,
)
from tests.daemon import Daemon, verdicts
from tests.mosquitto import Mosquitto, Subscriber


def trial(options: Namespace, folder: Path, broker: Mosquitto) -> Iterator[Finding]:
    """Disconnect the broker, let parts pass, and connect it again."""
    with (
        Cable(broker.port) as cable,
        Subscriber(broker.port) as subscriber,
        Daemon(folder, cable.port, FULL_SPEED | CONTRACT_LIMITS) as daemon,
    ):
        wait(lambda: last_seq(daemon) > 300)
        cable.pull()
        gone, memory_before = last_seq(daemon), memory_mb(daemon)
        wait(lambda: last_seq(daemon) > gone + options.verdicts)
        memory_after, back = memory_mb(daemon), last_seq(daemon)
        cable.plug()
        wait(lambda: len(subscriber.on("t/history")) > back)
        daemon.stop()
        rows = [(row["boot"], row["seq"]) for row in daemon.rows()]
        wait(lambda: len(set(subscriber.on("t/history"))) >= len(rows))
    live = verdicts(subscriber.on("t/verdict"))
    lines = [int(line.split(";")[1]) for line in subscriber.on("t/plc/verdict")]
    history = [(v["boot"], v["seq"]) for v in verdicts(subscriber.on("t/history"))]

    late_live = [seq for seq in lines + [v["seq"] for v in live] if gone < seq <= back]
    yield Finding(
        "outage",
        "no verdict of the outage reaches the live topics",
        f"{len(late_live)} of {back - gone}",
        not late_live,
    )
    late = late_passes(live)
    yield Finding("outage", "no PASS is late", f"{late} of {len(live)}", not late)
    distinct = list(dict.fromkeys(history))
    seen = f"{len(distinct)} distinct of {len(rows)}, {len(history) - len(distinct)} repeated"
    yield Finding("outage", "history has every row after it, in order", seen, distinct == rows)
    grown = memory_after - memory_before
    yield Finding("outage", "memory does not grow with the outage", f"{grown:+.1f} MB", grown < GROWTH_MB_MAX)
