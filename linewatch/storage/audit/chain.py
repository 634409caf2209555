"""The hash chain of the audit: each row carries the SHA-256 over its content and the hash of the row before.

The content is the JSON array `[hash of the row before, id, at_ms, who, action, facts]` without spaces, in
ASCII, where `facts` is the text of the column; the first row follows 64 zeros. So every language with JSON
and SHA-256 can check it (docs/audit.md).
"""

import hashlib
import json
import sqlite3
from collections.abc import Mapping
from typing import NamedTuple

BEGINNING = "0" * 64  # The hash before the first row.

TABLE = """
CREATE TABLE audit (id INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, who TEXT NOT NULL, action TEXT NOT NULL,
    facts TEXT NOT NULL, hash TEXT NOT NULL);
"""
GUARDS = """
CREATE TRIGGER audit_never_changes BEFORE UPDATE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END;
CREATE TRIGGER audit_never_shrinks BEFORE DELETE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END;
"""


class Head(NamedTuple):
    """The newest row: with it at hand, also the removal of the last rows is found."""

    row: int  # 0: there is none.
    hash: str


def chained(before: str, row: int, at_ms: int, who: str, action: str, facts: str) -> str:
    """Return the hash of a row, 64 hex digits; `before` is that of the row before."""
    content = json.dumps([before, row, at_ms, who, action, facts], separators=(",", ":"))
    return hashlib.sha256(content.encode()).hexdigest()


def head(db: sqlite3.Connection) -> Head:
    """Return the newest row."""
    found = db.execute("SELECT id, hash FROM audit ORDER BY id DESC LIMIT 1").fetchone()
    return Head(*found) if found else Head(0, BEGINNING)


def insert(db: sqlite3.Connection, at_ms: int, who: str, action: str, facts: Mapping[str, object]) -> Head:
    """Append a row inside the caller's immediate transaction, and return it as the new head."""
    assert db.in_transaction, "two writers would chain to the same row"
    last = head(db)
    text = json.dumps(facts, default=str)
    who = who.encode("utf-8", "replace").decode()  # Lone surrogates of a name cannot be stored.
    new = Head(last.row + 1, chained(last.hash, last.row + 1, at_ms, who, action, text))
    db.execute(
        "INSERT INTO audit (id, at_ms, who, action, facts, hash) VALUES (?, ?, ?, ?, ?, ?)",
        (new.row, at_ms, who, action, text, new.hash),
    )
    return new


def migrate(db: sqlite3.Connection, at_ms: int, schema: int) -> None:
    """Chain the rows of a journal from before there were hashes, and say so in a row of its own.

    Call it inside an immediate transaction.
    """
    if "hash" in {name for _, name, *_ in db.execute("PRAGMA table_info(audit)")}:
        return
    guards = dict(db.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall())
    for name in guards:
        db.execute(f"DROP TRIGGER {name}")
    db.execute("ALTER TABLE audit ADD COLUMN hash TEXT NOT NULL DEFAULT ''")
    last, rows = BEGINNING, 0
    for row, *content in db.execute("SELECT id, at_ms, who, action, facts FROM audit ORDER BY id").fetchall():
        last = chained(last, row, *content)
        db.execute("UPDATE audit SET hash = ? WHERE id = ?", (last, row))
        rows += 1
    for sql in guards.values():
        db.execute(sql)
    facts = {"rows": rows, "schema": schema, "why": "rows before this one were chained now"}
    insert(db, at_ms, "linewatch", "audit_chained", facts)
