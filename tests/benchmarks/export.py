"""Export a day of parts and show time and memory: `python -m tests.benchmarks.export [864000]`.

Run it alone, and beside a running daemon to see that the line's latency stays: `linewatch bench` meanwhile.
"""

import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from linewatch.storage.journal import Journal
from linewatch.storage.journal_schema import INSERT, row_of
from tests.storage.test_journal import verdict

ROWS = 864_000
BATCH = 20_000


def main() -> None:
    """Export two sizes, of which the smaller is a tenth: flat memory means that both take the same."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    for number in (rows // 10, rows):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            fill(folder / "var/journal.db", number)
            started = time.monotonic()
            command = [sys.executable, "-m", "linewatch", "export", "--format", "csv", "--out", "day.csv"]
            process = subprocess.Popen(command, cwd=folder, env=os.environ, stdout=subprocess.DEVNULL)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            print(
                f"{number} rows: {time.monotonic() - started:.0f} s, CPU {usage.ru_utime:.0f} s, "
                f"peak memory {usage.ru_maxrss / 1000:.0f} MB, "
                f"{(folder / 'day.csv').stat().st_size / 1e6:.0f} MB of CSV, exit status {process.returncode}"
            )


def fill(path: Path, rows: int) -> None:
    """Write a journal with so many parts."""
    with Journal.open(path) as journal:
        for start in range(1, rows + 1, BATCH):
            many = [verdict(journal.boot, seq) for seq in range(start, min(rows + 1, start + BATCH))]
            table = [row_of(each, each.captured_ms) for each in many]
            journal.write_relaxed(partial(_insert, table))


def _insert(table: list[tuple[object, ...]], db: sqlite3.Connection) -> None:
    db.executemany(INSERT, table)


if __name__ == "__main__":
    main()
