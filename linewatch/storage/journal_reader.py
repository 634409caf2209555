"""Read the journal concurrently with its writer: for history delivery, the page and the metrics."""

import math
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from linewatch.domain import Batch, Comparison, Result, Verdict
from linewatch.errors import StorageFull
from linewatch.storage.audit.chain import BEGINNING, Head
from linewatch.storage.audit.note import note_path, read_notes
from linewatch.storage.audit.reading import EVERY, AuditConditions, AuditEntry, Verification, entries, verify
from linewatch.storage.journal_counts import Count, Counted
from linewatch.storage.journal_schema import (
    COLUMNS,
    COMPARED,
    FIELDS,
    Damaged,
    comparison_of,
    connect,
    show_added_columns,
    translate_errors,
    utc_ms,
    verdict_of,
)
from linewatch.storage.journal_search import ANY, Conditions, Found, Range, Search

HOUR_MS = 3_600_000
HOURS_MAX = 24 * 31  # Cached counts of past hours.
GROWTH_SPAN_MS_MIN = HOUR_MS // 6  # A rate is not extrapolated from less.

# Without the plus, which takes the affinity of the columns away, SQLite would read every verdict.
_ITS_PART = "(v.boot, v.seq) = (+r.boot, +r.seq)"


@dataclass(frozen=True, slots=True)
class Review:
    """A person's review of one part."""

    at_ms: int
    boot: int
    seq: int
    actual: str  # "good" or "defect".
    note: str
    who: str


@dataclass(frozen=True, slots=True)
class JournalGrowth:
    """How fast the journal grows at the rate of the last 24 hours."""

    rows_per_day: float
    bytes_per_row: float  # Indices included.

    @property
    def bytes_per_day(self) -> float:
        """Return the growth while nothing is removed by retention."""
        return self.rows_per_day * self.bytes_per_row


class JournalSource(Protocol):
    """What a reader needs of the journal."""

    path: Path
    generation: int
    clock_ms: Callable[[], int]

    def window(self) -> tuple[int, int]:
        """Return the id of the last delivered and of the last released row."""


