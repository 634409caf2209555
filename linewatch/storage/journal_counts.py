"""Count the journal's verdicts by result, from the newest row back, from sums where the index has them."""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from linewatch.domain import Result
from linewatch.storage.journal_index import BLOCK_ROWS
from linewatch.storage.journal_search import Conditions, Range, Walk, split, tally_conditions

BLOCKS_SUMMED = 1024  # At once: a few milliseconds with many products.
_SUMMED = Conditions()  # What the sums know beside results, product and reason.

Some = tuple[Result, int]
"""How many rows of a result a step found."""


@dataclass(frozen=True, slots=True)
class Counted:
    """How many verdicts of each result there are, and how far they are counted."""

    counts: dict[Result, int]  # Of every result.
    searched_to: tuple[int, int] | None = None  # (boot, seq) to go on before; None: nothing older is left.
    searched_to_ms: int | None = None  # When that verdict was journaled.


class Count(Walk[Some]):
    """Counts the rows of `bounds` that meet the conditions."""

    def run(self, budget_s: float = math.inf) -> Counted:
        """Return the counts of what is reached before `budget_s` is over."""
        found, low = self._run(2**62, budget_s)
        counts = Counter(dict.fromkeys(Result, 0))
        for result, rows in found:
            counts[result] += rows
        return Counted(dict(counts), *self._place(low))

    def _scan(self, bounds: Range, limit: int) -> Iterator[tuple[int, list[Some]]]:
        alone = replace(
            self._wanted, results=frozenset(), product="", reason=None, since_ms=None, until_ms=None
        )
        if alone != _SUMMED:
            yield from super()._scan(bounds, limit)
            return
        above, inside, below = split(bounds, self._tallied)
        first, end = -(-inside[0] // BLOCK_ROWS), inside[1] // BLOCK_ROWS  # The blocks that are whole.
        yield from self._scan_rows(above, limit)
        if first < end:
            yield from self._scan_rows((end * BLOCK_ROWS, inside[1]), limit)
            for top in range(end, first, -BLOCKS_SUMMED):
                low = max(first, top - BLOCKS_SUMMED)
                yield low * BLOCK_ROWS, self._sums(low, top)
            inside = inside[0], first * BLOCK_ROWS
        yield from self._scan_rows(inside, limit)
        yield from self._scan_rows(below, limit)

    def _sums(self, first: int, end: int) -> list[Some]:
        conditions, values = tally_conditions(self._wanted)
        query = "SELECT result, sum(rows) FROM tallies WHERE block >= ? AND block < ? AND rows > 0"
        rows = self._read(f"{query} {conditions} GROUP BY 1", (first, end, *values))
        return [(Result(result), number) for result, number in rows]

    def _take(self, where: str, values: tuple[object, ...], limit: int) -> list[Some]:  # noqa: ARG002 - all
        query = f"SELECT result, count(*) FROM verdicts WHERE {where} {self._where} GROUP BY result"
        return [(Result(result), rows) for result, rows in self._read(query, (*values, *self._values))]
