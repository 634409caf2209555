"""The audit's chain: what was changed or removed is found, and no kill breaks it."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest

from linewatch.settings import LimitsSettings, Settings, SourceSettings
from linewatch.storage.audit.note import note_path
from linewatch.storage.audit.reading import AuditConditions
from linewatch.storage.audit.started import record_start
from linewatch.storage.audit.writing import append_audit
from linewatch.storage.journal import Journal
from linewatch.storage.journal_reader import JournalFile, JournalReader
from tests.storage.test_journal import record

ROWS = 12
KILLS = 100


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a journal with some acts, closed."""
    path = tmp_path / "journal.db"
    with Journal.open(path) as journal:
        for number in range(1, ROWS + 1):
            facts = {"product": "bottle", "from": str(number), "to": str(number + 1), "why": "grün 🙂"}
            journal.audit("anna", "model_activated", facts)
    return path


def verify(path: Path) -> tuple[str, int]:
    """Return the sentence and the row of what is broken."""
    with JournalReader(JournalFile(path)) as reader:
        found = reader.verify_audit()
        return found.trouble, found.broken_row


def tamper(path: Path, *statements: str) -> None:
    """Change the file as somebody would who knows SQL."""
    with closing(sqlite3.connect(path)) as db:
        for trigger in ("audit_never_changes", "audit_never_shrinks"):
            db.execute(f"DROP TRIGGER {trigger}")
        for statement in statements:
            db.execute(statement)
        db.commit()


@pytest.mark.parametrize(
    ("statement", "broken_row"),
    [
        ("UPDATE audit SET who = 'ben' WHERE id = 5", 5),
        ("UPDATE audit SET at_ms = at_ms + 1 WHERE id = 1", 1),
        ("UPDATE audit SET facts = replace(facts, 'bottle', 'lid') WHERE id = 12", 12),
        ("UPDATE audit SET hash = hash || '0' WHERE id = 7", 7),
        ("UPDATE audit SET action = CAST(action AS BLOB) WHERE id = 3", 3),
        ("DELETE FROM audit WHERE id = 6", 7),
        ("DELETE FROM audit WHERE id = 12", 12),
        ("DELETE FROM audit", 12),
        ("INSERT INTO audit SELECT 13, at_ms, who, action, facts, hash FROM audit WHERE id = 12", 13),
    ],
)
def test_a_changed_or_removed_row_is_found(path: Path, statement: str, broken_row: int) -> None:
    """The first broken row is named; the last row may not go either."""
    assert verify(path) == ("", 0)

    tamper(path, statement)

    trouble, row = verify(path)
    assert trouble
    assert row == broken_row


def test_a_chain_that_was_written_anew_does_not_fit_the_note(path: Path) -> None:
    """Another intact chain of the same length: the note beside the journal names other hashes."""
    other = path.with_name("other.db")
    for number in range(ROWS):
        append_audit(other, "ben", "model_activated", {"number": number})
    path.unlink()
    other.rename(path)

    trouble, row = verify(path)
    assert "not the one that was noted" in trouble
    assert row == 1


def test_every_flipped_byte_of_the_audit_is_found_or_changes_nothing(path: Path) -> None:
    """Whatever byte of the table's pages is flipped: what is read is as before, or it is found."""
    whole = path.read_bytes()
    with closing(sqlite3.connect(path)) as db:
        root = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'audit'").fetchone()[0]
        intact = db.execute("SELECT * FROM audit").fetchall()
        size = db.execute("PRAGMA page_size").fetchone()[0]
    offset = (root - 1) * size
    changed = 0
    for place in [*range(offset, offset + 100), *range(offset + 100, offset + size, 5)]:
        with path.open("r+b") as file:
            file.seek(place)
            file.write(bytes([whole[place] ^ 0x01]))
        trouble, _ = verify(path)
        if not trouble:
            with closing(sqlite3.connect(path)) as db:
                assert db.execute("SELECT * FROM audit").fetchall() == intact, place
        else:
            changed += 1
        with path.open("r+b") as file:
            file.seek(place)
            file.write(whole[place : place + 1])
    assert changed > 300


def test_the_chain_can_be_checked_by_its_description_alone(path: Path) -> None:
    """As docs/audit.md says it."""
    before = "0" * 64
    with closing(sqlite3.connect(path)) as db:
        for row in db.execute("SELECT id, at_ms, who, action, facts, hash FROM audit ORDER BY id"):
            content = json.dumps([before, *row[:5]], separators=(",", ":"), ensure_ascii=True)
            before = sha256(content.encode("ascii")).hexdigest()
            assert before == row[5]


def test_rows_of_before_the_chain_are_chained_in_place(path: Path) -> None:
    """A row says that they were, and from then on changes of them are found, too."""
    tamper(path, "ALTER TABLE audit DROP COLUMN hash", "PRAGMA user_version = 5")
    note_path(path).unlink()
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TRIGGER audit_never_changes BEFORE UPDATE ON audit BEGIN SELECT 1; END")

    append_audit(path, "anna", "model_activated", {})

    assert verify(path) == ("", 0)
    with JournalReader(JournalFile(path)) as reader:
        newest, said = reader.audit(2)
    assert (newest.row, said.action, said.facts["rows"]) == (ROWS + 2, "audit_chained", ROWS)


