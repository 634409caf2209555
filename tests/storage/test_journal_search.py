"""Search, counts, index and retention of a journal of 80,000 rows, compared with a walk through all."""

import math
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from linewatch.domain import Reason, Result, Verdict
from linewatch.storage import journal as module
from linewatch.storage.journal import Journal
from linewatch.storage.journal_index import BLOCK_ROWS, SEGMENT_ROWS
from linewatch.storage.journal_reader import JournalFile, JournalReader
from linewatch.storage.journal_schema import INSERT, WAL_BYTES_MAX, row_of
from linewatch.storage.journal_search import Conditions

ROWS = 80_000
START_MS = 1_790_000_000_000
STEP_MS = 1_000
REJECTS = frozenset({Result.FAIL, Result.UNSURE})
INITIALS = ("S", "Ü", "\x1d")
INDEX_TABLES = ("tallies", "segments", "parts")


def row(number: int, chance: random.Random) -> Verdict:
    """Return what the line said about one part: mostly PASS, of a product that changes now and then."""
    result, reason = chance.choices(
        [
            (Result.PASS, Reason.NONE),
            (Result.FAIL, Reason(10)),
            (Result.UNSURE, Reason(11)),
            (Result.ERROR, Reason(20)),
        ],
        [96, 2, 1, 1],
    )[0]
    return Verdict(
        station="station1",
        boot=1 + number // 30_000,
        seq=1 + number % 30_000,
        part="" if number % 5 == 0 else f"{chance.choice(INITIALS)}{chance.randrange(10**6):06d}",
        product="rare" if number % 9_973 == 7 else f"product{number // 10_000}",
        product_index=1,
        model="91c27f3a" if number < 20_000 else "7f3a91c2",
        result=result,
        reason=Reason(24) if number == 12_345 else reason,
        raw=0.5,
        threshold=2.0,
        captured_ms=START_MS + number * STEP_MS,
        image="x.jpg" if result is not Result.PASS or number % 1_000 == 0 else "",
    )


def new_row(journal: Journal, seq: int) -> Verdict:
    """Return a verdict of this boot."""
    return replace(row(seq, random.Random(seq)), boot=journal.boot, seq=seq)


@pytest.fixture(scope="module")
def rows() -> list[Verdict]:
    """Return all rows, oldest first."""
    chance = random.Random(1)
    return [row(number, chance) for number in range(ROWS)]


Reviewers = dict[tuple[int, int], str]
"""Who reviewed each part last."""


@pytest.fixture(scope="module")
def reviewed(rows: list[Verdict]) -> Reviewers:
    """Return which parts have a review, of some of which a second one counts."""
    chance = random.Random(2)
    return {(each.boot, each.seq): chance.choice(("anna", "ben")) for each in chance.sample(rows, 500)}


