"""Commits beside the record stage: a journal that hangs holds up nothing and loses nothing."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from linewatch.domain import Reason, Result, Verdict
from linewatch.runtime.stages import Stage
from linewatch.storage import journal_writer as module
from linewatch.storage.journal import Journal
from linewatch.storage.journal_schema import connect
from linewatch.storage.journal_writer import STALLED_S, JournalWriter
from tests.fakes import verdict
from tests.stages import running

WAIT_S = 20.0


class SlowDisk:
    """SQLite whose next write waits until `answer`."""

    def __init__(self, journal: Journal) -> None:
        self._db = journal._db
        self.asked, self._answers = threading.Event(), threading.Event()
        self._answers.set()
        journal._db = self  # type: ignore[assignment]  # the disk behind SQLite

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)

    def execute(self, *what: Any) -> Any:
        """Run one statement."""
        self._wait(what[0])
        return self._db.execute(*what)

    def hang(self) -> None:
        """Do not answer the next write."""
        self.asked.clear()
        self._answers.clear()

    def answer(self) -> None:
        """Answer."""
        self._answers.set()

    def _wait(self, statement: str) -> None:
        if statement.startswith(("INSERT", "BEGIN")):
            self.asked.set()
            assert self._answers.wait(WAIT_S)


class Rig:
    """A journal's writer, what it reports, and a clock that the test moves."""

    def __init__(self, path: Path) -> None:
        self.now_s = 100.0
        self.reports: list[str] = []
        self.warnings: list[str] = []
        self.journal = Journal.open(path)
        self.reader = self.journal.reader()
        self.disk = SlowDisk(self.journal)
        self.writer = JournalWriter(
            self.journal,
            failed=lambda trouble: self.reports.append(trouble.problem),
            restored=lambda: self.reports.append("restored"),
            warn=self.warnings.append,
            clock_s=lambda: self.now_s,
        )

    def append(self, seq: int, result: Result = Result.PASS) -> Verdict:
        """Append one verdict."""
        appended = verdict(seq, result, boot=self.journal.boot)
        self.writer.append(appended)
        return appended

    def publish(self, *sequences: int) -> None:
        """Append, await and release verdicts."""
        for seq in sequences:
            self.append(seq)
            assert self.writer.settled(WAIT_S)
            self.writer.release(self.journal.boot, seq)

    def hang(self) -> None:
        """Let the disk hang with part 1 in hand, which the record stage awaited in vain."""
        self.disk.hang()
        self.append(1)
        assert self.disk.asked.wait(WAIT_S)
        assert not self.writer.settled(0.0)

    def delivered(self) -> list[tuple[int, Result]]:
        """Return what the history gets."""
        batch = self.reader.undelivered(10_000)
        return [] if batch is None else [(each.seq, each.result) for each in batch.verdicts]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """Return the writer of a new journal; the test runs it."""
    made = Rig(tmp_path / "journal.db")
    yield made
    made.reader.close()
    made.journal.close()


def test_a_settled_verdict_is_committed_and_a_released_one_is_delivered(rig: Rig) -> None:
    """Rows are there before `settled` returns; the history gets them when they are published."""
    with running(rig.writer):
        rig.publish(1, 2)
        rig.append(3)
        assert rig.writer.settled(WAIT_S)
        assert rig.reader.verdict(rig.journal.boot, 3) is not None

    assert rig.delivered() == [(1, Result.PASS), (2, Result.PASS)]
    assert rig.reports == ["restored"] * 3


def test_while_the_disk_hangs_nothing_waits_and_then_all_is_written_in_order(rig: Rig) -> None:
    """What was published meanwhile is in the journal as published, also the part that was being written."""
    with running(rig.writer):
        rig.hang()
        late = verdict(1, Result.ERROR, boot=rig.journal.boot, reason=Reason.LATE)
        rig.writer.amend(late)
        rig.writer.release(rig.journal.boot, 1)
        rig.append(2, Result.FAIL)
        rig.writer.release(rig.journal.boot, 2)
        rig.append(3)
        rig.writer.amend(verdict(3, Result.ERROR, boot=rig.journal.boot, reason=Reason.LATE))
        rig.writer.release(rig.journal.boot, 3)
        rig.disk.answer()
        assert rig.writer.settled(WAIT_S)

    assert rig.delivered() == [(1, Result.ERROR), (2, Result.FAIL), (3, Result.ERROR)]
    assert rig.reader.verdict(rig.journal.boot, 1) == late


def test_a_pass_that_was_withdrawn_before_it_was_written_is_never_in_the_journal(rig: Rig) -> None:
    """Only what was being written when the disk hung may be there, and only until the disk answers."""
    with running(rig.writer):
        rig.hang()
        rig.append(2)
        rig.writer.amend(verdict(2, Result.ERROR, boot=rig.journal.boot, reason=Reason.LATE))
        seen = list(rig.writer._waiting)
        rig.disk.answer()

    assert [(each.seq, each.result) for each in seen] == [(1, Result.PASS), (2, Result.ERROR)]


