"""How much learning slows the line down, and how long it takes from the first tap to a judged part.

    python -m tests.benchmarks.teaching DATA/bottle/train/good [--count 40] [--idle-s 30]

Runs the daemon on a folder of real images, first idle, then while a product is begun, collected and learnt
through the API; prints the latencies of both, and the time until the first verdict of the new product.
"""

import argparse
import json
import shutil
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np

from tests.daemon import ROOT, Daemon
from tests.mosquitto import Mosquitto

TOKEN = "a-long-random-token"


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
                measure(daemon, arguments.count, arguments.idle_s)
        finally:
            broker.stop()


def measure(daemon: Daemon, count: int, idle_s: float) -> None:
    """Print latencies idle and while learning, and the times of the steps."""
    time.sleep(5.0)
    before = len(daemon.rows())
    time.sleep(idle_s)
    idle = daemon.rows()[before:]
    begun_s = time.monotonic()
    call(daemon, "POST", "/api/teach", {"product": "taught"})
    call(daemon, "POST", "/api/teach/taught/collect", {"count": count})
    wait(daemon, lambda state: not state["collecting"]["running"])
    collected_s = time.monotonic()
    before = len(daemon.rows())
    call(daemon, "POST", "/api/teach/taught/learn", {})
    learning = wait(daemon, lambda state: state["learning"]["stage"] != "running")["learning"]
    busy = daemon.rows()[before:]
    learnt_s = time.monotonic()
    assert learning["stage"] == "done", learning
    version = learning["version"]
    call(daemon, "POST", "/api/products/taught/activate", {"version": version})
    call(daemon, "POST", "/api/product", {"product": "taught"})
    while not any(row["model"] == version and row["result"] != "ERROR" for row in daemon.rows()[-20:]):
        time.sleep(0.05)
    judged_s = time.monotonic()
    print("| line | parts | p50 / p95 / p99 ms | late |\n|---|---|---|---|")
    for name, rows in (("idle", idle), ("while learning", busy)):
        ms = np.quantile([row["latency_ms"] for row in rows], (0.5, 0.95, 0.99))
        late = sum(row["late"] for row in rows)
        print(f"| {name} | {len(rows)} | {ms[0]:.0f} / {ms[1]:.0f} / {ms[2]:.0f} | {late} |")
    print(
        f"first tap to a judged part: {judged_s - begun_s:.0f} s; collecting {collected_s - begun_s:.0f} s, "
        f"learning {learnt_s - collected_s:.0f} s"
    )


def call(daemon: Daemon, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Call the API with the token."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {TOKEN}"}
    request = urllib.request.Request(daemon.address + path, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        found: dict[str, Any] = json.loads(answer.read())
    return found


def wait(daemon: Daemon, wanted: Any) -> dict[str, Any]:
    """Return the state of teaching once it is as wanted."""
    while not wanted(state := call(daemon, "GET", "/api/teach/taught")):
        time.sleep(0.5)
    return state


if __name__ == "__main__":
    main()
