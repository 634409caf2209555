"""Every verdict, what the history still misses, reviews and audit, in SQLite. It owns every verdict."""

import logging
import os
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from linewatch.domain import Batch, Comparison, Verdict
from linewatch.errors import StorageFull
from linewatch.storage.journal_reader import JournalReader
from linewatch.storage.journal_schema import (
    COMPARE,
    COMPARED,
    INSERT,
    UPSERT,
    Damaged,
    audit,
    beside,
    connect,
    identity,
    lock,
    prepare,
    read_boot,
    refuse_foreign,
    row_of,
    set_aside,
    stored,
    translating,
    utc_ms,
    utf8,
    write_boot,
)

log = logging.getLogger(__name__)

OWED_MAX = 5_000  # Verdicts kept in memory while the disk refuses; then the oldest are lost, loudly.
COMPARISONS_MAX = 100_000  # Of models on trial; the oldest go.
PRUNE_ROWS = 200  # Removed in one step, so that the record stage hardly ever waits for it.
WAL_BYTES_MAX = 2_000_000  # Above this, `tidy` moves the log into the file.


class Journal:
    """The one writer. Get it from `Journal.open`; leaving the `with` block closes it.

    Every method may be called from any thread; `append`, `amend` and `release` are the record
    stage's. Verdicts that the disk refused are kept in memory (`owed`) and journaled, in order,
    as soon as it takes them again. A damaged file is set aside and a new one started.
    """

    def __init__(
        self, path: Path, lock_fd: int, clock_ms: Callable[[], int], warn: Callable[[str], None]
    ) -> None:
        self.path = path
        self.generation = 0  # Grows when a new file took the place of a damaged one.
        self.owed: deque[Verdict] = deque()
        self._lock_fd = lock_fd
        self.clock_ms = clock_ms
        self._warn = warn
        self._writing = threading.RLock()
        self._in_hand = False  # A verdict is appended and not yet released.
        self._connections: list[sqlite3.Connection] = []
        self._db: sqlite3.Connection  # What must survive a power cut.
        self._clerk: sqlite3.Connection  # What may be lost: marks and removals.
        self._keeper: sqlite3.Connection  # Moves the log into the file, beside the others.
        self._position = self._released = self._last = 0
        self._identity: tuple[int, int] | None = None  # Of the file that is open.
        self._astray = False  # The file that is open is no longer the journal.
        try:
            self._start()
        except Damaged as damage:
            self._start_anew(damage)
        self.boot = self._next_boot()

    @classmethod
    def open(
        cls, path: Path, *, clock_ms: Callable[[], int] = utc_ms, warn: Callable[[str], None] = log.warning
    ) -> Self:
        """Open or make the journal and begin a new boot.

        Raises ConfigError when another daemon uses it or it is no journal, StorageFull when the disk refuses.
        `warn` gets a sentence when a damaged file had to be set aside or verdicts were lost.
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
        """Write what is owed if the disk takes it, and let the file go."""
        with self._writing:
            try:
                with self._storing():
                    self._repay()
            except StorageFull as trouble:
                self._warn(f"{len(self.owed)} verdicts are lost: {trouble}")
            for connection in self._connections:
                connection.close()
            os.close(self._lock_fd)

    def append(self, verdict: Verdict) -> None:
        """Commit one verdict: it survives a power cut. Raises StorageFull and owes it then."""
        with self._writing:
            self._in_hand = True
            self._owe(verdict)
            with self._storing():
                if len(self.owed) > 1:
                    self._repay()
                    return
                cursor = self._db.execute(INSERT, row_of(verdict, self.clock_ms()))
                assert cursor.lastrowid is not None
                self._last = cursor.lastrowid
                self.owed.clear()

    def amend(self, verdict: Verdict) -> None:
        """Replace a verdict that was appended but not released. Raises StorageFull and owes it then."""
        with self._writing:
            self._owe(verdict)
            with self._storing():
                self._repay()

    def release(self, boot: int, seq: int) -> None:
        """Let the history have everything up to this verdict: it is final and was published."""
        assert boot == self.boot and seq > 0, (boot, seq)
        with self._writing:
            self._in_hand = False
            if not self.owed:
                self._released = self._last

    def undelivered_count(self) -> int:
        """Return how many released verdicts the history misses; costs nothing."""
        return max(0, self._released - self._position)

    def delivered(self, batch: Batch) -> None:
        """Keep that the history has these. Raises StorageFull.

        A power cut may lose the mark: history is at least once.
        """
        with self._writing:
            if batch.generation != self.generation:
                return
            assert self._position <= batch.up_to <= self._released, (self._position, batch.up_to)
            with self._storing():
                self._clerk.execute("UPDATE delivery SET position = ?", (batch.up_to,))
                self._position = batch.up_to

    def review(self, boot: int, seq: int, actual: str, note: str, who: str) -> bool:
        """Keep what a person says about one part ("good" or "defect"); False if there is no such part.

        Raises StorageFull.
        """
        with self._writing, self._storing():
            known = self._db.execute("SELECT 1 FROM verdicts WHERE boot = ? AND seq = ?", (boot, seq))
            if known.fetchone() is None:
                return False
            self._db.execute(
                "INSERT INTO reviews (at_ms, boot, seq, actual, note, who) VALUES (?, ?, ?, ?, ?, ?)",
                (self.clock_ms(), boot, seq, actual, utf8(note), utf8(who)),
            )
            return True

    def compared(self, comparisons: Sequence[Comparison]) -> None:
        """Keep what a model on trial said. Raises StorageFull; a power cut may lose the last ones."""
        rows = [tuple(stored(getattr(found, name)) for name in COMPARED) for found in comparisons]
        with self._writing, self._storing():
            self._clerk.execute("BEGIN IMMEDIATE")
            try:
                self._clerk.executemany(COMPARE, rows)
                self._clerk.execute(
                    "DELETE FROM comparisons WHERE id <= (SELECT max(id) FROM comparisons) - ?",
                    (COMPARISONS_MAX,),
                )
                self._clerk.execute("COMMIT")
            finally:
                if self._clerk.in_transaction:
                    self._clerk.execute("ROLLBACK")

    def audit(self, who: str, action: str, facts: Mapping[str, object]) -> None:
        """Keep for ever who did what. Raises StorageFull."""
        with self._writing, self._storing():
            audit(self._db, self.clock_ms(), who, action, facts)

    def tidy(self, before_ms: int) -> int:
        """Do a small step of housekeeping; call it about once a second. Raises StorageFull.

        Journals what is owed, removes up to 200 delivered verdicts that were journaled before
        `before_ms` (UTC) and keeps the log short. Returns how many were removed.
        """
        with self._writing, self._storing():
            if identity(self.path) != self._identity:
                raise Damaged("it was removed or replaced")
            self._repay()
            removed = self._prune(before_ms)
        wal = beside(self.path, "-wal")
        if wal.exists() and wal.stat().st_size > WAL_BYTES_MAX:
            with self._storing():  # Passive: it waits for nobody, and nobody waits for it.
                self._keeper.execute("PRAGMA wal_checkpoint(PASSIVE)")
        return removed

    def reader(self) -> JournalReader:
        """Return a view with a connection of its own."""
        return JournalReader(self)

    def window(self) -> tuple[int, int]:
        """Return the rows that the history misses: after the first number, up to the second."""
        return self._position, self._released

    def _owe(self, verdict: Verdict) -> None:
        self.owed.append(verdict)
        if len(self.owed) > OWED_MAX:
            lost = self.owed.popleft()
            self._warn(f"verdict {lost.boot}-{lost.seq} is lost: the disk has refused for too long")

    def _repay(self) -> None:
        """Journal everything owed, in order, in one transaction."""
        if not self.owed:
            return
        now_ms = self.clock_ms()
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany(UPSERT, [row_of(verdict, now_ms) for verdict in self.owed])
            self._db.execute("COMMIT")
        finally:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        self._last = self._number("SELECT max(id) FROM verdicts")
        self.owed.clear()
        if not self._in_hand:
            self._released = self._last

    def _prune(self, before_ms: int) -> int:
        """Remove old delivered rows; never the newest, so that row numbers go on growing."""
        limit = min(self._position, self._last - 1)
        oldest = self._clerk.execute("SELECT id, journaled_ms FROM verdicts ORDER BY id LIMIT 1").fetchone()
        if oldest is None or oldest[0] > limit or oldest[1] >= before_ms:
            return 0
        return self._clerk.execute(
            "DELETE FROM verdicts WHERE id BETWEEN ? AND ? AND journaled_ms < ?",
            (oldest[0], min(limit, oldest[0] + PRUNE_ROWS - 1), before_ms),
        ).rowcount

    def _start(self) -> None:
        opened: list[sqlite3.Connection] = []
        try:
            with translating(self.path):
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
        self._db, self._clerk, self._keeper = opened
        self._position, self._released, self._last = position, last, last

    def _start_anew(self, damage: Damaged) -> None:
        missed = self.undelivered_count() or "perhaps some"
        self._astray = True  # Until there is a new one: what is open leads nowhere any more.
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
        self._find_back()

    def _find_back(self) -> None:
        self._start()
        self.generation += 1
        self._astray = False

    @contextmanager
    def _storing(self) -> Iterator[None]:
        try:
            with translating(self.path):
                if self._astray:
                    with self._writing:
                        self._find_back()
                yield
        except Damaged as damage:
            with self._writing:
                self._start_anew(damage)
            raise StorageFull(self.path, "it was damaged; a new one is started") from damage

    def _next_boot(self) -> int:
        """Return a number larger than every boot before, and keep it in the file and beside it."""
        try:
            with translating(self.path):
                known = (
                    self._number("SELECT max(boot) FROM boots"),
                    self._number("SELECT max(boot) FROM verdicts"),
                )
                boot = 1 + max(*known, read_boot(self.path))
                write_boot(self.path, boot)
                self._db.execute("INSERT INTO boots VALUES (?, ?)", (boot, self.clock_ms()))
        except OSError as error:
            raise StorageFull(
                self.path, f"the boot number cannot be kept: {error.strerror}; free some room"
            ) from error
        return boot

    def _number(self, query: str) -> int:
        return self._db.execute(query).fetchone()[0] or 0


def append_audit(path: Path, who: str, action: str, facts: Mapping[str, object]) -> None:
    """Append to the audit from another process than the daemon's; makes the file if need be.

    Raises StorageFull, also when the file is damaged.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with translating(path):
            db = connect(path, "FULL")
            try:
                prepare(db, path)
                audit(db, utc_ms(), who, action, facts)
            finally:
                db.close()
    except Damaged as damage:
        raise StorageFull(path, f"it is damaged ({damage}); starting the daemon sets it aside") from damage
    except OSError as error:
        raise StorageFull(path, f"{error.strerror}; check the folder and its free room") from error
