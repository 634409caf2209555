"""The journal's SQLite file: schema, opening, checks, lock, and renaming a damaged one."""

import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from linewatch.domain import Comparison, Reason, Result, Verdict
from linewatch.errors import ConfigError, StorageFull
from linewatch.storage.audit import chain
from linewatch.storage.audit.note import ENDING as AUDIT_NOTE
from linewatch.storage.audit.note import write_note
from linewatch.storage.promise.tables import TABLES as PROMISE_TABLES

SCHEMA_VERSION = 7
BUSY_S = 0.1  # Another program may hold the file for this long.
CHECKED_BYTES_MAX = 64_000_000  # A larger file would take seconds to check at start.
PAGE_BYTES = 4096  # SQLite's default.
_MAGIC = b"SQLite format 3\0"
WAL_BYTES_MAX = 2_000_000  # Above this a checkpoint is due.
CHECKPOINTS_MAX = 3  # In a row.
WAL_BYTES_KEPT = 32_000_000  # To this the WAL file is cut when it starts again from its beginning.

FIELDS = tuple(field.name for field in fields(Verdict))
COLUMNS = ", ".join(f'"{name}"' for name in FIELDS)  # Quoted: "trigger" is a word of SQL.
INSERT = f"INSERT INTO verdicts (journaled_ms, {COLUMNS}) VALUES (?{', ?' * len(FIELDS)})"
UPSERT = f"{INSERT} ON CONFLICT (boot, seq) DO UPDATE SET journaled_ms = excluded.journaled_ms, " + ", ".join(
    f'"{name}" = excluded."{name}"' for name in FIELDS
)
COMPARED = tuple(field.name for field in fields(Comparison))
COMPARE = f"INSERT INTO comparisons ({', '.join(COMPARED)}) VALUES (?{', ?' * (len(COMPARED) - 1)})"
_LATER = f"""
CREATE TABLE IF NOT EXISTS comparisons (id INTEGER PRIMARY KEY, {", ".join(COMPARED)});
CREATE INDEX IF NOT EXISTS comparisons_by_model ON comparisons (product, trial_model, id);
CREATE TABLE IF NOT EXISTS tallies (block INTEGER, product TEXT, result TEXT, reason INTEGER,
    rows INTEGER NOT NULL, images INTEGER NOT NULL, places TEXT,
    PRIMARY KEY (block, product, result, reason)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS tallies_by_product ON tallies (product, block);
CREATE INDEX IF NOT EXISTS tallies_by_result ON tallies (result, block);
CREATE INDEX IF NOT EXISTS tallies_by_reason ON tallies (reason, block);
CREATE TABLE IF NOT EXISTS segments (segment INTEGER PRIMARY KEY, first_part TEXT NOT NULL,
    last_part TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS parts (segment INTEGER, part TEXT, id INTEGER,
    PRIMARY KEY (segment, part, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS states (id INTEGER PRIMARY KEY, boot INTEGER NOT NULL, product TEXT NOT NULL,
    state TEXT NOT NULL, reason TEXT NOT NULL, since_ms INTEGER NOT NULL, until_ms INTEGER NOT NULL);
{PROMISE_TABLES}
"""  # Of versions 2 (models on trial), 4 (the search index), 6 and 7; made at once, in a file of any size.
ADDED = {"region": "''", "region_index": "0"}  # Columns of version 5, and what the rows before have there.
_INDEX_OF_3 = "DROP TABLE tallies; DROP TABLE segments; DROP TABLE parts;"  # Of another shape; built again.
_SCHEMA = f"""
CREATE TABLE verdicts (id INTEGER PRIMARY KEY, journaled_ms INTEGER NOT NULL, {COLUMNS}, UNIQUE (boot, seq));
CREATE INDEX verdicts_not_pass ON verdicts (result, id) WHERE result <> 'PASS';
CREATE TABLE delivery (one INTEGER PRIMARY KEY CHECK (one = 1), position INTEGER NOT NULL);
INSERT INTO delivery VALUES (1, 0);
CREATE TABLE boots (boot INTEGER PRIMARY KEY, started_ms INTEGER NOT NULL);
CREATE TABLE reviews (id INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, boot INTEGER NOT NULL,
    seq INTEGER NOT NULL, actual TEXT NOT NULL CHECK (actual IN ('good', 'defect')), note TEXT NOT NULL,
    who TEXT NOT NULL);
CREATE INDEX reviews_by_part ON reviews (boot, seq);
{chain.TABLE}
{chain.GUARDS}
{_LATER}
"""

