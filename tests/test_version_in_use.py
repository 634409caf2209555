"""Commands, page and daemon agree on the version that judges."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from tests.daemon import ROOT, Daemon
from tests.mosquitto import Mosquitto, Subscriber


def test_commands_page_and_daemon_agree_on_the_version_in_use(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """A version that was activated is not said to be in use before the daemon has loaded it."""
    shutil.copytree(ROOT / "models", tmp_path / "models")
    shutil.copytree(ROOT / "config/recipes", tmp_path / "recipes")
    old = (tmp_path / "models/demo/active").read_text().strip()
    sample = tmp_path / "models/demo" / old / "golden/good1.png"
    changes = {"models.path": tmp_path / "models", "models.recipes": tmp_path / "recipes"}

    with Subscriber(mosquitto.port) as ear, Daemon(tmp_path, mosquitto.port, changes) as daemon:
        environment = {name: text for name, text in os.environ.items() if not name.startswith("LINEWATCH_")}
        environment |= {
            "LINEWATCH_HTTP__PORT": daemon.address.rpartition(":")[2],
            "LINEWATCH_JOURNAL__PATH": str(tmp_path / "journal.db"),
            "LINEWATCH_MODELS__PATH": str(tmp_path / "models"),
            "LINEWATCH_MODELS__RECIPES": str(tmp_path / "recipes"),
        }

        def command(*arguments: str) -> str:
            return subprocess.run(
                [sys.executable, "-m", "linewatch", "models", *arguments],
                env=environment, cwd=ROOT, capture_output=True, text=True, check=True,
            ).stdout  # fmt: skip

        def judging() -> str:
            model = json.loads(daemon.get("/api/state")[1])["model"]
            assert isinstance(model, str)
            return model

        def page() -> str:
            return " ".join(daemon.get("/products")[1].decode().split())

        ear.wait(lambda ear: any('"READY"' in state for state in ear.on("t/state")))
        said = command("golden", "demo", str(sample), "--good")
        new = (tmp_path / "models/demo/active").read_text().strip()
        assert new != old == judging()
        assert f"the line still judges with {old}; to use {new}: systemctl reload linewatch@station1" in said
        assert f"The line judges with {old}. {new} is active and comes into use when" in page()
        assert f'{old} <span class="tag">in use' in page()

        daemon.process.send_signal(signal.SIGHUP)
        ear.wait(lambda ear: any('"model_activated"' in event for event in ear.on("t/event")))
        assert judging() == new
        assert f'{new} <span class="tag">in use' in page() and "comes into use" not in page()
        assert "the line still judges" not in command("verify", "demo")

        assert f"the line still judges with {new}; to use {old}: " in command("rollback", "demo")
        assert daemon.stop() == 0
