"""Ask the questions of docs/examples/fleet over many stations: print sizes and times; exit 1 if slow.

    python -m tests.benchmarks.fleet_questions [--stations 50] [--days 30] [--parts 57600] [--folder DIR]

57,600 parts are one a second in two shifts. One station-day goes through a real journal and what
`linewatch ship` runs; the others are drawn with NumPy and written by the same writer. Each question runs in a
process of its own, with DuckDB on two threads. `--folder` keeps the files for another run: 1.2 GB.
"""

import argparse
import json
import sqlite3
import subprocess
import sys
import tempfile
import time
from datetime import UTC, date, datetime, timedelta
from functools import partial
from multiprocessing import Pool
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import compute

from linewatch.domain import Reason, Result
from linewatch.storage.journal import Journal
from linewatch.storage.journal_schema import INSERT, row_of
from linewatch.storage.shipping.parquet_file import TYPES, arrow_schema, write_batches
from linewatch.storage.shipping.ship import ship
from linewatch.storage.shipping.tables import AUDIT, REVIEWS, STATES, VERDICTS, Table
from tests.storage.test_journal import verdict

QUESTIONS = Path(__file__).parent.parent.parent / "docs/examples/fleet"
LIMIT_S = 10.0
FIRST_DAY = date(2026, 11, 1)
SHIFTS_FROM_MS, SHIFTS_MS = 5 * 3_600_000, 16 * 3_600_000
DAY_MS = 86_400_000
WORSE_STATION, WORSE_DAY, WORSE_MS = 17, 18, 13 * 3_600_000
"""At this station more parts fail in the region `rim` from this hour on."""
REASONS = np.array([0, 10, 11, 20, 22, 23, 30])
RESULTS = np.array(["PASS", "FAIL", "UNSURE", "ERROR", "ERROR", "UNSURE", "ERROR"])
SHARES = np.array([0.985, 0.006, 0.004, 0.001, 0.001, 0.002, 0.001])
REVIEWED_PER_DAY = 100

_ASK = """
import json, sys, time, duckdb
db = duckdb.connect(config={"threads": 2})
db.execute("SET enable_progress_bar = false")
started = time.perf_counter()
db.execute(open(sys.argv[1]).read())
rows = db.execute(open(sys.argv[2]).read()).fetchall()
took_s = time.perf_counter() - started
status = open("/proc/self/status").read()
memory = int(status.partition("VmHWM:")[2].split()[0]) / 1000
print(json.dumps([took_s, memory, len(rows), [str(value) for value in rows[0]] if rows else []]))
"""


