"""Read the audit, newest first, and verify its chain."""

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from linewatch.storage.audit.chain import BEGINNING, Head, chained
from linewatch.storage.journal_schema import Damaged

ROWS_AT_ONCE = 500
_TYPES = "integertexttexttexttext"

Rows = Callable[[str, tuple[object, ...]], list[tuple[Any, ...]]]
"""Run a query and return its rows."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One row of the audit: who did what, and when (UTC milliseconds)."""

    at_ms: int
    who: str
    action: str
    facts: dict[str, object]
    row: int = 0
    hash: str = ""

    @property
    def product(self) -> str:
        """The product that the act is about, "" for none."""
        named = str(self.facts.get("product") or "")
        versions = (str(self.facts.get(key) or "").rpartition("/")[0] for key in ("to", "from"))
        return named or next(filter(None, versions), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditConditions:
    """Which rows to return: all conditions hold at once."""

    since_ms: int | None = None
    until_ms: int | None = None
    who: str = ""
    action: str = ""
    product: str = ""
    before_row: int | None = None

    def hold(self, entry: AuditEntry) -> bool:
        """Whether they hold for a row."""
        return (
            (self.since_ms is None or entry.at_ms >= self.since_ms)
            and (self.until_ms is None or entry.at_ms < self.until_ms)
            and self.who in ("", entry.who)
            and self.action in ("", entry.action)
            and self.product in ("", entry.product)
        )


EVERY = AuditConditions()


@dataclass(frozen=True, slots=True)
class Verification:
    """What verifying the chain found."""

    head: Head  # The newest row that is intact, with all rows before it.
    trouble: str = ""  # One sentence on the first broken row; "" if all is intact.
    broken_row: int = 0

    @property
    def intact(self) -> bool:
        """Whether every row is as it was written, and none is missing."""
        return not self.trouble


def entries(read: Rows, wanted: AuditConditions = EVERY) -> Iterator[AuditEntry]:
    """Yield rows of the audit, newest first."""
    if not read("SELECT 1 FROM sqlite_schema WHERE name = 'audit'", ()):
        return  # A new file.
    columns = {name for _, name, *_ in read("PRAGMA table_info(audit)", ())}
    digest = "hash" if "hash" in columns else "''"  # An older file, not opened for writing yet.
    end = wanted.before_row if wanted.before_row is not None else 2**62
    while rows := read(
        f"SELECT id, at_ms, CAST(who AS BLOB), CAST(action AS BLOB), CAST(facts AS BLOB), {digest} "
        f"FROM audit WHERE id < ? ORDER BY id DESC LIMIT {ROWS_AT_ONCE}",
        (end,),
    ):
        for row, at_ms, *texts, found_hash in rows:
            who, action, facts = (bytes(text).decode("utf-8", "replace") for text in texts)
            entry = AuditEntry(at_ms, who, action, facts_of(facts), row, str(found_hash))
            if wanted.hold(entry):
                yield entry
        end = rows[-1][0]


def verify(read: Rows, noted: Iterable[Head] = ()) -> Verification:
    """Check every row against its hash and the row before, and that every `noted` row is there unchanged.

    Damage to the file that hides rows counts as a broken row, too.
    """
    last = Head(0, BEGINNING)
    expected: dict[int, set[str]] = {}
    for head in noted:
        expected.setdefault(head.row, set()).add(head.hash)
    expected.pop(0, None)
    try:
        while rows := read(
            "SELECT id, CAST(at_ms AS BLOB), CAST(who AS BLOB), CAST(action AS BLOB), CAST(facts AS BLOB), "
            "CAST(hash AS BLOB), "
            "typeof(at_ms) || typeof(who) || typeof(action) || typeof(facts) || typeof(hash) "
            f"FROM audit WHERE id > ? ORDER BY id LIMIT {ROWS_AT_ONCE}",
            (last.row,),
        ):
            for row in rows:
                if trouble := _trouble(last, row, expected):
                    return Verification(last, trouble, row[0])
                last = Head(row[0], bytes(row[5]).decode())
    except (sqlite3.DatabaseError, Damaged, ValueError) as error:
        return Verification(last, f"the file is damaged after row {last.row}: {error}", last.row + 1)
    if expected:
        reached = max(expected)
        return Verification(last, f"it ends at row {last.row}, but has once reached row {reached}", reached)
    return Verification(last)


def _trouble(last: Head, row: Sequence[Any], expected: dict[int, set[str]]) -> str:
    """Return what is wrong with a row that follows `last`, "" if nothing; remove it from `expected`."""
    number, types = row[0], row[6]
    if types != _TYPES:
        return f"row {number} was changed: its columns are {types}"
    try:
        at_ms, who, action, facts, digest = (bytes(value).decode() for value in row[1:6])
    except UnicodeDecodeError:
        return f"row {number} was changed: it is no text any more"
    if chained(last.hash, number, int(at_ms), who, action, facts) == digest:
        noted = expected.pop(number, {digest}) == {digest}
        return "" if noted else f"row {number} is not the one that was noted when it was written"
    if number != last.row + 1:
        return f"rows between {last.row} and {number} are missing, or row {number} was changed"
    return f"row {number} was changed, or a row before it: its hash does not fit"


def facts_of(text: str) -> dict[str, object]:
    """Return the facts in the text of the column; a damaged text is the fact `damaged`."""
    try:
        found = json.loads(text)
    except ValueError:  # A damaged row, which is shown all the same.
        return {"damaged": text}
    return found if isinstance(found, dict) else {"damaged": text}
