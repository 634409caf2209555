"""The journal, an SQLite file: every verdict, its delivery to the history topic, reviews and audit."""

import logging
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from linewatch.domain import Batch, Comparison, Verdict
from linewatch.errors import StorageFull
from linewatch.storage.audit.chain import insert
from linewatch.storage.audit.note import last_note, shorten_notes, write_note
from linewatch.storage.journal_index import JournalIndexer, prune
from linewatch.storage.journal_reader import JournalReader
from linewatch.storage.journal_schema import (
    COMPARE,
    COMPARED,
    INSERT,
    UPSERT,
    Damaged,
    checkpoint,
    connect,
    identity,
    lock,
    prepare,
    read_boot,
    refuse_foreign,
    row_of,
    set_aside,
    to_sql,
    transaction,
    translate_errors,
    utc_ms,
    utf8,
    write_boot,
)

log = logging.getLogger(__name__)

REVIEWED = "part_reviewed"  # The audit's entry for a review.
PENDING_MAX = 5_000  # Verdicts kept in memory while the disk fails; beyond it the oldest are dropped.
COMPARISONS_MAX = 100_000  # Of models on trial; beyond it the oldest are removed.
CLOSE_S = 2.0  # For a thread that waits for the disk.
MAINTAIN_S = 0.1  # Spent by one `maintain`.
PAUSE_S = 0.001  # For a waiting `append` to take the lock between two transactions.
WAL_BYTES_WARN = 200_000_000  # An hour of a read that does not end, at 5 parts a second.


