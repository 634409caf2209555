"""The journal on a real disk: no verdict is lost when the disk, the process or the file fails."""

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from linewatch.domain import Reason, Result, Verdict
from linewatch.errors import ConfigError, StorageFull
from linewatch.storage import journal as module
from linewatch.storage.audit.writing import append_audit
from linewatch.storage.journal import Journal
from linewatch.storage.journal_reader import JournalFile, JournalReader
from linewatch.storage.journal_schema import connect, translate_errors
from linewatch.storage.journal_search import Conditions
from linewatch.storage.shipping import journal_days
from tests.disks import SmallDisk

DAY_MS = 86_400_000


def verdict(boot: int, seq: int, **facts: object) -> Verdict:
    """Return one part's verdict."""
    whole = Verdict(
        station="station1",
        boot=boot,
        seq=seq,
        part=f"A{seq}",
        product="bottle",
        product_index=3,
        model="7f3a91c2",
        result=Result.PASS,
        reason=Reason.NONE,
        raw=0.5,
        threshold=2.0,
        captured_ms=1_790_000_000_000 + seq,
    )
    return replace(whole, **facts)  # type: ignore[arg-type]  # The tests name the fields.


def record(journal: Journal, *sequences: int, **facts: object) -> None:
    """Append and release verdicts as the record stage does."""
    for seq in sequences:
        journal.append(verdict(journal.boot, seq, **facts))
        journal.release(journal.boot, seq)


