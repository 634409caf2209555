"""Trouble of the journal on its way to the PLC."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from linewatch.line.metrics import Metrics
from linewatch.line.station import REPEAT_S, JournalWarnings, Station
from linewatch.storage.journal import Journal
from tests.fakes import verdict


class Clock:
    """Stands still until it is moved."""

    now_s = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    """Wind a clock."""
    return Clock()


@pytest.fixture
def complaints(clock: Clock) -> JournalWarnings:
    """Return an empty list."""
    return JournalWarnings(clock)


def reasons(station: Station) -> Iterator[str]:
    """Yield why each event was told, and forget it."""
    while station.events:
        event = station.events.popleft()
        assert event["event"] == "journal_damaged"
        yield str(event["reason"])


def test_a_damaged_journal_becomes_an_event_once_there_is_a_station(
    tmp_path: Path, complaints: JournalWarnings
) -> None:
    """It is set aside before the station has its boot number; the sentence waits."""
    with Journal.open(tmp_path / "journal.db") as journal:
        journal.append(verdict(1))
    (tmp_path / "journal.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)

    with Journal.open(tmp_path / "journal.db", warn=complaints.add) as journal:
        station = Station("test", journal.boot, "demo", Metrics("test"))
        complaints.tell(station)
        complaints.tell(station)

    (told,) = reasons(station)
    assert "journal.db' was damaged" in told and "a new one is started" in told


def test_many_lost_verdicts_are_one_event_a_minute(clock: Clock, complaints: JournalWarnings) -> None:
    """They neither crowd out other events nor a damaged journal."""
    station = Station("test", 1, "demo", Metrics("test"))
    for seq in range(1, 4):
        complaints.add(f"verdict 1-{seq} is lost: the disk has refused for too long")
        complaints.tell(station)
    complaints.add("journal 'journal.db' was damaged")
    complaints.tell(station)
    assert list(reasons(station)) == [
        "verdict 1-1 is lost: the disk has refused for too long",
        "journal 'journal.db' was damaged",
    ]

    clock.now_s = REPEAT_S
    complaints.add("verdict 1-4 is lost: the disk has refused for too long")
    complaints.tell(station)
    assert list(reasons(station)) == ["verdict 1-4 is lost: the disk has refused for too long"]
