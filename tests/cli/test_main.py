import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import pytest

from linewatch.cli import main as cli
from linewatch.cli.options import write_html, write_json
from linewatch.domain import Result
from linewatch.errors import ConfigError, LinewatchError, StorageFull
from tests.bundles import models_in, part, teach

COMMANDS = {
    "run", "check", "health", "train", "calibrate", "marked", "evaluate", "inspect", "capture", "bench",
    "demo",
    "models list", "models show", "models verify", "models activate", "models rollback",
    "models golden", "models try", "models compare", "models promote", "models discard",
    "models export", "models import",
    "users list", "users add", "users remove", "users password", "users role", "users token", "users revoke",
}  # fmt: skip

PROGRESS = re.compile(r" *\d+ s +\d+%  ")
"""The beginning of a progress line, which is not an error."""

ALL_HELP = """
import contextlib, io, json, sys
import typer
from linewatch.cli import main as cli

def walk(command, path):
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from walk(inner, [*path, name])
    else:
        yield path

found = {}
for path in [[], ["models"], ["users"], *walk(typer.main.get_command(cli.app), [])]:
    sys.argv = ["linewatch", *path, "--help"]
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        try:
            cli.main()
        except SystemExit as end:
            found[" ".join(path)] = [end.code, text.getvalue()]
print(json.dumps({"found": found, "modules": sorted(sys.modules)}))
"""


@dataclass(frozen=True)
class Done:
    """The outcome of a command."""

    status: int
    out: str
    sentence: str


class Terminal:
    """Runs commands in this process, in the test's folder."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def run(self, *arguments: str | Path) -> Done:
        """Run one command, whose stderr must be at most one sentence."""
        self._monkeypatch.setattr(sys, "argv", ["linewatch", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        captured = self._capsys.readouterr()
        assert isinstance(end.value.code, int)
        assert "Traceback" not in captured.out + captured.err
        errors = [line for line in captured.err.splitlines() if not PROGRESS.match(line)]
        if not errors:
            return Done(end.value.code, captured.out, "")
        assert errors[0].startswith("linewatch: ") and len(errors) == 1, captured.err
        return Done(end.value.code, captured.out, errors[0].removeprefix("linewatch: "))


@pytest.fixture
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Terminal:
    """Return a terminal in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return Terminal(monkeypatch, capsys)


def config(folder: Path, text: str = "") -> Path:
    """Write settings whose simulator ends by itself."""
    path = folder / "line.toml"
    path.write_text(text or '[source]\nuri = "count=2"\n')
    return path


def test_the_help_of_every_command_is_quick_to_load() -> None:
    """It exits with 0 and imports no heavy library; each command's summary fits on its line of the list."""
    done = subprocess.run([sys.executable, "-c", ALL_HELP], capture_output=True, text=True, check=True)
    printed = json.loads(done.stdout)

    assert printed["found"].keys() >= COMMANDS
    for path, (status, text) in printed["found"].items():
        assert status == 0
        assert f"Usage: {' '.join(['linewatch', path]).strip()}" in text
        assert not re.search(r"\.\.\.$", text.partition("Commands:")[2], re.MULTILINE), text
    heavy = {"tensorflow", "keras", "openvino", "cv2", "numpy", "flask", "paho", "sklearn", "matplotlib"}
    assert heavy & set(printed["modules"]) == set()


def test_the_module_is_the_program(tmp_path: Path) -> None:
    """`python -m linewatch` ends like `linewatch`: status 78 and one sentence."""
    done = subprocess.run(
        [sys.executable, "-m", "linewatch", "run", "--config", "nowhere.toml"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )

    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr == (
        "linewatch: settings file 'nowhere.toml' does not exist; name another with --config\n"
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["dance"], "no such command 'dance'; see: linewatch --help"),
        (["run"], "missing option '--config'; see: linewatch run --help"),
        (["run", "--config", "x", "--fast"], "no such option: --fast; see: linewatch run --help"),
        (["models", "activate", "demo"], "missing argument 'version'; see: linewatch models activate --help"),
        (["capture", "--config", "x", "--out", "o", "--count", "0"], "invalid value for '--count'"),
        (["run", "--config", "x", "--duration", "-1"], "invalid value for '--duration'"),
        (["train", "a/../b", "--images", "parts"], "'a/../b' is no product name; use up to 32 letters"),
        (["models", "show", "../demo"], "'../demo' is no product name; use up to 32 letters"),
    ],
)
def test_wrong_usage_ends_with_2_and_one_sentence(
    terminal: Terminal, arguments: list[str], sentence: str
) -> None:
    """The sentence says what is wrong, and which help to read."""
    done = terminal.run(*arguments)

    assert done.status == 2
    assert done.sentence.startswith(sentence)
    assert done.out == ""


