"""Observe a daemon from outside: its journal, memory, threads and metrics."""

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.daemon import Daemon, verdicts
from tests.mosquitto import Subscriber

FULL_SPEED: dict[str, object] = {"source.fps": 0, "source.uri": "defects=0.2&pool=64"}
CONTRACT_LIMITS: dict[str, object] = {"limits.deadline_ms": 200, "limits.frame_age_ms_max": 500}
GROWTH_MB_MAX = 10.0
WAIT_S = 300.0


def last_seq(daemon: Daemon) -> int:
    """Return the last sequence number of this boot in the journal, 0 if there is none."""
    try:
        with sqlite3.connect(f"file:{daemon.folder / 'journal.db'}?mode=ro", uri=True) as db:
            query = (
                "SELECT seq FROM verdicts WHERE boot = (SELECT max(boot) FROM boots) ORDER BY id DESC LIMIT 1"
            )
            row = db.execute(query).fetchone()
    except sqlite3.OperationalError:
        return 0
    return int(row[0]) if row else 0


def states(subscriber: Subscriber) -> list[str]:
    """Return the announced states without repetitions."""
    announced = [str(state["state"]) for state in verdicts(subscriber.on("t/state"))]
    return [state for before, state in zip(["", *announced], announced, strict=False) if state != before]


def memory_mb(daemon: Daemon) -> float:
    """Return the resident memory in MB."""
    return int(_status(daemon, "VmRSS")) / 1024


def threads(daemon: Daemon) -> int:
    """Return the number of threads."""
    return int(_status(daemon, "Threads"))


def descriptors(daemon: Daemon) -> int:
    """Return the number of open file descriptors."""
    return sum(1 for _ in Path(f"/proc/{daemon.process.pid}/fd").iterdir())


def metric(daemon: Daemon, name: str) -> float:
    """Return the sum over a metric's series."""
    lines = daemon.get("/metrics")[1].decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(f"linewatch_{name}{{"))


def late_passes(live: list[dict[str, Any]], deadline_ms: int = 200) -> int:
    """Return how many passes were published after their deadline."""
    return sum(v["result"] == "PASS" and (v["late"] or v["latency_ms"] > deadline_ms) for v in live)


def wait(done: Callable[[], bool]) -> None:
    """Poll until `done()` is true; fails after `WAIT_S`."""
    deadline = time.monotonic() + WAIT_S
    while not done():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.1)


def _status(daemon: Daemon, key: str) -> str:
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    return next(line.split()[1] for line in status.splitlines() if line.startswith(key))
