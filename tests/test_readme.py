"""The README's commands, as a newcomer types them; what takes minutes is parsed only."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from linewatch.cli import main as cli
from tests.mosquitto import Mosquitto
from tests.test_docs import DOCUMENTS, ROOT

README = (ROOT / "README.md").read_text()
COMMANDS = [line.strip() for line in README.splitlines() if line.startswith("    ") and line.strip()]
OURS = [shlex.split(line)[1:] for line in COMMANDS if re.match(r"\s+\S*bin/linewatch ", f" {line}")]


@pytest.fixture
def environment(tmp_path: Path, mosquitto: Mosquitto) -> dict[str, str]:
    """Keep the trial's files and ports apart from those of this machine, and its pace above a newcomer's."""
    return os.environ | {
        "LINEWATCH_MQTT__PORT": str(mosquitto.port),
        "LINEWATCH_HTTP__PORT": "0",
        "LINEWATCH_JOURNAL__PATH": str(tmp_path / "journal.db"),
        "LINEWATCH_EVIDENCE__PATH": str(tmp_path / "evidence"),
        "LINEWATCH_EVIDENCE__FREE_BYTES_MIN": "0",
        "LINEWATCH_SOURCE__FPS": "50",
    }


def command(name: str) -> list[str]:
    """Return the README's arguments of one command."""
    return next(arguments for arguments in OURS if arguments[0] == name)


def test_the_readme_shows_the_whole_way() -> None:
    """From pictures to a running line."""
    assert [arguments[0] for arguments in OURS] == ["capture", "train", "check", "run"]


@pytest.mark.parametrize("arguments", OURS, ids=lambda arguments: arguments[0])
def test_every_command_is_understood(arguments: list[str]) -> None:
    """An option that was renamed is found by its first reader: here."""
    known = vars(typer.main.get_command(cli.app))["commands"][arguments[0]]

    assert known.make_context(arguments[0], arguments[1:]).command is known


def test_capture_check_and_run_do_what_is_promised(tmp_path: Path, environment: dict[str, str]) -> None:
    """Pictures in the folder, every check good, and the PLC's line on the topic that is named."""

    def start(*arguments: str) -> subprocess.Popen[str]:
        program = [sys.executable, "-m", "linewatch", *arguments]
        return subprocess.Popen(program, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)

    parts = tmp_path / "good"
    capture = [str(parts) if part == "parts/good" else part for part in command("capture")]
    saving = start(*capture)
    saving.communicate(timeout=60)
    assert saving.returncode == 0
    assert len(list(parts.iterdir())) == 200

    check = start(*command("check"))
    told, _ = check.communicate(timeout=60)
    assert (check.returncode, "BAD" in told) == (0, False), told

    listen = next(line for line in COMMANDS if line.startswith("mosquitto_sub"))
    run = start(*command("run"))
    try:
        heard = subprocess.run(
            [*shlex.split(listen), "-p", environment["LINEWATCH_MQTT__PORT"], "-C", "3", "-W", "30"],
            capture_output=True,
            text=True,
            check=True,
        )
    finally:
        run.terminate()
        run.communicate(timeout=60)
    assert run.returncode == 0
    assert all(re.fullmatch(r"\d{5};\d{10};[1-4];\d\d;001;\d{5};#", line) for line in heard.stdout.split())
    assert len(heard.stdout.split()) == 3


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_what_make_and_python_are_told_to_run_is_there(document: Path) -> None:
    """Every target and module that a document names exists."""
    makefiles = (ROOT / "Makefile").read_text() + (ROOT / ".ci/packaging.mk").read_text()
    targets = set(re.findall(r"^([\w-]+):", makefiles, re.MULTILINE))
    text = document.read_text()

    assert set(re.findall(r"(?:^    (?:sudo )?|`(?:sudo )?)make ([a-z-]+)", text, re.MULTILINE)) <= targets
    for module in re.findall(r"python -m ((?:tests|linewatch)[.\w]*)", text):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module