NO_WAL = "this file system, perhaps a network share, cannot hold a journal; name a local disk in journal.path"
_NO_ROOM = {
    sqlite3.SQLITE_PROTOCOL: NO_WAL,
    sqlite3.SQLITE_FULL: "the disk is full; free some room",
    sqlite3.SQLITE_READONLY: "the disk or the file is read-only; check mount and permissions",
    sqlite3.SQLITE_IOERR: "the disk reports an error; check the disk and its free room",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened; check folder, permissions and free room",
    sqlite3.SQLITE_PERM: "access is denied; check permissions",
    sqlite3.SQLITE_BUSY: "another program holds the file; close it",
    sqlite3.SQLITE_LOCKED: "another program holds the file; close it",
}


def utc_ms() -> int:
    """Return UTC milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class Damaged(Exception):
    """The file is not a sound database and has to be replaced."""


@contextmanager
def translate_errors(path: Path) -> Iterator[None]:
    """Raise StorageFull for I/O errors, Damaged for a corrupt file; other errors are bugs and pass."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # Without its details.
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise Damaged(str(error)) from error
        if code not in _NO_ROOM:
            raise
        raise StorageFull(path, _NO_ROOM[code], no_room=code == sqlite3.SQLITE_FULL) from error


def connect(path: Path, synchronous: str) -> sqlite3.Connection:
    """Open the file in autocommit mode. Threads that share the connection need a lock.

    `synchronous` is "FULL" (a commit survives a power cut) or "NORMAL" (the last commits may be lost).
    """
    db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        _use_wal(db, path)
        db.execute(f"PRAGMA synchronous = {synchronous}")
        db.execute("PRAGMA wal_autocheckpoint = 0")  # A commit never waits for one; maintenance runs them.
        db.execute(f"PRAGMA journal_size_limit = {WAL_BYTES_KEPT}")
        db.execute("PRAGMA secure_delete = OFF")  # Debian's default writes every removed row once more.
    except BaseException:
        db.close()
        raise
    return db


def _use_wal(db: sqlite3.Connection, path: Path) -> None:
    mode = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":  # SQLite keeps the old mode, without an error, where memory cannot be shared.
        raise StorageFull(path, NO_WAL)


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Commit after the block; roll back if it raises."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


def prepare(db: sqlite3.Connection, path: Path) -> None:
    """Create the tables in a new file, check an existing one. Raises Damaged, ConfigError, sqlite3 errors."""
    version = _version(db)
    if version > SCHEMA_VERSION:
        raise ConfigError(
            f"journal.path {str(path)!r} was written by a newer linewatch; install that, or name another file"
        )
    if version == 0 and db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        if not _version(db):  # Another process has not just made it.
            raise ConfigError(f"journal.path {str(path)!r} is another program's database; name another file")
    elif version and path.stat().st_size <= CHECKED_BYTES_MAX:
        verdict = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if verdict != "ok":
            raise Damaged(verdict)
    if version < SCHEMA_VERSION:
        with transaction(db):
            _migrate(db, _version(db))
        if version:
            write_note(path, chain.head(db))


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _migrate(db: sqlite3.Connection, version: int) -> None:
    """Bring a file of `version` to the present schema; 0 is a new file."""
    if version == SCHEMA_VERSION:
        return  # Another process was quicker.
    if version == 0:
        _execute_all(db, _SCHEMA)
    else:
        for name, value in _missing(db):
            db.execute(f"ALTER TABLE verdicts ADD COLUMN {name} DEFAULT {value}")
        _execute_all(db, f"{_INDEX_OF_3 if version == 3 else ''} {_LATER}")
        chain.migrate(db, utc_ms(), version)
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _execute_all(db: sqlite3.Connection, script: str) -> None:
    """Run every statement of a script inside the transaction, which `executescript` would commit first."""
    statement = ""
    for piece in script.split(";"):
        statement += f"{piece};"
        if sqlite3.complete_statement(statement):
            if statement.strip(" ;\n"):
                db.execute(statement)
            statement = ""


def show_added_columns(db: sqlite3.Connection) -> None:
    """Let a connection read a file of an older version that its writer has not opened yet."""
    if missing := _missing(db):
        added = ", ".join(f"{value} AS {name}" for name, value in missing)
        db.execute(f"CREATE TEMP VIEW verdicts AS SELECT *, {added} FROM main.verdicts")


def _missing(db: sqlite3.Connection) -> list[tuple[str, str]]:
    """Return the columns that a file of an older version lacks, none in a file without tables."""
    known = {name for _, name, *_ in db.execute("PRAGMA main.table_info(verdicts)")}
    return [(name, value) for name, value in ADDED.items() if known and name not in known]


