"""Measure a journal of months: time of every read, page and API call, of a commit, of start and retention.

    python -m tests.benchmarks.aged_journal make FILE [--rows 80000000]
    python -m tests.benchmarks.aged_journal index FILE [--budget-s 1]
    python -m tests.benchmarks.aged_journal measure FILE

`make` writes 90 days of a line (10 parts a second with 80 million rows, 133 bytes each) as the version before
the search index left them: 50 products in runs of some hours, one of 2,000 parts throughout, 2 % rejects,
20,000 reviews, serial numbers and random codes as part names. `index` lets maintenance build the
search index and prints how long that takes. `measure` opens the file as the daemon does, indexes what is not
indexed yet, and times all reads beside 10 commits a second.
"""

import argparse
import sqlite3
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from flask.testing import FlaskClient

from linewatch.domain import Reason, Result, Verdict
from linewatch.line.metrics import Metrics
from linewatch.models.scoring_worker import ScoringWorker
from linewatch.settings import ModelsSettings
from linewatch.storage.journal import Journal
from linewatch.storage.journal_reader import JournalReader
from linewatch.storage.journal_schema import COLUMNS
from linewatch.storage.journal_search import Conditions, Found
from linewatch.web.app import create_app
from linewatch.web.office_backend import OfficeBackend

DAYS = 90
CHUNK_ROWS = 1_000_000
BOOT_ROWS = 240_007
RUN_ROWS = 150_000
RARE_PARTS = 2_000
REVIEWS = 20_000
INDEX_TABLES = ("tallies", "segments", "parts")

# n is the row, r a number from 0 to 9999 that looks random.
_ROWS = f"""
INSERT INTO verdicts (id, journaled_ms, {COLUMNS})
WITH RECURSIVE count(n) AS (VALUES (:first) UNION ALL SELECT n + 1 FROM count WHERE n + 1 < :end),
drawn AS (SELECT n, (n * 48271 + n / 7 * 16807 + n / 1009 * 69621) % 10000 AS r FROM count),
judged AS (SELECT n, r, CASE WHEN r < 120 THEN 'FAIL' WHEN r < 170 THEN 'UNSURE' WHEN r < 200 THEN 'ERROR'
    ELSE 'PASS' END AS result, :start_ms + n * :step_ms AS at_ms FROM drawn)
SELECT n, at_ms, 'station1', n / {BOOT_ROWS} + 1, n % {BOOT_ROWS} + 1, 0,
    CASE WHEN n / {RUN_ROWS} % 2 THEN printf('S%09d', n)
        ELSE printf('%08X%04X', n * 2654435761 % 4294967296, r) END,
    CASE WHEN n % :rare = 0 THEN 'rare' ELSE printf('product%02d', n / {RUN_ROWS} * 37 % 50) END,
    n / {RUN_ROWS} * 37 % 50 + 1, CASE WHEN n < :old THEN '91c27f3a' ELSE '7f3a91c2' END, result,
    CASE result WHEN 'FAIL' THEN 10 WHEN 'UNSURE' THEN 11 WHEN 'ERROR' THEN 20 + r % 3 ELSE 0 END,
    r / 5000.0, 2.0, at_ms - 30, 3, 24 + r % 9, 0, 0, result = 'FAIL',
    CASE result WHEN 'FAIL' THEN '412,80,60,44' ELSE '0,0,0,0' END,
    CASE WHEN n % :rare = 1 THEN 'pin' WHEN r % 10 < 3 THEN 'rim' ELSE '' END,
    CASE WHEN n % :rare = 1 THEN 2 WHEN r % 10 < 3 THEN 1 ELSE 0 END,
    CASE WHEN result <> 'PASS' OR r % 100 = 0 THEN strftime('%Y-%m-%d/', at_ms / 1000, 'unixepoch')
        || lower(result) || '/' || (n / {BOOT_ROWS} + 1) || '-' || (n % {BOOT_ROWS} + 1) || '.frame.jpg'
        ELSE '' END,
    CASE WHEN result IN ('FAIL', 'UNSURE') THEN strftime('%Y-%m-%d/', at_ms / 1000, 'unixepoch')
        || lower(result) || '/' || (n / {BOOT_ROWS} + 1) || '-' || (n % {BOOT_ROWS} + 1) || '.jpg' ELSE '' END
FROM judged
"""


