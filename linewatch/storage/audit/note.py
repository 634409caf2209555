"""A note of the audit's newest rows in a file beside the journal: it shows when the last rows were removed.

Each line is `row hash`. Every process that adds to the audit appends lines, each with one write.
"""

import logging
import os
import re
from pathlib import Path

from linewatch.storage.audit.chain import BEGINNING, Head

log = logging.getLogger(__name__)

ENDING = ".audit"  # After the journal's name.
LINES_KEPT = 1000  # When the daemon starts.
_LINE = re.compile(r"([0-9]{1,18}) ([0-9a-f]{64})")


def note_path(journal: Path) -> Path:
    """Return the file of the notes of a journal."""
    return journal.with_name(journal.name + ENDING)


def write_note(journal: Path, head: Head) -> None:
    """Note a row that is committed. The act is in the audit already: trouble is only logged."""
    try:
        fd = os.open(note_path(journal), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.write(fd, f"{head.row} {head.hash}\n".encode())
            os.fdatasync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        log.warning("audit_note_failed path=%r reason=%r", str(note_path(journal)), error.strerror)


def read_notes(journal: Path) -> list[Head]:
    """Return the noted rows; a line that a power cut tore is none. Raises OSError."""
    try:
        text = note_path(journal).read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return []
    lines = (_LINE.fullmatch(line) for line in text.splitlines())
    return sorted({Head(int(found[1]), found[2]) for found in lines if found})


def last_note(journal: Path) -> Head:
    """Return the newest noted row; row 0 if there is none."""
    try:
        return max(read_notes(journal), default=Head(0, BEGINNING))
    except OSError:
        return Head(0, BEGINNING)


def shorten_notes(journal: Path) -> None:
    """Keep the newest lines only; call it when the daemon starts. Raises OSError."""
    path = note_path(journal)
    heads = read_notes(journal)
    if len(heads) <= 2 * LINES_KEPT:
        return
    new = path.with_name(path.name + ".new")
    with new.open("w", encoding="ascii") as file:
        file.writelines(f"{row} {digest}\n" for row, digest in heads[-LINES_KEPT:])
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
