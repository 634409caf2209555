"""Warnings of the journal become events."""

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
    """Return a clock at 0 s."""
    return Clock()


@pytest.fixture
def warnings(clock: Clock) -> JournalWarnings:
    """Return a list without warnings."""
    return JournalWarnings(clock)


def reasons(station: Station) -> Iterator[str]:
    """Yield and remove the reason of each event."""
    while station.events:
        event = station.events.popleft()
        assert event["event"] == "journal_damaged"
        yield str(event["reason"])


def test_a_damaged_journal_becomes_an_event_once_there_is_a_station(
    tmp_path: Path, warnings: JournalWarnings
) -> None:
    """The journal is opened before there is a station; its warning waits."""
    with Journal.open(tmp_path / "journal.db") as journal:
        journal.append(verdict(1))
    (tmp_path / "journal.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)

    with Journal.open(tmp_path / "journal.db", warn=warnings.add) as journal:
        station = Station("test", journal.boot, "demo", Metrics("test"))
        warnings.publish(station)
        warnings.publish(station)

    (reason,) = reasons(station)
    assert "journal.db' was damaged" in reason and "a new one is started" in reason


def test_many_lost_verdicts_are_one_event_a_minute(clock: Clock, warnings: JournalWarnings) -> None:
    """Neither other events nor a damaged journal are crowded out."""
    station = Station("test", 1, "demo", Metrics("test"))
    for seq in range(1, 4):
        warnings.add(f"verdict 1-{seq} is lost: the disk has refused for too long")
        warnings.publish(station)
    warnings.add("journal 'journal.db' was damaged")
    warnings.publish(station)
    assert list(reasons(station)) == [
        "verdict 1-1 is lost: the disk has refused for too long",
        "journal 'journal.db' was damaged",
    ]

    clock.now_s = REPEAT_S
    warnings.add("verdict 1-4 is lost: the disk has refused for too long")
    warnings.publish(station)
    assert list(reasons(station)) == ["verdict 1-4 is lost: the disk has refused for too long"]
