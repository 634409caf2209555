"""Search the journal from the newest row back, in short reads, with the index as far as it reaches."""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from linewatch.domain import Reason, Result, Verdict
from linewatch.storage.journal_index import BLOCK_ROWS, SEGMENT_ROWS, Rows, indexed
from linewatch.storage.journal_schema import COLUMNS, verdict_of

BLOCKS_AT_ONCE = 64
SEGMENTS_AT_ONCE = 64
PARTS_AT_ONCE = 1000
REVIEWS_AT_ONCE = 200
ROWS_AT_ONCE = 100

Range = tuple[int, int]
"""Ids from the first up to, and without, the second."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """Which verdicts to find: all conditions hold at once."""

    results: frozenset[Result] = frozenset()  # Empty: every result.
    product: str = ""  # "": every product.
    reason: Reason | None = None
    part: str = ""  # What the part's name begins with.
    region: str = ""  # The recipe's region that decided; "": every one. The index does not know it,
    model: str = ""  # nor the version that judged; "": every one.
    since_ms: int | None = None  # Journaled at or after this, UTC milliseconds since 1970.
    until_ms: int | None = None  # Journaled before this.
    reviewed: bool | None = None  # True: only those with a review; False: only those without.
    reviewer: str = ""  # Who reviewed it last; "": anyone, or without a review.
    has_image: bool = False  # Only those with a kept frame.


ANY = Conditions()


@dataclass(frozen=True, slots=True)
class Found:
    """Verdicts, newest first, and how far the search has come."""

    verdicts: list[Verdict]
    searched_to: tuple[int, int] | None = None  # (boot, seq) to go on before; None: nothing older is left.
    searched_to_ms: int | None = None  # When that verdict was journaled.


class Walk(ABC, Generic[T]):
    """A walk through the rows of `bounds` that meet the conditions, newest first.

    `read` runs each query as a read transaction of its own; `_take` says what is read of the rows.
    """

    def __init__(self, read: Rows, wanted: Conditions, bounds: Range) -> None:
        self._read = read
        self._wanted = wanted
        self._low, self._end = bounds
        self._tallied = _ids(indexed(read, "block", "tallies"), BLOCK_ROWS)
        self._segmented = _ids(indexed(read, "segment", "segments"), SEGMENT_ROWS)
        self._where, self._values = _row_conditions(wanted)

    @abstractmethod
    def _take(self, where: str, values: tuple[object, ...], limit: int) -> list[T]:
        """Read the rows of one step, newest first."""

    def _run(self, limit: int, budget_s: float) -> tuple[list[T], int]:
        """Return what was found, and the id down to which all is searched.

        Stops early with `limit` found, or when `budget_s` is over.
        """
        until = time.monotonic() + budget_s
        found: list[T] = []
        low = self._end
        for searched_to, taken in self._steps(limit):
            low = searched_to
            found += taken
            if len(found) >= limit or (low < self._end and time.monotonic() > until):
                return found, low
        return found, self._low

    def _place(self, low: int) -> tuple[tuple[int, int], int] | tuple[None, None]:
        """Return (boot, seq) and time of the row at `low`, to go on before; None twice if none is older."""
        if not self._read("SELECT 1 FROM verdicts WHERE id >= ? AND id < ? LIMIT 1", (self._low, low)):
            return None, None
        boot, seq, at_ms = self._read(
            "SELECT boot, seq, journaled_ms FROM verdicts WHERE id >= ? ORDER BY id LIMIT 1", (low,)
        )[0]
        return (boot, seq), at_ms

    def _steps(self, limit: int) -> Iterator[tuple[int, list[T]]]:
        """Yield down to which id all is searched, and the verdicts found since the last step."""
        if (self._wanted.reviewed or self._wanted.reviewer) and not self._few():
            yield from self._reviewed(limit)
        elif self._wanted.part:
            yield from self._with_part(limit)
        else:
            yield from self._scan((self._low, self._end), limit)

    def _scan(self, bounds: Range, limit: int) -> Iterator[tuple[int, list[T]]]:
        above, inside, below = split(bounds, self._tallied)
        wanted = self._wanted
        yield from self._scan_rows(above, limit)
        if wanted.product or wanted.results or wanted.reason or wanted.has_image:
            yield from self._scan_tallied(inside, limit)
        else:
            yield from self._scan_rows(inside, limit)
        yield from self._scan_rows(below, limit)
        yield bounds[0], []

    def _scan_rows(self, bounds: Range, limit: int) -> Iterator[tuple[int, list[T]]]:
        for low, end in _chunks(bounds):
            yield low, self._take("id >= ? AND id < ?", (low, end), limit)

    def _scan_tallied(self, bounds: Range, limit: int) -> Iterator[tuple[int, list[T]]]:
        """Read the listed rows of the blocks that have what is wanted, or a whole block if it has much."""
        if bounds[0] >= bounds[1]:
            return
        end = -(-bounds[1] // BLOCK_ROWS)
        while blocks := self._tallied_blocks(bounds[0] // BLOCK_ROWS, end):
            places = self._places(blocks)
            rows: list[int] = []
            for end in blocks:
                low = max(bounds[0], end * BLOCK_ROWS)
                if None in places[end]:
                    yield from self._read_listed(rows, min(bounds[1], (end + 1) * BLOCK_ROWS), limit)
                    rows = []
                    yield from self._scan_rows((low, min(bounds[1], (end + 1) * BLOCK_ROWS)), limit)
                    continue
                ids = [end * BLOCK_ROWS + place for place in places[end] if place is not None]
                rows += [row for row in ids if bounds[0] <= row < bounds[1]]
                if len(rows) >= min(limit, ROWS_AT_ONCE):
                    yield from self._read_listed(rows, low, limit)
                    rows = []
            yield from self._read_listed(rows, max(bounds[0], end * BLOCK_ROWS), limit)

    def _places(self, blocks: list[int]) -> dict[int, list[int | None]]:
        """Return where in each block the wanted rows are; None stands for more than are listed."""
        conditions, values = tally_conditions(self._wanted)
        where = f"block IN ({', '.join(map(str, blocks))}) {conditions}"
        found: dict[int, list[int | None]] = {block: [] for block in blocks}
        for block, places in self._read(f"SELECT block, places FROM tallies WHERE {where}", tuple(values)):
            found[block] += [None] if places is None else map(int, filter(None, places.split(",")))
        return found

    def _tallied_blocks(self, low: int, end: int) -> list[int]:
        """Return the newest blocks from `low` up to `end` that have rows that are wanted."""
        wanted = self._wanted
        found: set[int] = set()
        for result in wanted.results or [None]:
            alone = replace(wanted, results=frozenset([result] if result else []))
            conditions, values = tally_conditions(alone)
            index = "product" if wanted.product else "reason" if wanted.reason else "result" if result else ""
            query = (
                f"SELECT DISTINCT block FROM tallies {f'INDEXED BY tallies_by_{index}' if index else ''} "
                f"WHERE block >= ? AND block < ? {conditions} ORDER BY block DESC LIMIT {BLOCKS_AT_ONCE}"
            )
            found.update(block for (block,) in self._read(query, (low, end, *values)))
        return sorted(found, reverse=True)[:BLOCKS_AT_ONCE]

    def _with_part(self, limit: int) -> Iterator[tuple[int, list[T]]]:
        above, inside, below = split((self._low, self._end), self._segmented)
        yield from self._scan(above, limit)
        end = -(-inside[1] // SEGMENT_ROWS)
        first = inside[0] // SEGMENT_ROWS
        prefix, beyond = self._wanted.part, _beyond(self._wanted.part)
        while end > first and inside[0] < inside[1]:
            # Most segments are left out by their first and last part where parts have serial numbers.
            segments = [
                segment
                for (segment,) in self._read(
                    "SELECT segment FROM segments WHERE segment >= ? AND segment < ? "
                    f"AND first_part < ? AND last_part >= ? ORDER BY segment DESC LIMIT {SEGMENTS_AT_ONCE}",
                    (first, end, beyond, prefix),
                )
            ]
            if not segments:
                break
            hits = self._read(
                "SELECT segment, id FROM parts WHERE segment IN "
                f"({', '.join(map(str, segments))}) AND part >= ? AND part < ? LIMIT {PARTS_AT_ONCE}",
                (prefix, beyond),
            )
            if len(hits) < PARTS_AT_ONCE:
                end = segments[-1]
                low = max(inside[0], end * SEGMENT_ROWS)
                rows = [row for _, row in hits if inside[0] <= row < inside[1]]
                yield from self._read_listed(rows, low, limit)
            else:  # Many parts begin like this, so the newest are near.
                end = segments[0]
                bounds = (max(inside[0], end * SEGMENT_ROWS), min(inside[1], (end + 1) * SEGMENT_ROWS))
                yield from self._scan(bounds, limit)
        yield inside[0], []
        yield from self._scan(below, limit)

    def _reviewed(self, limit: int) -> Iterator[tuple[int, list[T]]]:
        query = "SELECT boot, seq FROM verdicts WHERE id >= ? AND id < ? ORDER BY id"
        newest = self._read(f"{query} DESC LIMIT 1", (self._low, self._end))
        oldest = self._read(f"{query} LIMIT 1", (self._low, self._end))
        if not newest:
            return
        last = (newest[0][0], newest[0][1] + 1)
        while reviewed := self._read(
            "SELECT DISTINCT boot, seq FROM reviews WHERE (boot, seq) < (?, ?) AND (boot, seq) >= (?, ?) "
            f"AND ? IN ('', who) ORDER BY boot DESC, seq DESC LIMIT {REVIEWS_AT_ONCE}",
            (*last, *oldest[0], self._wanted.reviewer),
        ):
            last = reviewed[-1]
            keys = ", ".join(f"({boot}, {seq})" for boot, seq in reviewed)
            found = self._read(  # A row-value IN would read the whole table.
                f"SELECT id FROM (VALUES {keys}) CROSS JOIN verdicts ON (boot, seq) = (column1, column2)",
                (),
            )
            rows = [row for (row,) in found if self._low <= row < self._end]
            if rows:
                yield from self._read_listed(rows, min(rows), limit)

    def _few(self) -> bool:
        """Whether fewer rows meet the other conditions than have a review."""
        wanted = self._wanted
        if not (wanted.product or wanted.results or wanted.reason):
            return False
        conditions, values = tally_conditions(wanted)
        matching = self._read(f"SELECT sum(rows) FROM tallies WHERE block >= 0 {conditions}", tuple(values))
        reviews = self._read("SELECT count(*) FROM reviews", ())
        return bool((matching[0][0] or 0) < reviews[0][0])

    def _read_listed(self, rows: list[int], searched_to: int, limit: int) -> Iterator[tuple[int, list[T]]]:
        """Read rows by their ids, newest first; with the last of them all is searched to `searched_to`.

        On a cold disk each takes a read of its own, so that many at once would exceed the budget.
        """
        ordered = sorted(rows, reverse=True)
        for start in range(0, len(ordered), ROWS_AT_ONCE):
            ids = ordered[start : start + ROWS_AT_ONCE]
            last = start + ROWS_AT_ONCE >= len(ordered)
            where = f"id IN ({', '.join(map(str, ids))})"
            yield searched_to if last else ids[-1], self._take(where, (), limit)
        if not ordered:
            yield searched_to, []


class Search(Walk[Verdict]):
    """A search for verdicts."""

    def run(self, limit: int, budget_s: float) -> Found:
        """Return at most `limit` verdicts; stop early when `budget_s` is over."""
        found, low = self._run(limit, budget_s)
        if len(found) >= limit:
            found = found[:limit]
            low = self._id_of(found[-1])
        return Found(found, *self._place(low))

    def _id_of(self, verdict: Verdict) -> int:
        rows = self._read("SELECT id FROM verdicts WHERE (boot, seq) = (?, ?)", (verdict.boot, verdict.seq))
        return int(rows[0][0]) if rows else self._low  # Retention was quicker.

    def _take(self, where: str, values: tuple[object, ...], limit: int) -> list[Verdict]:
        query = f"SELECT {COLUMNS} FROM verdicts WHERE {where} {self._where} ORDER BY id DESC LIMIT ?"
        return [verdict_of(row) for row in self._read(query, (*values, *self._values, limit))]


def tally_conditions(wanted: Conditions) -> tuple[str, list[object]]:
    """Return the conditions on `tallies`, which knows those on results, product, reason and images."""
    conditions: list[str] = []
    values: list[object] = []
    if wanted.results:
        conditions.append(f"result IN ({', '.join('?' * len(wanted.results))})")
        values += [result.value for result in wanted.results]
    for column, value in (("product", wanted.product or None), ("reason", wanted.reason)):
        if value is not None:
            conditions.append(f"{column} = ?")
            values.append(value)
    if wanted.has_image:
        conditions.append("images > 0")
    return "".join(f"AND {condition} " for condition in conditions), values


def _row_conditions(wanted: Conditions) -> tuple[str, list[object]]:
    conditions: list[str] = []
    values: list[object] = []
    if wanted.results:
        conditions.append(f"result IN ({', '.join('?' * len(wanted.results))})")
        values += sorted(result.value for result in wanted.results)
    exact = (
        ("product", wanted.product or None),
        ("region", wanted.region or None),
        ("model", wanted.model or None),
        ("reason", wanted.reason),
    )
    for column, value in exact:
        if value is not None:
            conditions.append(f"{column} = ?")
            values.append(value)
    if wanted.part:
        conditions.append("part >= ? AND part < ?")
        values += [wanted.part, _beyond(wanted.part)]
    if wanted.reviewed is not None:
        found = "EXISTS (SELECT 1 FROM reviews r WHERE (r.boot, r.seq) = (verdicts.boot, verdicts.seq))"
        conditions.append(found if wanted.reviewed else f"NOT {found}")
    if wanted.reviewer:
        latest = "SELECT who FROM reviews r WHERE (r.boot, r.seq) = (verdicts.boot, verdicts.seq)"
        conditions.append(f"({latest} ORDER BY r.id DESC LIMIT 1) = ?")
        values.append(wanted.reviewer)
    if wanted.has_image:
        conditions.append("image <> ''")
    return "".join(f"AND {condition} " for condition in conditions), values


def _beyond(prefix: str) -> str:
    """Return what sorts after every text that begins with `prefix`."""
    return prefix + chr(0x10FFFF)


def _ids(units: Range, size: int) -> Range:
    return units[0] * size, units[1] * size


def split(bounds: Range, middle: Range) -> tuple[Range, Range, Range]:
    """Return the part of `bounds` above `middle`, inside it and below it; each may be empty."""
    low, end = bounds
    first, last = (max(low, min(end, edge)) for edge in middle)
    return (last, end), (first, last), (low, first)


def _chunks(bounds: Range) -> Iterator[Range]:
    """Yield the blocks of a range, newest first."""
    low, end = bounds
    while end > low:
        start = max(low, (end - 1) // BLOCK_ROWS * BLOCK_ROWS)
        yield start, end
        end = start
