"""Write the days of a journal as Parquet files, `station=NAME/day=YYYY-MM-DD/TABLE.parquet`."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from linewatch.errors import StorageFull, UsageError
from linewatch.storage.journal_reader import JournalReader
from linewatch.storage.journal_schema import Damaged
from linewatch.storage.shipping.journal_days import DAY_MS, JournalDays
from linewatch.storage.shipping.parquet_file import read_facts, write_rows
from linewatch.storage.shipping.tables import SCHEMA, TABLES

SETTLE_MS = 60_000  # After midnight: by then the last rows of the day are in the journal.


@dataclass(frozen=True, slots=True)
class ShippedDay:
    """One day, and how many rows each file has that was written now; none if all were up to date."""

    day: date
    written: dict[str, int]


def ship(
    reader: JournalReader,
    station: str,
    target: Path,
    now_ms: int,
    *,
    today: bool = False,
    rest: Callable[[float], None] = time.sleep,
) -> Iterator[ShippedDay]:
    """Yield every day that is over, once its files in `target` hold what the journal holds of it.

    A file is written if there is none, or the journal has changed since: after a late review, for example.
    One that has more rows than the journal still has, after retention, is left alone. `today` writes the
    day that is not over, too. Raises UsageError without a folder `target`, StorageFull.
    """
    if not target.is_dir():
        raise UsageError(f"there is no folder {str(target)!r}; make it, or mount the share")
    try:
        journal = JournalDays(reader, now_ms, rest)
        for day in journal.days():
            over = (day + 1) * DAY_MS + SETTLE_MS <= now_ms
            if over or (today and day == now_ms // DAY_MS):
                name = date(1970, 1, 1) + timedelta(days=day)
                folder = target / f"station={station}" / f"day={name}"
                yield ShippedDay(name, _write_day(journal, station, day, folder))
    except Damaged as damage:
        raise StorageFull(reader.path, f"it is damaged ({damage})") from damage


def _write_day(journal: JournalDays, station: str, day: int, folder: Path) -> dict[str, int]:
    written = {}
    for table in TABLES:
        wanted = journal.content(table, day)
        path = folder / f"{table.name}.parquet"
        found = read_facts(path)
        if wanted is None or (found is not None and found.rows > wanted.rows):
            continue
        if found is None or (found.schema, found.mark) != (SCHEMA, wanted.mark):
            written[table.name] = write_rows(path, table, station, wanted.mark, wanted.chunks())
    return written
