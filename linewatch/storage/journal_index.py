"""Search index of the journal: counts for each block of rows, and the parts of each segment in order.

The index is built behind the line, by maintenance, from rows that do not change any more. So a commit costs
the same with and without it, and a journal that has none yet is indexed step by step while it is in use.

- A *block* is 4096 consecutive ids. `tallies` has its number of rows for each product, result and reason, and
  where they are if they are few: a search reads only what it wants, and an hour is counted from sums.
- A *segment* is 16 blocks. `parts` has its part names in order, `segments` the first and the last of them.
  One lookup for each segment finds a prefix, and building a segment only appends to the table.
- Indexed blocks are consecutive, and so are indexed segments: what is above or below is scanned.
"""

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

from linewatch.storage.journal_schema import transaction

BLOCK_ROWS = 4096
SEGMENT_ROWS = 16 * BLOCK_ROWS
PLACES_MAX = 64  # Rows of one tally that are listed: all rejects of a usual line, and every rare product.
PART_ROWS = 500  # Added to `parts` or removed from it in one transaction: `append` may wait for it.
PRUNE_ROWS = 500  # Removed in one transaction.

Rows = Callable[[str, tuple[object, ...]], list[tuple[Any, ...]]]
"""Run a query and return its rows."""

_TALLY = f"""
SELECT id / {BLOCK_ROWS}, product, result, reason, count(*), sum(image <> ''),
    CASE WHEN count(*) <= {PLACES_MAX} THEN group_concat(id % {BLOCK_ROWS}) END FROM verdicts
WHERE id >= ? AND id < ? AND journaled_ms < ? GROUP BY 1, 2, 3, 4
"""


class JournalIndexer:
    """Extends the index. `read` runs queries on a connection of its own."""

    def __init__(self, read: Rows) -> None:
        self._read = read
        self._generation = 0  # Of the journal's file.
        self._segment = -1  # The one that is being indexed.
        self._parts: list[tuple[str, int]] = []  # Its parts and their rows, in order.
        self._added = 0  # How many of them are in the index.

    def next_step(self, last: int, generation: int) -> Callable[[sqlite3.Connection], None] | None:
        """Return a short write that extends the index, None when it is complete up to row `last`.

        Reading for it is done here, so that the caller locks the writer for the write alone. A new
        `generation` says that the journal is another file now.
        """
        if generation != self._generation:
            self._generation, self._segment = generation, -1
        oldest = self._read("SELECT id FROM verdicts ORDER BY id LIMIT 1", ())
        if not oldest:
            return None
        block = _next_unit(
            self._read, "block", "tallies", oldest[0][0] // BLOCK_ROWS, _complete(last, BLOCK_ROWS)
        )
        if block is not None:
            tallies = self._read(_TALLY, (block * BLOCK_ROWS, (block + 1) * BLOCK_ROWS, 2**62))
            tallies = tallies or [(block, "", "", 0, 0, 0, "")]  # Else the gap would be visited for ever.
            return lambda db: _add_tallies(db, tallies)
        if self._segment < 0:
            segment = _next_unit(
                self._read, "segment", "segments", oldest[0][0] // SEGMENT_ROWS, _complete(last, SEGMENT_ROWS)
            )
            if segment is None:
                return None
            self._parts = self._parts_of(segment)
            self._segment, self._added = segment, 0
        return self._add_parts

    def _parts_of(self, segment: int) -> list[tuple[str, int]]:
        return self._read(
            "SELECT part, id FROM verdicts WHERE id >= ? AND id < ? AND part <> '' ORDER BY part, id",
            (segment * SEGMENT_ROWS, (segment + 1) * SEGMENT_ROWS),
        )

    def _add_parts(self, db: sqlite3.Connection) -> None:
        """Add the next of the segment's parts, and with the last ones the segment itself."""
        end = self._added + PART_ROWS
        insert = f"INSERT OR IGNORE INTO parts VALUES ({self._segment}, ?, ?)"  # Some, if killed half-way.
        with transaction(db):
            db.executemany(insert, self._parts[self._added : end])
            if end >= len(self._parts):
                bounds = (self._parts[0][0], self._parts[-1][0]) if self._parts else ("", "")
                db.execute("INSERT OR REPLACE INTO segments VALUES (?, ?, ?)", (self._segment, *bounds))
        self._added = end  # Only now: what a full disk refuses is added later.
        if end >= len(self._parts):
            self._segment, self._parts = -1, []