def checkpoint(db: sqlite3.Connection, path: Path) -> int:
    """Copy a long WAL into the file, so that it starts again from its beginning; neither wait nor block.

    Returns how many bytes of it could not be copied because a reader still needs what is in the file.
    """
    wal = companion(path, "-wal")
    if not wal.exists() or wal.stat().st_size <= WAL_BYTES_MAX:
        return 0
    for _ in range(CHECKPOINTS_MAX):  # A commit meanwhile keeps it from starting again.
        _, pages, copied = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        if pages <= copied:
            break
    return int(max(0, pages - copied)) * PAGE_BYTES


def row_of(verdict: Verdict, journaled_ms: int) -> tuple[object, ...]:
    """Return one row for INSERT or UPSERT."""
    return (
        journaled_ms,
        *(to_sql(getattr(verdict, name)) for name in FIELDS),
    )


def verdict_of(row: tuple[Any, ...]) -> Verdict:
    """Return the verdict in a row of COLUMNS."""
    facts: dict[str, Any] = dict(zip(FIELDS, row, strict=True))
    facts["result"] = Result(facts["result"])
    facts["reason"] = Reason(facts["reason"])
    facts["box"] = tuple(map(int, str(facts["box"]).split(",")))
    facts["late"], facts["simulated"] = bool(facts["late"]), bool(facts["simulated"])
    return Verdict(**facts)


def comparison_of(row: tuple[Any, ...]) -> Comparison:
    """Return the comparison in a row of COMPARED."""
    facts: dict[str, Any] = dict(zip(COMPARED, row, strict=True))
    facts["result"], facts["trial_result"] = Result(facts["result"]), Result(facts["trial_result"])
    return Comparison(**facts)


def utf8(text: str) -> str:
    """Replace lone surrogates, which a file name may hold, because UTF-8 cannot encode them."""
    return text.encode("utf-8", "replace").decode()


def companion(path: Path, ending: str) -> Path:
    """Return the companion file, for example `journal.db-wal`."""
    return path.with_name(path.name + ending)


def refuse_foreign(path: Path) -> None:
    """Raise ConfigError for a file that is no journal, so that a mistyped path destroys nothing.

    A damaged journal is recognised by the boot number beside it. Raises OSError when it cannot be read.
    """
    if not path.is_file() or companion(path, ".boot").exists():
        return
    with path.open("rb") as file:
        start = file.read(len(_MAGIC))
    if start not in (b"", _MAGIC):
        raise ConfigError(f"journal.path {str(path)!r} is no journal; name another file")


def lock(path: Path) -> int:
    """Lock the journal for this process; return the file descriptor that holds the lock.

    Raises ConfigError when another process holds it, OSError when the file cannot be opened.
    """
    fd = os.open(companion(path, ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner = os.pread(fd, 32, 0).decode(errors="replace").strip() or "?"
        os.close(fd)
        raise ConfigError(
            f"journal.path {str(path)!r} is in use by another linewatch (process {owner}); "
            "stop that one or give each station its own"
        ) from error
    with suppress(OSError):  # On a full disk the number cannot be written, but the lock holds.
        os.truncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd


def identity(path: Path) -> tuple[int, int] | None:
    """Return device and inode of a file, None if it does not exist."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def set_aside(path: Path) -> Path:
    """Rename the damaged file and its companions; return the new name."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    for ending in ("", "-wal", "-shm", AUDIT_NOTE):
        source = companion(path, ending)
        if source.exists():
            source.rename(companion(path, f".damaged-{stamp}{ending}"))
    return companion(path, f".damaged-{stamp}")


def read_boot(path: Path) -> int:
    """Return the boot number kept beside the journal, 0 if there is none."""
    try:
        return int(companion(path, ".boot").read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):  # A torn file: the journal has the number, too.
        return 0


def write_boot(path: Path, boot: int) -> None:
    """Save the boot number, safe against a power cut and a lost journal. Raises OSError."""
    target, new = companion(path, ".boot"), companion(path, ".boot.new")
    with new.open("w", encoding="ascii") as file:
        file.write(f"{boot}\n")
        file.flush()
        os.fsync(file.fileno())
    new.replace(target)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def to_sql(value: object) -> object:
    """Convert a field to an SQLite value: number, text, or a box as "x,y,w,h"."""
    if isinstance(value, str):
        return utf8(str(value))
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return value


assert sqlite3.threadsafety == 3, "connections are shared between threads under a lock"
