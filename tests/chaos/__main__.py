"""Long trials of the daemon against a hostile world; prints a table and exits 1 if a promise broke.

    python -m tests.chaos [outage kill disk overload changeover] [--kills N] [--verdicts N] [--seconds S]
        [--changes N] [--seed N] [--models DIR --recipes DIR --parts DIR DIR]

Real daemon, real mosquitto, real disks; the demo product at full speed.
"""

import argparse
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
from rich.console import Console
from rich.table import Table

from linewatch.settings import ModelsSettings
from tests.cable import Cable
from tests.chaos import changeover
from tests.daemon import Daemon, verdicts
from tests.disks import SmallDisk
from tests.mosquitto import Ear, Mosquitto

FULL_SPEED: dict[str, object] = {"source.fps": 0, "source.uri": "defects=0.2&pool=64"}
CONTRACT_LIMITS: dict[str, object] = {"limits.deadline_ms": 200, "limits.frame_age_ms_max": 500}
START_S_MAX = 2.5
WAIT_S = 300.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One promise, what was seen, and whether it held."""

    trial: str
    promise: str
    seen: str
    held: bool


def main() -> int:
    """Run the trials that were asked for."""
    trials: dict[str, Callable[[argparse.Namespace, Path, Mosquitto], Iterator[Finding]]] = {
        "outage": outage,
        "kill": kill,
        "disk": disk,
        "overload": overload,
        "changeover": change_over,
    }
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("trials", nargs="*", choices=[*trials, []], default=list(trials))
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--verdicts", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--changes", type=int, default=50)
    parser.add_argument("--models", type=Path, help="of two trained products, for changeover")
    parser.add_argument("--recipes", type=Path)
    parser.add_argument("--parts", type=Path, nargs="+", help="folders with pictures of both")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    table = Table("trial", "promise", "seen", "held")
    failed = False
    for name in options.trials:
        with _place() as (folder, broker):
            for finding in trials[name](options, folder, broker):
                failed |= not finding.held
                table.add_row(finding.trial, finding.promise, finding.seen, "yes" if finding.held else "NO")
    Console(width=140).print(table)
    return int(failed)


def outage(options: argparse.Namespace, folder: Path, broker: Mosquitto) -> Iterator[Finding]:
    """Pull the broker's cable for the time of many verdicts, then plug it in again."""
    with (
        Cable(broker.port) as cable,
        Ear(broker.port) as ear,
        Daemon(folder, cable.port, FULL_SPEED) as daemon,
    ):
        _wait(lambda: _seq(daemon) > 300)
        cable.pull()
        gone, memory_before = _seq(daemon), _memory_mb(daemon)
        _wait(lambda: _seq(daemon) > gone + options.verdicts)
        memory_after, back = _memory_mb(daemon), _seq(daemon)
        cable.plug()
        _wait(lambda: len(ear.on("t/history")) > back)
        daemon.stop()
        rows = [(row["boot"], row["seq"]) for row in daemon.rows()]
        _wait(lambda: len(ear.on("t/history")) >= len(rows))
    live = [v["seq"] for v in verdicts(ear.on("t/verdict"))]
    history = [(v["boot"], v["seq"]) for v in verdicts(ear.on("t/history"))]
    late = [seq for seq in live if gone + 50 < seq <= back]
    yield Finding("outage", "none of them reached the live topic", f"{len(late)} of {back - gone}", not late)
    distinct = list(dict.fromkeys(history))
    yield Finding(
        "outage", "history has every row once it is back", f"{len(distinct)} of {len(rows)}", distinct == rows
    )
    grown = memory_after - memory_before
    yield Finding("outage", "memory does not grow with the outage", f"{grown:+.1f} MB", grown < 10)