def make(path: Path, rows: int) -> None:
    """Write a journal whose newest row is of now, without an index, as the version before left it."""
    Journal.open(path).close()
    now_ms = time.time_ns() // 1_000_000
    step_ms = DAYS * 86_400_000 / rows
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = OFF")
        db.execute("PRAGMA synchronous = OFF")
        db.execute("PRAGMA cache_size = -200000")
        started = time.monotonic()
        for first in range(1, rows + 1, CHUNK_ROWS):
            facts = {
                "first": first,
                "end": min(first + CHUNK_ROWS, rows + 1),
                "start_ms": now_ms - DAYS * 86_400_000,
                "step_ms": step_ms,
                "rare": max(2, rows // RARE_PARTS),
                "old": rows // 20,
            }
            db.execute(
                _ROWS.replace("n * :step_ms AS at_ms", "CAST(n * :step_ms AS INTEGER) AS at_ms"), facts
            )
            print(f"\r{facts['end'] - 1:,} rows, {time.monotonic() - started:.0f} s", end="", flush=True)
        print()
        db.execute(
            "INSERT INTO reviews (at_ms, boot, seq, actual, note, who) "
            "SELECT journaled_ms, boot, seq, 'defect', '', CASE WHEN id % 960 = 0 THEN 'ben' ELSE 'anna' END "
            "FROM verdicts INDEXED BY verdicts_not_pass "
            "WHERE result = 'FAIL' AND result <> 'PASS' AND id % 48 = 0 ORDER BY id DESC LIMIT ?",
            (REVIEWS,),
        )
        db.execute("UPDATE delivery SET position = ?", (rows,))
        db.execute("INSERT OR IGNORE INTO boots VALUES (?, ?)", (rows // BOOT_ROWS + 1, now_ms))
        for table in INDEX_TABLES:
            db.execute(f"DROP TABLE IF EXISTS {table}")
        db.execute("PRAGMA user_version = 2")
    print(f"{path.stat().st_size / rows:.1f} bytes a row")


def reads(journal: Journal, reader: JournalReader) -> dict[str, Callable[[int], object]]:
    """Return every read that a page or an API call does; each is called with the number of the try."""
    now_ms = journal.clock_ms()
    hour_ms, day_ms = 3_600_000, 86_400_000
    rejects = frozenset({Result.FAIL, Result.UNSURE})

    def found(limit: int = 50, *, before: tuple[int, int] | None = None, **wanted: object) -> Found:
        return reader.search(limit, Conditions(**wanted), before=before)  # type: ignore[arg-type]

    def random_code(k: int) -> str:
        row = 1 + (k * 7_919_000 + 1) % 1_000_000
        codes = journal.reader().read(
            "SELECT part FROM verdicts WHERE id >= ? AND part < 'S' LIMIT 1", (row,)
        )
        return str(codes[0][0])

    newest = journal.reader().read("SELECT max(id) FROM verdicts")[0][0]
    middle = journal.reader().read("SELECT boot, seq FROM verdicts WHERE id >= ? LIMIT 1", (newest // 2,))[0]
    return {
        "history": lambda _: found(),
        "history, from the middle": lambda _: found(before=middle),
        "product on the line": lambda k: found(product=f"product{k % 50:02d}"),
        "rare product": lambda _: found(product="rare"),
        "rare product, rejects": lambda _: found(product="rare", results=rejects),
        "unknown product": lambda _: found(product="none"),
        "FAIL": lambda _: found(results=frozenset({Result.FAIL})),
        "product and FAIL": lambda k: found(product=f"product{k % 50:02d}", results=frozenset({Result.FAIL})),
        "reason 22": lambda _: found(reason=Reason(22)),
        "reason 24, none": lambda _: found(reason=Reason(24)),
        "one hour 60 days ago": lambda k: found(
            since_ms=now_ms - 60 * day_ms - k * hour_ms, until_ms=now_ms - 60 * day_ms - (k - 1) * hour_ms
        ),
        "one day, rare product": lambda k: found(
            product="rare", since_ms=now_ms - (k % 80 + 2) * day_ms, until_ms=now_ms - (k % 80 + 1) * day_ms
        ),
        "part, serial number": lambda k: found(part=f"S{RUN_ROWS + 1 + k * 1_003:09d}"),
        "part, random code": lambda k: found(part=random_code(k)),
        "part prefix of many": lambda _: found(part="S"),
        "part, none": lambda k: found(part=f"X{k}"),
        "region of many": lambda _: found(region="rim"),
        "region of few": lambda _: found(region="pin"),
        "region of few, rejects": lambda _: found(region="pin", results=rejects),
        "region, none": lambda _: found(region="none"),
        "model of before": lambda _: found(model="91c27f3a"),
        "model, none": lambda _: found(model="00000000"),
        "reviewer": lambda _: found(reviewer="ben"),
        "reviewer, none": lambda _: found(reviewer="carl"),
        "count": lambda _: reader.count(),
        "count, product": lambda k: reader.count(Conditions(product=f"product{k % 50:02d}")),
        "count, region": lambda _: reader.count(Conditions(region="rim")),
        "count, part prefix of many": lambda _: reader.count(Conditions(part="S")),
        "count, reviewer": lambda _: reader.count(Conditions(reviewer="anna")),
        "reviewed": lambda _: found(reviewed=True),
        "reviewed, rare product": lambda _: found(reviewed=True, product="rare"),
        "review queue": lambda _: found(20, reviewed=False, results=rejects),
        "review queue, rare product": lambda _: found(20, reviewed=False, results=rejects, product="rare"),
        "good image": lambda k: found(
            1, product=f"product{k % 50:02d}", results=frozenset({Result.PASS}), has_image=True
        ),
        "24 hours, uncached": lambda _: fresh_hours(journal, now_ms - day_ms),
        "24 hours": lambda _: reader.hours(now_ms - day_ms),
        "one verdict": lambda k: reader.verdict(1 + k % 7, 1 + k),
        "reviews": lambda _: reader.reviews(50),
        "audit": lambda _: reader.audit(50),
        "undelivered": lambda _: reader.undelivered(50),
        "outbox age": lambda _: reader.oldest_undelivered_s(),
    }


def fresh_hours(journal: Journal, since_ms: int) -> object:
    """Count hours as a page thread does for its first time."""
    with journal.reader() as reader:
        return reader.hours(since_ms)


class LineBackend(OfficeBackend):
    """Shows the pages of a line without running one."""

    has_line = True


def pages(client: FlaskClient) -> dict[str, Callable[[int], object]]:
    """Return the pages and API calls of a running server, without its network."""
    now_ms = time.time_ns() // 1_000_000
    addresses = {
        "GET /": "/",
        "GET /history": "/history",
        "GET /history?product=rare": "/history?product=rare",
        "GET /history?result=FAIL&product=": "/history?result=FAIL&product=product{product:02d}",
        "GET /history?from=&to=": f"/history?from={now_ms - 50 * 86_400_000}&to={now_ms - 49 * 86_400_000}",
        "GET /review": "/review",
        "GET /review?product=rare": "/review?product=rare",
        "GET /products": "/products",
        "GET /api/state": "/api/state",
        "GET /api/verdicts": "/api/verdicts",
        "GET /api/verdicts?product=rare": "/api/verdicts?product=rare&limit=100",
        "GET /api/verdicts?reason=24": "/api/verdicts?reason=24",
        "GET /metrics": "/metrics",
    }

    def get(address: str) -> Callable[[int], object]:
        def call(k: int) -> object:
            response = client.get(address.format(product=k % 50))
            assert response.status_code == 200, (address, response.status_code)
            return response

        return call

    return {name: get(address) for name, address in addresses.items()}


def timed(calls: dict[str, Callable[[int], object]], tries: int) -> None:
    """Print p50 and p95 of each call, p95 of its processor time, and how much it found."""
    print(f"{'call':34} {'p50 ms':>8} {'p95 ms':>8} {'CPU p95':>8}  found")
    for name, call in calls.items():
        times, cpu = [], []
        for k in range(tries):
            started, cpu_started = time.perf_counter(), time.thread_time()
            result = call(k)
            times.append((time.perf_counter() - started) * 1000)
            cpu.append((time.thread_time() - cpu_started) * 1000)
        size = len(result.verdicts) if isinstance(result, Found) else ""
        p95, cpu_p95 = (statistics.quantiles(values, n=20)[-1] for values in (times, cpu))
        print(f"{name:34} {statistics.median(times):8.1f} {p95:8.1f} {cpu_p95:8.1f}  {size}", flush=True)


@contextmanager
def line(journal: Journal, seqs: Iterator[int], rate: float = 10.0) -> Iterator[list[float]]:
    """Journal verdicts beside the block; collects the milliseconds of each commit."""
    commits: list[float] = []
    stop = threading.Event()

    def record() -> None:
        while not stop.wait(1 / rate):
            commits.append(append(journal, next(seqs)))

    thread = threading.Thread(target=record)
    thread.start()
    try:
        yield commits
    finally:
        stop.set()
        thread.join()


def append(journal: Journal, seq: int) -> float:
    """Journal one verdict; return how many milliseconds its commit took."""
    verdict = Verdict(
        station="station1",
        boot=journal.boot,
        seq=seq,
        part=f"S{10**9 + seq:010d}",
        product="product01",
        product_index=1,
        model="7f3a91c2",
        result=Result.PASS,
        reason=Reason.NONE,
        raw=0.5,
        threshold=2.0,
        captured_ms=journal.clock_ms(),
    )
    started = time.perf_counter()
    journal.append(verdict)
    took_ms = (time.perf_counter() - started) * 1000
    journal.release(journal.boot, seq)
    return took_ms


def quantiles(times: list[float]) -> str:
    """Return p50, p95 and the largest."""
    cuts = statistics.quantiles(times, n=20)
    return f"p50 {cuts[9]:.1f} p95 {cuts[18]:.1f} max {max(times):.1f} ms ({len(times)})"


def numbers() -> Iterator[int]:
    """Yield 1, 2, 3, ..."""
    seq = 0
    while True:
        seq += 1
        yield seq


def measure(path: Path, tries: int, budget_s: float) -> None:
    """Print the whole table."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder, Journal.open(Path(folder) / "j.db") as empty:
        seqs = numbers()
        print("commit, empty journal:", quantiles([append(empty, next(seqs)) for _ in range(500)]))
    started = time.perf_counter()
    journal = Journal.open(path)
    print(f"open: {time.perf_counter() - started:.2f} s, {path.stat().st_size / 1e9:.2f} GB")
    seqs = numbers()
    with journal, journal.reader() as reader:
        print("commit, aged journal:", quantiles([append(journal, next(seqs)) for _ in range(500)]))
        if journal.maintain(0, budget_s=0.5) == 0 and journal.indexing:
            with line(journal, seqs) as commits:
                index(journal, budget_s)
            print("commits meanwhile:", quantiles(commits))
        print(f"{path.stat().st_size / 1e9:.2f} GB; with its index, beside 10 commits a second:")
        with line(journal, seqs) as commits:
            timed(reads(journal, reader), tries)
            settings = ModelsSettings(path=path.parent / "models", recipes=path.parent / "recipes")
            with ScoringWorker(settings, "station1") as worker:
                backend = LineBackend("station1", journal, settings, worker)
                app = create_app(backend, Metrics("station1").render, "", path.parent / "evidence")
                timed(pages(app.test_client()), tries)
        print("commits meanwhile:", quantiles(commits))
        batch = reader.undelivered(1_000_000)
        if batch:
            journal.mark_delivered(batch)
        before_ms = journal.clock_ms() - (DAYS - 1) * 86_400_000
        started, removed = time.perf_counter(), 0
        with line(journal, seqs) as commits:
            for _ in range(20):
                removed += journal.maintain(before_ms)
                time.sleep(0.9)
        print(f"retention: {removed / (time.perf_counter() - started):.0f} rows a second in steps of 100 ms")
        print("commits meanwhile:", quantiles(commits))


def index(journal: Journal, budget_s: float) -> None:
    """Let maintenance build the index, `budget_s` of each second."""
    started, cpu_started = time.monotonic(), time.thread_time()
    worked_s = 0.0
    while journal.indexing:
        step_started = time.monotonic()
        journal.maintain(0, budget_s=budget_s)
        worked_s += time.monotonic() - step_started
        time.sleep(max(0.0, 1 - budget_s))
    print(
        f"indexed in {time.monotonic() - started:.0f} s with {budget_s:g} s of each second, "
        f"{worked_s:.0f} s of work, {time.thread_time() - cpu_started:.0f} s of a processor"
    )


def main() -> None:
    """Make a journal or measure one."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    maker = commands.add_parser("make")
    maker.add_argument("file", type=Path)
    maker.add_argument("--rows", type=int, default=80_000_000)
    indexer = commands.add_parser("index")
    indexer.add_argument("file", type=Path)
    indexer.add_argument("--budget-s", type=float, default=1.0, help="of each second")
    measurer = commands.add_parser("measure")
    measurer.add_argument("file", type=Path)
    measurer.add_argument("--tries", type=int, default=20)
    measurer.add_argument("--budget-s", type=float, default=0.1, help="for the index, of each second")
    options = parser.parse_args()
    if options.command == "make":
        make(options.file, options.rows)
    elif options.command == "index":
        with Journal.open(options.file) as journal:
            index(journal, options.budget_s)
    else:
        measure(options.file, options.tries, options.budget_s)


if __name__ == "__main__":
    main()
