"""Reading the journal beside its writer: for the courier, the page and the metrics."""

import json
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from linewatch.domain import Result, Verdict
from linewatch.errors import StorageFull
from linewatch.journal_file import COLUMNS, Damaged, connect, translating, verdict_of

LOOK_BACK_ROWS = 500_000  # How far a filtered page searches.


@dataclass(frozen=True, slots=True)
class Batch:
    """Verdicts that the history misses, oldest first, and how to say that it has them."""

    verdicts: list[Verdict]
    up_to: int  # Row number of the last one.
    generation: int  # Of the journal's file.


@dataclass(frozen=True, slots=True)
class Review:
    """What a person said about one part."""

    at_ms: int
    boot: int
    seq: int
    actual: str  # "good" or "defect".
    note: str
    who: str


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who did what, and when (UTC milliseconds)."""

    at_ms: int
    who: str
    action: str
    facts: dict[str, object]


class Journaling(Protocol):
    """What a reader asks the writer."""

    path: Path
    generation: int
    clock_ms: Callable[[], int]

    def window(self) -> tuple[int, int]:
        """Return the rows that the history misses: after the first number, up to the second."""


class JournalReader:
    """Reads beside the writer; any thread may call, one at a time. Raises StorageFull when the disk fails."""

    def __init__(self, journal: Journaling) -> None:
        self._journal = journal
        self._lock = threading.Lock()
        self._generation = -1
        self._db: sqlite3.Connection | None = None

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
        """Return the oldest released verdicts that the history misses; None if it has them all."""
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
        """Return the age of the oldest verdict that the history misses, 0.0 if it has them all."""
        position, released = self._journal.window()
        if position >= released:
            return 0.0
        rows = self._rows("SELECT journaled_ms FROM verdicts WHERE id > ? ORDER BY id LIMIT 1", (position,))
        return max(0, self._journal.clock_ms() - rows[0][0]) / 1000 if rows else 0.0

    def verdict(self, boot: int, seq: int) -> Verdict | None:
        """Return one verdict."""
        rows = self._rows(f"SELECT {COLUMNS} FROM verdicts WHERE boot = ? AND seq = ?", (boot, seq))
        return verdict_of(rows[0]) if rows else None

    def verdicts(
        self,
        limit: int,
        *,
        before: tuple[int, int] | None = None,
        result: Result | None = None,
        product: str = "",
    ) -> list[Verdict]:
        """Return verdicts, newest first; `before` is the (boot, seq) that the last page ended with.

        Filters search the newest 500,000 before that.
        """
        last = self._rows(
            "SELECT id FROM verdicts WHERE (boot, seq) < (?, ?) ORDER BY boot DESC, seq DESC LIMIT 1",
            before or (2**62, 0),
        )
        upper = last[0][0] if last else 0
        conditions = ["id <= ?", "id > ?"]
        values: list[object] = [upper, upper - LOOK_BACK_ROWS]
        if result is not None:
            # The second half lets SQLite use the small index of everything but PASS.
            conditions.append("result = ?" if result is Result.PASS else "result = ? AND result <> 'PASS'")
            values.append(result.value)
        if product:
            conditions.append("product = ?")
            values.append(product)
        query = f"SELECT {COLUMNS} FROM verdicts WHERE {' AND '.join(conditions)} ORDER BY id DESC LIMIT ?"
        return [verdict_of(row) for row in self._rows(query, (*values, limit))]

    def reviews(self, limit: int) -> list[Review]:
        """Return reviews, newest first; of several for one part the newest counts."""
        query = "SELECT at_ms, boot, seq, actual, note, who FROM reviews ORDER BY id DESC LIMIT ?"
        return [Review(*row) for row in self._rows(query, (limit,))]

    def audit(self, limit: int) -> list[AuditEntry]:
        """Return audit entries, newest first."""
        rows = self._rows("SELECT at_ms, who, action, facts FROM audit ORDER BY id DESC LIMIT ?", (limit,))
        return [AuditEntry(at_ms, who, action, json.loads(facts)) for at_ms, who, action, facts in rows]

    def _rows(self, query: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        path = self._journal.path
        with self._lock:
            try:
                with translating(path):
                    if self._db is None or self._generation != self._journal.generation:
                        if self._db is not None:
                            self._db.close()
                        self._generation = self._journal.generation
                        self._db = connect(path, "NORMAL")
                        self._db.execute("PRAGMA query_only = ON")
                    return self._db.execute(query, values).fetchall()
            except Damaged as damage:
                raise StorageFull(path, f"it is damaged ({damage})") from damage
