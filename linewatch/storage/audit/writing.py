"""Append to the audit from a process other than the daemon, beside it."""

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from linewatch.errors import StorageFull, UsageError
from linewatch.storage.audit.chain import insert
from linewatch.storage.audit.note import write_note
from linewatch.storage.journal_reader import JournalFile, JournalReader
from linewatch.storage.journal_schema import Damaged, connect, prepare, transaction, translate_errors, utc_ms

BUSY_MS = 5000  # The daemon's transactions are short; a person can wait for a few of them.


def open_audit(path: Path) -> JournalReader:
    """Return a reader of the journal at `path`, whose audit is chained first if it is an older one.

    Raises UsageError if there is none, StorageFull, also when the file is damaged.
    """
    if not path.is_file():
        raise UsageError(f"there is no journal {str(path)!r}; name the settings with --config")
    try:
        with translate_errors(path), closing(connect(path, "FULL")) as db:
            db.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
            prepare(db, path)
    except Damaged as damage:
        raise StorageFull(path, f"it is damaged ({damage}); starting the daemon sets it aside") from damage
    return JournalReader(JournalFile(path))


def append_audit(path: Path, who: str, action: str, facts: Mapping[str, object]) -> None:
    """Append an audit entry to the journal at `path`; create the file if it is missing.

    Raises StorageFull, also when the file is damaged.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with translate_errors(path), closing(connect(path, "FULL")) as db:
            db.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
            prepare(db, path)
            with transaction(db):
                head = insert(db, utc_ms(), who, action, facts)
    except Damaged as damage:
        raise StorageFull(path, f"it is damaged ({damage}); starting the daemon sets it aside") from damage
    except OSError as error:
        raise StorageFull(path, f"{error.strerror}; check the folder and its free room") from error
    write_note(path, head)
