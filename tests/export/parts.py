"""A journal of many parts, written at once."""

import sqlite3
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from linewatch.domain import Result, Verdict
from linewatch.storage.journal import Journal
from linewatch.storage.journal_schema import INSERT, row_of
from tests.fakes import verdict

BATCH = 20_000


def fill(journal: Journal, verdicts: Iterable[Verdict]) -> None:
    """Write verdicts into a journal."""
    rows = [row_of(each, each.captured_ms) for each in verdicts]
    journal.write_relaxed(partial(_insert, rows))


def _insert(rows: list[tuple[object, ...]], db: sqlite3.Connection) -> None:
    db.executemany(INSERT, rows)


def journal_of(path: Path, rows: int, **facts: Any) -> Path:
    """Write a journal with so many parts, and return its path."""
    with Journal.open(path) as journal:
        for start in range(1, rows + 1, BATCH):
            seqs = range(start, min(rows + 1, start + BATCH))
            fill(journal, (verdict(seq, boot=journal.boot, part=f"A{seq}", **facts) for seq in seqs))
    return path


def failed_parts(folder: Path, rows: int, data: bytes) -> Path:
    """Write a journal of failed parts with their frames below `folder`, and return its path."""
    path = folder / "journal.db"
    with Journal.open(path) as journal:
        names = {seq: f"2026-11-27/fail/{journal.boot}-{seq}.frame.jpg" for seq in range(1, rows + 1)}
        fill(
            journal,
            (verdict(seq, Result.FAIL, boot=journal.boot, image=name) for seq, name in names.items()),
        )
    for name in names.values():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return path
