"""A capability study at a running daemon by the page's API: triggers with part ids, a restart, the result."""

import json
from pathlib import Path
from typing import Any

from linewatch.capability.certificate import verify
from linewatch.capability.figures import measure
from tests.daemon import Daemon
from tests.known_parts import SETTINGS, Hand, photograph
from tests.mosquitto import Mosquitto, Subscriber
from tests.test_daemon import is_ready

TOKEN = "a-long-random-token"
GOOD, DEFECTIVE, PASSES = 4, 4, 2


def call(daemon: Daemon, path: str, body: dict[str, object] | None = None) -> dict[str, Any]:
    """Call the API of studies and return what it answers."""
    status, answer = daemon.post(f"/api/study{path}", body or {}, TOKEN)
    assert status == 200, answer
    found: dict[str, Any] = json.loads(answer)
    return found


def walk(daemon: Daemon, hand: Hand, name: str, until: int) -> dict[str, Any]:
    """Present the parts that are asked for until so many verdicts are taken up."""
    state = call(daemon, f"/{name}/next")
    while state["judged"] < until:
        hand.present(state["step"]["part"])
        state = call(daemon, f"/{name}/next")
    return state


def test_a_whole_study_at_a_running_line_with_a_restart(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """Each part counts once a pass; the result is that of the journal, verifies, and stands in the audit."""
    (tmp_path / "token").write_text(TOKEN)
    changes = SETTINGS | {
        "source.uri": photograph(tmp_path / "parts"),
        "http.token_file": tmp_path / "token",
        "evidence.pass_every": 0,
    }
    named = [(f"{letter}{n}", truth) for letter, truth in (("G", "good"), ("D", "defect")) for n in range(4)]
    plan = {
        "product": "demo",
        "parts": [{"part": part, "truth": truth} for part, truth in named],
        "passes": PASSES,
        "people": ["Ann"],
        "miss_rate": 0.5,
        "false_alarm_rate": 0.5,
        "keep_as": "weekly",
        "every_days": 7,
    }
    with Subscriber(mosquitto.port) as ear:
        with Daemon(tmp_path, mosquitto.port, changes) as daemon:
            ear.wait(is_ready)
            hand = Hand(ear)
            name = call(daemon, "", plan)["name"]
            call(daemon, f"/{name}/run")
            walk(daemon, hand, name, 5)
            assert daemon.stop() == 0
        ear.wait(lambda ear: ear.on("t/online")[-1] == "0", "offline")
        with Daemon(tmp_path, mosquitto.port, changes) as daemon:
            ear.wait(lambda ear: ear.on("t/online")[-1] == "1" and is_ready(ear), "the restart")
            assert json.loads(daemon.get(f"/api/study/{name}")[1])["stage"] == "paused"
            hand = Hand(ear)
            call(daemon, f"/{name}/run")
            state = walk(daemon, hand, name, PASSES * (GOOD + DEFECTIVE))
            if state["stage"] != "complete" or not state["figures"]:
                state = call(daemon, f"/{name}/next")
            page = daemon.get(f"/study/{name}/result.html")[1].decode()
            metrics = daemon.get("/metrics")[1].decode()
            loaded = Path(f"/proc/{daemon.process.pid}/maps").read_text()
            assert "/scipy/" not in loaded, "SciPy stays outside"
            assert daemon.stop() == 0

    study = verify(page)
    figures = measure(study)
    assert state["stage"] == "complete" and state["sha256"] in page
    assert (figures.good, figures.defective) == (GOOD, DEFECTIVE)
    rows = {(row["boot"], row["seq"]): row for row in daemon.rows()}
    assert [rows[one.boot, one.seq]["part"] for one in study.judged] == [one.part for one in study.judged]
    assert len({one.boot for one in study.judged}) == 2
    assert 'linewatch_study_overdue{product="demo",set="weekly",station="station1"} 0.0' in metrics
    assert figures.miss_rate.value == figures.false_alarm_rate.value == 0.0
    assert figures.outcome == "not proven"