def test_two_processes_write_one_chain(path: Path) -> None:
    """The daemon and commands beside it: no row is lost, none follows the wrong one."""
    program = (
        "import sys; from pathlib import Path; from linewatch.storage.audit.writing import append_audit\n"
        "for number in range(20): append_audit(Path(sys.argv[1]), 'ben', 'x', {'number': number})"
    )
    with (
        Journal.open(path) as journal,
        subprocess.Popen([sys.executable, "-c", program, str(path)]) as beside,
    ):
        for number in range(20):
            journal.audit("anna", "y", {"number": number})
            record(journal, number + 1)
        assert beside.wait(60) == 0

    assert verify(path) == ("", 0)
    with JournalReader(JournalFile(path)) as reader:
        assert len(reader.audit(1000)) == ROWS + 40


def killed_while_writing(path: Path, kills: int) -> int:
    """Kill a process that writes to the audit, many times; return how many rows it reported as written."""
    program = (
        "import os, sys; from pathlib import Path; from linewatch.storage.journal import Journal\n"
        "path = Path(sys.argv[1])\n"
        "for _ in range(int(sys.argv[2])):\n"
        "    if os.fork() == 0:\n"
        "        with Journal.open(path) as journal:\n"
        "            while True:\n"
        "                journal.audit('anna', 'model_activated', {})\n"
        "                os.write(1, b'%7d' % os.getpid())\n"
        "    os.wait()\n"
    )
    reported, killed = 0, 0
    command = [sys.executable, "-c", program, str(path), str(kills)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        for kill in range(kills):
            while (writer := int(parent.stdout.read(7) or 0)) == killed:
                reported += 1
            assert writer, "it ended by itself"
            reported += 1
            threading.Event().wait(kill % 7 / 5000)  # Into another phase of a commit.
            os.kill(writer, signal.SIGKILL)
            killed = writer
        reported += len(parent.stdout.read()) // 7
    return reported


def test_kills_lose_no_row_and_break_no_chain(path: Path) -> None:
    """`python -m tests.benchmarks.audit_kills` does it 10,000 times."""
    reported = killed_while_writing(path, KILLS)

    assert verify(path) == ("", 0)
    with JournalReader(JournalFile(path)) as reader:
        assert len(reader.audit(10_000)) >= ROWS + reported


def test_a_review_is_in_the_audit(path: Path) -> None:
    """With what the part was marked before."""
    with Journal.open(path) as journal, journal.reader() as reader:
        record(journal, 1)
        journal.review(journal.boot, 1, "good", "", "anna")
        journal.review(journal.boot, 1, "defect", "scratch", "ben")
        newest = reader.audit(1)[0]

    assert (newest.who, newest.action, newest.product) == ("ben", "part_reviewed", "bottle")
    assert (newest.facts["from"], newest.facts["to"], newest.facts["why"]) == ("good", "defect", "scratch")


def test_a_start_records_the_settings_without_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In full at first, then what changed, then only their digest."""
    monkeypatch.setenv("LINEWATCH_MQTT__PASSWORD", "hush-hush")
    source = SourceSettings(kind="rtsp", uri="rtsp://anna:topsecret@camera/1")
    with Journal.open(tmp_path / "journal.db") as journal, journal.reader() as reader:
        slower = LimitsSettings(deadline_ms=300)
        record_start(journal, Settings(source=source))
        record_start(journal, Settings(source=source, limits=slower))
        record_start(journal, Settings(source=source, limits=slower))
        last, changed, first = reader.audit(3)

    assert "hush" not in str(first.facts)
    assert first.facts["values"]["source.uri"] == "rtsp://***@camera/1"  # type: ignore[index]
    assert changed.facts["changed"] == {"limits.deadline_ms": [200, 300]}
    assert "values" not in last.facts
    assert last.facts["settings"] == changed.facts["settings"] != first.facts["settings"]


@pytest.mark.parametrize(
    ("wanted", "rows"),
    [
        (AuditConditions(who="ben"), [13]),
        (AuditConditions(action="in_use"), [13]),
        (AuditConditions(product="lid"), [13]),
        (AuditConditions(product="bottle", before_row=3), [2, 1]),
        (AuditConditions(until_ms=1), []),
    ],
)
def test_rows_are_filtered(path: Path, wanted: AuditConditions, rows: list[int]) -> None:
    """By who, action, product and time, newest first."""
    append_audit(path, "ben", "in_use", {"from": "bottle/a", "to": "lid/b"})

    with JournalReader(JournalFile(path)) as reader:
        assert [entry.row for entry in reader.audit(100, wanted)] == rows


def test_the_note_survives_a_damaged_journal(path: Path) -> None:
    """The damaged one keeps its note; the new one begins with where the old one ended."""
    damage: Callable[[bytes], bytes] = lambda whole: whole[:100] + b"\xff" * 4000 + whole[4100:]  # noqa: E731
    path.write_bytes(damage(path.read_bytes()))

    with Journal.open(path, warn=lambda _: None) as journal, journal.reader() as reader:
        (first,) = reader.audit(9)

    assert (first.action, first.facts["row"]) == ("journal_replaced", ROWS)
    assert verify(path) == ("", 0)
    assert list(path.parent.glob("journal.db.damaged-*.audit"))
