"""End to end: the real daemon, the real broker, a real subscriber, real files."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import pytest

from linewatch.acquisition.sources.simulator.source import render
from linewatch.domain import Result
from linewatch.storage.signatures import folder_of, signature_files
from tests.cable import Cable
from tests.daemon import ROOT, Daemon, verdicts
from tests.mosquitto import Mosquitto, Subscriber

KEYS = [
    "v",
    "station",
    "boot",
    "seq",
    "trigger",
    "part",
    "product",
    "product_index",
    "model",
    "result",
    "code",
    "reason",
    "score",
    "raw",
    "threshold",
    "captured_ms",
    "age_ms",
    "latency_ms",
    "late",
    "simulated",
    "history",
    "defects",
    "box",
    "region",
    "region_index",
    "image",
    "heatmap",
]


def signatures(journal: Path) -> list[Any]:
    """Return the signatures of all parts."""
    return [
        row for file in signature_files(folder_of(journal), "demo") for rows in file.read() for row in rows
    ]


def is_ready(ear: Subscriber) -> bool:
    """Whether the station has published READY; before that it receives no command."""
    return "READY" in [state["state"] for state in verdicts(ear.on("t/state"))]


def test_every_part_gets_one_verdict_on_every_channel(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """Live JSON, PLC line, history, journal, metrics and page tell the same story of 60 parts."""
    with (
        Subscriber(mosquitto.port) as ear,
        # At a pace at which even a broker that is held up for half a second is not given up.
        Daemon(tmp_path, mosquitto.port, {"source.uri": "defects=0.3&count=60", "source.fps": 12}) as daemon,
    ):
        ear.wait(lambda ear: len(ear.on("t/history")) >= 40, "40 verdicts in the history")
        _, page = daemon.get("/")
        _, metrics = daemon.get("/metrics")
        assert daemon.end() == 0
        rows = daemon.rows()
    live, history = verdicts(ear.on("t/verdict")), verdicts(ear.on("t/history"))
    lines = ear.on("t/plc/verdict")

    assert [v["seq"] for v in live] == list(range(1, 61))
    assert all(list(v) == KEYS for v in live)
    assert {v["boot"] for v in live} == {1}
    assert {v["result"] for v in live} == {"PASS", "FAIL"}
    assert [v | {"history": 1} for v in live] == history
    assert [(row["seq"], row["result"], row["heatmap"]) for row in rows] == [
        (v["seq"], v["result"], v["heatmap"]) for v in live
    ]
    assert lines == [
        f"{v['boot']:05d};{v['seq']:010d};{v['code']};{v['reason']:02d};{v['product_index']:03d};"
        f"{v['latency_ms']:05d};#"
        for v in live
    ]
    kept = signatures(daemon.folder / "journal.db")
    assert [int(row["seq"]) for row in kept] == list(range(1, 61))
    assert [float(row["raw"]) for row in kept] == pytest.approx([v["raw"] for v in live], rel=1e-4)
    for fail in (v for v in live if v["result"] == "FAIL"):
        assert cv2.imread(str(daemon.evidence / fail["heatmap"])) is not None
    assert ear.on("t/online") == ["1", "0"]
    assert verdicts(ear.on("t/state"))[-1]["state"] == "STOPPED"
    assert b"PASS" in page
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=metrics, capture_output=True, check=False
    )
    assert checked.stdout == b""
    assert [line for line in checked.stderr.splitlines() if b"evidence_days_left" not in line] == []
    counted = re.findall(rb"inspections_total\{.*result=\"(?:PASS|FAIL)\".*\} ([0-9.]+)", metrics)
    assert 40 <= sum(float(count) for count in counted) <= 60


def test_a_stop_under_load_loses_nothing(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """SIGTERM at full speed: every captured frame has its journaled and published verdict, exit 0."""
    with (
        Subscriber(mosquitto.port, topic="t/verdict") as ear,
        Daemon(tmp_path, mosquitto.port, {"source.fps": 0}) as daemon,
    ):
        ear.wait(lambda ear: len(ear.on("t/verdict")) > 30)
        assert daemon.stop() == 0
        seqs = [row["seq"] for row in daemon.rows()]
        last = int(re.findall(r"stopped boot=1 last_seq=(\d+)", daemon.log)[0])
        ear.wait(lambda ear: len(ear.on("t/verdict")) >= last)

    assert seqs == list(range(1, last + 1))
    assert [v["seq"] for v in verdicts(ear.on("t/verdict"))] == seqs


def test_overload_turns_parts_into_errors_and_loses_none(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """Faster than can be judged, the oldest frame gives up its picture; its part gets ERROR 31."""
    slow = (
        "import time\n"
        "from linewatch.cli import main as cli\n"
        "from linewatch.models import engine\n"
        "run = engine.OpenVinoEngine.run\n"
        "def slow(self, crop):\n"
        "    time.sleep(0.05)\n"
        "    return run(self, crop)\n"
        "engine.OpenVinoEngine.run = slow\n"
        "cli.main()\n"
    )
    changes = {"source.fps": 100, "source.uri": "count=120&defects=0&pool=4"}
    with Daemon(tmp_path, mosquitto.port, changes, slow) as daemon:
        assert daemon.end() == 0
        rows = daemon.rows()

    assert [row["seq"] for row in rows] == list(range(1, 121))
    assert {(row["result"], row["reason"]) for row in rows} == {("PASS", 0), ("ERROR", 31)}


def test_a_bug_ends_the_process_and_the_will_is_delivered(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """A stage that raises ends everything: exit 1, no goodbye, the broker says offline for us."""
    broken = (
        "from linewatch.cli import main as cli\n"
        "from linewatch.line import inspector\n"
        "inspect = inspector.Inspector.inspect\n"
        "def fail(self, examined):\n"
        "    assert examined.frame.seq < 10, 'injected'\n"
        "    return inspect(self, examined)\n"
        "inspector.Inspector.inspect = fail\n"
        "cli.main()\n"
    )
    with Subscriber(mosquitto.port) as ear, Daemon(tmp_path, mosquitto.port, program=broken) as daemon:
        assert daemon.end() == 1
        ear.wait_for("t/online", "0")
        rows = daemon.rows()
        log = daemon.log

    assert "AssertionError: injected" in log
    assert verdicts(ear.on("t/state"))[-1]["state"] != "STOPPED"
    assert [row["seq"] for row in rows] == list(range(1, 10))


def test_a_start_over_a_damaged_journal_is_told(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """It is set aside before the broker is connected; the event follows, and the boot number still grows."""
    (tmp_path / "journal.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    (tmp_path / "journal.db.boot").write_text("6\n")
    with Subscriber(mosquitto.port) as ear, Daemon(tmp_path, mosquitto.port) as daemon:
        ear.wait(lambda ear: bool(ear.on("t/event")) and bool(ear.on("t/verdict")), "an event and a verdict")
        assert daemon.stop() == 0
    (event,) = [one for one in verdicts(ear.on("t/event")) if one["event"] == "journal_damaged"]

    assert event["boot"] == 7
    assert "journal.db' was damaged" in event["reason"]
    assert len(list(tmp_path.glob("journal.db.damaged-*Z"))) == 1
    assert {row["boot"] for row in daemon.rows()} == {7}


def test_the_verdicts_of_every_product_are_counted_from_0(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """Also of those that are not on the line, and of one whose recipe is broken, which stops no start."""
    shutil.copytree(ROOT / "config/recipes", tmp_path / "recipes")
    (tmp_path / "recipes/lid.toml").write_text("index = 2\n")
    (tmp_path / "recipes/cup.toml").write_text("index = \n")
    with Daemon(tmp_path, mosquitto.port, {"models.recipes": str(tmp_path / "recipes")}) as daemon:
        _, metrics = daemon.get("/metrics")
        assert daemon.stop() == 0

    for product in ("lid", "cup"):
        for result in Result:
            labels = f'product="{product}",result="{result}",station="station1"'
            assert f"linewatch_inspections_total{{{labels}}} 0.0\n" in metrics.decode()
    known = re.findall(r'linewatch_drift_psi{product="(\w+)"', metrics.decode())
    assert known == ["demo"]  # A product that is not on the line has no scores to have moved.


def test_boot_grows_and_seq_starts_again(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """A restart is visible: the pair of boot and seq is never used twice."""
    for _ in range(2):
        with Daemon(tmp_path, mosquitto.port, {"source.uri": "count=3"}) as daemon:
            assert daemon.end() == 0
            rows = daemon.rows()

    assert [(row["boot"], row["seq"]) for row in rows] == [(b, s) for b in (1, 2) for s in (1, 2, 3)]


def test_history_waits_for_a_broker_that_is_away(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """Without a broker the line goes on, DEGRADED; later every verdict is in the history, none live."""
    with (
        Cable(mosquitto.port, plugged=False) as cable,
        Subscriber(mosquitto.port) as ear,
        Daemon(tmp_path, cable.port) as daemon,
    ):
        while len(daemon.rows()) < 20:
            time.sleep(0.02)
        assert json.loads(daemon.get("/readyz")[1])["state"] == "DEGRADED"
        before = len(daemon.rows())
        cable.plug()
        ear.wait(lambda ear: len(ear.on("t/history")) >= before and len(ear.on("t/verdict")) >= 3)
        assert daemon.stop() == 0
        rows = daemon.rows()
        ear.wait(lambda ear: len(ear.on("t/history")) >= len(rows))

    assert [v["seq"] for v in verdicts(ear.on("t/history"))] == list(range(1, len(rows) + 1))
    assert all(v["seq"] > before for v in verdicts(ear.on("t/verdict")))


def test_an_unreadable_picture_is_an_error_and_the_others_are_judged(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    """One exposure, one verdict: a broken file in the folder is one ERROR 22."""
    parts = tmp_path / "parts"
    parts.mkdir()
    for number in (1, 3):
        cv2.imwrite(str(parts / f"{number}.png"), render(3, number))
    (parts / "2.png").write_bytes(b"no picture")
    changes = {"source.kind": "folder", "source.uri": str(parts)}
    with Daemon(tmp_path, mosquitto.port, changes) as daemon:
        assert daemon.end() == 0
        rows = daemon.rows()

    assert [(row["result"], row["reason"]) for row in rows] == [("PASS", 0), ("ERROR", 22), ("PASS", 0)]


def test_a_tampered_model_never_judges(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """One changed byte in the model: FAULT with the file's name, every part an ERROR 41, never a PASS."""
    shutil.copytree(ROOT / "models/demo", tmp_path / "models/demo")
    weights = next((tmp_path / "models/demo").glob("*/scorer.bin"))
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    changes = {"models.path": str(tmp_path / "models"), "source.uri": "count=3", "source.fps": 2}
    with Subscriber(mosquitto.port) as ear, Daemon(tmp_path, mosquitto.port, changes) as daemon:
        ear.wait(lambda ear: "FAULT" in [s["state"] for s in verdicts(ear.on("t/state"))])
        status, body = daemon.get("/readyz")
        assert daemon.end() == 0
        rows = daemon.rows()

    assert status == 503
    assert "scorer.bin" in json.loads(body)["reasons"][0]
    assert {(row["result"], row["reason"]) for row in rows} == {("ERROR", 41)}