def main() -> int:
    """Make the files, ask, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.fleet_questions")
    parser.add_argument("--stations", type=int, default=50)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--parts", type=int, default=57_600, help="per station and day")
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="linewatch-fleet-") as place:
        folder: Path = options.folder or Path(place)
        folder.mkdir(exist_ok=True)
        make(folder, options.stations, options.days, options.parts)
        sizes(folder, options.stations * options.days * options.parts)
        real_day(options.parts)
        slow = ask(folder)
    if slow:
        print(f"longer than {LIMIT_S:g} s: {', '.join(slow)}")
    return int(bool(slow))


def make(folder: Path, stations: int, days: int, parts: int) -> None:
    """Write the files that are missing, on two processors."""
    started = time.monotonic()
    work = [(folder, station, day, parts) for station in range(1, stations + 1) for day in range(days)]
    with Pool(2) as pool:
        for done, _ in enumerate(pool.imap_unordered(_station_day, work), start=1):
            print(f"\r{done} of {len(work)} station-days", end="", flush=True)
    print(f" written in {time.monotonic() - started:.0f} s")


def sizes(folder: Path, parts: int) -> None:
    """Print how much the files of each table take."""
    for table in (VERDICTS, REVIEWS, STATES, AUDIT):
        files = [path.stat().st_size for path in folder.glob(f"station=*/day=*/{table.name}.parquet")]
        each = f", {sum(files) / parts:.1f} bytes a part" if table is VERDICTS else ""
        print(f"{table.name}: {len(files)} files, {sum(files) / 1e6:,.0f} MB{each}")


def real_day(parts: int) -> None:
    """Ship one day of the same parts from a journal, and print size and time."""
    table = _verdicts(np.random.default_rng(1), 1, 0, parts).to_pylist()
    with tempfile.TemporaryDirectory(prefix="linewatch-fleet-") as place:
        path = Path(place) / "journal.db"
        start_ms = _start_ms(0)
        with Journal.open(path, clock_ms=lambda: start_ms) as journal, journal.reader() as reader:
            rows = [
                row_of(
                    verdict(
                        journal.boot,
                        row["seq"],
                        **{name: row[name] for name in ("part", "raw", "region", "image", "latency_ms")},
                        result=Result(row["result"]),
                        reason=Reason(row["reason"]),
                        captured_ms=_ms(row["captured"]),
                        box=tuple(row[f"box_{side}"] for side in "xywh"),
                    ),
                    _ms(row["journaled"]),
                )
                for row in table
            ]
            journal.write_relaxed(partial(_insert, rows))
            started, cpu = time.monotonic(), time.process_time()
            list(ship(reader, "station1", Path(place), start_ms + 2 * DAY_MS))
            took_s, cpu_s = time.monotonic() - started, time.process_time() - cpu
        shipped = next(Path(place).glob("station=*/day=*/verdicts.parquet")).stat().st_size
        print(
            f"one day through the journal: {path.stat().st_size / parts:.0f} bytes a part there, "
            f"{shipped / parts:.1f} shipped, in {took_s:.1f} s with its rests, {cpu_s:.1f} s of a processor"
        )


def ask(folder: Path) -> list[str]:
    """Print time and memory of every question; return those that took too long."""
    slow = []
    print(f"{'question':16} {'seconds':>8} {'memory':>10} {'rows':>7}  first row")
    for question in sorted(QUESTIONS.glob("*.sql")):
        if question.stem == "views":
            continue
        done = subprocess.run(
            [sys.executable, "-c", _ASK, str(QUESTIONS / "views.sql"), str(question)],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (question.name, done.stderr)
        took_s, memory, rows, first = json.loads(done.stdout)
        print(
            f"{question.stem:16} {took_s:8.2f} {memory:7.0f} MB {rows:7}  {' '.join(first)[:90]!r}",
            flush=True,
        )
        if took_s > LIMIT_S:
            slow.append(question.stem)
        if question.stem == "since_when" and rows > WORSE_STATION and first[0] != f"station{WORSE_STATION}":
            slow.append(f"{question.stem} names {first[0]}")
    return slow


def _station_day(work: tuple[Path, int, int, int]) -> None:
    folder, station, day, parts = work
    chance = np.random.default_rng((station, day))
    name = f"station{station}"
    place = folder / f"station={name}" / f"day={FIRST_DAY + timedelta(days=day)}"
    if (place / "verdicts.parquet").exists():
        return
    verdicts = _verdicts(chance, station, day, parts)
    tables: list[tuple[Table, pa.Table]] = [
        (AUDIT, _audit(station, day)),
        (STATES, _states(day)),
        (REVIEWS, _reviews(chance, verdicts, day)),
        (VERDICTS, verdicts),
    ]
    for table, rows in tables:
        schema = arrow_schema(table, name, "simulated")
        write_batches(
            place / f"{table.name}.parquet", table, schema, rows.replace_schema_metadata().to_batches()
        )


def _verdicts(chance: np.random.Generator, station: int, day: int, parts: int) -> pa.Table:
    """Return a day's parts: one product and model per shift, 1.5 % rejects."""
    number = np.arange(parts)
    captured = _start_ms(day) + number * SHIFTS_MS // parts + chance.integers(0, 200, parts)
    kind = chance.choice(len(REASONS), parts, p=SHARES)
    if station == WORSE_STATION:
        since_ms = _start_ms(WORSE_DAY) - SHIFTS_FROM_MS + WORSE_MS
        kind = np.where((captured >= since_ms) & (chance.random(parts) < 0.004), 1, kind)
    seq = day * parts + number + 1
    second = number >= parts // 2
    product = np.where(second, station % 7, (station + 3) % 7)
    failed = kind == 1
    box = np.where(failed[:, None], chance.integers(10, 400, (parts, 4)), 0)
    latency = np.minimum(20 + chance.lognormal(2.2, 0.4, parts), 5000).astype(np.int64)
    threshold = 2.0 + station % 5 / 10 + product / 100
    raw = np.where(failed, threshold * chance.uniform(1, 2, parts), threshold * chance.beta(3, 6, parts))
    kept = (kind != 0) | (number % 100 == 0)
    day_name = str(FIRST_DAY + timedelta(days=day))
    stem = _joined(day_name + "/", compute.utf8_lower(_text(RESULTS[kind])), "/41-", _text(seq))
    none = pa.scalar("")
    columns = {
        "boot": np.full(parts, 41),
        "seq": seq,
        "captured": captured,
        "journaled": captured + latency + 3,
        "part": _joined(f"S{station:02d}", compute.utf8_lpad(_text(seq), 9, "0")),
        "trigger": seq % 65_535 + 1,
        "product": _joined("product", _text(product)),
        "product_index": product + 1,
        "model": _text(np.array([f"{7919 * (index + 1):08x}" for index in range(7)])[product]),
        "result": _text(RESULTS[kind]),
        "reason": REASONS[kind],
        "raw": raw,
        "threshold": threshold,
        "age_ms": chance.integers(1, 6, parts),
        "latency_ms": latency,
        "late": kind == 6,
        "simulated": np.zeros(parts, bool),
        "defects": failed.astype(np.int64),
        **{f"box_{side}": box[:, place] for place, side in enumerate("xywh")},
        "region": _text(np.where(failed & (number % 3 > 0), "rim", "")),
        "region_index": (failed & (number % 3 > 0)).astype(np.int64),
        "image": compute.if_else(pa.array(kept), _joined(stem, ".frame.jpg"), none),
        "heatmap": compute.if_else(pa.array(failed), _joined(stem, ".jpg"), none),
    }
    return _table(VERDICTS, columns)