@pytest.mark.parametrize("arguments", [[], ["models"]])
def test_without_a_command_the_help_is_shown(terminal: Terminal, arguments: list[str]) -> None:
    """It lists the commands; the exit status is that of wrong usage."""
    done = terminal.run(*arguments)

    assert (done.status, done.sentence) == (2, "")
    assert "Usage: linewatch" in done.out


def test_a_camera_cannot_be_benchmarked(terminal: Terminal, tmp_path: Path) -> None:
    """The benchmark needs a source that is as fast as the daemon."""
    done = terminal.run("bench", "--config", config(tmp_path, '[source]\nkind = "camera"\nuri = "0"\n'))

    assert (done.status, done.sentence) == (
        2,
        "bench needs source.kind simulator or folder: a camera sets its own pace",
    )


@pytest.mark.parametrize(
    "command",
    [
        ["run", "--config", "line.toml"],
        ["check", "--config", "line.toml"],
        ["bench", "--config", "line.toml"],
        ["capture", "--config", "line.toml", "--out", "o", "--count", "1"],
        ["inspect", "demo", "part.png", "--config", "line.toml"],
        ["models", "list", "--config", "line.toml"],
    ],
)
def test_unusable_settings_end_with_78(terminal: Terminal, tmp_path: Path, command: list[str]) -> None:
    """For every command that reads them; systemd does not restart after 78."""
    config(tmp_path, "[mqtt]\nprot = 1883\n")
    done = terminal.run(*command)

    assert (done.status, done.out) == (78, "")
    assert done.sentence == "line.toml: mqtt.prot is not a setting; did you mean mqtt.port?"


