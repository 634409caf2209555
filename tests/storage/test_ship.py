"""The journal as Parquet files by day, read back with DuckDB."""

import itertools
import sqlite3
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from linewatch.domain import Reason, Result, State
from linewatch.errors import StorageFull, UsageError
from linewatch.storage.audit.chain import BEGINNING, chained
from linewatch.storage.journal import Journal
from linewatch.storage.shipping import journal_days, parquet_file
from linewatch.storage.shipping.ship import ShippedDay, ship
from linewatch.storage.states import StateChange, StateLog
from tests.disks import SmallDisk
from tests.storage.test_journal import verdict

DAY_MS = 86_400_000
FIRST = 20_784  # 2026-11-27
PARTS = 7


class Station:
    """A journal with three days of parts, whose clock the test sets."""

    def __init__(self, folder: Path) -> None:
        self.target = folder / "plant"
        self.target.mkdir()
        self.now_ms = FIRST * DAY_MS + 3_600_000
        self.journal = Journal.open(folder / "journal.db", clock_ms=lambda: self.now_ms)
        self.seqs = itertools.count(1)

    def day(self, number: int, parts: int = PARTS) -> None:
        """Judge parts, change something and be READY for an hour on one day."""
        self.now_ms = (FIRST + number) * DAY_MS + 3_600_000
        for seq in itertools.islice(self.seqs, parts):
            failed = {"result": Result.FAIL, "reason": Reason.ABOVE_THRESHOLD, "raw": 2.5, "region": "rim"}
            facts = failed | {"box": (1, 2, 3, 4), "late": True} if seq % PARTS == 3 else {}
            part = verdict(self.journal.boot, seq, captured_ms=self.now_ms - 30, latency_ms=25, **facts)
            self.journal.append(replace(part, part=f"\x1dÜ{seq}", image=f"{seq}.jpg"))
            self.journal.release(self.journal.boot, seq)
        facts = {"to": "bottle/7f3a91c2", "why": "day ü"}
        self.journal.audit("anna", "model_activated", facts)
        log = StateLog(self.journal, deque([StateChange(self.now_ms, State.READY, "bottle", "")]))
        log.write()
        self.now_ms += 3_600_000
        log = StateLog(self.journal, deque([StateChange(self.now_ms, State.STOPPED, "bottle", "")]))
        log.write()

    def change(self, statement: str) -> None:
        """Run a statement in the journal."""

        def write(db: sqlite3.Connection) -> None:
            db.execute(statement)

        self.journal.write_relaxed(write)

    def ship(self, today: bool = False) -> dict[str, dict[str, int]]:
        """Ship and return the files that were written, by day, with their rows."""
        with self.journal.reader() as reader:
            shipped: list[ShippedDay] = list(
                ship(reader, "s1", self.target, self.now_ms, today=today, rest=lambda _: None)
            )
        return {str(each.day): each.written for each in shipped if each.written}

    def read(self, table: str, columns: str = "*", rest: str = "") -> list[tuple[Any, ...]]:
        """Read a table of all days with DuckDB."""
        files = f"read_parquet('{self.target}/station=*/day=*/{table}.parquet', hive_partitioning = true)"
        with duckdb.connect() as db:
            db.execute("SET TimeZone = 'UTC'")
            return db.execute(f"SELECT {columns} FROM {files} {rest}").fetchall()

    def file(self, day: str, table: str) -> Path:
        """Return the path of one file."""
        return self.target / f"station=s1/day={day}/{table}.parquet"


@pytest.fixture
def station(tmp_path: Path) -> Iterator[Station]:
    """Return a station that made parts on three days and is in the middle of the third."""
    made = Station(tmp_path)
    with made.journal:
        for day in range(3):
            made.day(day)
        yield made


def test_every_column_of_a_verdict_is_read_back(station: Station) -> None:
    """DuckDB finds what the journal has, with station and day from the folders' names."""
    station.ship()

    rows = station.read("verdicts", rest="ORDER BY boot, seq")
    with station.journal.reader() as reader:
        known = reversed(reader.search(100).verdicts[PARTS:])
    for row, part in zip(rows, known, strict=True):
        journaled = datetime.fromtimestamp(row[2].timestamp() + 0.030, UTC)
        assert row == (
            part.boot, part.seq, datetime.fromtimestamp(part.captured_ms / 1000, UTC), journaled,
            part.part, part.trigger, part.product, part.product_index, part.model, part.result.value,
            int(part.reason), part.raw, part.threshold, part.age_ms, part.latency_ms, part.late,
            part.simulated, part.defects, *part.box, part.region, part.region_index, part.image,
            part.heatmap, row[2].date(), "s1",
        )  # fmt: skip
    assert len(rows) == 2 * PARTS
    assert {row[4][:2] for row in rows} == {"\x1dÜ"}


def test_only_days_that_are_over_are_shipped_once(station: Station) -> None:
    """A second run writes nothing; what is missing or damaged is written again."""
    every = {"audit": 1, "states": 2, "reviews": 0, "verdicts": PARTS}
    assert station.ship() == {"2026-11-27": every, "2026-11-28": every | {"states": 3}}
    assert station.ship() == {}

    station.file("2026-11-27", "states").unlink()
    damaged = station.file("2026-11-28", "verdicts")
    damaged.write_bytes(damaged.read_bytes()[:-20])
    assert station.ship() == {"2026-11-27": {"states": 2}, "2026-11-28": {"verdicts": PARTS}}


