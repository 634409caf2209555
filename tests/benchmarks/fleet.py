"""Run eight stations on one broker and one Prometheus; prints a table, exits 1 if counts differ.

    python -m tests.benchmarks.fleet [--stations N] [--seconds S] [--rate PARTS_PER_SECOND]

Real daemons with the contract's deadline, real mosquitto, real Prometheus with the shipped rules. A PLC
for each station triggers its parts over MQTT, so every part is counted from request to Prometheus.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.daemon import Daemon
from tests.mosquitto import Mosquitto, Subscriber
from tests.prometheus import Prometheus

SETTLE_S = 60.0


def main() -> int:
    """Run the fleet and compare all counts; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.fleet")
    parser.add_argument("--stations", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--rate", type=float, default=4.0, help="parts per second and station")
    options = parser.parse_args()
    names = [f"station{number}" for number in range(1, options.stations + 1)]
    with tempfile.TemporaryDirectory(prefix="linewatch-fleet-") as place, ExitStack() as running:
        folder = Path(place)
        broker = running.enter_context(_started(folder))
        subscriber = running.enter_context(Subscriber(broker.port))
        daemons = {name: running.enter_context(_station(name, folder, broker.port)) for name in names}
        addresses = {name: daemon.address.removeprefix("http://") for name, daemon in daemons.items()}
        prometheus = running.enter_context(Prometheus(folder, addresses))
        for name in names:
            subscriber.wait(lambda subscriber, name=name: _is_ready(subscriber, name), f"{name} is READY")  # type: ignore[misc]
        triggered = _trigger(subscriber, names, options.seconds, options.rate)
        counts = _settled(subscriber, names, prometheus, daemons, triggered)
        _print(counts, prometheus, daemons, triggered)
    return int(any(len(set(row.values())) > 1 for row in counts.values()))


@contextmanager
def _started(folder: Path) -> Iterator[Mosquitto]:
    broker = Mosquitto(folder)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


def _station(name: str, folder: Path, port: int) -> Daemon:
    home = folder / name
    home.mkdir()
    return Daemon(
        home,
        port,
        {
            "station.name": name,
            "mqtt.base_topic": f"linewatch/{name}",
            "trigger.mode": "mqtt",
            "source.uri": f"seed={len(name) + int(name[7:])}&defects=0.2&pool=16",
            "models.threads": 1,  # Eight stations share the cores.
            "limits.deadline_ms": 200,
            "limits.frame_age_ms_max": 500,
        },
    )


def _is_ready(subscriber: Subscriber, name: str) -> bool:
    return any('"state":"READY"' in state for state in subscriber.on(f"linewatch/{name}/state"))


def _trigger(subscriber: Subscriber, names: list[str], seconds: float, rate: float) -> int:
    """Trigger the stations in turn at an even rate; return the number of triggers per station."""
    parts = int(seconds * rate)
    start = time.monotonic()
    for part in range(parts):
        for place, name in enumerate(names):
            due = start + (part + place / len(names)) / rate
            time.sleep(max(0.0, due - time.monotonic()))
            subscriber.say(
                f"linewatch/{name}/cmd/trigger", json.dumps({"rid": part % 65_535 + 1, "part": f"P{part}"})
            )
    return parts


def _settled(
    subscriber: Subscriber,
    names: list[str],
    prometheus: Prometheus,
    daemons: dict[str, Daemon],
    triggered: int,
) -> dict[str, dict[str, int]]:
    """Wait until the counts agree or time is up; return them by station."""

    def counts() -> dict[str, dict[str, int]]:
        received = Counter(message.topic for message in list(subscriber.heard))
        return {
            name: {
                "triggers taken": sum(
                    '"ok":1' in reply for reply in subscriber.on(f"linewatch/{name}/cmd/trigger/res")
                ),
                "journal": len(daemons[name].rows()),
                "live": received[f"linewatch/{name}/verdict"],
                "PLC lines": received[f"linewatch/{name}/plc/verdict"],
                "history": received[f"linewatch/{name}/history"],
                "Prometheus": _number(prometheus, f'sum(linewatch_inspections_total{{station="{name}"}})'),
            }
            for name in names
        }

    until = time.monotonic() + SETTLE_S
    topics = [f"linewatch/{name}/cmd/trigger/res" for name in names]
    subscriber.wait(lambda subscriber: all(len(subscriber.on(topic)) >= triggered for topic in topics))
    found = counts()
    while any(len(set(row.values())) > 1 for row in found.values()) and time.monotonic() < until:
        time.sleep(1.0)
        found = counts()
    return found


def _number(prometheus: Prometheus, expression: str) -> int:
    return round(next(iter(prometheus.values(expression)), 0.0))


def _print(
    counts: dict[str, dict[str, int]], prometheus: Prometheus, daemons: dict[str, Daemon], triggered: int
) -> None:
    columns = list(next(iter(counts.values())))
    table = Table("station", *columns, "late", "p95 ms", "memory MB", "own MB", "cores")
    for name, row in counts.items():
        one = f'{{station="{name}"}}'
        late = _number(prometheus, f"linewatch_deadline_misses_total{one}")
        p95 = (
            f"histogram_quantile(0.95, sum by (le) (linewatch_capture_to_verdict_seconds_bucket{one})) * 1000"
        )
        memory = _number(prometheus, f"max_over_time(process_resident_memory_bytes{one}[1h]) / 1e6")
        cores = prometheus.values(f"rate(process_cpu_seconds_total{one}[1m])")
        table.add_row(
            name,
            *(str(count) for count in row.values()),
            str(late),
            str(_number(prometheus, p95)),
            str(memory),
            f"{_own_mb(daemons[name].process.pid):.0f}",
            f"{cores[0]:.2f}" if cores else "-",
        )
    sums = [str(sum(row[column] for row in counts.values())) for column in columns]
    table.add_row("all", *sums, "", "", "", "", "")
    console = Console(width=160)
    console.print(table)
    equal = all(len(set(row.values())) == 1 for row in counts.values())
    console.print(f"triggered {triggered} parts each; {'every count agrees' if equal else 'COUNTS DIFFER'}")


def _own_mb(pid: int) -> float:
    """Return the proportional set size (PSS) of a process in MB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1000


if __name__ == "__main__":
    sys.exit(main())
