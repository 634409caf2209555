"""A running station whose promise breaks: marked on the page in a browser, heard over MQTT."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.browser import CHROMIUM, Browser
from tests.daemon import Daemon
from tests.mosquitto import Mosquitto, Subscriber

TOKEN = "a-long-random-token"
MARKS = 8


def promises(ear: Subscriber) -> list[dict[str, Any]]:
    """Return the events on promises heard so far."""
    events = [json.loads(event) for event in ear.on("t/event")]
    return [event for event in events if event["event"] == "promise"]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; apt-get install chromium")
def test_a_promise_that_breaks_is_heard_at_once_and_once(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """Drawn parts have their image and wait; a restart forgets nothing; corrected marks end the alarm."""
    (tmp_path / "token").write_text(TOKEN)
    changes = {
        "http.token_file": tmp_path / "token",
        "evidence.pass_every": 0,
        "promise.reinspect_share": 0.5,
        "promise.escapes_max": 0.02,
        "promise.false_rejects_max": 0.05,
    }
    with Subscriber(mosquitto.port) as ear, Daemon(tmp_path, mosquitto.port, changes) as daemon:
        ear.wait(lambda ear: sum('"PASS"' in verdict for verdict in ear.on("t/verdict")) > 6 * MARKS)
        with Browser() as browser:
            browser.open(daemon.address + "/reinspect")
            browser.ask(f"document.querySelector('#token').value = {TOKEN!r}")
            browser.submit(".sign-in button")
            for _ in range(MARKS):
                browser.open(daemon.address + "/reinspect")
                assert browser.ask("document.querySelector('.picture img').naturalWidth") > 0
                browser.submit("button.defect")
            browser.open(daemon.address + "/promise")
            shown = browser.ask("document.querySelector('main').innerText")
            assert browser.errors == []
        ear.wait(lambda ear: bool(promises(ear)), "the alarm")
        metrics = daemon.get("/metrics")[1].decode()
        live = daemon.get("/")[1].decode()
        marked = [(row["boot"], row["seq"]) for row in daemon.rows() if row["image"]]
        daemon.stop()

    assert "More defective parts pass than promised" in shown and "the re-inspected: 8 of 8." in shown
    (event,) = promises(ear)
    assert (event["promise"], event["broken"]) == ("escapes", 1)
    assert event["known"] == event["parts"] <= MARKS, "it did not wait for all"
    assert event["promised"] == 0.02 < event["low"]
    assert 'linewatch_promise_broken{product="demo",promise="escapes",station="station1"} 1.0' in metrics
    assert "More than promised: demo: Escapes" in live
    kept = [row for row in daemon.rows() if row["result"] == "PASS" and row["image"]]
    passed = sum(row["result"] == "PASS" for row in daemon.rows())
    assert 0.3 * passed < len(kept) < 0.7 * passed

    with Subscriber(mosquitto.port) as ear, Daemon(tmp_path, mosquitto.port, changes) as daemon:
        ear.wait(lambda ear: len(ear.on("t/verdict")) > 5)
        (state,) = json.loads(daemon.get("/api/promises")[1])
        assert (state["escapes"]["standing"], state["escapes"]["known"]) == ("broken", MARKS)
        assert promises(ear) == []
        corrected = 0
        for boot, seq in marked:
            row = json.loads(daemon.get(f"/api/verdicts?before={boot}-{seq + 1}&limit=1")[1])[0]
            if row["actual"] == "defect":
                status, _ = daemon.post(f"/api/verdicts/{boot}/{seq}/review", {"actual": "good"}, TOKEN)
                corrected += status == 200
        ear.wait(lambda ear: bool(promises(ear)), "the end of the alarm")
        assert corrected == MARKS
        assert [event["broken"] for event in promises(ear)] == [0]
        daemon.stop()
    with closing(sqlite3.connect(tmp_path / "journal.db")) as db:
        acts = db.execute("SELECT action FROM audit WHERE action LIKE 'promise%' ORDER BY id").fetchall()
    assert acts == [("promise_broken",), ("promise_alarm_ended",)]