def kill(options: argparse.Namespace, folder: Path, broker: Mosquitto) -> Iterator[Finding]:
    """Kill the process at random moments under load, and start it again each time."""
    rng = random.Random(options.seed)
    boots, starts, unjournaled, halves = [], [], 0, 0
    with Ear(broker.port, topic="t/verdict") as ear:
        for _ in range(options.kills):
            heard = len(ear.on("t/verdict"))
            started = time.monotonic()
            with Daemon(folder, broker.port, FULL_SPEED) as daemon:
                starts.append(time.monotonic() - started)
                time.sleep(rng.uniform(0.2, 1.5))
                daemon.process.kill()
                daemon.process.wait()
            rows = {(row["boot"], row["seq"], row["result"]) for row in daemon.rows()}
            live = {(v["boot"], v["seq"], v["result"]) for v in verdicts(ear.on("t/verdict")[heard:])}
            unjournaled += len(live - rows)
            boots.append(max(boot for boot, _, _ in rows) if rows else 0)
        halves = sum(
            cv2.imread(str(path)) is None
            for path in daemon.evidence.rglob("*")
            if path.is_file() and not path.name.startswith(".")
        )
    total = len(ear.on("t/verdict"))
    yield Finding(
        "kill", "every live verdict is journaled", f"{unjournaled} of {total} missing", not unjournaled
    )
    yield Finding("kill", "boot always grows", f"{boots[0]} to {boots[-1]}", boots == sorted(set(boots)))
    yield Finding("kill", "no half picture", f"{halves}", not halves)
    starts.sort()
    yield Finding(
        "kill",
        f"ready again within {START_S_MAX} s",
        f"median {starts[len(starts) // 2]:.2f} s, longest {starts[-1]:.2f} s of {len(starts)}",
        starts[-1] <= START_S_MAX,
    )


def disk(options: argparse.Namespace, folder: Path, broker: Mosquitto) -> Iterator[Finding]:
    """Fill the disk of the evidence while it runs, then free it."""
    place = SmallDisk(folder / "disk", size_mb=40)
    if not place.mount():
        yield Finding("disk", "a small disk can be mounted", "needs root", False)
        return
    changes = CONTRACT_LIMITS | {
        "source.fps": 20,
        "source.uri": "defects=0.5&pool=64",
        "evidence.path": place.folder / "evidence",
    }
    try:
        with Ear(broker.port) as ear, Daemon(folder, broker.port, changes) as daemon:
            _wait(lambda: _seq(daemon) > 40)
            place.fill()
            _wait(lambda: _last_state(ear) == "DEGRADED")
            full = _seq(daemon)
            _wait(lambda: _seq(daemon) > full + 100)
            metrics = daemon.get("/metrics")[1].decode()
            place.empty()
            _wait(lambda: _last_state(ear) == "READY")
            freed = _seq(daemon)
            _wait(lambda: _seq(daemon) > freed + 40)
            daemon.stop()
            kept = [row["heatmap"] for row in daemon.rows() if row["seq"] > freed and row["heatmap"]]
            there = sum((place.folder / "evidence" / name).exists() for name in kept)
    finally:
        place.unmount()
    live = {v["seq"]: v for v in verdicts(ear.on("t/verdict"))}
    during = [live[seq] for seq in range(full, full + 100) if seq in live]
    late = sum(v["late"] for v in during)
    yield Finding(
        "disk",
        "verdicts go on, in time",
        f"{len(during)} of 100, {late} late",
        len(during) == 100 and not late,
    )
    events = [event["event"] for event in verdicts(ear.on("t/event"))]
    told = "evidence_impaired" in events and "evidence_restored" in events
    yield Finding("disk", "DEGRADED, an event, and READY again", ", ".join(events), told)
    errors = next(
        float(line.split()[-1])
        for line in metrics.splitlines()
        if line.startswith("linewatch_evidence_write_errors_total")
    )
    yield Finding("disk", "the metric counts", f"{errors:.0f} write errors", errors > 0)
    text = f"{there} of {len(kept)} heatmaps after"
    yield Finding("disk", "evidence resumes by itself", text, there == len(kept) > 0)


