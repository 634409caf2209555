"""The SQLite file of users, sessions and tokens: opened for each call, readable by the station's user only.

So a command changes it beside a running daemon, which sees the change with its next request.
"""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from linewatch.errors import StorageFull

MODE = 0o600
BUSY_S = 2.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS users (name TEXT PRIMARY KEY, folded TEXT NOT NULL UNIQUE, role TEXT NOT NULL,
    hash TEXT NOT NULL, added_ms INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS sessions (hash BLOB PRIMARY KEY,
    user TEXT REFERENCES users (name) ON DELETE CASCADE,
    token_mark TEXT NOT NULL, begun_ms INTEGER NOT NULL, ends_ms INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS tokens (name TEXT PRIMARY KEY, role TEXT NOT NULL, hash BLOB NOT NULL UNIQUE,
    added_ms INTEGER NOT NULL, added_by TEXT NOT NULL);
"""


class PeopleFile:
    """Gives connections for one transaction each; in memory with `path` None."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._memory: sqlite3.Connection | None = None
        if path is None:
            self._memory = _connected(":memory:")
            self._memory.executescript(_SCHEMA)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Give a connection to read from; a file that does not exist is empty. Raises StorageFull."""
        if self._memory is None and self.path is not None and not self.path.exists():
            with closing(_connected(":memory:")) as db:
                db.executescript(_SCHEMA)
                yield db
            return
        with self._open() as db:
            yield db

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Give a connection inside a transaction that is complete or not made at all. Raises StorageFull."""
        with self._open(create=True) as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.rollback()
                raise
            db.commit()

    @contextmanager
    def _open(self, *, create: bool = False) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if self._memory is not None:
                yield self._memory
                return
            assert self.path is not None
            with _translated(self.path):
                if create:
                    _make_private(self.path)
                with closing(_connected(self.path)) as db:
                    if create:
                        db.executescript(_SCHEMA)
                    yield db


def _connected(path: Path | str) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA foreign_keys = ON")
    return db


def _make_private(path: Path) -> None:
    """Create the file if it is missing; only its owner may read it. SQLite's journal gets that mode too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, MODE)
    try:
        found = os.fstat(handle)
        if found.st_mode & 0o077:
            os.fchmod(handle, MODE)
        folder = path.parent.stat()
        if os.geteuid() == 0 and (found.st_uid, found.st_size) == (0, 0):
            os.fchown(handle, folder.st_uid, folder.st_gid)  # Of the daemon's user, not of who ran sudo.
    finally:
        os.close(handle)


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Raise StorageFull for what the disk or the file does; errors in a statement are bugs and pass."""
    try:
        yield
    except OSError as error:
        raise StorageFull(path, f"{error.strerror}; check permissions and room") from error
    except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
        raise
    except sqlite3.DatabaseError as error:
        raise StorageFull(path, f"{error}; check permissions and room, or restore the file") from error
