"""The states of the station over time, in the journal: for reports, not for the line."""

import sqlite3
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from linewatch.domain import State
from linewatch.storage.audit.reading import Rows
from linewatch.storage.journal import Journal

EXTEND_S = 10.0  # So long a state is unknown at most after the process was killed.


class StateChange(NamedTuple):
    """The station entered a state."""

    at_ms: int  # UTC milliseconds since 1970.
    state: State
    product: str
    reason: str


@dataclass(frozen=True, slots=True)
class StateSpan:
    """A time spent in one state. UTC milliseconds since 1970."""

    state: State
    product: str
    reason: str
    since_ms: int
    until_ms: int


class StateLog:
    """Writes the changes in `changes` to the journal; one thread calls `write` about once a second."""

    def __init__(
        self, journal: Journal, changes: deque[StateChange], clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._journal = journal
        self._changes = changes
        self._clock_s = clock_s
        self._due_s = 0.0

    def write(self, before_ms: int = 0) -> None:
        """Write new changes, and now and then how long the present state lasts. Raises StorageFull.

        Removes what ended before `before_ms` (UTC).
        """
        if not self._changes and self._clock_s() < self._due_s:
            return
        self._journal.write_relaxed(lambda db: self._write(db, before_ms))
        self._due_s = self._clock_s() + EXTEND_S

    def _write(self, db: sqlite3.Connection, before_ms: int) -> None:
        boot = self._journal.boot
        db.execute("DELETE FROM states WHERE until_ms < ?", (before_ms,))
        last = "WHERE id = (SELECT max(id) FROM states) AND boot = ?"
        while self._changes:
            change = self._changes[0]
            db.execute(f"UPDATE states SET until_ms = ? {last}", (change.at_ms, boot))
            db.execute(
                "INSERT INTO states (boot, product, state, reason, since_ms, until_ms) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (boot, change.product, change.state.value, change.reason, change.at_ms, change.at_ms),
            )
            self._changes.popleft()
        db.execute(f"UPDATE states SET until_ms = max(until_ms, ?) {last}", (self._journal.clock_ms(), boot))


def spans(read: Rows, since_ms: int, until_ms: int) -> list[StateSpan]:
    """Return the states between two times, oldest first, cut to them; what is missing, nothing ran."""
    if not read("SELECT 1 FROM sqlite_schema WHERE name = 'states'", ()):
        return []
    rows = read(
        "SELECT state, product, reason, since_ms, until_ms FROM states "
        "WHERE until_ms > ? AND since_ms < ? ORDER BY id",
        (since_ms, until_ms),
    )
    return [
        StateSpan(State(state), product, reason, max(begun, since_ms), min(ended, until_ms))
        for state, product, reason, begun, ended in rows
    ]
