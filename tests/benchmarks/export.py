"""Export a day of parts while the line runs, by the command and over HTTP: time, memory, the line's latency.

    python -m tests.benchmarks.export [--rows 864000] [--fps 10] [--idle-s 60] [--forms csv,jsonl,parquet]

A tenth of the rows is exported first: flat memory means that both take the same. Then a daemon with the whole
journal runs the simulated line, with mosquitto beside it; phases without and with an export alternate, so
that other load on the machine affects both. Latency is measured by a subscriber: arrival of the live verdict
minus capture. The HTTP client runs at the lowest priority, because on a real station it is another machine.
"""

import argparse
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from linewatch.storage.journal import Journal
from tests.benchmarks.page_load import Subscriber
from tests.daemon import Daemon
from tests.export.parts import journal_of
from tests.mosquitto import Mosquitto

ROWS = 864_000
SHIPPED = "parquet"  # The form that `linewatch ship` writes, by command only.
RATIO_MAX = 1.1  # Of the 95th percentiles, with an export over without.
TOKEN = "a-token-of-the-benchmark"
SAMPLE_S = 1.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--fps", type=float, default=10.0)
    parser.add_argument("--idle-s", type=float, default=60.0)
    parser.add_argument("--forms", default=f"csv,jsonl,{SHIPPED}")
    parser.add_argument("--be-client-of", metavar="ADDRESS", help=argparse.SUPPRESS)
    parser.add_argument("--daemon", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.be_client_of:
        print(*be_client(options.be_client_of, options.daemon))
        return
    forms = options.forms.split(",")
    with tempfile.TemporaryDirectory() as name:
        small = prepared(Path(name) / "small", options.rows // 10)
        print(f"| export of {options.rows // 10} rows, no line | s | MB | memory MB |\n|---|---|---|---|")
        for form in forms:
            print_row(f"command, {form}", *by_command(small, form))
    with tempfile.TemporaryDirectory() as name:
        beside_the_line(prepared(Path(name), options.rows), options, forms)


def prepared(folder: Path, rows: int) -> Path:
    """Write an indexed journal of delivered parts into a folder, and return the folder."""
    folder.mkdir(exist_ok=True)
    with Journal.open(journal_of(folder / "journal.db", rows)) as journal:
        journal.write_relaxed(partial(_deliver, rows))
        while journal.indexing:
            journal.maintain(0, budget_s=1)
    return folder


def _deliver(rows: int, db: sqlite3.Connection) -> None:
    db.execute("UPDATE delivery SET position = ?", (rows,))


def by_command(folder: Path, form: str) -> tuple[float, float, float]:
    """Export with the command; return seconds, megabytes written, and peak memory in MB."""
    out = folder / f"day.{form}"
    arguments = ["export", "--format", form, "--out", str(out)]
    if form == SHIPPED:
        out.mkdir()
        arguments = ["ship", str(out), "--today"]
    command = [sys.executable, "-m", "linewatch", *arguments]
    environment = os.environ | {"LINEWATCH_JOURNAL__PATH": str(folder / "journal.db")}
    started = time.monotonic()
    process = subprocess.Popen(command, env=environment, cwd=folder, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    took_s = time.monotonic() - started
    size = sum(path.stat().st_size for path in (out, *out.rglob("*.parquet")) if path.is_file())
    if form == SHIPPED:
        shutil.rmtree(out)
    else:
        out.unlink()
    return took_s, size / 1e6, usage.ru_maxrss / 1000


def by_http(daemon: Daemon, form: str) -> tuple[float, float, float]:
    """Export over HTTP; return seconds, megabytes received, and the export process's peak memory in MB."""
    address = f"{daemon.address}/api/export?format={form}&limit=1000000"
    started = time.monotonic()
    client = [sys.executable, "-m", "tests.benchmarks.export", "--be-client-of", address]
    done = subprocess.run(
        [*client, "--daemon", str(daemon.process.pid)], stdout=subprocess.PIPE, text=True, check=True
    )
    size, memory_mb = done.stdout.split()
    return time.monotonic() - started, int(size) / 1e6, float(memory_mb)


def be_client(address: str, daemon: int) -> tuple[int, float]:
    """Read an export to its end; return the number of its bytes, and its process's peak memory in MB."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    size, peak_mb, due_s = 0, 0.0, 0.0
    request = urllib.request.Request(address, headers={"Authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(request, timeout=600) as answer:
        while piece := answer.read(65_536):
            size += len(piece)
            if time.monotonic() >= due_s:
                due_s = time.monotonic() + SAMPLE_S
                peak_mb = max(peak_mb, _export_memory_mb(daemon))
    return size, peak_mb


def _export_memory_mb(daemon: int) -> float:
    for child in _children(daemon):
        with suppress(OSError):
            if b"export.worker" in Path(f"/proc/{child}/cmdline").read_bytes():
                return _memory_mb(child, "VmHWM")
    return 0.0


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def _memory_mb(pid: int, key: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) / 1000 for line in lines if line.startswith(key)), 0.0)


def beside_the_line(folder: Path, options: argparse.Namespace, forms: list[str]) -> None:
    """Run the line with phases without and with an export, and print both tables."""
    (folder / "token").write_text(TOKEN)
    (folder / "token").chmod(0o600)
    changes = {
        "source.uri": "defects=0.02&pool=64",
        "source.fps": options.fps,
        "limits.deadline_ms": 200,
        "limits.frame_age_ms_max": 500,
        "http.token_file": str(folder / "token"),
    }
    times: dict[str, list[float]] = {"without": [], "command": [], "http": []}
    broker = Mosquitto(folder)
    broker.start()
    try:
        with Daemon(folder, broker.port, changes) as daemon, Subscriber(broker.port) as subscriber:
            print(
                f"\n| export of {options.rows} rows beside the line | s | MB | memory MB |\n|---|---|---|---|"
            )
            before_mb = _memory_mb(daemon.process.pid, "VmRSS")
            for form in forms:
                for kind, export in (
                    ("command", lambda form=form: by_command(folder, form)),
                    ("http", lambda form=form: by_http(daemon, form)),
                ):
                    if (kind, form) == ("http", SHIPPED):
                        continue
                    times["without"] += subscriber.latencies_ms(options.idle_s)
                    figures, latencies = meanwhile(subscriber, export)
                    times[kind] += latencies
                    print_row(f"{kind}, {form}", *figures)
            times["without"] += subscriber.latencies_ms(options.idle_s)
            after_mb = _memory_mb(daemon.process.pid, "VmRSS")
    finally:
        broker.stop()
    print(f"\ndaemon's memory before {before_mb:.0f} MB, after {after_mb:.0f} MB")
    print(f"{options.fps:g} parts a second, {os.cpu_count()} processors\n")
    print("| phase | parts | p50 ms | p95 ms | p99 ms | p95 over without |\n|---|---|---|---|---|---|")
    p95 = {phase: statistics.quantiles(found, n=100)[94] for phase, found in times.items() if found}
    for phase, found in ((phase, found) for phase, found in times.items() if found):
        cuts = statistics.quantiles(found, n=100)
        ratio = p95[phase] / p95["without"]
        print(
            f"| {phase} | {len(found)} | {cuts[49]:.1f} | {cuts[94]:.1f} | {cuts[98]:.1f} | "
            f"{ratio:.2f} (wanted: at most {RATIO_MAX}) |"
        )


def meanwhile(
    subscriber: Subscriber, export: Callable[[], tuple[float, float, float]]
) -> tuple[tuple[float, float, float], list[float]]:
    """Return an export's figures, and the latencies of the verdicts that arrived meanwhile."""
    first = len(subscriber.seen)
    figures = export()
    return figures, subscriber.seen[first:]


def print_row(name: str, took_s: float, size_mb: float, memory_mb: float) -> None:
    """Print one line of a table."""
    print(f"| {name} | {took_s:.0f} | {size_mb:.0f} | {memory_mb:.0f} |", flush=True)


if __name__ == "__main__":
    main()
