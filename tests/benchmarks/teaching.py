"""How much learning slows the line down, and how long it takes from the first tap to a judged part.

    python -m tests.benchmarks.teaching DATA/bottle/train/good [--count 40] [--idle-s 30]

Runs the daemon on a folder of real images. Teaches a first product and lets the line judge with it; then
measures the line idle, and while a second product is begun, collected and learnt through the API. Only parts
that were scored count. Prints the latencies of both, their ratio, and the time until the first verdict of
the second product. Exits with 1 if a scored part was late, if fewer than 99 % were scored, or if the 95 %
quantile is above 1.3 times that of the idle line.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.daemon import ROOT, Daemon
from tests.mosquitto import Mosquitto

TOKEN = "a-long-random-token"
SCORED = ("PASS", "UNSURE", "FAIL")
SCORED_MIN = 0.99  # Of the parts.
RATIO_MAX = 1.3  # Of the 95 % quantiles.


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", type=Path)
    parser.add_argument("--count", type=int, default=40, help="good parts to learn from")
    parser.add_argument("--idle-s", type=float, default=30.0)
    parser.add_argument("--fps", type=float, default=5.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "token").write_text(TOKEN)
        for name, source in (("models", ROOT / "models"), ("recipes", ROOT / "config/recipes")):
            shutil.copytree(source, folder / name)
        broker = Mosquitto(folder)
        broker.start()
        changes = {
            "http.token_file": folder / "token",
            "source.kind": "folder",
            "source.uri": arguments.images,
            "source.loop": True,
            "source.fps": arguments.fps,
            "models.path": folder / "models",
            "models.recipes": folder / "recipes",
            "teach.nice": 19,
            "limits.deadline_ms": 200,
            "limits.frame_age_ms_max": 500,
        }
        try:
            with Daemon(folder, broker.port, changes) as daemon:
                good = measure(daemon, arguments.count, arguments.idle_s)
        finally:
            broker.stop()
    sys.exit(0 if good else 1)


def measure(daemon: Daemon, count: int, idle_s: float) -> bool:
    """Print latencies idle and while learning, and the times of the steps; return whether they will do."""
    while call(daemon, "GET", "/api/state")["last_seq"] < 10:
        time.sleep(0.1)
    first = teach(daemon, "first", count).version
    before = len(daemon.rows())
    time.sleep(idle_s)
    idle = daemon.rows()[before:]
    taught = teach(daemon, "second", count)
    rows = {"idle": idle, "while learning": daemon.rows()[taught.first_row : taught.last_row]}
    print("| line | parts | scored | p50 / p95 / p99 ms | late |\n|---|---|---|---|---|")
    quantiles, good = [], True
    for name, every in rows.items():
        scored = [row for row in every if row["model"] == first and row["result"] in SCORED]
        good &= len(scored) >= SCORED_MIN * len(every) > 0
        if not scored:
            print(f"| {name} | {len(every)} | 0 | - | - |")
            return False
        ms = np.quantile([row["latency_ms"] for row in scored], (0.5, 0.95, 0.99))
        late = sum(row["late"] for row in every)
        good &= late == 0
        quantiles.append(ms[1])
        print(f"| {name} | {len(every)} | {len(scored)} | {ms[0]:.0f} / {ms[1]:.0f} / {ms[2]:.0f} | {late} |")
    ratio = quantiles[1] / quantiles[0]
    print(f"p95 while learning: {ratio:.2f} times that of the idle line (wanted: at most {RATIO_MAX})")
    print(
        f"first tap to a judged part: {taught.judged_s:.0f} s; collecting {taught.collecting_s:.0f} s, "
        f"learning {taught.learning_s:.0f} s"
    )
    return bool(good and ratio <= RATIO_MAX)


@dataclass(frozen=True, slots=True)
class Taught:
    """How teaching a product went; times from its first call, in seconds."""

    version: str
    collecting_s: float
    learning_s: float
    judged_s: float
    first_row: int  # Of the journal, while it was learnt.
    last_row: int


def teach(daemon: Daemon, product: str, count: int) -> Taught:
    """Begin, collect, learn and activate a product, and wait for its first verdict."""
    begun_s = time.monotonic()
    call(daemon, "POST", "/api/teach", {"product": product})
    call(daemon, "POST", f"/api/teach/{product}/collect", {"count": count})
    wait(daemon, product, lambda state: not state["collecting"]["running"])
    collected_s = time.monotonic()
    first_row = len(daemon.rows())
    call(daemon, "POST", f"/api/teach/{product}/learn", {})
    learning = wait(daemon, product, lambda state: state["learning"]["stage"] != "running")["learning"]
    last_row = len(daemon.rows())
    learnt_s = time.monotonic()
    assert learning["stage"] == "done", learning
    version = str(learning["version"])
    call(daemon, "POST", f"/api/products/{product}/activate", {"version": version})
    call(daemon, "POST", "/api/product", {"product": product})
    while not any(row["model"] == version and row["result"] in SCORED for row in daemon.rows()[-20:]):
        time.sleep(0.05)
    return Taught(
        version,
        collected_s - begun_s,
        learnt_s - collected_s,
        time.monotonic() - begun_s,
        first_row,
        last_row,
    )


def call(daemon: Daemon, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Call the API with the token."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {TOKEN}"}
    request = urllib.request.Request(daemon.address + path, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        found: dict[str, Any] = json.loads(answer.read())
    return found


def wait(daemon: Daemon, product: str, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Return the state of teaching once it is as wanted."""
    while not wanted(state := call(daemon, "GET", f"/api/teach/{product}")):
        time.sleep(0.5)
    return state


if __name__ == "__main__":
    main()
