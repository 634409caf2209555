"""Regions over the whole daemon: every channel names the one that decided."""

import json
import shutil
from pathlib import Path

from tests.daemon import ROOT, Daemon, verdicts
from tests.mosquitto import Mosquitto, Subscriber

REGIONS = """
[[region]]
name = "left"
roi = [0, 0, 160, 320]

[[region]]
name = "rechts außen"
roi = [160, 0, 160, 320]
threshold_factor = 0.9
min_defect_px = 30
"""


def test_live_history_journal_and_page_name_the_region(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """20 parts of the simulator, most with a defect; the two regions are the halves of its frames."""
    shutil.copytree(ROOT / "config/recipes", tmp_path / "recipes")
    with (tmp_path / "recipes/demo.toml").open("a", encoding="utf-8") as recipe:
        recipe.write(REGIONS)
    changes = {
        "models.recipes": tmp_path / "recipes",
        "source.uri": "defects=0.8&count=20",
        "source.fps": 10,
    }
    with Subscriber(mosquitto.port) as ear, Daemon(tmp_path, mosquitto.port, changes) as daemon:
        ear.wait(lambda ear: len(ear.on("t/history")) >= 18, "18 verdicts in the history")
        _, answer = daemon.get("/api/verdicts?region=left&result=FAIL")
        _, page = daemon.get("/history?region=rechts+au%C3%9Fen")
        assert daemon.end() == 0
        rows = daemon.rows()

    live, history = verdicts(ear.on("t/verdict")), verdicts(ear.on("t/history"))
    assert len(live) == 20 and [v | {"history": 1} for v in live] == history
    assert {(v["region"], v["region_index"]) for v in live} == {("left", 1), ("rechts außen", 2)}
    limits = {v["region"]: v["threshold"] for v in live}
    assert round(limits["rechts außen"] / limits["left"], 4) == 0.9
    fails = [v for v in live if v["result"] == "FAIL"]
    assert fails and all(v["score"] > 1000 for v in fails)
    # The box of a defect across the edge begins in the other half.
    assert all(v["box"][0] < 160 if v["region_index"] == 1 else sum(v["box"][::2]) > 160 for v in fails)
    assert [(row["region"], row["region_index"]) for row in rows] == [
        (v["region"], v["region_index"]) for v in live
    ]
    found = json.loads(answer)
    assert found and {(row["region"], row["result"]) for row in found} == {("left", "FAIL")}
    assert "rechts außen" in page.decode() and 'class="c-part"' in page.decode()
