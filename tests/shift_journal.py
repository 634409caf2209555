"""Write the journal of a station over some shifts, with the runs of defects and the stops of a real line."""

import random
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2

from linewatch.acquisition.sources.simulator.source import render
from linewatch.domain import Reason, Result, State, Verdict
from linewatch.storage.journal import Journal
from linewatch.storage.journal_schema import INSERT, row_of
from tests.storage.test_journal import verdict

HOUR_MS = 3_600_000
BATCH = 20_000
PLACES = ((185, 120, 30, 22), (95, 180, 45, 10), (215, 95, 14, 14))
"""Boxes of the defects that come again and again."""


def fill(path: Path, verdicts: Iterable[Verdict], states: Sequence[tuple[State, int, int, str]] = ()) -> None:
    """Add verdicts, journaled when they were captured, and states: (state, since ms, until ms, reason)."""
    with Journal.open(path) as journal:
        table: list[tuple[object, ...]] = []
        for each in verdicts:
            table.append(row_of(each, each.captured_ms))
            if len(table) == BATCH:
                journal.write_relaxed(partial(_insert, INSERT, table))
                table = []
        journal.write_relaxed(partial(_insert, INSERT, table))
        rows = [(1, "bottle", state.value, reason, since, until) for state, since, until, reason in states]
        insert = (
            "INSERT INTO states (boot, product, state, reason, since_ms, until_ms) VALUES (?, ?, ?, ?, ?, ?)"
        )
        journal.write_relaxed(partial(_insert, insert, rows))


def _insert(query: str, table: Sequence[tuple[object, ...]], db: sqlite3.Connection) -> None:
    db.executemany(query, table)


def produce(
    since_ms: int, until_ms: int, parts: int, *, product: str = "bottle", first: int = 1, seed: int = 1
) -> Iterator[Verdict]:
    """Yield the verdicts of a line with runs of defects, re-inspected parts and a few errors."""
    chance = random.Random(seed)
    in_run, part = False, first
    for seq in range(first, first + parts):
        in_run = chance.random() < (0.9 if in_run else 0.002)
        at_ms = since_ms + (until_ms - since_ms - 1) * (seq - first) // parts
        result, reason = Result.PASS, Reason.NONE
        facts: dict[str, object] = {}
        if (in_run and chance.random() < 0.9) or chance.random() < 0.004:
            result, reason = Result.FAIL, Reason.ABOVE_THRESHOLD
            x, y, width, height = chance.choices(PLACES, (6, 3, 1))[0]
            facts = {
                "box": (x + chance.randint(-8, 8), y + chance.randint(-8, 8), width, height),
                "defects": 1,
            }
        elif chance.random() < 0.004:
            result, reason = Result.UNSURE, Reason.NEAR_THRESHOLD
        elif chance.random() < 0.002:
            result, reason = Result.ERROR, chance.choice((Reason.STALE, Reason.QUEUE_FULL))
        if chance.random() > 0.004:
            part = seq  # Otherwise the part before is inspected again.
        yield replace(
            verdict(1, seq, product=product, part=f"A{part:07}", captured_ms=at_ms, **facts),
            result=result,
            reason=reason,
            latency_ms=min(180, round(chance.lognormvariate(3.1, 0.25))),
        )


def keep_frame(evidence: Path, name: str = "good.jpg") -> str:
    """Write a rendered good part as a kept frame."""
    evidence.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(evidence / name), render(1, 1, None))
    return name
