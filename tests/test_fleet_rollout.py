"""Roll a model out to two running stations with plain files, and ask them which version they run."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import duckdb
import pytest

from tests.daemon import ROOT, Daemon
from tests.mosquitto import Mosquitto, Subscriber

Run = Callable[..., str]


def models_of(folder: Path) -> Path:
    """Return a folder with the demo product's active version and recipe."""
    shutil.copytree(ROOT / "models/demo", folder / "models/demo")
    shutil.copytree(ROOT / "config/recipes", folder / "recipes")
    return folder / "models"


def command_in(folder: Path, name: str) -> Run:
    """Return a function that runs a command of the station or office in `folder`."""
    environment = {key: text for key, text in os.environ.items() if not key.startswith("LINEWATCH_")}
    environment |= {
        "PYTHONPATH": str(ROOT),
        "LINEWATCH_STATION__NAME": name,
        "LINEWATCH_JOURNAL__PATH": str(folder / "journal.db"),
        "LINEWATCH_MODELS__PATH": str(folder / "models"),
        "LINEWATCH_MODELS__RECIPES": str(folder / "recipes"),
    }

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "linewatch", *arguments]
        return subprocess.run(
            command, env=environment, cwd=folder, capture_output=True, text=True, check=True
        ).stdout  # fmt: skip

    return run


def documented(tool: str) -> str:
    """Return the command line of docs/fleet.md that begins with a tool."""
    found = re.findall(rf"^    ({tool} .+)$", (ROOT / "docs/fleet.md").read_text(), re.M)
    assert len(found) == 1, tool
    return str(found[0])


def is_ready(ear: Subscriber, name: str) -> bool:
    """Return whether a station has said that it is READY."""
    return any('"READY"' in state for state in ear.on(f"linewatch/{name}/state"))


@pytest.mark.skipif(
    shutil.which("jq") is None, reason="jq is not installed; on Debian or Ubuntu: apt-get install jq"
)
def test_two_stations_prove_the_version_they_run(
    tmp_path: Path, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One retained message of each station names the digest; a station left behind shows, also in SQL."""
    office = tmp_path / "office"
    old = (models_of(office) / "demo/active").read_text().strip()
    in_office = command_in(office, "office")
    in_office("models", "golden", "demo", str(office / "models/demo" / old / "golden/good1.png"), "--good")
    new = (office / "models/demo/active").read_text().strip()
    in_office("models", "export", "demo", new, str(tmp_path / "demo.tar.gz"))
    digests = {
        version: hashlib.sha256((office / "models/demo" / version / "manifest.json").read_bytes()).hexdigest()
        for version in (old, new)
    }
    names = ("station1", "station2")

    def running() -> dict[str, list[str]]:
        """Run the line of the document against this broker."""
        line = documented("mosquitto_sub").replace("-h broker", f"-h 127.0.0.1 -p {mosquitto.port}")
        output = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False).stdout
        return {name: facts for name, *facts in (row.split("\t") for row in output.splitlines())}

    with Subscriber(mosquitto.port) as ear, ExitStack() as running_daemons:
        daemons = {}
        for name in names:
            folder = tmp_path / name
            changes = {"station.name": name, "mqtt.base_topic": f"linewatch/{name}", "models.threads": 1}
            changes |= {"models.path": models_of(folder), "models.recipes": folder / "recipes"}
            daemons[name] = running_daemons.enter_context(Daemon(folder, mosquitto.port, changes))
        ear.wait(lambda ear: all(is_ready(ear, name) for name in names))
        assert running() == {name: ["demo", old, digests[old]] for name in names}

        for name in names:
            here = command_in(tmp_path / name, name)
            here("models", "import", str(tmp_path / "demo.tar.gz"))
            here("models", "activate", "demo", new)
        daemons["station1"].process.send_signal(signal.SIGHUP)
        ear.wait(lambda ear: any(digests[new] in text for text in ear.on("linewatch/station1/state")))

        assert running() == {
            "station1": ["demo", new, digests[new]],
            "station2": ["demo", old, digests[old]],  # Not reloaded yet.
        }
        assert json.loads(daemons["station1"].get("/api/state")[1])["model_sha256"] == digests[new]

    (tmp_path / "plant").mkdir()
    for name in names:
        command_in(tmp_path / name, name)("ship", str(tmp_path / "plant"), "--today")
    monkeypatch.chdir(tmp_path / "plant")
    with duckdb.connect() as db:
        for file in ("views.sql", "versions.sql"):
            rows = db.execute((ROOT / "docs/examples/fleet" / file).read_text()).fetchall()
    assert [row[:4] for row in rows] == [
        ("station1", "demo", f"demo/{new}", digests[new]),
        ("station2", "demo", f"demo/{old}", digests[old]),
    ]