@pytest.mark.parametrize("command", ["cameras", "demo"])
def test_commands_without_a_settings_file_refuse_a_misspelt_variable_too(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """The environment applies to every command."""
    monkeypatch.setenv("LINEWATCH_HTTP__PROT", "1")

    done = terminal.run(command)

    assert (done.status, done.out) == (78, "")
    assert "LINEWATCH_HTTP__PROT is not a setting; did you mean LINEWATCH_HTTP__PORT?" in done.sentence


def test_settings_from_the_environment_reach_every_command(
    terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LINEWATCH_MODELS__PATH and __RECIPES select the folders of models and recipes."""
    models = models_in(tmp_path / "elsewhere")
    version = teach(models).version
    monkeypatch.setenv("LINEWATCH_MODELS__PATH", str(models.path))
    monkeypatch.setenv("LINEWATCH_MODELS__RECIPES", str(models.recipes))

    done = terminal.run("models", "list")

    assert done.status == 0
    assert f"* demo {version}" in done.out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["models", "show", "nothing"], "product 'nothing' has no active model in 'models'"),
        (["models", "list", "nothing"], "product 'nothing' has no model in 'models'; train one: "),
        (["inspect", "nothing", "part.png"], "product 'nothing' has no recipe"),
    ],
)
def test_what_fails_ends_with_1_and_one_sentence(
    terminal: Terminal, arguments: list[str], sentence: str
) -> None:
    """The sentence names the thing and the next step."""
    done = terminal.run(*arguments)

    assert (done.status, done.out) == (1, "")
    assert done.sentence.startswith(sentence)
    assert "; " in done.sentence


def test_a_pinned_recipe_is_reported_wherever_a_version_becomes_active(
    terminal: Terminal, tmp_path: Path
) -> None:
    """The version is activated, and the output says that the line uses the pinned one."""
    models = models_in(tmp_path)
    old = teach(models, golden=[(part(), Result.PASS, 0.0)]).version
    new = teach(models).version
    place = config(tmp_path, '[models]\npath = "models"\nrecipes = "recipes"\n')
    pinning = f"recipe 'recipes/demo.toml' pins model {new}, which the line uses all the same; "

    def reports_pin(*command: str) -> bool:
        done = terminal.run("models", *command, "--config", place)
        assert done.status == 0, done.sentence
        return pinning in done.out

    assert not reports_pin("activate", "demo", old)
    (models.recipes / "demo.toml").write_text(f'index = 1\nmodel = "{new}"\n')
    assert reports_pin("activate", "demo", old)
    assert reports_pin("verify", "demo")
    assert not reports_pin("rollback", "demo")
    assert not reports_pin("verify", "demo")
    assert reports_pin("rollback", "demo", old)


def test_a_golden_sample_makes_a_new_version_active(terminal: Terminal, tmp_path: Path) -> None:
    """The command prints the version and how to go back."""
    old = teach(models_in(tmp_path)).version
    cv2.imwrite(str(tmp_path / "good.png"), part())
    place = config(tmp_path, '[models]\npath = "models"\nrecipes = "recipes"\n')

    done = terminal.run("models", "golden", "demo", "good.png", "--good", "--config", place)
    listed = terminal.run("models", "list", "demo", "--config", place).out.splitlines()

    (active,) = [line.split()[2] for line in listed if line.startswith("*")]
    assert (done.status, active != old) == (0, True)
    assert done.out == f"demo {active} is active; back: linewatch models rollback demo\n"


def test_a_model_goes_from_one_machine_to_another_in_a_file(terminal: Terminal, tmp_path: Path) -> None:
    """The active or the named version is exported; importing does not activate it."""
    old = teach(models_in(tmp_path), golden=[(part(), Result.PASS, 0.0)]).version
    new = teach(models_in(tmp_path)).version
    there = config(tmp_path, '[models]\npath = "elsewhere"\n[journal]\npath = "journal.db"\n')

    for version, arguments in (new, ["new.tar.gz"]), (old, [old, "old.tar.gz"]):
        out = terminal.run("models", "export", "demo", *arguments)
        assert (out.status, out.out) == (
            0,
            f"demo {version} is in {arguments[-1]}; there: linewatch models import {arguments[-1]}\n",
        )
        into = terminal.run("models", "import", arguments[-1], "--config", there)
        assert (into.status, into.out) == (
            0,
            f"demo {version} is there; to use it: linewatch models activate demo {version}\n",
        )
        assert (Path("elsewhere/demo") / version).is_dir()

    again = terminal.run("models", "import", "new.tar.gz", "--config", there)
    assert (again.status, again.sentence) == (2, f"model demo/{new} is in 'elsewhere' already")
    assert terminal.run("models", "export", "demo", new, old, "x.tar.gz").status == 2


def test_inspect_names_unreadable_files_and_goes_on(terminal: Terminal, tmp_path: Path) -> None:
    """One sentence on stderr, the verdicts of the other files on stdout, exit status 1."""
    teach(models_in(tmp_path))
    (tmp_path / "broken.png").write_text("not a picture")
    cv2.imwrite(str(tmp_path / "good.png"), part())
    place = config(tmp_path, '[models]\npath = "models"\nrecipes = "recipes"\n')

    done = terminal.run("inspect", "demo", "broken.png", "good.png", "--config", place)

    assert done.status == 1
    assert "broken.png" in done.sentence
    assert [json.loads(line)["result"] for line in done.out.splitlines()] == ["PASS"]
    assert terminal.run("inspect", "demo", "good.png", "--config", place).status == 0


def test_debug_shows_where_it_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is raised, wherever `--debug` stands."""
    for arguments in (["--debug", "run", "--config", "x"], ["run", "--config", "x", "--debug"]):
        monkeypatch.setattr(sys, "argv", ["linewatch", *arguments])
        with pytest.raises(ConfigError, match="'x' does not exist"):
            cli.main()


def test_check_ends_with_1_and_a_line_for_each_finding(terminal: Terminal, tmp_path: Path) -> None:
    """Failed checks are marked in the text and in the JSON."""
    path = config(tmp_path, "[mqtt]\nenabled = false\n[evidence]\nfree_bytes_min = 0\n")
    done = terminal.run("check", "--config", path)
    assert done.status == 1
    assert "ok   broker: switched off\n" in done.out
    assert "BAD  product demo: product 'demo' has no recipe" in done.out

    as_json = terminal.run("check", "--config", path, "--json")
    findings = {finding["what"]: finding for finding in json.loads(as_json.out)}
    assert as_json.status == 1
    assert (findings["broker"]["ok"], findings["product demo"]["ok"]) == (True, False)


def test_check_ends_with_0_when_every_check_passes(terminal: Terminal, tmp_path: Path) -> None:
    """The output has neither failures nor warnings."""
    teach(models_in(tmp_path))
    text = "[mqtt]\nenabled = false\n[evidence]\nfree_bytes_min = 0\n[models]\nrecipes = 'recipes'\n"
    text += "[http]\nport = 0\n"

    done = terminal.run("check", "--config", config(tmp_path, text))

    assert (done.status, "BAD" in done.out) == (0, False), done.out
    assert "warn" not in done.out


def test_check_warns_and_ends_with_0(terminal: Terminal, tmp_path: Path) -> None:
    """A warning does not change the exit status."""
    teach(models_in(tmp_path), recall=0.06)
    text = "[mqtt]\nenabled = false\n[evidence]\nfree_bytes_min = 0\n[models]\nrecipes = 'recipes'\n"

    done = terminal.run("check", "--config", config(tmp_path, text))

    assert done.status == 0
    assert re.search(r"^ok   product demo: .*\nwarn product demo: only 6% of ", done.out, re.MULTILINE)


def test_capture_saves_frames_and_never_overwrites(terminal: Terminal, tmp_path: Path) -> None:
    """The second run adds new frames only, and ends early at the end of the source."""
    path = config(tmp_path)
    first = terminal.run("capture", "--config", path, "--out", "parts/good", "--count", "1")
    second = terminal.run("capture", "--config", path, "--out", "parts/good", "--count", "9")

    assert (first.status, second.status) == (0, 0)
    assert first.out.startswith("capturing from the simulator, ")
    assert "1 new frames in parts/good, 1 in all\n" in first.out
    assert "1 new frames in parts/good, 2 in all\n1 frames were nearly the same" in second.out
    saved = sorted(path.name for path in (tmp_path / "parts/good").iterdir())
    assert saved == ["000001.png", "000002.png"]


def test_capture_without_a_camera_or_a_folder_is_one_sentence(terminal: Terminal, tmp_path: Path) -> None:
    """An absent camera, and a file in place of the folder."""
    no_camera = config(tmp_path, '[source]\nkind = "camera"\nuri = "/dev/video99"\n')
    done = terminal.run("capture", "--config", no_camera, "--out", "parts", "--count", "1")
    assert (done.status, "/dev/video99" in done.sentence) == (1, True)

    (tmp_path / "file").write_text("")
    done = terminal.run("capture", "--config", config(tmp_path), "--out", "file", "--count", "1")
    assert done.status == 1
    assert done.sentence == "storage 'file': cannot be made (File exists); choose another --out"


def test_figures_that_cannot_be_written_are_one_sentence(tmp_path: Path) -> None:
    """The sentence names the option; a missing folder is created."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFull, match="File exists; name another file with --json"):
        write_json(tmp_path / "file/figures.json", {})
    with pytest.raises(StorageFull, match="Is a directory; name another file with --html"):
        write_html(tmp_path, "<p>")

    write_json(tmp_path / "new/dir/figures.json", {"rate": 1})
    assert json.loads((tmp_path / "new/dir/figures.json").read_text()) == {"rate": 1}


def test_evaluate_prints_its_figures_even_if_the_files_cannot_be_written(
    terminal: Terminal, tmp_path: Path
) -> None:
    """Without labelled images the usage is wrong; a failed write is one sentence after the figures."""
    teach(models_in(tmp_path))
    for kind, blob in (("good", 0), ("scratch", 50)):
        (tmp_path / "parts" / kind).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "parts" / kind / "1.png"), part(blob))
    (tmp_path / "empty/good").mkdir(parents=True)
    place = config(tmp_path, '[models]\nrecipes = "recipes"\n')

    def evaluate(data: str, *options: str) -> Done:
        return terminal.run("evaluate", "demo", "--data", data, "--config", place, *options)

    written = evaluate("parts", "--json", "new/a/x.json", "--html", "new/b/x.html")
    assert (written.status, json.loads(written.out)) == (0, json.loads(Path("new/a/x.json").read_text()))
    assert "Image AUROC" in Path("new/b/x.html").read_text()
    refused = evaluate("parts", "--html", "parts")
    assert (refused.status, json.loads(refused.out)["recall"]) == (1, 1.0)
    assert refused.sentence == "storage 'parts': Is a directory; name another file with --html"
    nothing = evaluate("empty")
    assert (nothing.status, nothing.out) == (2, "")
    assert nothing.sentence.startswith("'empty' holds no pictures to measure with; put good ones into 'good'")


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Only errors that a user can fix become a sentence."""
    program = (
        "from linewatch import settings\n"
        "from linewatch.cli import main as cli\n"
        "def load(path):\n"
        "    raise AssertionError('injected')\n"
        "settings.load = load\n"
        "cli.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "check", "--config", "x"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "AssertionError: injected" in done.stderr


def test_every_error_has_a_status() -> None:
    """Unusable settings are 78, because a restart would not help; other errors are 1."""
    assert cli.exit_status(ConfigError("x")) == 78
    assert cli.exit_status(LinewatchError("x")) == 1