class JournalFile:
    """A journal file that another process may be writing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.generation = 0
        self.clock_ms = utc_ms

    def window(self) -> tuple[int, int]:
        """Return that everything is delivered: only the writer knows."""
        return 0, 0


class JournalReader:
    """Reads concurrently with the writer; calls are serialised. Every method may raise StorageFull."""

    def __init__(self, journal: JournalSource) -> None:
        self._journal = journal
        self.path = journal.path
        self._lock = threading.Lock()
        self._generation = -1
        self._db: sqlite3.Connection | None = None
        self._hours: dict[int, dict[Result, int]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            if self._db is not None:
                self._db.close()
            self._db = None

    def undelivered(self, limit: int) -> Batch | None:
        """Return the oldest released verdicts that are not delivered yet; None if there are none."""
        generation = self._journal.generation
        position, released = self._journal.window()
        if position >= released:
            return None
        rows = self._rows(
            f"SELECT id, {COLUMNS} FROM verdicts WHERE id > ? AND id <= ? ORDER BY id LIMIT ?",
            (position, released, limit),
        )
        return Batch([verdict_of(row[1:]) for row in rows], rows[-1][0], generation) if rows else None

    def oldest_undelivered_s(self) -> float:
        """Return the age in seconds of the oldest undelivered verdict, 0.0 if there is none."""
        position, released = self._journal.window()
        if position >= released:
            return 0.0
        rows = self._rows("SELECT journaled_ms FROM verdicts WHERE id > ? ORDER BY id LIMIT 1", (position,))
        return max(0, self._journal.clock_ms() - rows[0][0]) / 1000 if rows else 0.0

    def verdict(self, boot: int, seq: int) -> Verdict | None:
        """Return one verdict; None if there is none."""
        rows = self._rows(f"SELECT {COLUMNS} FROM verdicts WHERE boot = ? AND seq = ?", (boot, seq))
        return verdict_of(rows[0]) if rows else None

    def search(
        self,
        limit: int,
        wanted: Conditions = ANY,
        *,
        before: tuple[int, int] | None = None,
        budget_s: float = math.inf,
    ) -> Found:
        """Return verdicts that meet all conditions, newest first, and where to go on after `budget_s`.

        `before` is the (boot, seq) that the last page ended with, or that the last search came to.
        """
        return Search(self._rows, wanted, self._bounds(wanted, before)).run(limit, budget_s)

    def count(
        self,
        wanted: Conditions = ANY,
        *,
        before: tuple[int, int] | None = None,
        budget_s: float = math.inf,
    ) -> Counted:
        """Return how many verdicts meet all conditions, by result, and where to go on after `budget_s`."""
        return Count(self._rows, wanted, self._bounds(wanted, before)).run(budget_s)

    def _bounds(self, wanted: Conditions, before: tuple[int, int] | None) -> Range:
        """Return the rows older than `before`, of the time that is wanted."""
        last = self._rows(
            "SELECT id FROM verdicts WHERE (boot, seq) < (?, ?) ORDER BY boot DESC, seq DESC LIMIT 1",
            before or (2**62, 0),
        )
        end = last[0][0] + 1 if last else 0
        if wanted.until_ms is not None:
            end = min(end, self.first_since(wanted.until_ms))
        low = self._oldest() if wanted.since_ms is None else self.first_since(wanted.since_ms)
        return min(low, end), end

    def hours(self, since_ms: int) -> list[tuple[int, dict[Result, int]]]:
        """Return the start (UTC ms) and the counts by result of every hour since, oldest first.

        Hours that are over are counted once and cached.
        """
        now_ms = self._journal.clock_ms()
        found = []
        for start_ms in range(since_ms, now_ms, HOUR_MS):
            counts = self._hours.get(start_ms)
            if counts is None:
                first, end = self.first_since(start_ms), self.first_since(start_ms + HOUR_MS)
                counts = Count(self._rows, ANY, (first, end)).run().counts
                if start_ms + 2 * HOUR_MS < now_ms:
                    self._hours[start_ms] = counts
                    while len(self._hours) > HOURS_MAX:
                        del self._hours[min(self._hours)]
            found.append((start_ms, counts))
        return found

    def review(self, boot: int, seq: int) -> Review | None:
        """Return the latest review of one part; None if there is none."""
        query = "SELECT at_ms, boot, seq, actual, note, who FROM reviews WHERE (boot, seq) = (?, ?)"
        rows = self._rows(f"{query} ORDER BY id DESC LIMIT 1", (boot, seq))
        return Review(*rows[0]) if rows else None

    def reviews(self, limit: int) -> list[Review]:
        """Return reviews, newest first; of several for one part the newest counts."""
        query = "SELECT at_ms, boot, seq, actual, note, who FROM reviews ORDER BY id DESC LIMIT ?"
        return [Review(*row) for row in self._rows(query, (limit,))]

    def reviews_between(
        self, oldest: tuple[int, int], newest: tuple[int, int]
    ) -> dict[tuple[int, int], Review]:
        """Return the latest review of each part from `oldest` to `newest`, (boot, seq), that has one."""
        query = "SELECT at_ms, boot, seq, actual, note, who FROM reviews"
        bounds = "(boot, seq) >= (?, ?) AND (boot, seq) <= (?, ?)"
        rows = self._rows(f"{query} WHERE {bounds} ORDER BY id", (*oldest, *newest))
        return {(row[1], row[2]): Review(*row) for row in rows}

    def oldest_ms(self) -> int | None:
        """Return when the oldest verdict was journaled; None without any."""
        rows = self._rows("SELECT journaled_ms FROM verdicts ORDER BY id LIMIT 1")
        return int(rows[0][0]) if rows else None

    def last_review(self) -> int:
        """Return the number of the newest review, 0 without any."""
        rows = self._rows("SELECT max(id) FROM reviews")
        return int(rows[0][0] or 0)

    def reviewed_after(self, review: int, since_ms: int, until_ms: int) -> bool:
        """Whether a part that was journaled in this time has a review after the one with this number."""
        first, end = self.first_since(since_ms), self.first_since(until_ms)
        query = (
            f"SELECT 1 FROM reviews r JOIN verdicts v ON {_ITS_PART} "
            "WHERE r.id > ? AND v.id >= ? AND v.id < ? LIMIT 1"
        )
        return bool(self._rows(query, (review, first, end)))

    def reviewed(self, product: str) -> list[tuple[Verdict, Review]]:
        """Return a product's reviewed parts with their latest review, newest first."""
        columns = ", ".join(f"v.{name}" for name in COLUMNS.split(", "))
        rows = self._rows(
            f"SELECT {columns}, r.at_ms, r.boot, r.seq, r.actual, r.note, r.who "
            f"FROM reviews r JOIN verdicts v ON {_ITS_PART} "
            "WHERE v.product = ? AND r.id IN (SELECT max(id) FROM reviews GROUP BY boot, seq) "
            "ORDER BY r.id DESC",
            (product,),
        )
        return [(verdict_of(row[: len(FIELDS)]), Review(*row[len(FIELDS) :])) for row in rows]

    def comparisons(self, product: str, trial_model: str, limit: int) -> list[Comparison]:
        """Return the results of a model on trial, newest first."""
        if not self._rows("SELECT 1 FROM sqlite_schema WHERE name = 'comparisons'"):
            return []  # The file is of an older schema and was not opened for writing yet.
        query = f"SELECT {', '.join(COMPARED)} FROM comparisons WHERE (product, trial_model) = (?, ?)"
        rows = self._rows(f"{query} ORDER BY id DESC LIMIT ?", (product, trial_model, limit))
        return [comparison_of(row) for row in rows]

    def audit(self, limit: int, wanted: AuditConditions = EVERY) -> list[AuditEntry]:
        """Return audit entries, newest first."""
        return list(islice(entries(self._rows, wanted), limit))

    def audit_head(self) -> Head:
        """Return the newest row of the audit; row 0 if there is none."""
        rows = self._rows("SELECT id, hash FROM audit ORDER BY id DESC LIMIT 1")
        return Head(*rows[0]) if rows else Head(0, BEGINNING)

    def audit_entries(self, wanted: AuditConditions) -> Iterator[AuditEntry]:
        """Yield audit entries, newest first, each few hundred in a read of their own."""
        return entries(self._rows, wanted)

    def verify_audit(self, known: Sequence[Head] = ()) -> Verification:
        """Check the chain of the audit, and that it has the `known` rows and those in the note beside it."""
        try:
            noted = read_notes(self._journal.path)
        except OSError as error:
            raise StorageFull(note_path(self._journal.path), f"{error.strerror}; check the file") from error
        return verify(self.read, [*noted, *known])

    def _oldest(self) -> int:
        rows = self._rows("SELECT id FROM verdicts ORDER BY id LIMIT 1")
        return int(rows[0][0]) if rows else 0

    def growth(self) -> JournalGrowth:
        """Return how fast the journal grows, judged by the verdicts of the last 24 hours; 0 without any."""
        if not self._rows("SELECT 1 FROM sqlite_schema WHERE name = 'verdicts'"):
            return JournalGrowth(0.0, 0.0)  # A new file.
        day_ms = 24 * HOUR_MS
        now_ms = self._journal.clock_ms()
        oldest = self._rows("SELECT id, journaled_ms FROM verdicts ORDER BY id LIMIT 1")
        newest = self._rows("SELECT id FROM verdicts ORDER BY id DESC LIMIT 1")
        if not oldest or not newest:
            return JournalGrowth(0.0, 0.0)
        first = self.first_since(now_ms - day_ms)
        span_ms = min(day_ms, max(GROWTH_SPAN_MS_MIN, now_ms - oldest[0][1]))  # It may be younger than a day.
        pages, unused, page_bytes = (
            self._rows(f"PRAGMA {name}")[0][0] for name in ("page_count", "freelist_count", "page_size")
        )
        rows = newest[0][0] - oldest[0][0] + 1
        return JournalGrowth(
            (newest[0][0] - first + 1) * day_ms / span_ms, (pages - unused) * page_bytes / rows
        )

    def first_since(self, utc_ms: int) -> int:
        """Return the id of the first row journaled at or after a time: ids grow with it, so bisect."""
        newest = self._rows("SELECT id FROM verdicts ORDER BY id DESC LIMIT 1")
        low, high = self._oldest(), newest[0][0] + 1 if newest else 0
        while low < high:
            middle = (low + high) // 2
            row = self._rows(
                "SELECT id, journaled_ms FROM verdicts WHERE id >= ? ORDER BY id LIMIT 1", (middle,)
            )
            if row and row[0][1] < utc_ms:
                low = row[0][0] + 1
            else:
                high = middle
        return int(low)

    def _rows(self, query: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        try:
            return self.read(query, values)
        except Damaged as damage:
            raise StorageFull(self._journal.path, f"it is damaged ({damage})") from damage

    def read(self, query: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of one query, read in a transaction of its own. Raises Damaged, StorageFull."""
        with self._lock, translate_errors(self._journal.path):
            if self._db is None or self._generation != self._journal.generation:
                if self._db is not None:
                    self._db.close()
                self._generation = self._journal.generation
                self._db = connect(self._journal.path, "NORMAL")
                show_added_columns(self._db)
                self._db.execute("PRAGMA query_only = ON")
            return self._db.execute(query, values).fetchall()
