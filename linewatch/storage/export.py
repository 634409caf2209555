"""Read or count any number of verdicts of the journal, newest first, beside a line that goes first.

Each few hundred rows are a search of their own, as short as those of the page, so that memory is flat and no
read transaction holds up the checkpoints; between them the export rests as long as it has read, or as long as
reading and writing have kept a processor busy.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator

from linewatch.domain import Result, Verdict
from linewatch.storage.journal_reader import JournalReader, Review
from linewatch.storage.journal_search import Conditions

ROWS_AT_ONCE = 500
BUDGET_S = 0.1
REST_S_MAX = 0.5  # On a cold disk one step takes longer than its budget.

Exported = tuple[Verdict, Review | None]


def export(
    reader: JournalReader,
    wanted: Conditions,
    *,
    before: tuple[int, int] | None = None,
    rest: Callable[[float], None] = time.sleep,
) -> Iterator[Exported]:
    """Yield verdicts with their latest review, those before (boot, seq) if it is given."""
    while True:
        started, cpu_started = time.monotonic(), time.thread_time()
        found = reader.search(ROWS_AT_ONCE, wanted, before=before, budget_s=BUDGET_S)
        reviews = _reviews(reader, found.verdicts)
        took_s = time.monotonic() - started
        for verdict in found.verdicts:
            yield verdict, reviews.get((verdict.boot, verdict.seq))
        before = found.searched_to
        if before is None:
            return
        rest(min(max(took_s, time.thread_time() - cpu_started), REST_S_MAX))


def counts(
    reader: JournalReader,
    wanted: Conditions,
    *,
    before: tuple[int, int] | None = None,
    rest: Callable[[float], None] = time.sleep,
) -> dict[Result, int]:
    """Return how many verdicts of each result there are, counted in the same short steps."""
    counted = Counter(dict.fromkeys(Result, 0))
    while True:
        started = time.monotonic()
        found = reader.count(wanted, before=before, budget_s=BUDGET_S)
        counted.update(found.counts)
        before = found.searched_to
        if before is None:
            return dict(counted)
        rest(min(time.monotonic() - started, REST_S_MAX))


def _reviews(reader: JournalReader, verdicts: list[Verdict]) -> dict[tuple[int, int], Review]:
    """Return the latest review of each verdict that has one; `verdicts` are newest first."""
    if not verdicts:
        return {}
    newest, oldest = verdicts[0], verdicts[-1]
    return reader.reviews_between((oldest.boot, oldest.seq), (newest.boot, newest.seq))