def keys(reader: JournalReader, limit: int = 10_000) -> list[tuple[int, int]]:
    """Return the undelivered verdicts."""
    batch = reader.undelivered(limit)
    return [] if batch is None else [(each.boot, each.seq) for each in batch.verdicts]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name a journal in a folder that does not exist yet."""
    return tmp_path / "var" / "journal.db"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    """Open a new journal."""
    with Journal.open(path) as opened:
        yield opened


@pytest.fixture
def reader(journal: Journal) -> Iterator[JournalReader]:
    """Open a reader of the new journal."""
    with journal.reader() as opened:
        yield opened


def test_a_verdict_comes_back_as_it_was(journal: Journal, reader: JournalReader) -> None:
    """Every field is read back, also texts with lone surrogates."""
    whole = verdict(
        journal.boot,
        1,
        trigger=17,
        result=Result.FAIL,
        reason=Reason.ABOVE_THRESHOLD,
        raw=2.31,
        late=True,
        simulated=True,
        defects=2,
        box=(1, 2, 3, 4),
        age_ms=3,
        latency_ms=24,
        image="2026-11-22/fail/1-1.png",
        heatmap="2026-11-22/fail/1-1.jpg",
    )
    journal.append(whole)
    journal.append(verdict(journal.boot, 2, part="ü\udcff"))

    assert reader.verdict(journal.boot, 1) == whole
    assert reader.verdict(journal.boot, 2) == verdict(journal.boot, 2, part="ü?")
    assert reader.verdict(journal.boot, 3) is None


def test_history_gets_what_is_released_in_order_and_once(journal: Journal, reader: JournalReader) -> None:
    """An appended row is invisible until it is final; a delivered one never comes again."""
    record(journal, 1, 2, 3)
    journal.append(verdict(journal.boot, 4))

    first = reader.undelivered(2)
    assert first is not None
    assert [each.seq for each in first.verdicts] == [1, 2]
    journal.mark_delivered(first)
    assert keys(reader) == [(journal.boot, 3)]
    assert journal.undelivered_count() == 1
    journal.release(journal.boot, 4)
    assert keys(reader) == [(journal.boot, 3), (journal.boot, 4)]


def test_a_row_may_be_amended_until_it_is_released(journal: Journal, reader: JournalReader) -> None:
    """History and page see the verdict that the PLC saw."""
    journal.append(verdict(journal.boot, 1))
    late = verdict(journal.boot, 1, result=Result.ERROR, reason=Reason.LATE, late=True)
    journal.amend(late)
    journal.release(journal.boot, 1)

    batch = reader.undelivered(10)
    assert batch is not None
    assert batch.verdicts == [late]
    assert reader.search(10).verdicts == [late]


def test_a_part_cannot_have_two_verdicts(journal: Journal) -> None:
    """A repeated sequence number is a bug, and bugs are not swallowed."""
    record(journal, 1)

    with pytest.raises(sqlite3.IntegrityError):
        journal.append(verdict(journal.boot, 1))
    journal.pending.clear()


def test_what_was_not_delivered_survives_a_restart(path: Path) -> None:
    """Rows of earlier boots are final, released or not, and come first."""
    with Journal.open(path) as journal, journal.reader() as reader:
        record(journal, 1, 2)
        batch = reader.undelivered(1)
        assert batch is not None
        journal.mark_delivered(batch)
        journal.append(verdict(journal.boot, 3))
    with Journal.open(path) as journal, journal.reader() as reader:
        record(journal, 1)

        assert journal.boot == 2
        assert keys(reader) == [(1, 2), (1, 3), (2, 1)]


def test_boot_grows_even_without_the_journal_or_its_companion(path: Path) -> None:
    """Either of the two files is enough to know the last boot."""
    for _ in range(3):
        Journal.open(path).close()
    path.unlink()
    with Journal.open(path) as journal:
        assert journal.boot == 4
    path.with_name("journal.db.boot").unlink()
    with Journal.open(path) as journal:
        assert journal.boot == 5
    path.with_name("journal.db.boot").write_text("torn")
    with Journal.open(path) as journal:
        assert journal.boot == 6


def test_a_second_daemon_is_refused_in_one_sentence(path: Path, journal: Journal) -> None:
    """The sentence names the process that has the journal; afterwards the file is free."""
    with pytest.raises(ConfigError, match=rf"in use by another linewatch \(process {os.getpid()}\); stop"):
        Journal.open(path)
    journal.close()
    Journal.open(path).close()
    journal._lock_fd = os.open(path, os.O_RDONLY)  # The fixture closes it again.


def test_foreign_and_newer_files_are_left_alone(path: Path) -> None:
    """Another program's database is refused and not written to."""
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE songs (title)")
    with pytest.raises(ConfigError, match="another program's database"):
        Journal.open(path)
    path.unlink()
    Journal.open(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(ConfigError, match="newer linewatch"):
        Journal.open(path)


def test_a_file_that_never_was_a_journal_is_left_alone(path: Path) -> None:
    """A file that is no journal is left as it is, with nothing new beside it."""
    path.parent.mkdir()
    path.write_text("root:x:0:0\n", encoding="ascii")

    with pytest.raises(ConfigError, match="is no journal; name another file"):
        Journal.open(path)

    assert path.read_text(encoding="ascii") == "root:x:0:0\n"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("damage", ["garbage", "hole"])
def test_a_damaged_file_is_set_aside_at_start(path: Path, damage: str) -> None:
    """The damaged file is kept under another name, the new one works, boot grows, and a warning says so."""
    with Journal.open(path) as journal:
        record(journal, *range(1, 400))
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(0 if damage == "garbage" else size // 2)
        file.write(os.urandom(size // 4))
    warnings: list[str] = []

    with Journal.open(path, warn=warnings.append) as journal, journal.reader() as reader:
        record(journal, 1)
        assert (journal.boot, keys(reader)) == (2, [(2, 1)])
    assert len(warnings) == 1
    assert "was damaged" in warnings[0]
    assert len(list(path.parent.glob("journal.db.damaged-*Z"))) == 1


def test_damage_while_running_costs_no_verdict(path: Path) -> None:
    """The verdict that failed is pending, and is written to the new file together with the next one."""
    warnings: list[str] = []
    with Journal.open(path, warn=warnings.append) as journal, journal.reader() as reader:
        record(journal, *range(1, 300))
        assert len(keys(reader)) == 299
        journal.maintain(0)
        journal._checkpoint_db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(os.urandom(path.stat().st_size - 4096))
        journal._db.execute("PRAGMA shrink_memory")
        with pytest.raises(StorageFull, match="damaged; a new one is started"):
            record(journal, 300)
        journal.release(journal.boot, 300)
        record(journal, 301)

        assert keys(reader) == [(1, 300), (1, 301)]
    assert len(warnings) == 1
    assert "299 verdicts the history misses" in warnings[0]


def test_a_removed_file_is_made_anew(path: Path, journal: Journal, reader: JournalReader) -> None:
    """After `var/` was emptied under a running line, rows are written again from the next second on."""
    journal._warn = lambda _: None
    record(journal, 1)
    for file in path.parent.glob("journal.db*"):
        if file.suffix not in (".lock", ".boot"):
            file.unlink()
    with pytest.raises(StorageFull, match="a new one is started"):
        journal.maintain(0)
    record(journal, 2)

    assert keys(reader) == [(1, 2)]
    assert path.exists()


def test_a_folder_that_was_away_for_a_while_costs_no_row(path: Path, journal: Journal) -> None:
    """No row goes into a deleted file: rows are pending until there is a journal again."""
    warnings: list[str] = []
    journal._warn = warnings.append
    record(journal, 1)
    away = path.parent.rename(path.parent.with_name("away"))
    for _ in range(2):
        with pytest.raises(StorageFull):
            journal.maintain(0)
    for seq in (2, 3):
        with pytest.raises(StorageFull):
            journal.append(verdict(journal.boot, seq))
        journal.release(journal.boot, seq)
    path.parent.mkdir()
    record(journal, 4)

    with journal.reader() as reader:
        assert keys(reader) == [(1, 2), (1, 3), (1, 4)]
    assert len(warnings) == 1
    assert "nothing of it is left" in warnings[0]
    assert (away / "journal.db").exists()


def test_a_file_that_took_the_journals_place_is_set_aside(path: Path, journal: Journal) -> None:
    """A file restored under a running line is kept and not written to."""
    warnings: list[str] = []
    journal._warn = warnings.append
    record(journal, 1)
    path.unlink()
    path.write_bytes(b"another")
    with pytest.raises(StorageFull, match="a new one is started"):
        journal.maintain(0)
    record(journal, 2)

    with journal.reader() as reader:
        assert keys(reader) == [(1, 2)]
    (aside,) = path.parent.glob("journal.db.damaged-*Z")
    assert aside.read_bytes() == b"another"


def test_a_full_disk_owes_verdicts_and_pays_in_order(small_disk: SmallDisk) -> None:
    """While the disk is full every append raises; once there is room all rows are there, in order."""
    path = small_disk.folder / "journal.db"
    with Journal.open(path) as journal, journal.reader() as reader:
        record(journal, 1, 2)
        small_disk.fill()
        refused = 0
        for seq in range(3, 50):
            try:
                journal.append(verdict(journal.boot, seq))
            except StorageFull as trouble:
                refused += 1
                assert "full" in str(trouble) or "error" in str(trouble)
            journal.release(journal.boot, seq)
        assert refused > 10
        assert len(journal.pending) == refused
        small_disk.empty()
        record(journal, 50)

        assert not journal.pending
        assert keys(reader) == [(1, seq) for seq in range(1, 51)]
        assert [each.seq for each in reader.search(100).verdicts] == list(range(50, 0, -1))


def test_an_idle_line_pays_its_debt_by_housekeeping(small_disk: SmallDisk) -> None:
    """Maintenance writes pending rows without waiting for the next part."""
    with Journal.open(small_disk.folder / "journal.db") as journal, journal.reader() as reader:
        small_disk.fill()
        seq = 0
        while not journal.pending:
            seq += 1
            with suppress(StorageFull):
                journal.append(verdict(journal.boot, seq))
            journal.release(journal.boot, seq)
        small_disk.empty()
        journal.maintain(0)

        assert len(keys(reader)) == seq


def test_a_row_whose_amendment_failed_is_not_delivered(small_disk: SmallDisk) -> None:
    """The PLC read ERROR; a PASS must not reach the history because the disk was full just then."""
    with Journal.open(small_disk.folder / "journal.db") as journal, journal.reader() as reader:
        journal.append(verdict(journal.boot, 1))
        small_disk.fill()
        journal._db.execute("PRAGMA wal_autocheckpoint = 0")
        late = verdict(journal.boot, 1, result=Result.ERROR, reason=Reason.LATE)
        with pytest.raises(StorageFull):
            for _ in range(1000):
                journal.amend(late)
        journal.release(journal.boot, 1)
        assert keys(reader) == []
        small_disk.empty()
        journal.maintain(0)

        batch = reader.undelivered(10)
        assert batch is not None
        assert batch.verdicts == [late]


def test_starting_without_room_is_one_sentence(small_disk: SmallDisk, tmp_path: Path) -> None:
    """A journal that cannot be made says which folder and what to do."""
    small_disk.fill()
    with pytest.raises(StorageFull, match=r"storage '.*journal\.db': .*free"):
        Journal.open(small_disk.folder / "var" / "journal.db")
    small_disk.empty()
    Journal.open(small_disk.folder / "journal.db").close()
    with small_disk.read_only(), pytest.raises(StorageFull, match=r"read-only|Read-only"):
        Journal.open(small_disk.folder / "journal.db")
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFull, match="check the folder"):
        Journal.open(tmp_path / "file" / "journal.db")


def test_pending_verdicts_are_bounded_and_each_loss_is_a_warning(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pending verdicts are bounded; each one dropped is a warning."""
    warnings: list[str] = []
    journal._warn = warnings.append
    monkeypatch.setattr(module, "PENDING_MAX", 3)
    with closing(sqlite3.connect(journal.path)) as other:
        other.execute("BEGIN IMMEDIATE")
        for seq in range(1, 6):
            with pytest.raises(StorageFull, match="another program holds the file"):
                journal.append(verdict(journal.boot, seq))
    assert [each.seq for each in journal.pending] == [3, 4, 5]
    assert [text[: len("verdict 1-1 is lost")] for text in warnings] == [
        "verdict 1-1 is lost",
        "verdict 1-2 is lost",
    ]


def test_pages_go_back_in_time(journal: Journal, reader: JournalReader) -> None:
    """Newest first, each page after the last row of the one before."""
    record(journal, 1, 2, 3, result=Result.FAIL)
    record(journal, 4, 5)

    assert [each.seq for each in reader.search(2).verdicts] == [5, 4]
    assert [each.seq for each in reader.search(2, before=(1, 4)).verdicts] == [3, 2]
    assert reader.search(2, before=(1, 1)).verdicts == []


def test_reviews_belong_to_a_part(journal: Journal, reader: JournalReader) -> None:
    """A review of an unknown part is refused; of two the newer one counts."""
    record(journal, 1)

    assert not journal.review(1, 2, "good", "", "anna")
    assert journal.review(1, 1, "good", "", "anna")
    assert journal.review(1, 1, "defect", "scratch", "ben")
    newest = reader.reviews(1)[0]
    assert (newest.seq, newest.actual, newest.note, newest.who) == (1, "defect", "scratch", "ben")


def test_the_audit_can_only_grow(path: Path, journal: Journal, reader: JournalReader) -> None:
    """SQL cannot change or delete an entry; other processes may add one."""
    journal.audit("anna", "model_activated", {"product": "bottle"})
    append_audit(path, "ben", "model_rolled_back", {})

    assert [entry.action for entry in reader.audit(10)] == ["model_rolled_back", "model_activated"]
    assert reader.audit(10)[1].facts == {"product": "bottle"}
    with closing(sqlite3.connect(path)) as db:
        for statement in ("DELETE FROM audit", "UPDATE audit SET who = 'x'"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                db.execute(statement)


def test_retention_spares_what_was_not_delivered(path: Path) -> None:
    """Old rows are removed in small steps; undelivered ones and the newest stay, and ids keep growing."""
    now_ms = 1_790_000_000_000
    with Journal.open(path, clock_ms=lambda: now_ms) as journal, journal.reader() as reader:
        record(journal, *range(1, 501))
        batch = reader.undelivered(450)
        assert batch is not None
        journal.mark_delivered(batch)
        assert journal.maintain(now_ms - 90 * DAY_MS) == 0
        now_ms += 91 * DAY_MS
        assert [journal.maintain(now_ms - 90 * DAY_MS) for _ in range(2)] == [450, 0]

        assert len(keys(reader)) == 50
        batch = reader.undelivered(50)
        assert batch is not None
        journal.mark_delivered(batch)
        assert [journal.maintain(now_ms - 90 * DAY_MS) for _ in range(2)] == [49, 0]
        record(journal, 501)
        assert keys(reader) == [(1, 501)]


def test_a_clock_set_back_removes_nothing_and_ages_stay_positive(path: Path) -> None:
    """An hour back is an hour later removed, never a negative age."""
    now_ms = 1_790_000_000_000
    with Journal.open(path, clock_ms=lambda: now_ms) as journal, journal.reader() as reader:
        record(journal, 1, 2, 3)
        now_ms += 5_000
        assert reader.oldest_undelivered_s() == 5.0
        now_ms -= 3_600_000
        assert reader.oldest_undelivered_s() == 0.0
        assert journal.maintain(now_ms - 90 * DAY_MS) == 0


def test_the_log_is_kept_short_beside_the_record_stage(path: Path, journal: Journal) -> None:
    """Maintenance runs the checkpoint, so that no commit has to."""
    for start in range(0, 3000, 1000):
        for seq in range(start + 1, start + 1001):
            journal.pending.append(verdict(journal.boot, seq, image="x" * 1000))
        journal.maintain(0)
    size = path.with_name("journal.db-wal").stat().st_size
    for seq in range(3001, 3301):
        record(journal, seq)
    journal.maintain(0)

    assert path.with_name("journal.db-wal").stat().st_size == size  # Written again from its beginning.


def test_threads_share_the_journal(journal: Journal, reader: JournalReader) -> None:
    """Record, delivery, page and maintenance at once: no row is lost or delivered twice."""
    delivered: list[int] = []
    done = threading.Event()

    def deliver() -> None:
        while True:
            last_round = done.is_set()
            batch = reader.undelivered(7)
            if batch is not None:
                delivered.extend(each.seq for each in batch.verdicts)
                journal.mark_delivered(batch)
            elif last_round:
                return

    def keep_house() -> None:
        while not done.is_set():
            journal.maintain(0)
            journal.audit("house", "kept", {})
            reader.search(10)

    threads = [threading.Thread(target=deliver), threading.Thread(target=keep_house)]
    for thread in threads:
        thread.start()
    record(journal, *range(1, 301))
    done.set()
    for thread in threads:
        thread.join(20)

    assert delivered == list(range(1, 301))


def test_growth_is_that_of_the_last_day(tmp_path: Path) -> None:
    """Rows per day and bytes per row; a journal younger than a day is extrapolated."""
    now_ms = 1_790_000_000_000
    with Journal.open(tmp_path / "journal.db", clock_ms=lambda: now_ms) as journal:
        reader = journal.reader()
        assert reader.growth().bytes_per_day == 0
        for seq in range(1, 11):
            record(journal, seq)
        now_ms += 6 * 3_600_000
        assert reader.growth().rows_per_day == 40
        now_ms += 30 * 3_600_000
        for seq in range(11, 16):
            record(journal, seq)

        growth = reader.growth()

    assert growth.rows_per_day == 5
    assert 100 < growth.bytes_per_row < 10_000
    assert growth.bytes_per_day == 5 * growth.bytes_per_row


KILLED = textwrap.dedent("""
    import sys
    from pathlib import Path
    from linewatch.storage.journal import Journal
    from tests.storage.test_journal import record
    journal = Journal.open(Path(sys.argv[1]))
    print(journal.boot, flush=True)
    seq = 0
    while True:
        seq += 1
        record(journal, seq)
        print(seq, flush=True)
""")


def test_what_was_committed_survives_kill_minus_9(path: Path) -> None:
    """Killed at any moment under load: each committed row is there, without gaps, and boot grows."""
    for boot in range(1, 5):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, path],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        assert process.stdout is not None
        assert int(process.stdout.readline()) == boot
        seen = 0
        while seen < 20 * boot:
            seen = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split("\n")[:-1]  # The last line may be torn.
        process.stdout.close()
        process.wait()
        seen = max([seen, *(int(line) for line in rest)])
        with closing(sqlite3.connect(path)) as db:
            rows = [
                seq for (seq,) in db.execute("SELECT seq FROM verdicts WHERE boot = ? ORDER BY id", (boot,))
            ]
        assert rows == list(range(1, len(rows) + 1))
        assert len(rows) >= seen


def test_a_journal_of_an_older_linewatch_is_taken_up(tmp_path: Path) -> None:
    """Its rows stay and missing tables and columns are added; read before that it has no comparisons."""
    path = tmp_path / "journal.db"
    with Journal.open(path) as journal:
        record(journal, 1)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("DROP TABLE comparisons")
        for column in ("region", "region_index"):
            db.execute(f"ALTER TABLE verdicts DROP COLUMN {column}")
        db.execute("ALTER TABLE audit DROP COLUMN hash")
        db.execute("PRAGMA user_version = 1")
    with JournalReader(JournalFile(path)) as reader:
        assert ([(one.seq, one.region) for one in reader.search(9).verdicts]) == [(1, "")]
        assert reader.comparisons("bottle", "b", 9) == []

    with Journal.open(path) as journal:
        record(journal, 1, region="thread", region_index=2)
        found = [(one.region, one.region_index) for one in journal.reader().search(9).verdicts]
        assert found == [("thread", 2), ("", 0)]
        wanted = Conditions(region="thread", product="bottle", results=frozenset({Result.PASS}))
        assert [one.region_index for one in journal.reader().search(9, wanted).verdicts] == [2]
        assert journal.reader().comparisons("bottle", "b", 9) == []
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (7,)


def test_a_file_system_without_wal_is_one_sentence(tmp_path: Path) -> None:
    """A network share keeps another journal mode without an error, or refuses with its locking protocol."""
    with pytest.raises(StorageFull, match="a network share, cannot hold a journal; name a local disk"):
        connect(Path(":memory:"), "FULL")  # Its mode is "memory".

    refusal = sqlite3.OperationalError("locking protocol")
    refusal.sqlite_errorcode = sqlite3.SQLITE_PROTOCOL
    with pytest.raises(StorageFull, match="perhaps a network share"), translate_errors(tmp_path):
        raise refusal


def test_the_part_of_a_review_is_looked_up(journal: Journal, reader: JournalReader) -> None:
    """Reading every verdict for each review would take hours where there are eighty million."""
    record(journal, 1)
    journal.review(journal.boot, 1, "good", "", "anna")
    asked: list[str] = []
    assert len(reader.reviewed("bottle")) == 1
    assert reader._db is not None
    reader._db.set_trace_callback(asked.append)
    reader.reviewed("bottle")
    reader.reviewed_after(0, 0, 2**62)
    reader._db.set_trace_callback(None)
    asked.append(journal_days._REVIEWS.replace("?", "1"))

    with closing(sqlite3.connect(journal.path)) as db:
        plans = [
            [step[3] for step in db.execute(f"EXPLAIN QUERY PLAN {query}")]
            for query in asked
            if " JOIN verdicts" in query
        ]
    assert len(plans) == 3
    assert all(any(step.startswith("SEARCH v ") for step in plan) for plan in plans), plans