def prune(db: sqlite3.Connection, limit: int, before_ms: int) -> int | None:
    """Remove some rows up to `limit` that were journaled before a time, with what the index has of them.

    Returns how many, None when nothing is left to remove.
    """
    found = db.execute("SELECT id, journaled_ms FROM verdicts ORDER BY id LIMIT 1").fetchone()
    if found is None:
        return None
    oldest, journaled_ms = found
    with transaction(db):
        if oldest <= limit and journaled_ms < before_ms:
            return _remove(db, oldest, min(limit, oldest + PRUNE_ROWS - 1) + 1, before_ms)
        return None if not _remove_parts(db, oldest) else 0


def _remove(db: sqlite3.Connection, first: int, end: int, before_ms: int) -> int:
    tallies = db.execute(_TALLY, (first, end, before_ms)).fetchall()
    for block, product, result, reason, rows, images, _ in tallies:
        db.execute(
            "UPDATE tallies SET rows = rows - ?, images = images - ? "
            "WHERE (block, product, result, reason) = (?, ?, ?, ?)",
            (rows, images, block, product, result, reason),
        )
    db.execute(
        "DELETE FROM tallies WHERE block BETWEEN ? AND ? AND rows <= 0",
        (first // BLOCK_ROWS, (end - 1) // BLOCK_ROWS),
    )
    return db.execute(
        "DELETE FROM verdicts WHERE id >= ? AND id < ? AND journaled_ms < ?", (first, end, before_ms)
    ).rowcount


def _remove_parts(db: sqlite3.Connection, oldest: int) -> int:
    """Remove some parts of segments below the oldest row; return how many."""
    segment = oldest // SEGMENT_ROWS
    db.execute("DELETE FROM segments WHERE segment < ?", (segment,))
    chosen = "SELECT segment, part, id FROM parts WHERE segment < ? ORDER BY segment, part, id"
    last = db.execute(f"{chosen} LIMIT 1 OFFSET {PART_ROWS - 1}", (segment,)).fetchone()
    if last is None:
        return db.execute("DELETE FROM parts WHERE segment < ?", (segment,)).rowcount
    return db.execute("DELETE FROM parts WHERE (segment, part, id) <= (?, ?, ?)", last).rowcount


def indexed(read: Rows, unit: str, table: str) -> tuple[int, int]:
    """Return the first indexed block or segment and the one after the last, (0, 0) if there is none."""
    if not read("SELECT 1 FROM sqlite_schema WHERE name = ?", (table,)):
        return 0, 0  # The file is of an older schema and was not opened for writing yet.
    # In one query SQLite would read the whole table.
    low = read(f"SELECT min({unit}) FROM {table}", ())[0][0]
    high = read(f"SELECT max({unit}) FROM {table}", ())[0][0]
    return (0, 0) if low is None else (low, high + 1)


def _next_unit(read: Rows, unit: str, table: str, oldest: int, complete: int) -> int | None:
    """Return which block or segment to index: the newest that are complete first, then back in time."""
    low, end = indexed(read, unit, table)
    if low == end:
        return complete - 1 if complete > oldest else None
    if end < complete:
        return end
    return low - 1 if low > oldest else None


def _complete(last: int, size: int) -> int:
    """Return the first block or segment that may still get rows after row `last`."""
    return (last + 1) // size


def _add_tallies(db: sqlite3.Connection, tallies: Sequence[tuple[Any, ...]]) -> None:
    with transaction(db):
        db.executemany("INSERT OR REPLACE INTO tallies VALUES (?, ?, ?, ?, ?, ?, ?)", tallies)
