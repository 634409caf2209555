"""Count parts and marks for the promised rates, and keep the queue of parts that are inspected again."""

import json
import sqlite3
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from linewatch.domain import Result, Verdict
from linewatch.errors import StorageFull
from linewatch.storage.journal import Journal
from linewatch.storage.journal_schema import COLUMNS, Damaged, verdict_of
from linewatch.storage.promise.draw import Draw
from linewatch.storage.promise.tables import COUNTED

DAY_MS = 86_400_000
ROWS_AT_ONCE = 500  # In one transaction: `append` may wait for it.
STEPS_MAX = 20  # In one call: after a time without counting the rest follows in the next.
_RESULTS = {Result.PASS: "passed", Result.FAIL: "failed", Result.UNSURE: "unsure"}  # ERROR: not judged.


_MARKS = (  # Without the plus, which takes the affinity away, SQLite would read every verdict.
    "SELECT r.id, r.boot, r.seq, r.actual, v.id, v.product, v.model, v.result FROM reviews r "
    "LEFT JOIN verdicts v ON (v.boot, v.seq) = (+r.boot, +r.seq) WHERE r.id > ? ORDER BY r.id LIMIT ?"
)


class PromiseTest(NamedTuple):
    """The parts of one model with the same thresholds."""

    test: int  # The row of the first part.
    product: str
    model: str
    limits: tuple[float, ...]  # Raw scores: the threshold of each region, and of what is in none.
    since_ms: int  # UTC milliseconds since 1970.


class Alarm(NamedTuple):
    """A promise of a product that is broken, as it was last reported."""

    test: int
    since_ms: int


@dataclass(frozen=True, slots=True)
class Period:
    """The counts of at most one day of a test."""

    since_ms: int
    counts: Counter[str]  # By the names in COUNTED.


@dataclass(slots=True)
class _Running:
    """The test that the newest part of a model belongs to."""

    test: int
    limits: dict[str, float]  # By region; "" is what is in none.
    first_row: int = 0  # Of its newest period.
    day: int = -1  # Of that one, since 1970.


@dataclass(slots=True)
class _Changes:
    """What one transaction writes."""

    products: set[str] = field(default_factory=set)
    tests: list[tuple[object, ...]] = field(default_factory=list)
    limits: list[tuple[object, ...]] = field(default_factory=list)
    newest: dict[int, int] = field(default_factory=dict)  # The last row of each test.
    periods: list[tuple[object, ...]] = field(default_factory=list)
    drawn: list[tuple[object, ...]] = field(default_factory=list)
    done: list[tuple[int]] = field(default_factory=list)  # Rows of drawn parts that were inspected again.
    counts: dict[int, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))  # By period.

    def write(self, db: sqlite3.Connection) -> None:
        """Write everything inside the caller's transaction."""
        db.executemany("INSERT INTO promise_tests VALUES (?, ?, ?, ?, ?, ?)", self.tests)
        db.executemany("UPDATE promise_tests SET limits = ? WHERE test = ?", self.limits)
        newest = [(row, test) for test, row in self.newest.items()]
        db.executemany("UPDATE promise_tests SET last_row = ? WHERE test = ?", newest)
        db.executemany(
            "INSERT INTO promise_periods (first_row, test, since_ms) VALUES (?, ?, ?)", self.periods
        )
        for first_row, counts in self.counts.items():
            added = ", ".join(f"{name} = {name} + ?" for name in counts)
            db.execute(
                f"UPDATE promise_periods SET {added} WHERE first_row = ?", (*counts.values(), first_row)
            )
        db.executemany("INSERT INTO reinspections VALUES (?, ?, ?, ?, ?, 1)", self.drawn)
        db.executemany("UPDATE reinspections SET waits = 0 WHERE row = ?", self.done)