def test_a_row_written_but_not_published_stays_out_of_the_history(rig: Rig) -> None:
    """The last row of a batch may belong to a verdict that waits for it: all of them wait for its end."""
    with running(rig.writer):
        rig.hang()
        rig.writer.release(rig.journal.boot, 1)
        rig.append(2)
        rig.disk.answer()
        assert rig.writer.settled(WAIT_S)
        assert (2, Result.PASS) not in rig.delivered()
        rig.writer.release(rig.journal.boot, 2)

    assert rig.delivered() == [(1, Result.PASS), (2, Result.PASS)]


def test_a_disk_that_hangs_is_reported_once_until_it_answers(rig: Rig) -> None:
    """After 2 s the state says so, and the first commit ends it."""
    with running(rig.writer):
        rig.hang()
        rig.writer.check()
        assert rig.reports == []
        rig.now_s += STALLED_S + 0.1
        for _ in range(2):
            rig.writer.check()
        assert rig.reports == ["it has not answered for 2 s; check the disk and what else writes to it"]
        rig.disk.answer()
        rig.now_s += 1
    rig.writer.check()

    assert rig.reports[1:] == ["restored"]


def test_a_disk_that_took_longer_than_there_is_time_is_not_waited_for(rig: Rig) -> None:
    """Otherwise each part behind it would wait in vain, and those behind that one."""
    with running(rig.writer):
        rig.hang()
        rig.append(2)
        answer = threading.Timer(1.0, rig.disk.answer)  # Early enough, if it were waited for.
        answer.start()
        rig.now_s += 2
        assert not rig.writer.settled(1.9)
        answer.cancel()
        rig.disk.answer()
        assert rig.writer.settled(WAIT_S)


def test_another_writer_that_hangs_holds_up_nothing(rig: Rig) -> None:
    """A review, an audit entry or maintenance that waits for the disk has the journal's lock meanwhile."""
    rig.disk.hang()
    entry = threading.Thread(target=rig.journal.audit, args=["admin", "changed", {}])
    entry.start()
    assert rig.disk.asked.wait(WAIT_S)
    with running(rig.writer):
        rig.append(1)
        assert not rig.writer.settled(0.05)
        rig.writer.release(rig.journal.boot, 1)
        rig.disk.answer()
        entry.join(WAIT_S)

    assert rig.delivered() == [(1, Result.PASS)]


def test_a_refused_verdict_is_settled_and_its_row_follows(rig: Rig) -> None:
    """The disk has answered, with no: the verdict goes out, and the journal keeps the row in memory."""
    with running(rig.writer):
        with closing(connect(rig.journal.path, "NORMAL")) as other:
            other.execute("BEGIN IMMEDIATE")
            rig.publish(1)
            assert rig.reports == ["another program holds the file; close it"]
        rig.publish(2)

    assert rig.reports[1:] == ["restored"]
    assert rig.delivered() == [(1, Result.PASS), (2, Result.PASS)]


def test_what_waits_is_bounded_and_each_loss_is_a_warning(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest go first, but never the amendment of a row that the disk may already have."""
    monkeypatch.setattr(module, "PENDING_MAX", 3)
    with running(rig.writer):
        rig.hang()
        rig.writer.amend(verdict(1, Result.ERROR, boot=rig.journal.boot))
        for seq in range(2, 6):
            rig.append(seq)
        rig.writer.release(rig.journal.boot, 5)
        rig.disk.answer()

    assert [text.partition(":")[0] for text in rig.warnings] == [
        "verdict 1-2 is lost",
        "verdict 1-3 is lost",
    ]
    assert rig.delivered() == [(1, Result.ERROR), (4, Result.PASS), (5, Result.PASS)]


def test_a_stop_with_a_disk_that_hangs_ends_and_says_what_is_lost(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal is left open instead of waited for; what was committed stays."""
    monkeypatch.setattr("linewatch.storage.journal.CLOSE_S", 0.01)
    monkeypatch.setattr(rig.journal, "_warn", rig.warnings.append)
    with running(rig.writer):
        rig.hang()
        with rig.writer:
            rig.append(2)
        rig.journal.close()
        rig.disk.answer()

    assert rig.warnings == [
        "2 verdicts are lost: the disk does not answer",
        f"journal {str(rig.journal.path)!r} is not closed: the disk does not answer",
    ]


def test_a_bug_in_the_journal_ends_the_stage(rig: Rig) -> None:
    """It is not taken for a disk that refuses: the process ends, and no PASS goes out meanwhile."""
    rig.journal.append(verdict(1, boot=rig.journal.boot))
    rig.append(1)

    with pytest.raises(sqlite3.IntegrityError):
        rig.writer.run(Stage("journal", rig.writer.run))
    assert not rig.writer.settled(0.0)
    rig.journal.pending.clear()
