"""Measure the daemon with a journal of months and with an empty one, in the same run.

    python -m tests.benchmarks.aged_daemon FILE [--rounds 2] [--seconds 15] [--tries 20] [--follow]

FILE is made by `tests.benchmarks.aged_journal make`. The daemon runs the simulated line at 10 parts a second
with mosquitto and a subscriber beside it, in turn on an empty journal and on FILE, which is read from the
disk again for each start. Printed: start to READY, capture to arrival at the subscriber without page requests
and while all pages and API calls are requested in turn, 20 a second; the time of each of these, and with
`--follow` how many requests a search to the end takes: minutes while the index is not complete.
"""

import argparse
import json
import os
import re
import statistics
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from linewatch.storage.journal_reader import JournalFile, JournalReader
from tests.benchmarks.aged_journal import RUN_ROWS
from tests.benchmarks.page_load import Subscriber
from tests.daemon import Daemon
from tests.mosquitto import Mosquitto

Times = dict[str, list[float]]
"""Name of a figure -> milliseconds."""

WARM_UP_S = 2.0
REQUESTS_PER_S = 20
DAY_MS = 86_400_000
TARGET_MS = 300.0
TO_THE_END = {  # Name -> conditions of the API.
    "rare product": "product=rare",
    "rare product, rejects": "product=rare&result=FAIL,UNSURE,ERROR",
    "unknown product": "product=none",
    "rare reason": "reason=24",
    "part, unknown": "part=X",
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--tries", type=int, default=20)
    parser.add_argument("--follow", action="store_true", help="search to the end of the journal, too")
    options = parser.parse_args()
    found: dict[str, Times] = {"empty": defaultdict(list), "aged": defaultdict(list)}
    for _ in range(options.rounds):
        for name, times in found.items():
            with tempfile.TemporaryDirectory() as folder:
                file = options.file if name == "aged" else Path(folder) / "journal.db"
                measure(
                    Path(folder), file, times, options.seconds, options.tries, follow_links=options.follow
                )
    show(found)


def measure(
    folder: Path, journal: Path, times: Times, seconds: float, tries: int, *, follow_links: bool
) -> None:
    """Run one daemon; add to `times`."""
    calls = addresses(journal) if journal.exists() else addresses(None)
    forget(journal)
    broker = Mosquitto(folder)
    broker.start()
    changes = {
        "source.uri": "defects=0.02",
        "source.fps": 10,
        "journal.path": str(journal),
        "limits.deadline_ms": 200,
        "limits.frame_age_ms_max": 500,
    }
    try:
        with Subscriber(broker.port) as subscriber:
            started = time.monotonic()
            with Daemon(folder, broker.port, changes) as daemon:
                times["start to READY"].append(1000 * (time.monotonic() - started))
                times["first live page"].append(fetch(daemon.address + "/"))
                time.sleep(WARM_UP_S)
                times["capture to publish, no requests"] += subscriber.latencies_ms(seconds)
                before = len(subscriber.seen)
                due = time.monotonic()
                for k in range(tries):
                    for name, address in calls.items():
                        due += 1 / REQUESTS_PER_S
                        time.sleep(max(0.0, due - time.monotonic()))
                        times[f"GET {name}"].append(fetch(daemon.address + address.format(k=k)))
                times["capture to publish, with requests"] += subscriber.seen[before:]
                if follow_links and journal.exists():
                    for name, conditions in TO_THE_END.items():
                        follow(daemon.address, name, conditions, times)
                assert daemon.stop() == 0
    finally:
        broker.stop()


def addresses(journal: Path | None) -> Mapping[str, str]:
    """Return what to request; `{k}` is the number of the try."""
    now_ms = time.time_ns() // 1_000_000
    middle = "1-1"
    code = "0"
    if journal is not None:
        with JournalReader(JournalFile(journal)) as reader:
            newest = reader.read("SELECT max(id) FROM verdicts")[0][0]
            boot, seq = reader.read("SELECT boot, seq FROM verdicts WHERE id >= ? LIMIT 1", (newest // 2,))[0]
            middle = f"{boot}-{seq}"
            code = reader.read("SELECT part FROM verdicts WHERE id >= ? LIMIT 1", (3 * RUN_ROWS // 2,))[0][0]
    day = f"from={now_ms - 50 * DAY_MS}&to={now_ms - 49 * DAY_MS}"
    listed = (
        *("/", "/live.jpg", "/inspect", "/products", "/metrics", "/healthz", "/readyz", "/api/state"),
        *("/history", f"/history?before={middle}", f"/history?{day}", f"/history/{middle.replace('-', '/')}"),
        "/history?result=FAIL",
        "/history?result=FAIL,UNSURE,ERROR&product=product{k:02d}",
        "/history?product=demo",
        "/history?product=rare",
        "/history?product=rare&result=ERROR",
        "/history?product=none",
        *("/history?reason=22", "/history?reason=24", f"/history?product=rare&{day}"),
        *(f"/history?part=S{RUN_ROWS:09d}", f"/history?part={code}", "/history?part=S0", "/history?part=X"),
        *("/review", "/review?product=rare", "/review?reason=24", "/review?part=X"),
        *("/api/verdicts", "/api/verdicts?limit=1000", "/api/verdicts?product=rare&limit=1000"),
        *("/api/verdicts?reason=24", "/api/verdicts?part=S0001&product=rare", "/api/verdicts?part=X"),
    )
    return {name_of(address): address for address in listed}


def name_of(address: str) -> str:
    """Return an address without what differs from run to run."""
    return re.sub(r"\d{13}|\d{1,9}[-/]\d{1,9}", "N", address)


def forget(journal: Path) -> None:
    """Make the kernel read the file from the disk again."""
    if journal.exists():
        with journal.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def fetch(address: str) -> float:
    """Return how many milliseconds one request takes."""
    started = time.monotonic()
    with urllib.request.urlopen(address, timeout=60) as response:
        response.read()
    return 1000 * (time.monotonic() - started)


def follow(address: str, name: str, conditions: str, times: Times) -> None:
    """Search to the end of the journal, request by request; print what was found."""
    next_one = f"/api/verdicts?limit=1000&{conditions}"
    requests = found = 0
    while next_one:
        started = time.monotonic()
        with urllib.request.urlopen(address + next_one, timeout=60) as response:
            found += len(json.loads(response.read()))
            link = re.match(r"<(.+)>", response.headers.get("Link", ""))
        times["GET /api/verdicts, to the end"].append(1000 * (time.monotonic() - started))
        requests += 1
        next_one = link[1] if link else ""
    print(f"search for {name}: {found} found, {requests} requests", flush=True)


def show(found: Mapping[str, Times]) -> None:
    """Print the table, and whether the wanted figures are reached."""
    print("| p50 / p95 ms | empty journal | aged journal |\n|---|---|---|")
    for name in found["aged"]:
        cells = [spread(times[name]) for times in found.values()]
        print(f"| {name} | {' | '.join(cells)} |")
    for name in ("no requests", "with requests"):
        empty, aged = (p95(times[f"capture to publish, {name}"]) for times in found.values())
        print(f"capture to publish, {name}: p95 aged / empty {aged / empty:.3f} (wanted: at most 1.05)")
    slow = [name for name, times in found["aged"].items() if "GET" in name and p95(times) > TARGET_MS]
    print(f"p95 above {TARGET_MS:.0f} ms: {', '.join(slow) or 'none'}")


def spread(times: list[float]) -> str:
    """Return median and 95th percentile."""
    return f"{statistics.median(times):.1f} / {p95(times):.1f}" if times else ""


def p95(times: list[float]) -> float:
    """Return the 95th percentile, the largest of few."""
    return statistics.quantiles(times, n=20, method="inclusive")[-1] if len(times) > 1 else times[0]


if __name__ == "__main__":
    main()