@pytest.fixture(scope="module")
def old_file(rows: list[Verdict], reviewed: Reviewers, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a journal as the version before left it: delivered, reviewed, without an index."""
    path = tmp_path_factory.mktemp("aged") / "journal.db"
    Journal.open(path).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN")
        db.executemany(INSERT, (row_of(each, each.captured_ms) for each in rows))
        db.executemany(
            "INSERT INTO reviews (at_ms, boot, seq, actual, note, who) VALUES (1, ?, ?, 'good', '', ?)",
            [(*part, who) for part in sorted(reviewed) for who in sorted({"anna", reviewed[part]})],
        )
        db.execute("UPDATE delivery SET position = ?", (ROWS,))
        db.execute("COMMIT")
        for table in INDEX_TABLES:
            db.execute(f"DROP TABLE {table}")
        for column in ("region", "region_index"):
            db.execute(f"ALTER TABLE verdicts DROP COLUMN {column}")
        db.execute("PRAGMA user_version = 2")
    return path


@pytest.fixture
def path(old_file: Path, tmp_path: Path) -> Path:
    """Return a copy of the old journal."""
    shutil.copy(old_file, tmp_path / "journal.db")
    return tmp_path / "journal.db"


def opened(path: Path) -> Journal:
    """Open a journal at the time of its newest row."""
    return Journal.open(path, clock_ms=lambda: START_MS + ROWS * STEP_MS)


def index(journal: Journal, steps: int = 10**9) -> None:
    """Extend the index by some steps, or completely."""
    while journal.indexing and steps:
        journal.maintain(0, budget_s=0 if steps < 10**9 else 1)
        steps -= 1


WANTED = {
    "all": Conditions(),
    "product": Conditions(product="product3"),
    "rare product": Conditions(product="rare"),
    "unknown product": Conditions(product="none"),
    "rejects": Conditions(results=REJECTS),
    "rejects of a product": Conditions(results=REJECTS, product="product1"),
    "one reason, once": Conditions(reason=Reason(24)),
    "reason": Conditions(reason=Reason(20), product="product6"),
    "no reason": Conditions(reason=Reason.NONE, product="rare"),
    "time": Conditions(since_ms=START_MS + 5_000_500, until_ms=START_MS + 9_000_000),
    "rare product in a time": Conditions(
        product="rare", since_ms=START_MS + 9_973_000, until_ms=START_MS + 50_000_000
    ),
    "reviewed": Conditions(reviewed=True),
    "reviewed rejects": Conditions(reviewed=True, results=REJECTS),
    "reviewed in a time": Conditions(
        reviewed=True, since_ms=START_MS + 30_000_000, until_ms=START_MS + 31_000_000
    ),
    "not reviewed": Conditions(reviewed=False, results=REJECTS, product="product0"),
    "passes with image": Conditions(results=frozenset({Result.PASS}), has_image=True),
    "image": Conditions(has_image=True, product="product7"),
    "region, of which the older file knows nothing": Conditions(region="rim"),
    "model": Conditions(model="91c27f3a", results=REJECTS),
    "unknown model": Conditions(model="00000000"),
    "reviewer": Conditions(reviewer="ben"),
    "reviewer whose review another replaced": Conditions(reviewer="anna", product="product0"),
    "unknown reviewer": Conditions(reviewer="carl"),
    "part": Conditions(part="S0001"),
    "part with a control character": Conditions(part="\x1d01"),
    "part of many": Conditions(part="Ü"),
    "part of many and a product": Conditions(part="Ü1", product="product2", results=REJECTS),
    "unknown part": Conditions(part="X"),
}


def expected(rows: list[Verdict], reviewed: Reviewers, wanted: Conditions) -> list[Verdict]:
    """Return what meets the conditions, newest first."""
    return [
        each
        for each in reversed(rows)
        if (not wanted.results or each.result in wanted.results)
        and (not wanted.product or each.product == wanted.product)
        and (wanted.reason is None or each.reason == wanted.reason)
        and (not wanted.region or each.region == wanted.region)
        and (not wanted.model or each.model == wanted.model)
        and (not wanted.reviewer or reviewed.get((each.boot, each.seq)) == wanted.reviewer)
        and each.part.startswith(wanted.part)
        and (wanted.since_ms is None or each.captured_ms >= wanted.since_ms)
        and (wanted.until_ms is None or each.captured_ms < wanted.until_ms)
        and (wanted.reviewed is None or ((each.boot, each.seq) in reviewed) is wanted.reviewed)
        and (not wanted.has_image or each.image)
    ]


@pytest.mark.parametrize("steps", [0, 1, 7, 40, 10**9])
def test_a_search_finds_all_that_is_there(
    path: Path, rows: list[Verdict], reviewed: Reviewers, steps: int
) -> None:
    """Whatever part of the journal is indexed, every search finds the same, page by page."""
    with opened(path) as journal, journal.reader() as reader:
        index(journal, steps)
        for name, wanted in WANTED.items():
            right = expected(rows, reviewed, wanted)[:1_000]
            found: list[Verdict] = []
            before: tuple[int, int] | None = None
            while len(found) < len(right):
                page = reader.search(250, wanted, before=before)
                found += page.verdicts
                before = page.searched_to
                if before is None:
                    break
            assert found == right, name


@pytest.mark.parametrize("steps", [0, 10**9])
def test_a_search_that_ran_out_of_time_goes_on_where_it_was(
    path: Path, rows: list[Verdict], reviewed: Reviewers, steps: int
) -> None:
    """It says how far it has come; from there the next ones find the rest, and the last says so."""
    with opened(path) as journal, journal.reader() as reader:
        index(journal, steps)
        for name in ("rare product", "one reason, once", "reviewed rejects", "part", "unknown part", "image"):
            found: list[Verdict] = []
            before: tuple[int, int] | None = (99, 0)
            while before is not None:
                page = reader.search(50, WANTED[name], before=before, budget_s=0)
                found += page.verdicts
                assert page.searched_to is None or page.searched_to < before
                before = page.searched_to
            assert found == expected(rows, reviewed, WANTED[name]), name


@pytest.mark.parametrize("steps", [0, 1, 7, 40, 10**9])
@pytest.mark.parametrize("budget_s", [0, math.inf])
def test_counts_are_those_of_what_a_search_finds(
    path: Path, rows: list[Verdict], reviewed: Reviewers, steps: int, budget_s: float
) -> None:
    """Whatever is indexed; one that ran out of time says how far it came, and goes on there."""
    with opened(path) as journal, journal.reader() as reader:
        index(journal, steps)
        for name, wanted in WANTED.items():
            right = Counter(each.result for each in expected(rows, reviewed, wanted))
            counted: Counter[Result] = Counter()
            before: tuple[int, int] | None = (99, 0)
            while before is not None:
                found = reader.count(wanted, before=before, budget_s=budget_s)
                assert list(found.counts) == list(Result)
                assert found.searched_to is None or found.searched_to < before
                counted += Counter(found.counts)
                before = found.searched_to
            assert counted == right, name


def test_a_file_of_the_version_before_is_searched_as_it_is(
    old_file: Path, rows: list[Verdict], reviewed: Reviewers
) -> None:
    """A program beside the daemon reads a journal that has no index tables."""
    with JournalReader(JournalFile(old_file)) as reader:
        for name in ("rare product", "part", "reviewed"):
            assert reader.search(2_000, WANTED[name]).verdicts == expected(rows, reviewed, WANTED[name])


@pytest.mark.parametrize("steps", [0, 3, 10**9])
def test_hours_are_counted_exactly(path: Path, rows: list[Verdict], steps: int) -> None:
    """From sums where there is an index, from rows where there is none."""
    since_ms = START_MS + 1_234_567
    with opened(path) as journal, journal.reader() as reader:
        index(journal, steps)
        hours = reader.hours(since_ms)

    for start_ms, counts in hours:
        in_hour = [each for each in rows if start_ms <= each.captured_ms < start_ms + 3_600_000]
        assert sum(counts.values()) == len(in_hour)
        for result in Result:
            assert counts.get(result, 0) == sum(each.result is result for each in in_hour)
    assert len(hours) == 22


def test_retention_keeps_the_index_right(path: Path, rows: list[Verdict], reviewed: Reviewers) -> None:
    """Rows leave with their counts and parts, also from the middle of a block."""
    gone = SEGMENT_ROWS + BLOCK_ROWS // 2
    before_ms = START_MS + gone * STEP_MS
    with opened(path) as journal, journal.reader() as reader:
        index(journal)
        removed = 0
        while step := journal.maintain(before_ms, budget_s=0.05):
            removed += step
        journal.maintain(before_ms, budget_s=5)

        assert removed == gone
        for name, wanted in WANTED.items():
            assert reader.search(500, wanted).verdicts == expected(rows[gone:], reviewed, wanted)[:500], name
        counted = sum(sum(counts.values()) for _, counts in reader.hours(START_MS))
        assert counted == ROWS - gone
        assert reader.read("SELECT sum(rows) FROM tallies") == [
            ((ROWS + 1) // BLOCK_ROWS * BLOCK_ROWS - gone - 1,)
        ]
        assert reader.read("SELECT count(*) FROM parts WHERE segment < 1") == [(0,)]


def test_what_a_gap_of_the_clock_left_does_not_stop_the_index(path: Path) -> None:
    """A row from the future stays when those after it go; its empty neighbours are indexed once."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("UPDATE verdicts SET journaled_ms = journaled_ms * 2 WHERE id = 1")
        db.execute("DELETE FROM verdicts WHERE id BETWEEN 2 AND 40000")
    with opened(path) as journal, journal.reader() as reader:
        journal.maintain(0, budget_s=30)

        assert not journal.indexing
        assert len(reader.search(50_000, Conditions()).verdicts) == ROWS - 39_999


def test_commits_go_on_while_the_index_is_built(path: Path) -> None:
    """No commit waits for more than a small step of it."""
    with opened(path) as journal:
        waits: list[float] = []
        done = threading.Event()

        def record() -> None:
            for seq in range(1, 201):
                started = time.perf_counter()
                journal.append(new_row(journal, seq))
                waits.append(time.perf_counter() - started)
                journal.release(journal.boot, seq)
                time.sleep(0.002)
            done.set()

        thread = threading.Thread(target=record)
        thread.start()
        while not done.is_set():
            journal.maintain(0, budget_s=0.1)
        thread.join()
        index(journal)

        assert len(waits) == 200
        assert sorted(waits)[-10] < 0.1
        with journal.reader() as reader:
            assert len(reader.search(ROWS * 2, Conditions()).verdicts) == ROWS + 200


KILLED = textwrap.dedent("""
    import sys
    from pathlib import Path
    from linewatch.storage import journal as module
from linewatch.storage.journal import Journal
    journal = Journal.open(Path(sys.argv[1]))
    print("open", flush=True)
    while journal.indexing:
        journal.maintain(0, budget_s=0.01)
        print("step", flush=True)
""")


def test_kill_minus_9_while_the_index_is_built_loses_nothing(
    path: Path, rows: list[Verdict], reviewed: Reviewers
) -> None:
    """Each start goes on where the last one was killed, and in the end all is there."""
    for steps in (1, 3, 10, 30, 60):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, path],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        assert process.stdout is not None
        for _ in range(steps):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.stdout.close()
        process.wait()
    with opened(path) as journal, journal.reader() as reader:
        index(journal)
        for name, wanted in WANTED.items():
            assert reader.search(500, wanted).verdicts == expected(rows, reviewed, wanted)[:500], name
        assert reader.read("SELECT count(*) FROM parts") == [
            (sum(bool(each.part) for each in rows[: (ROWS + 1) // SEGMENT_ROWS * SEGMENT_ROWS - 1]),)
        ]
        assert reader.read("PRAGMA integrity_check") == [("ok",)]


def test_a_full_journal_stays_at_its_size(path: Path) -> None:
    """New rows take the room of removed ones; the WAL starts again from its beginning."""
    with opened(path) as journal:
        index(journal)
        journal.maintain(START_MS + ROWS // 2 * STEP_MS, budget_s=30)
        size = path.stat().st_size
        for seq in range(1, 5_001):
            journal.pending.append(new_row(journal, seq))
        journal.maintain(0)
        journal.maintain(0)

    assert path.stat().st_size == size


def test_a_reader_in_the_middle_of_a_query_holds_up_no_commit(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The WAL grows beside a long read, which is logged once, and is reused afterwards."""
    monkeypatch.setattr(module, "WAL_BYTES_WARN", WAL_BYTES_MAX)
    with opened(path) as journal, closing(sqlite3.connect(path)) as other:
        index(journal)
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM verdicts").fetchone()
        for start in range(0, 50_000, 5_000):
            for seq in range(start + 1, start + 5_001):
                journal.pending.append(new_row(journal, seq))
            journal.maintain(0)
        wal = path.with_name("journal.db-wal")
        assert wal.stat().st_size > WAL_BYTES_MAX
        other.rollback()
        journal.maintain(0)
        size = wal.stat().st_size
        for seq in range(50_001, 50_101):
            journal.append(new_row(journal, seq))

        assert wal.stat().st_size == size
        assert [record.getMessage().split()[0] for record in caplog.records] == ["journal_wal_long"]


def test_an_index_of_another_shape_is_built_again(path: Path, rows: list[Verdict]) -> None:
    """Version 3 existed for some hours of development: its index goes, its rows stay."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for table in INDEX_TABLES:
            db.execute(f"CREATE TABLE {table} (block INTEGER)")
        db.execute("PRAGMA user_version = 3")
    with opened(path) as journal, journal.reader() as reader:
        index(journal)

        assert reader.search(ROWS, WANTED["product"]).verdicts == expected(rows, {}, WANTED["product"])