def test_an_absent_camera_is_a_fault_and_not_the_end(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """The station says why in one sentence, stays alive and stops cleanly."""
    changes = {"source.kind": "camera", "source.uri": "/dev/video97"}
    with Subscriber(mosquitto.port) as ear, Daemon(tmp_path, mosquitto.port, changes) as daemon:
        ear.wait(lambda ear: "FAULT" in [s["state"] for s in verdicts(ear.on("t/state"))])
        assert daemon.get("/healthz")[0] == 200
        assert daemon.stop() == 0

    fault = next(s for s in verdicts(ear.on("t/state")) if s["state"] == "FAULT")
    assert "/dev/video97" in fault["reason"]
    assert "camera_lost" in [event["event"] for event in verdicts(ear.on("t/event"))]


def test_the_plc_triggers_parts_and_each_gets_its_own_verdict(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """A trigger is answered, exposed after it came, and its part id comes back in the verdict."""
    with (
        Subscriber(mosquitto.port) as ear,
        Daemon(tmp_path, mosquitto.port, {"trigger.mode": "mqtt", "source.uri": "defects=0"}) as daemon,
    ):
        ear.wait(is_ready)
        for rid in range(1, 6):
            ear.say("t/cmd/trigger", json.dumps({"rid": rid, "part": f"A{rid}"}))
            ear.wait(lambda ear, rid=rid: len(ear.on("t/verdict")) >= rid)  # type: ignore[misc]  # bound now
        ear.say("t/cmd/trigger", json.dumps({"rid": 5, "part": "A5"}))  # The PLC did not get the reply.
        ear.wait(lambda ear: len(ear.on("t/cmd/trigger/res")) >= 6)
        assert daemon.stop() == 0

    assert [(v["trigger"], v["part"]) for v in verdicts(ear.on("t/verdict"))] == [
        (rid, f"A{rid}") for rid in range(1, 6)
    ]
    replies = verdicts(ear.on("t/cmd/trigger/res"))
    assert [(reply["rid"], reply["ok"]) for reply in replies] == [(rid, 1) for rid in (1, 2, 3, 4, 5, 5)]


def test_scanned_codes_go_through_unchanged(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """What a scanner and a PLC's string buffer send reaches verdict, journal, page and log."""
    code = "\x1d0104012345\x1d10A\x1e\x04"
    payloads = {
        code: b'{"rid":1,"part":"' + code.encode() + b'"}\0\0',
        "St\xfcck": b'{"rid":2,"part":"St\xfcck"}',
        "4012345678901": b'{"rid":3,"part":4012345678901}',
        "x" * 128: b'{"rid":4,"part":"' + b"x" * 128 + b'"}',
    }
    with (
        Subscriber(mosquitto.port) as ear,
        Daemon(tmp_path, mosquitto.port, {"trigger.mode": "mqtt", "source.uri": "defects=0"}) as daemon,
    ):
        ear.wait(is_ready)
        for rid, payload in enumerate(payloads.values(), start=1):
            ear.say("t/cmd/trigger", payload)
            ear.wait(lambda ear, rid=rid: len(ear.on("t/verdict")) >= rid)  # type: ignore[misc]  # bound now
        ear.say("t/cmd/trigger", b'{"rid":9,"prat":"A"}')
        ear.say("t/cmd/trigger", b'{"rid":10,"part":"' + b"x" * 100_000)
        ear.wait(lambda ear: len(ear.on("t/cmd/trigger/res")) >= 6)
        page = daemon.get("/history")[1].decode()
        assert daemon.stop() == 0

    assert [row["part"] for row in daemon.rows()] == list(payloads)
    published = ear.on("t/verdict")
    assert [v["part"] for v in verdicts(published)][:3] == list(payloads)[:3]
    assert verdicts(published)[3]["part"] == "x" * 128
    assert max(len(payload.encode()) for payload in published) <= 500
    assert "&lt;GS&gt;0104012345&lt;GS&gt;10A&lt;RS&gt;&lt;EOT&gt;" in page
    assert repr(code) in daemon.log
    refusals = verdicts(ear.on("t/cmd/trigger/res"))[4:]
    assert [(reply["rid"], reply["code"]) for reply in refusals] == [(9, 4), (10, 4)]
    assert "did you mean part?" in refusals[0]["reason"]


def test_an_unknown_product_is_refused_and_a_known_one_is_taken_up(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    """The reply comes once the product is in use; an unknown one is a FAULT until a known one is used."""
    with Subscriber(mosquitto.port) as ear, Daemon(tmp_path, mosquitto.port) as daemon:
        ear.wait(is_ready)
        ear.say("t/cmd/product", '{"rid":1,"product":"nonsense"}')
        ear.say("t/cmd/product", '{"rid":2,"product":"demo"}')
        ear.wait(lambda ear: len(ear.on("t/cmd/product/res")) >= 2)
        seen = len(ear.on("t/verdict"))
        ear.wait(lambda ear: "PASS" in [v["result"] for v in verdicts(ear.on("t/verdict")[seen:])])
        assert daemon.stop() == 0

    assert [(r["rid"], r["ok"], r["code"]) for r in verdicts(ear.on("t/cmd/product/res"))] == [
        (1, 0, 5),
        (2, 1, 0),
    ]


def test_a_second_signal_does_not_wait_for_the_history(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """With the broker away the grace is long; the operator who insists gets out, with all on disk."""
    mosquitto.stop()
    changes = {"limits.grace_s": 60}
    with Daemon(tmp_path, mosquitto.port, changes) as daemon:
        while len(daemon.rows()) < 5:
            time.sleep(0.02)
        assert daemon.stop(signal.SIGTERM, signal.SIGINT) in (0, 1)
        rows = daemon.rows()

    assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[mqtt]\nprot = 1\n", "mqtt.prot is not a setting; did you mean mqtt.port?"),
        ('[http]\nhost = "0.0.0.0"\n', "needs http.token_file"),
        ('[source]\nkind = "folder"\nuri = "nowhere/"\n', "nowhere"),
        ("[station\n", "not valid TOML"),
    ],
)
def test_settings_that_cannot_work_end_with_78_and_one_sentence(
    tmp_path: Path, text: str, sentence: str
) -> None:
    """Systemd must not restart what a restart cannot mend."""
    config = tmp_path / "linewatch.toml"
    config.write_text(f'{text}\n[journal]\npath = "{tmp_path}/j.db"\n' if text[1] != "s" else text)
    done = subprocess.run(
        [sys.executable, "-m", "linewatch", "run", "--config", str(config)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )

    assert done.returncode == 78
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_what_is_not_there_yet_at_boot_is_awaited(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """Neither the page's address, nor the share with the images, nor the broker's name ends the daemon."""
    (tmp_path / "token").write_text("secret\n")
    changes = {
        "source.kind": "folder",
        "source.uri": tmp_path / "share",
        "source.loop": True,
        "http.host": "192.0.2.7",
        "http.token_file": tmp_path / "token",
        "mqtt.host": "broker.invalid",
    }
    with Daemon(tmp_path, mosquitto.port, changes) as daemon:
        share, deadline = tmp_path / "share", time.monotonic() + 30
        while "does not exist; name a folder with images" not in daemon.log and time.monotonic() < deadline:
            time.sleep(0.1)
        share.mkdir()
        shutil.copy(next(ROOT.glob("models/demo/*/golden/good1.png")), share / "1.png")
        while not daemon.rows() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert daemon.stop() == 0

    assert daemon.rows()
    assert "does not exist; name a folder with images" in daemon.log
    assert "page address=" not in daemon.log
    assert "page_waits reason='http: this machine does not have the address 192.0.2.7" in daemon.log
    assert "the name 'broker.invalid' cannot be resolved" in daemon.log


def test_models_and_secrets_on_a_share_that_is_mounted_late_are_awaited(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    """FAULT names the recipe, DEGRADED the secrets; once all is there the station is READY by itself."""
    share = tmp_path / "share"
    changes = {
        "models.path": share / "models",
        "models.recipes": share / "recipes",
        "http.token_file": share / "token",
        "mqtt.password_file": share / "password",
    }
    with Daemon(tmp_path, mosquitto.port, changes) as daemon:
        status, body = daemon.get("/readyz")
        reasons = " ".join(json.loads(body)["reasons"])
        assert status == 503
        assert f"product 'demo' has no recipe '{share}/recipes/demo.toml'" in reasons
        assert "it is used as soon as it is there" in reasons
        assert f"http.token_file '{share}/token' cannot be read: no such file" in reasons
        assert daemon.post("/api/product", {"product": "demo"}, "s3cret")[0] == 403
        deadline = time.monotonic() + 10
        while b"mqtt.password_file" not in daemon.get("/readyz")[1] and time.monotonic() < deadline:
            time.sleep(0.05)  # The link tries for the first time beside the page.
        share.mkdir()
        shutil.copytree(ROOT / "models", share / "models")
        shutil.copytree(ROOT / "config/recipes", share / "recipes")
        (share / "token").write_text("s3cret\n")
        (share / "password").write_text("secret\n")
        deadline = time.monotonic() + 30
        while json.loads(daemon.get("/readyz")[1])["state"] != "READY" and time.monotonic() < deadline:
            time.sleep(0.1)
        assert json.loads(daemon.get("/readyz")[1]) == {"ready": True, "state": "READY", "reasons": []}
        assert daemon.post("/api/product", {"product": "demo"}, "s3cret")[0] == 200
        while "PASS" not in (results := {row["result"] for row in daemon.rows()}):
            assert time.monotonic() < deadline, results
            time.sleep(0.1)
        assert daemon.stop() == 0

    assert "ERROR" in results
    assert daemon.log.count("selftest_failed") == 1
    assert f"mqtt.password_file '{share}/password' cannot be read" in daemon.log


def test_the_demonstration_shows_passes_fails_and_its_page() -> None:
    """What a newcomer runs first ends by itself with status 0."""
    done = subprocess.run(
        [sys.executable, "-m", "linewatch", "demo", "--duration", "8"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert {"result=PASS", "result=FAIL"} <= set(re.findall(r"result=\w+", done.stdout))
    assert re.search(r"page: http://127\.0\.0\.1:\d+/", done.stdout)
