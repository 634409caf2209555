"""The daemon with its journal and evidence on a real disk that stops to answer."""

import sqlite3
from pathlib import Path
from typing import Any

from tests.daemon import Daemon, verdicts
from tests.disks import HangingDisk
from tests.mosquitto import Mosquitto, Subscriber


def heard(subscriber: Subscriber) -> list[dict[str, Any]]:
    """Return the live verdicts so far."""
    return verdicts(subscriber.on("t/verdict"))


def wait_for(subscriber: Subscriber, count: int, *results: str, after: int = 0) -> None:
    """Wait for so many verdicts of these results after the first `after` ones."""

    def enough(_: Subscriber) -> bool:
        return sum(each["result"] in results for each in heard(subscriber)[after:]) >= count

    subscriber.wait(enough, f"{count} x {results}")


def test_a_disk_that_hangs_delays_no_verdict_and_takes_each_pass_back(
    tmp_path: Path, mosquitto: Mosquitto, hanging_disk: HangingDisk
) -> None:
    """Rejects go on in time, no PASS goes out without its row; all rows follow, as published and in order."""
    changes = {
        "source.uri": "defects=0.5",
        "source.fps": 8,  # So that the line holds the parts of a whole deadline.
        "journal.path": hanging_disk.folder / "journal.db",
        "evidence.path": hanging_disk.folder / "evidence",
        "limits.deadline_ms": 1000,
    }
    with Subscriber(mosquitto.port) as subscriber:
        with Daemon(tmp_path, mosquitto.port, changes) as daemon:
            wait_for(subscriber, 5, "PASS")
            hanging_disk.hang()
            hung = len(heard(subscriber))
            wait_for(subscriber, 10, "ERROR", after=hung)
            wait_for(subscriber, 10, "FAIL", after=hung)
            subscriber.wait(lambda them: '"event":"journal_impaired"' in "".join(them.on("t/event")))
            hanging_disk.answer()
            answered = len(heard(subscriber))
            wait_for(subscriber, 5, "PASS", after=answered)
            subscriber.wait(lambda them: '"event":"journal_restored"' in "".join(them.on("t/event")))
            assert daemon.stop() == 0
        live = heard(subscriber)
        history = verdicts(subscriber.on("t/history"))
        rows = daemon.rows(hanging_disk.folder / "journal.db")

    assert not [each for each in live if each["late"]]
    # One PASS may have been on its way when the disk began to hang, and its row was committed.
    assert [each["result"] for each in live[hung + 1 : answered]].count("PASS") == 0
    assert {each["reason"] for each in live[hung:answered] if each["result"] == "ERROR"} == {30}
    assert [each["seq"] for each in live] == list(range(1, len(live) + 1))
    as_published = [(each["seq"], each["result"], each["heatmap"]) for each in live]
    assert [(row["seq"], row["result"], row["heatmap"]) for row in rows] == as_published
    assert [(each["seq"], each["result"], each["heatmap"]) for each in history] == as_published


def test_every_pass_is_in_the_journal_after_kill_minus_9_while_the_disk_hangs(
    tmp_path: Path, mosquitto: Mosquitto, hanging_disk: HangingDisk
) -> None:
    """What the PLC has read as PASS has its row, whatever happens to the process."""
    changes = {
        "source.uri": "defects=0.3",
        "journal.path": hanging_disk.folder / "journal.db",
        "limits.deadline_ms": 1000,
    }
    with Subscriber(mosquitto.port) as subscriber, Daemon(tmp_path, mosquitto.port, changes) as daemon:
        wait_for(subscriber, 10, "PASS")
        hanging_disk.hang()
        hung = len(heard(subscriber))
        wait_for(subscriber, 5, "ERROR", after=hung)
        daemon.process.kill()
        hanging_disk.answer()
        daemon.process.wait()
        live = heard(subscriber)
        with sqlite3.connect(hanging_disk.folder / "journal.db") as db:
            rows = dict(db.execute("SELECT seq, result FROM verdicts"))

    passed = [each["seq"] for each in live if each["result"] == "PASS"]
    assert {rows.get(seq) for seq in passed} == {"PASS"}
    assert len(rows) < len(live)  # It was killed while rows were missing.