class Journal:
    """The only writer. `Journal.open` makes it; leaving the `with` block closes it.

    Any thread may call any method; only the journal stage calls `append`, `amend` and `release`.
    Verdicts that could not be written are kept in memory (`pending`) and written in order as soon
    as the disk works again. A damaged file is renamed and a new one started.
    """

    def __init__(
        self, path: Path, lock_fd: int, clock_ms: Callable[[], int], warn: Callable[[str], None]
    ) -> None:
        self.path = path
        self.generation = 0  # Counts the files opened in place of a damaged one.
        self.pending: deque[Verdict] = deque()
        self._lock_fd = lock_fd
        self.clock_ms = clock_ms
        self._warn = warn
        self._writing = threading.RLock()
        self._append_waits = False  # For maintenance to let go of the lock.
        self._wal_long = False
        self._unreleased = False  # Whether a verdict is appended and not yet released.
        self._connections: list[sqlite3.Connection] = []
        self._db: sqlite3.Connection  # For what must survive a power cut.
        self._relaxed_db: sqlite3.Connection  # For what a power cut may undo: delivery marks, removals.
        self._checkpoint_db: sqlite3.Connection  # For checkpoints, which run beside the other two.
        self._position = self._released = self._last = 0
        self._indexing = True  # Until `maintain` finds nothing more to index.
        self._index_reader = JournalReader(self)
        self._indexer = JournalIndexer(self._index_reader.read)
        self._identity: tuple[int, int] | None = None  # Device and inode of the open file.
        self._detached = False  # Whether the open file is no longer the journal.
        try:
            self._open_connections()
        except Damaged as damage:
            self._replace_damaged(damage)
        self.boot = self._next_boot()

    @classmethod
    def open(
        cls, path: Path, *, clock_ms: Callable[[], int] = utc_ms, warn: Callable[[str], None] = log.warning
    ) -> Self:
        """Open or create the journal and begin a new boot.

        Raises ConfigError when another daemon uses it or it is no journal, StorageFull when the disk fails.
        `warn` gets a sentence when a damaged file was replaced or verdicts were lost.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            refuse_foreign(path)
            lock_fd = lock(path)
        except OSError as error:
            raise StorageFull(path, f"{error.strerror}; check the folder and its free room") from error
        try:
            return cls(path, lock_fd, clock_ms, warn)
        except BaseException:
            os.close(lock_fd)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Write pending verdicts if possible, and close the file; leave it open if the disk hangs."""
        if not self._writing.acquire(timeout=CLOSE_S):
            self._warn(f"journal {str(self.path)!r} is not closed: the disk does not answer")
            return
        try:
            try:
                with self._translate_errors():
                    self._write_pending()
            except StorageFull as trouble:
                self._warn(f"{len(self.pending)} verdicts are lost: {trouble}")
            self._index_reader.close()
            for connection in self._connections:
                connection.close()
            os.close(self._lock_fd)
        finally:
            self._writing.release()

    def append(self, *verdicts: Verdict) -> None:
        """Commit verdicts together, safe against a power cut. Raises StorageFull; they are pending then."""
        self._append_waits = True
        with self._writing:
            self._append_waits = False
            self._unreleased = True
            self._add_pending(*verdicts)
            with self._translate_errors():
                if len(self.pending) > 1:
                    self._write_pending()
                    return
                cursor = self._db.execute(INSERT, row_of(self.pending[0], self.clock_ms()))
                assert cursor.lastrowid is not None
                self._last = cursor.lastrowid
                self.pending.clear()

    def amend(self, *verdicts: Verdict) -> None:
        """Replace verdicts that are appended but not released. Raises StorageFull; they are pending then."""
        with self._writing:
            self._add_pending(*verdicts)
            with self._translate_errors():
                self._write_pending()

    def release(self, boot: int, seq: int) -> None:
        """Release every verdict up to this one to the history: they are final and published."""
        assert boot == self.boot and seq > 0, (boot, seq)
        with self._writing:
            self._unreleased = False
            if not self.pending:
                self._released = self._last

    def undelivered_count(self) -> int:
        """Return how many released verdicts are not delivered yet, without reading the file."""
        return max(0, self._released - self._position)

    def mark_delivered(self, batch: Batch) -> None:
        """Mark a batch as delivered. Raises StorageFull.

        A power cut may undo the mark: delivery is at least once.
        """
        with self._writing:
            if batch.generation != self.generation:
                return
            assert self._position <= batch.up_to <= self._released, (self._position, batch.up_to)
            with self._translate_errors():
                self._relaxed_db.execute("UPDATE delivery SET position = ?", (batch.up_to,))
                self._position = batch.up_to

    def review(self, boot: int, seq: int, actual: str, note: str, who: str) -> bool:
        """Save a person's review of one part ("good" or "defect"); return False if there is no such part.

        Raises StorageFull.
        """
        note, who, now_ms = utf8(note), utf8(who), self.clock_ms()
        with self._writing, self._translate_errors(), transaction(self._db):
            query = "SELECT product FROM verdicts WHERE (boot, seq) = (?, ?)"
            if (part := self._db.execute(query, (boot, seq)).fetchone()) is None:
                return False
            query = "SELECT actual FROM reviews WHERE (boot, seq) = (?, ?) ORDER BY id DESC LIMIT 1"
            before = self._db.execute(query, (boot, seq)).fetchone() or ("",)
            self._db.execute(
                "INSERT INTO reviews (at_ms, boot, seq, actual, note, who) VALUES (?, ?, ?, ?, ?, ?)",
                (now_ms, boot, seq, actual, note, who),
            )
            facts = {"product": part[0], "boot": boot, "seq": seq, "from": before[0], "to": actual}
            head = insert(self._db, now_ms, who, REVIEWED, facts | {"why": note})
        write_note(self.path, head)
        return True

    def add_comparisons(self, comparisons: Sequence[Comparison]) -> None:
        """Save results of a model on trial. Raises StorageFull; a power cut may lose the last ones."""
        rows = [tuple(to_sql(getattr(found, name)) for name in COMPARED) for found in comparisons]
        with self._writing, self._translate_errors(), transaction(self._relaxed_db):
            self._relaxed_db.executemany(COMPARE, rows)
            self._relaxed_db.execute(
                "DELETE FROM comparisons WHERE id <= (SELECT max(id) FROM comparisons) - ?",
                (COMPARISONS_MAX,),
            )

    def audit(self, who: str, action: str, facts: Mapping[str, object]) -> None:
        """Append an audit entry, which is never removed. Raises StorageFull."""
        with self._writing, self._translate_errors(), transaction(self._db):
            head = insert(self._db, self.clock_ms(), who, action, facts)
        write_note(self.path, head)

    def write_relaxed(self, write: Callable[[sqlite3.Connection], None]) -> None:
        """Call `write` in a short transaction that a power cut may undo. Raises StorageFull."""
        with self._writing, self._translate_errors(), transaction(self._relaxed_db):
            write(self._relaxed_db)

    def maintain(self, before_ms: int, *, budget_s: float = MAINTAIN_S) -> int:
        """Do maintenance for about `budget_s`; one thread calls it about once a second. Raises StorageFull.

        Writes pending verdicts, removes delivered verdicts that were journaled before `before_ms` (UTC),
        extends the search index and keeps the WAL short, in many small transactions. Returns how many
        verdicts were removed.
        """
        until = time.monotonic() + budget_s
        with self._writing, self._translate_errors():
            if identity(self.path) != self._identity:
                raise Damaged("it was removed or replaced")
            self._write_pending()
        removed = 0
        with self._translate_errors():
            while (step := self._prune(before_ms)) is not None:
                removed += step
                if time.monotonic() > until:
                    break
                self._let_append_in()
            while True:
                self._indexing = self._extend_index()
                if not self._indexing or time.monotonic() > until:
                    break
                self._let_append_in()
            self._checkpoint()
        return removed

    @property
    def indexing(self) -> bool:
        """Whether rows of before are not in the search index yet: searches that go back far are slow."""
        return self._indexing

    def reader(self) -> JournalReader:
        """Return a reader with its own connection."""
        return JournalReader(self)

    def window(self) -> tuple[int, int]:
        """Return the id of the last delivered and of the last released row."""
        return self._position, self._released

    def _add_pending(self, *verdicts: Verdict) -> None:
        self.pending.extend(verdicts)
        while len(self.pending) > PENDING_MAX:
            lost = self.pending.popleft()
            self._warn(f"verdict {lost.boot}-{lost.seq} is lost: the disk has failed for too long")

    def _write_pending(self) -> None:
        """Write all pending verdicts, in order, in one transaction."""
        if not self.pending:
            return
        now_ms = self.clock_ms()
        with transaction(self._db):
            self._db.executemany(UPSERT, [row_of(verdict, now_ms) for verdict in self.pending])
        self._last = self._number("SELECT max(id) FROM verdicts")
        self.pending.clear()
        if not self._unreleased:
            self._released = self._last

    def _prune(self, before_ms: int) -> int | None:
        """Remove some old delivered rows; return how many, None when nothing is left to remove."""
        with self._writing:  # The newest row stays, so that ids keep growing.
            return prune(self._relaxed_db, min(self._position, self._last - 1), before_ms)

    def _extend_index(self) -> bool:
        """Index a few more rows; return False when all are."""
        generation = self.generation
        write = self._indexer.next_step(self._released, generation)
        if write is None:
            return False
        with self._writing:
            if generation == self.generation:
                write(self._relaxed_db)
        return True

    def _let_append_in(self) -> None:
        if self._append_waits:  # A lock that is let go of and taken again is not handed over by itself.
            time.sleep(PAUSE_S)

    def _checkpoint(self) -> None:
        left = checkpoint(self._checkpoint_db, self.path)
        long = left > WAL_BYTES_WARN
        if long and not self._wal_long:
            log.warning("journal_wal_long bytes=%d hint='another program reads the journal, close it'", left)
        self._wal_long = long

    def _open_connections(self) -> None:
        opened: list[sqlite3.Connection] = []
        try:
            with translate_errors(self.path):
                for synchronous in ("FULL", "NORMAL", "NORMAL"):
                    opened.append(connect(self.path, synchronous))
                prepare(opened[0], self.path)
                position = opened[0].execute("SELECT position FROM delivery").fetchone()[0]
                last = opened[0].execute("SELECT coalesce(max(id), 0) FROM verdicts").fetchone()[0]
        except BaseException:
            for connection in opened:
                connection.close()
            raise
        for connection in self._connections:
            connection.close()
        self._connections = opened
        self._identity = identity(self.path)
        self._db, self._relaxed_db, self._checkpoint_db = opened
        self._position, self._released, self._last = position, last, last

    def _replace_damaged(self, damage: Damaged) -> None:
        noted = last_note(self.path)
        missed = self.undelivered_count() or "perhaps some"
        self._detached = True  # Until a new file is open.
        try:
            aside = set_aside(self.path)
        except OSError as error:
            raise StorageFull(
                self.path, f"it is damaged and cannot be set aside: {error.strerror}"
            ) from error
        kept = f"it is kept as {aside.name}" if aside.exists() else "nothing of it is left"
        self._warn(
            f"journal {str(self.path)!r} was damaged ({damage}); {kept}, with {missed} verdicts "
            "the history misses, and a new one is started"
        )
        self._reopen()
        facts = {"kept_as": aside.name, "row": noted.row, "hash": noted.hash, "why": str(damage)}
        with suppress(StorageFull):
            self.audit(
                "linewatch", "journal_replaced", facts
            )  # The chain begins anew: with the old one's end.

    def _reopen(self) -> None:
        self._open_connections()
        self.generation += 1
        self._detached = False

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            with translate_errors(self.path):
                if self._detached:
                    with self._writing:
                        self._reopen()
                yield
        except Damaged as damage:
            with self._writing:
                self._replace_damaged(damage)
            raise StorageFull(self.path, "it was damaged; a new one is started") from damage

    def _next_boot(self) -> int:
        """Return a number larger than every earlier boot, saved in the file and beside it."""
        try:
            with translate_errors(self.path):
                known = (
                    self._number("SELECT max(boot) FROM boots"),
                    self._number("SELECT max(boot) FROM verdicts"),
                )
                boot = 1 + max(*known, read_boot(self.path))
                write_boot(self.path, boot)
                shorten_notes(self.path)
                self._db.execute("INSERT INTO boots VALUES (?, ?)", (boot, self.clock_ms()))
        except OSError as error:
            raise StorageFull(
                self.path, f"the boot number cannot be kept: {error.strerror}; free some room"
            ) from error
        return boot

    def _number(self, query: str) -> int:
        return self._db.execute(query).fetchone()[0] or 0
