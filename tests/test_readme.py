"""The README's commands, run as printed (slow ones are parsed only), and its walk through the code."""

import ast
import itertools
import json
import os
import re
import shlex
import subprocess
import sys
import threading
from pathlib import Path
from types import FrameType

import cv2
import pytest
import typer.main

import linewatch
from linewatch.acquisition.sources.simulator.source import render
from linewatch.cli import main as cli
from tests.daemon import Daemon
from tests.mosquitto import Mosquitto
from tests.test_docs import DOCUMENTS, ROOT

README = (ROOT / "README.md").read_text()
COMMANDS = [line.strip() for line in README.splitlines() if line.startswith("    ") and line.strip()]
LINEWATCH_COMMANDS = [
    shlex.split(line)[1:] for line in COMMANDS if re.match(r"\s+\S*bin/linewatch ", f" {line}")
]
PACKAGE = Path(linewatch.__file__).parent
HOP = re.compile(r"^\| `([\w.]+)` \| \[([\w./]+)\]\(([\w./]+)\) \|", re.MULTILINE)
WALK, *BRANCHES = [HOP.findall(table) for table in README.split("| function | module | purpose |")[1:]]
"""The tables of "Follow one part through the code": (function, text of the link, file) of each row.

Branches begin after the last row of the walk, in threads of their own.
"""


@pytest.fixture
def environment(tmp_path: Path, mosquitto: Mosquitto) -> dict[str, str]:
    """Return an environment with files and ports of its own and a faster source."""
    return os.environ | {
        "LINEWATCH_MQTT__PORT": str(mosquitto.port),
        "LINEWATCH_HTTP__PORT": "0",
        "LINEWATCH_JOURNAL__PATH": str(tmp_path / "journal.db"),
        "LINEWATCH_EVIDENCE__PATH": str(tmp_path / "evidence"),
        "LINEWATCH_EVIDENCE__FREE_BYTES_MIN": "0",
        "LINEWATCH_SOURCE__FPS": "50",
    }


def command(name: str) -> list[str]:
    """Return the arguments of one command as the README gives them."""
    return next(arguments for arguments in LINEWATCH_COMMANDS if arguments[0] == name)


def test_the_readme_shows_the_whole_way() -> None:
    """The commands lead from images to a running line."""
    assert [arguments[0] for arguments in LINEWATCH_COMMANDS] == ["capture", "train", "check", "run"]


@pytest.mark.parametrize("arguments", LINEWATCH_COMMANDS, ids=lambda arguments: arguments[0])
def test_every_command_is_understood(arguments: list[str]) -> None:
    """Every command and option in the README exists."""
    known = vars(typer.main.get_command(cli.app))["commands"][arguments[0]]

    assert known.make_context(arguments[0], arguments[1:]).command is known


def test_capture_check_and_run_do_what_is_promised(tmp_path: Path, environment: dict[str, str]) -> None:
    """`capture` saves 200 images, `check` passes, and `run` publishes verdict lines on the named topic."""

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
    output, _ = check.communicate(timeout=60)
    assert (check.returncode, "BAD" in output) == (0, False), output

    subscribe = next(line for line in COMMANDS if line.startswith("mosquitto_sub"))
    run = start(*command("run"))
    try:
        received = subprocess.run(
            [*shlex.split(subscribe), "-p", environment["LINEWATCH_MQTT__PORT"], "-C", "3", "-W", "30"],
            capture_output=True,
            text=True,
            check=True,
        )
    finally:
        run.terminate()
        run.communicate(timeout=60)
    assert run.returncode == 0
    assert all(re.fullmatch(r"\d{5};\d{10};[1-4];\d\d;001;\d{5};#", line) for line in received.stdout.split())
    assert len(received.stdout.split()) == 3


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_make_target_and_module_in_a_document_exists(document: Path) -> None:
    """A document names no `make` target or `python -m` module that is gone."""
    makefiles = (ROOT / "Makefile").read_text() + (ROOT / ".ci/packaging.mk").read_text()
    targets = set(re.findall(r"^([\w-]+):", makefiles, re.MULTILINE))
    text = document.read_text()

    assert set(re.findall(r"(?:^    (?:sudo )?|`(?:sudo )?)make ([a-z-]+)", text, re.MULTILINE)) <= targets
    for module in re.findall(r"python -m ((?:tests|linewatch)[.\w]*)", text):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module


def defined_in(path: Path) -> set[str]:
    """Return the functions and methods that a file defines, such as "judge" and "Scorer.crop"."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.ClassDef):
            names |= {
                f"{node.name}.{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)
            }
    return names


def test_the_walk_links_every_function_to_its_module() -> None:
    """Each row of the walk names a function that the linked file defines."""
    assert len(WALK) >= 15
    for function, text, file in itertools.chain(WALK, *BRANCHES):
        assert file.removesuffix("/__init__.py").removesuffix(".py").endswith(text.removesuffix(".py"))
        assert function in defined_in(ROOT / file), file


def run_traced() -> None:
    """Run the command line; write every function's first call in the stages' threads to $CALLS, in order."""
    calls: dict[tuple[str, str], None] = {}

    def note(frame: FrameType, event: str, _argument: object) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and PACKAGE in path.parents:
            calls.setdefault((path.relative_to(PACKAGE.parent).as_posix(), frame.f_code.co_qualname))

    threading.setprofile(note)
    try:
        cli.main()
    finally:
        Path(os.environ["CALLS"]).write_text(json.dumps(list(calls)))


def test_the_walk_is_the_order_in_which_the_code_runs(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """The daemon calls the functions of the walk in this order for one defective part."""
    (tmp_path / "parts").mkdir()
    cv2.imwrite(str(tmp_path / "parts/1.png"), render(1, 1, "scratch"))
    calls = tmp_path / "calls"
    changes = {
        "source.kind": "folder",
        "source.uri": tmp_path / "parts",
        "models.selftest_every_s": 0,  # It calls the scorer too.
    }
    program = "from tests.test_readme import run_traced; run_traced()"
    with Daemon(tmp_path, mosquitto.port, changes, program, {"CALLS": str(calls)}) as daemon:
        assert daemon.end() == 0
        assert [row["result"] for row in daemon.rows()] == ["FAIL"]

    called = [as_in_the_walk(file, function) for file, function in json.loads(calls.read_text())]
    for branch in BRANCHES:
        walk = [(file, function) for function, _, file in WALK + branch]
        assert [call for call in dict.fromkeys(called) if call in walk] == walk


def as_in_the_walk(file: str, function: str) -> tuple[str, str]:
    """Return a call with the protocol `Source` in place of the source in use."""
    folder = "linewatch/acquisition/sources/"
    if file.startswith(folder) and function.endswith(".read"):
        return folder + "__init__.py", "Source.read"
    return file, function
