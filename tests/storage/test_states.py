"""The states of the station over time, in the journal."""

from collections import deque
from pathlib import Path

from linewatch.domain import State
from linewatch.storage.journal import Journal
from linewatch.storage.states import StateChange, StateLog, spans


def test_states_are_kept_in_the_journal(tmp_path: Path) -> None:
    """Each lasts until the next, the present one until it was last written; old ones go."""
    now = [0.0]
    with Journal.open(tmp_path / "journal.db", clock_ms=lambda: 5000) as journal, journal.reader() as reader:
        changes = deque(
            [StateChange(1000, State.READY, "bottle", ""), StateChange(4000, State.FAULT, "bottle", "dark")]
        )
        log = StateLog(journal, changes, clock_s=lambda: now[0])
        log.write()
        found = spans(reader.read, 2000, 9000)
        assert [(one.state, one.since_ms, one.until_ms) for one in found] == [
            (State.READY, 2000, 4000),
            (State.FAULT, 4000, 5000),
        ]
        now[0] = 60.0
        log.write(before_ms=4500)
        assert [one.reason for one in spans(reader.read, 0, 9000)] == ["dark"]