def overload(options: argparse.Namespace, folder: Path, broker: Mosquitto) -> Iterator[Finding]:
    """Expose twice as many parts as can be judged."""
    with Daemon(folder, broker.port, FULL_SPEED) as daemon:
        _wait(lambda: _seq(daemon) > 100)
        first, started = _seq(daemon), time.monotonic()
        time.sleep(5)
        rate = (_seq(daemon) - first) / (time.monotonic() - started)
    changes = FULL_SPEED | CONTRACT_LIMITS | {"source.fps": round(2 * rate)}
    with Daemon(folder, broker.port, changes) as daemon:
        time.sleep(5)
        memory_before = _memory_mb(daemon)
        time.sleep(options.seconds)
        memory_after = _memory_mb(daemon)
        status = daemon.stop()
        rows = [row for row in daemon.rows() if row["boot"] == 2]
    captured = int(daemon.log.rpartition("last_seq=")[2])
    counts: dict[str, int] = {}
    for row in rows:
        name = row["result"] if row["result"] != "ERROR" else f"ERROR {row['reason']}"
        counts[name] = counts.get(name, 0) + 1
    whole = [row["seq"] for row in rows] == list(range(1, captured + 1)) and status == 0
    text = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
    yield Finding("overload", f"each of {captured} exposures has its verdict", text, whole)
    judged = sorted(row["latency_ms"] for row in rows if row["result"] in ("PASS", "FAIL"))
    yield Finding(
        "overload",
        "what is judged is in time",
        f"p50 {judged[len(judged) // 2]} ms, longest {judged[-1]} ms, {2 * rate:.0f} exposures/s",
        judged[-1] <= 200,
    )
    grown = memory_after - memory_before
    yield Finding("overload", "memory is flat", f"{grown:+.1f} MB", grown < 10)


def change_over(options: argparse.Namespace, folder: Path, broker: Mosquitto) -> Iterator[Finding]:
    """Change product many times under running frames, without and with resident models."""
    if options.models:
        models = ModelsSettings(path=options.models, recipes=options.recipes)
        parts = changeover.gather(options.parts, folder / "parts")
    else:
        models, parts = changeover.simulated(folder)
    for kind, room, s_max in (
        ("cold", 0, changeover.COLD_S_MAX),
        ("resident", 10**9, changeover.RESIDENT_S_MAX),
    ):
        seen = changeover.run(folder, broker, models, parts, changes=options.changes, resident_bytes_max=room)
        done = sum(change.answer["code"] == 0 for change in seen.changes)
        yield Finding(kind, "every changeover is answered and audited", f"{done}, {seen.audited - 1} audited",
            done == seen.audited - 1 == options.changes)  # fmt: skip
        broken = seen.during() + seen.mistaken()
        yield Finding(
            kind,
            "no PASS between command and reply, none of another product after it",
            f"{len(broken)} of {len(seen.passes)}",
            not broken,
        )
        compared, wrong = changeover.strangers(models, parts, seen.rows)
        yield Finding(
            kind,
            "each verdict's score is that of the model it names",
            f"{wrong} of {compared} differ",
            compared > 0 and not wrong,
        )
        longest = max(change.took_s for change in seen.changes)
        yield Finding(
            kind,
            f"command to reply: median within {s_max} s",
            f"median {seen.median_s:.3f} s, longest {longest:.3f} s",
            seen.median_s < s_max,
        )


@contextmanager
def _place() -> Iterator[tuple[Path, Mosquitto]]:
    with tempfile.TemporaryDirectory(prefix="linewatch-chaos-") as name:
        broker = Mosquitto(Path(name), "set_tcp_nodelay true")  # Else small messages wait up to 40 ms.
        broker.start()
        try:
            yield Path(name), broker
        finally:
            broker.stop()


def _seq(daemon: Daemon) -> int:
    """Return how many verdicts the journal has of this boot."""
    try:
        with sqlite3.connect(f"file:{daemon.folder / 'journal.db'}?mode=ro", uri=True) as db:
            query = (
                "SELECT seq FROM verdicts WHERE boot = (SELECT max(boot) FROM boots) ORDER BY id DESC LIMIT 1"
            )
            row = db.execute(query).fetchone()
    except sqlite3.OperationalError:
        return 0
    return int(row[0]) if row else 0


def _last_state(ear: Ear) -> str:
    states = verdicts(ear.on("t/state"))
    return str(states[-1]["state"]) if states else ""


def _memory_mb(daemon: Daemon) -> float:
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024


def _wait(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not done():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