class PromiseCounts:
    """Counts each row and each mark of the journal once; thread-safe. Every method may raise StorageFull.

    A mark counts with the period of its part, whenever it is made; of several for one part the last counts.
    Parts that were in the journal before it was counted, and their marks, are left out.
    """

    def __init__(self, journal: Journal, share: float, keep_days: float) -> None:
        """`share` of the PASS parts are drawn for re-inspection, which is possible for `keep_days`.

        Raises StorageFull.
        """
        self._journal = journal
        self._reader = journal.reader()
        self._keep_ms = round(keep_days * DAY_MS)
        self._lock = threading.Lock()
        self._running: dict[tuple[str, str], _Running] = {}
        self._products: set[str] = set()
        self._generation = -1
        self._key: bytes = self._read("SELECT key FROM promise_progress")[0][0]
        self.draw = Draw(self._key, share)  # Which PASS parts are inspected again.

    def step(self) -> set[str]:
        """Count what is new; return the products whose counts have changed."""
        with self._lock:
            changed: set[str] = set()
            if self._journal.generation != self._generation:
                self._generation = self._journal.generation
                self._running.clear()
                key = self._key  # Also in a new file, as the line goes on drawing with it.
                self._write(lambda db: db.execute("UPDATE promise_progress SET key = ?", (key,)))
                changed |= self._products  # Of the file before.
                self._products = {product for (product,) in self._read("SELECT product FROM promise_tests")}
                changed |= self._products
            for _ in range(STEPS_MAX):
                rows, found = self._count_rows()
                changed |= found
                if rows < ROWS_AT_ONCE:
                    break
            changed |= self._count_marks()
            self._forget_old()
            self._products |= changed
            return changed

    def newest_test(self, product: str) -> PromiseTest | None:
        """Return the test that the product's newest counted part belongs to; None if there is none."""
        rows = self._read(
            "SELECT test, product, model, limits, since_ms FROM promise_tests WHERE product = ? "
            "ORDER BY last_row DESC LIMIT 1",
            (product,),
        )
        if not rows:
            return None
        test, name, model, limits, since_ms = rows[0]
        return PromiseTest(test, name, model, tuple(json.loads(limits).values()), since_ms)

    def periods(self, test: int) -> list[Period]:
        """Return the counts of a test, in the order in which its periods began."""
        rows = self._read(
            f"SELECT since_ms, {', '.join(COUNTED)} FROM promise_periods WHERE test = ? ORDER BY first_row",
            (test,),
        )
        return [Period(since, Counter(dict(zip(COUNTED, counts, strict=True)))) for since, *counts in rows]

    def waiting(self, product: str = "") -> int:
        """Return how many drawn parts wait to be inspected again."""
        where, values = self._waiting(product)
        return int(self._read(f"SELECT count(*) FROM reinspections q WHERE {where}", values)[0][0])

    def queue(self, limit: int, after: tuple[int, int] = (0, 0), product: str = "") -> list[Verdict]:
        """Return drawn parts that wait, the oldest first, after the one of (boot, seq)."""
        where, values = self._waiting(product)
        columns = ", ".join(f"v.{name}" for name in COLUMNS.split(", "))
        rows = self._read(
            f"SELECT {columns} FROM reinspections q JOIN verdicts v ON v.id = q.row "
            f"WHERE {where} AND (q.boot, q.seq) > (?, ?) ORDER BY q.row LIMIT ?",
            (*values, *after, limit),
        )
        return [verdict_of(row) for row in rows]

    def _waiting(self, product: str) -> tuple[str, tuple[object, ...]]:
        """Return the condition on drawn parts that wait, and its values.

        A part waits as long as retention keeps its image. A clock set forward by mistake only hides it.
        """
        values = (self._journal.clock_ms() - self._keep_ms, *((product,) if product else ()))
        return "q.waits AND q.drawn_ms >= ?" + (" AND q.product = ?" if product else ""), values

    def alarms(self, product: str) -> dict[str, Alarm]:
        """Return the alarms of a product that were begun and not ended, by promise."""
        rows = self._read("SELECT promise, test, since_ms FROM promise_alarms WHERE product = ?", (product,))
        return {promise: Alarm(test, since_ms) for promise, test, since_ms in rows}

    def begin_alarm(self, product: str, promise: str, test: int) -> None:
        """Keep that this promise is broken."""
        values = product, promise, test, self._journal.clock_ms()
        self._write(
            lambda db: db.execute("INSERT OR REPLACE INTO promise_alarms VALUES (?, ?, ?, ?)", values)
        )

    def end_alarm(self, product: str, promise: str) -> None:
        """Keep that this promise is no longer broken."""
        query = "DELETE FROM promise_alarms WHERE (product, promise) = (?, ?)"
        self._write(lambda db: db.execute(query, (product, promise)))

    def _count_rows(self) -> tuple[int, set[str]]:
        """Count the next rows; return how many, and their products."""
        (position,) = self._read("SELECT row FROM promise_progress")[0]
        rows = self._read(
            "SELECT id, boot, seq, product, model, result, region, threshold, image <> '', journaled_ms "
            "FROM verdicts WHERE id > ? AND id <= ? ORDER BY id LIMIT ?",
            (position, self._journal.window()[1], ROWS_AT_ONCE),
        )
        if not rows:
            return 0, set()
        changes = _Changes()
        for row, boot, seq, product, model, result, region, threshold, has_image, at_ms in rows:
            if (name := _RESULTS.get(Result(result))) is None or threshold <= 0:
                continue
            period = self._period_of(changes, row, (product, model), (region, threshold), at_ms)
            changes.counts[period][name] += 1
            changes.products.add(product)
            if result == Result.PASS and has_image and self.draw.takes(boot, seq):
                changes.counts[period]["drawn"] += 1
                changes.drawn.append((row, boot, seq, product, at_ms))
        self._commit(changes, "row", rows[-1][0])
        return len(rows), changes.products

    def _period_of(
        self, changes: _Changes, row: int, key: tuple[str, str], limit: tuple[str, float], at_ms: int
    ) -> int:
        """Return the period that a new row belongs to; begin one, or a test, if need be."""
        running = self._running.get(key) or self._read_running(key)
        region, threshold = limit
        if running is None or running.limits.get(region, threshold) != threshold:
            running = _Running(row, {})
            changes.tests.append((row, *key, "{}", at_ms, row))
        if region not in running.limits:
            running.limits[region] = threshold
            changes.limits.append((json.dumps(running.limits), running.test))
        if running.day != at_ms // DAY_MS:
            running.first_row, running.day = row, at_ms // DAY_MS
            changes.periods.append((row, running.test, at_ms))
        changes.newest[running.test] = row
        self._running[key] = running
        return running.first_row

    def _read_running(self, key: tuple[str, str]) -> _Running | None:
        rows = self._read(
            "SELECT t.test, t.limits, p.first_row, p.since_ms FROM promise_tests t "
            "JOIN promise_periods p USING (test) WHERE (t.product, t.model) = (?, ?) "
            "ORDER BY t.last_row DESC, p.first_row DESC LIMIT 1",
            key,
        )
        if not rows:
            return None
        test, limits, first_row, since_ms = rows[0]
        return _Running(test, json.loads(limits), first_row, since_ms // DAY_MS)

    def _count_marks(self) -> set[str]:
        """Count the next marks; return the products of their parts."""
        ((first_row, counted, position),) = self._read("SELECT first_row, row, review FROM promise_progress")
        marks = self._read(_MARKS, (position, ROWS_AT_ONCE))
        changes = _Changes()
        last = position
        for mark, boot, seq, actual, row, product, model, result in marks:
            if row is not None and row > counted:
                break  # Its part is counted first.
            last = mark
            if row is None or row < first_row or (name := _RESULTS.get(Result(result))) is None:
                continue
            before = self._read(
                "SELECT actual FROM reviews WHERE (boot, seq) = (?, ?) AND id < ? ORDER BY id DESC LIMIT 1",
                (boot, seq, mark),
            )
            names = [name]
            if self._read("SELECT 1 FROM reinspections WHERE row = ?", (row,)):
                names.append("drawn")
                changes.done.append((row,))
            counts = changes.counts[self._period_before(row, product, model)]
            for counted_as in names:
                counts[f"{counted_as}_{actual}"] += 1
                if before:
                    counts[f"{counted_as}_{before[0][0]}"] -= 1
            changes.products.add(product)
        if last != position:
            self._commit(changes, "review", last)
        return changes.products

    def _period_before(self, row: int, product: str, model: str) -> int:
        rows = self._read(
            "SELECT p.first_row FROM promise_periods p JOIN promise_tests t USING (test) "
            "WHERE (t.product, t.model) = (?, ?) AND p.first_row <= ? ORDER BY p.first_row DESC LIMIT 1",
            (product, model, row),
        )
        return int(rows[0][0])

    def _forget_old(self) -> None:
        """Forget drawn parts whose rows retention has removed."""
        oldest = self._read("SELECT row FROM reinspections ORDER BY row LIMIT 1")
        if oldest and not self._read("SELECT 1 FROM verdicts WHERE id <= ? LIMIT 1", oldest[0]):
            query = "DELETE FROM reinspections WHERE row < (SELECT min(id) FROM verdicts)"
            self._write(lambda db: db.execute(query))

    def _commit(self, changes: _Changes, cursor: str, position: int) -> None:
        """Write the changes, and in the same transaction how far is counted."""

        def write(db: sqlite3.Connection) -> None:
            changes.write(db)
            db.execute(f"UPDATE promise_progress SET {cursor} = ?", (position,))

        try:
            self._write(write)
        except StorageFull:
            self._running.clear()  # It has periods that were not written.
            raise

    def _write(self, write: Callable[[sqlite3.Connection], object]) -> None:
        def in_same_file(db: sqlite3.Connection) -> None:
            if self._journal.generation == self._generation:  # Else what was read is of another file.
                write(db)

        self._journal.write_relaxed(in_same_file)

    def _read(self, query: str, values: Iterable[object] = ()) -> Sequence[tuple[Any, ...]]:
        try:
            return self._reader.read(query, tuple(values))
        except Damaged as damage:
            raise StorageFull(self._journal.path, f"it is damaged ({damage})") from damage