def _reviews(chance: np.random.Generator, verdicts: pa.Table, day: int) -> pa.Table:
    rejects = np.flatnonzero(verdicts["reason"].to_numpy() != 0)
    chosen = np.sort(chance.choice(rejects, min(REVIEWED_PER_DAY, len(rejects)), replace=False))
    parts = len(chosen)
    columns = {
        "boot": np.full(parts, 41),
        "seq": verdicts["seq"].to_numpy()[chosen],
        "reviewed": np.full(parts, _start_ms(day) + SHIFTS_MS),
        "actual": _text(np.where(chance.random(parts) < 0.3, "good", "defect")),
        "note": _text(np.full(parts, "")),
        "who": _text(np.where(chance.random(parts) < 0.5, "anna", "ben")),
    }
    return _table(REVIEWS, columns)


def _states(day: int) -> pa.Table:
    """Return a day: stopped at night, a changeover between the shifts, an hour DEGRADED."""
    hours = [(0, "STOPPED"), (5, "STARTING"), (5.01, "READY"), (13, "CHANGEOVER"), (13.02, "READY")]
    hours += [(18, "DEGRADED"), (19, "READY"), (21, "STOPPED"), (24, "")]
    start_ms = _start_ms(day) - SHIFTS_FROM_MS
    rows = len(hours) - 1
    edges = np.array([start_ms + hour * 3_600_000 for hour, _ in hours], np.int64)
    columns = {
        "state": _text(np.array([state for _, state in hours[:-1]])),
        "product": _text(np.full(rows, "product1")),
        "reason": _text(np.full(rows, "")),
        "began": edges[:-1],
        "ended": edges[1:],
    }
    return _table(STATES, columns)


def _audit(station: int, day: int, rows: int = 12) -> pa.Table:
    facts = [
        json.dumps(
            {
                "product": "product1",
                "from": "product1/7f3a91c2",
                "to": "product1/7f3a91c2",
                "why": "recipe",
                "model_sha256": f"{station:064x}",
                "recipe": {"threshold": 2.0 + (station + number) % 5 / 10, "unsure_threshold": 1.8},
            }
        )
        for number in range(rows)
    ]
    columns = {
        "audit_row": day * rows + np.arange(rows) + 1,
        "acted": _start_ms(day) + np.arange(rows) * 3_600_000,
        "who": _text(np.full(rows, "anna")),
        "action": _text(np.where(np.arange(rows) % 4 > 0, "part_reviewed", "in_use")),
        "product": _text(np.full(rows, "product1")),
        "facts": pa.array(facts),
        "hash": _text(np.array([f"{station * 1000 + number:064x}" for number in range(rows)])),
    }
    return _table(AUDIT, columns)


def _table(table: Table, columns: dict[str, object]) -> pa.Table:
    arrays = [
        (array if isinstance(array := columns[column.name], pa.Array) else pa.array(array)).cast(
            TYPES[column.kind]
        )
        for column in table.columns
    ]
    return pa.table(arrays, schema=pa.schema([(each.name, TYPES[each.kind]) for each in table.columns]))


def _text(values: NDArray[np.generic]) -> pa.Array:
    return pa.array(values).cast(pa.string())


def _joined(*texts: object) -> pa.Array:
    return compute.binary_join_element_wise(*texts, "")


def _start_ms(day: int) -> int:
    midnight = datetime.combine(FIRST_DAY + timedelta(days=day), datetime.min.time(), UTC)
    return int(midnight.timestamp()) * 1000 + SHIFTS_FROM_MS


def _ms(when: datetime) -> int:
    return round(when.timestamp() * 1000)


def _insert(rows: list[tuple[object, ...]], db: sqlite3.Connection) -> None:
    db.executemany(INSERT, rows)


if __name__ == "__main__":
    sys.exit(main())
