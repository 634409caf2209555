"""What the journal holds of each UTC day, read in short steps beside a line that goes first."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from linewatch.domain import NO_BOX
from linewatch.storage.audit.reading import AuditEntry, facts_of
from linewatch.storage.journal_reader import JournalReader
from linewatch.storage.shipping.tables import AUDIT, REVIEWS, STATES, Table
from linewatch.storage.states import spans

DAY_MS = 86_400_000
ROWS_AT_ONCE = 2_000
REST_S_MAX = 0.5  # On a cold disk one step takes long.
SPAN_DAYS_MAX = 400  # A longer state comes from a clock that was set, and counts at its ends only.

_BEFORE_BOX = (
    'boot, seq, captured_ms, journaled_ms, part, "trigger", product, product_index, model, result, reason, '
    "raw, threshold, age_ms, latency_ms, late, simulated, defects"
)
_VERDICTS = f"SELECT box, region, region_index, image, heatmap, {_BEFORE_BOX} FROM verdicts"
_AFTER_BOX = 4
_REVIEWS = """
SELECT r.id, r.boot, r.seq, v.journaled_ms FROM reviews r
CROSS JOIN verdicts v ON v.boot = +r.boot AND v.seq = +r.seq WHERE r.id > ? ORDER BY r.id LIMIT ?
"""  # CROSS JOIN and plus: in this order, one lookup for each review, without the affinity of its columns.

Chunks = Iterator[Sequence[Sequence[Any]]]


@dataclass(frozen=True, slots=True)
class Content:
    """What a file of one day has to hold."""

    mark: str  # Changes with the content.
    rows: int
    chunks: Callable[[], Chunks]


class JournalDays:
    """The days of a journal, by their number since 1970. Every method may raise StorageFull or Damaged."""

    def __init__(
        self, reader: JournalReader, now_ms: int, rest: Callable[[float], None] = time.sleep
    ) -> None:
        self._reader = reader
        self._now_ms = now_ms
        self._rest = rest

    def days(self) -> list[int]:
        """Return the days on which the station judged, ran or was changed, oldest first."""
        return sorted({*self._judged, *self._ran, *self._acts})

    def content(self, table: Table, day: int) -> Content | None:
        """Return what the file of a day has to hold; None if the journal no longer knows it."""
        if table is AUDIT:
            return self._audit(day)
        if day < min([*self._judged, *self._ran], default=day + 1):
            return None  # Retention removed it; the audit is kept for ever.
        if table is STATES:
            return self._states(day)
        return self._reviews(day) if table is REVIEWS else self._verdicts(day)

    @cached_property
    def _judged(self) -> list[int]:
        found: list[int] = []
        row = 0
        while later := self._reader.read(
            "SELECT journaled_ms FROM verdicts WHERE id >= ? ORDER BY id LIMIT 1", (row,)
        ):
            found.append(max(later[0][0] // DAY_MS, found[-1] + 1 if found else 0))
            row = self._reader.first_since((found[-1] + 1) * DAY_MS)
        return found

    @cached_property
    def _ran(self) -> set[int]:
        found: set[int] = set()
        for since_ms, until_ms in self._reader.read("SELECT since_ms, until_ms FROM states"):
            first, last = since_ms // DAY_MS, until_ms // DAY_MS
            found |= {first, last} if last - first > SPAN_DAYS_MAX else set(range(first, last + 1))
        return found

    @cached_property
    def _acts(self) -> dict[int, tuple[int, int]]:
        """How many acts a day has, and the row of the last one."""
        query = f"SELECT at_ms / {DAY_MS}, count(*), max(id) FROM audit GROUP BY 1"
        return {day: (rows, last) for day, rows, last in self._reader.read(query)}

    def _verdicts(self, day: int) -> Content:
        first = self._reader.first_since(day * DAY_MS)
        end = self._reader.first_since((day + 1) * DAY_MS)  # Ids have no gaps.
        return Content(f"{first}-{end}", end - first, lambda: self._verdict_rows(first, end))

    def _verdict_rows(self, first: int, end: int) -> Chunks:
        for low in range(first, end, ROWS_AT_ONCE):
            started = time.monotonic()
            query = f"{_VERDICTS} WHERE id >= ? AND id < ? ORDER BY id"
            rows = self._reader.read(query, (low, min(end, low + ROWS_AT_ONCE)))
            took_s = time.monotonic() - started
            yield [(*row[_AFTER_BOX + 1 :], *_box(row[0]), *row[1 : _AFTER_BOX + 1]) for row in rows]
            self._rest(min(took_s, REST_S_MAX))

    @cached_property
    def _latest(self) -> dict[int, dict[tuple[int, int], int]]:
        """The latest review of each part that has one, by the day of the part."""
        found: dict[int, dict[tuple[int, int], int]] = {}
        last = 0
        while rows := self._reader.read(_REVIEWS, (last, ROWS_AT_ONCE)):
            for review, boot, seq, at_ms in rows:
                found.setdefault(at_ms // DAY_MS, {})[boot, seq] = review
            last = rows[-1][0]
        return found

    def _reviews(self, day: int) -> Content:
        reviews = sorted(self._latest.get(day, {}).values())
        mark = f"{len(reviews)}-{reviews[-1]}" if reviews else "none"
        return Content(mark, len(reviews), lambda: self._review_rows(reviews))

    def _review_rows(self, reviews: list[int]) -> Chunks:
        for start in range(0, len(reviews), ROWS_AT_ONCE):
            ids = ", ".join(map(str, reviews[start : start + ROWS_AT_ONCE]))
            yield self._reader.read(
                f"SELECT boot, seq, at_ms, actual, note, who FROM reviews WHERE id IN ({ids}) ORDER BY id"
            )

    def _states(self, day: int) -> Content:
        found = spans(self._reader.read, day * DAY_MS, (day + 1) * DAY_MS)
        rows = [(each.state.value, each.product, each.reason, each.since_ms, each.until_ms) for each in found]
        over = self._now_ms >= (day + 1) * DAY_MS
        return Content("whole" if over else f"until {self._now_ms}", len(rows), lambda: iter([rows]))

    def _audit(self, day: int) -> Content:
        rows, last = self._acts.get(day, (0, 0))
        return Content(f"{rows}-{last}", rows, lambda: iter([self._audit_rows(day)]))

    def _audit_rows(self, day: int) -> list[tuple[Any, ...]]:
        rows = self._reader.read(
            "SELECT id, at_ms, who, action, facts, hash FROM audit "
            "WHERE at_ms >= ? AND at_ms < ? ORDER BY id",
            (day * DAY_MS, (day + 1) * DAY_MS),
        )
        return [
            (row, at_ms, who, action, AuditEntry(at_ms, who, action, facts_of(facts)).product, facts, digest)
            for row, at_ms, who, action, facts, digest in rows
        ]


def _box(text: str) -> tuple[int, ...]:
    return NO_BOX if text == "0,0,0,0" else tuple(map(int, text.split(",")))