def test_a_day_is_over_a_minute_after_midnight(station: Station) -> None:
    """Until then the last part may still be on its way to the journal."""
    station.ship()
    station.now_ms = (FIRST + 3) * DAY_MS + 59_999
    assert station.ship() == {}
    station.now_ms += 1

    assert list(station.ship()) == ["2026-11-29"]


def test_today_is_shipped_on_request_and_again_when_it_is_over(station: Station) -> None:
    """The unfinished day is replaced by the whole one."""
    station.ship()
    assert station.ship(today=True)["2026-11-29"]["verdicts"] == PARTS
    station.day(2, parts=2)
    station.now_ms = (FIRST + 4) * DAY_MS

    assert station.ship()["2026-11-29"] == {"audit": 2, "states": 5, "verdicts": PARTS + 2}
    assert station.read("verdicts", "count(*)") == [(3 * PARTS + 2,)]


def test_a_late_review_writes_the_reviews_of_its_part_s_day_again(station: Station) -> None:
    """Only that file; of several reviews of one part the latest counts."""
    station.ship()
    boot = station.journal.boot
    station.journal.review(boot, 3, "defect", "scratch", "anna")
    station.journal.review(boot, 3, "good", "it was dust", "ben")
    station.journal.review(boot, PARTS + 1, "good", "", "anna")

    assert station.ship() == {"2026-11-27": {"reviews": 1}, "2026-11-28": {"reviews": 1}}
    assert station.read("reviews", "seq, actual, note, who", "ORDER BY seq") == [
        (3, "good", "it was dust", "ben"),
        (PARTS + 1, "good", "", "anna"),
    ]
    station.journal.review(boot, 3, "defect", "", "anna")
    assert station.ship() == {"2026-11-27": {"reviews": 1}}


def test_what_retention_removed_stays_shipped(station: Station) -> None:
    """A file never gets fewer rows than it had."""
    station.ship()
    with station.journal.reader() as reader:
        batch = reader.undelivered(100)
        assert batch is not None
        station.journal.mark_delivered(batch)
    station.change("UPDATE verdicts SET journaled_ms = 1 WHERE id < 3")
    station.journal.maintain(2)
    station.change("DELETE FROM states WHERE id < 4")

    assert station.ship() == {}
    assert station.read("verdicts", "count(*)") == [(2 * PARTS,)]
    assert station.read("states", "count(*)") == [(5,)]


def test_the_audit_can_be_verified_from_the_files(station: Station) -> None:
    """The rows of all days make the chain, and say what product they are about."""
    station.ship()

    last, query = BEGINNING, "epoch_ms(acted), who, action, facts, product, hash"
    rows = station.read("audit", f"audit_row, {query}", "ORDER BY audit_row")
    for row, at_ms, who, action, facts, product, digest in rows:
        last = chained(last, row, at_ms, who, action, facts)
        assert (last, product) == (digest, "bottle")
    assert len(rows) == 2


def test_states_are_cut_at_midnight(station: Station) -> None:
    """The state of the night is in both days, so that each day adds up alone."""
    station.ship()

    assert station.read("states", "state, epoch_ms(began), epoch_ms(ended)", "WHERE day = '2026-11-28'") == [
        ("STOPPED", (FIRST + 1) * DAY_MS, (FIRST + 1) * DAY_MS + 3_600_000),
        ("READY", (FIRST + 1) * DAY_MS + 3_600_000, (FIRST + 1) * DAY_MS + 7_200_000),
        ("STOPPED", (FIRST + 1) * DAY_MS + 7_200_000, (FIRST + 2) * DAY_MS),
    ]


def test_a_clock_that_was_set_makes_no_thousand_days(tmp_path: Path) -> None:
    """A PC without a battery starts in 1970; the days between have no files."""
    station = Station(tmp_path)
    with station.journal:
        station.day(-FIRST)
        station.day(0)
        station.now_ms += DAY_MS

        assert list(station.ship()) == ["1970-01-01", "2026-11-27"]


def test_memory_is_flat(station: Station, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are read in short steps with rests between, and written in groups."""
    monkeypatch.setattr(journal_days, "ROWS_AT_ONCE", 2)
    monkeypatch.setattr(parquet_file, "ROWS_OF_A_GROUP", 4)
    station.ship()

    path = station.file("2026-11-27", "verdicts")
    with duckdb.connect() as db:
        groups = db.execute(f"SELECT DISTINCT row_group_id FROM parquet_metadata('{path}')").fetchall()
    assert len(groups) == 2
    assert station.read("verdicts", "count(*), count(DISTINCT seq)") == [(2 * PARTS, 2 * PARTS)]


def test_a_full_disk_is_one_sentence_and_leaves_no_half_file(station: Station, small_disk: SmallDisk) -> None:
    """What a killed run left is removed; once there is room, all is there."""
    station.target = small_disk.folder
    left = station.file("2026-11-27", "audit").with_name(".audit.parquet.999999999")
    left.parent.mkdir(parents=True)
    left.write_bytes(b"PAR1")
    small_disk.fill()
    with pytest.raises(StorageFull, match="No space left"):
        station.ship()
    assert {path.suffix for path in station.target.rglob("*.parquet*")} <= {".parquet"}
    small_disk.empty()

    assert list(station.ship()) == ["2026-11-27", "2026-11-28"]


def test_a_missing_folder_is_not_made(station: Station) -> None:
    """A share that is not mounted must not fill the disk below it."""
    station.target.rmdir()

    with pytest.raises(UsageError, match="make it, or mount the share"):
        station.ship()
