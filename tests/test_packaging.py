"""Packaging for a line PC: systemd unit, installed tree, container image."""

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from linewatch.cli.options import EXIT_CONFIG, EXIT_USAGE
from linewatch.settings import LimitsSettings
from tests.daemon import ROOT, Daemon
from tests.mosquitto import Mosquitto

UNIT = ROOT / "systemd/linewatch@.service"
SHIP = ROOT / "systemd/linewatch-ship@.service"
UNITS = [UNIT, SHIP]
EXPOSURE_MAX = 2.0


class Unit(configparser.ConfigParser):
    """The unit file as a parser reads it; of a repeated key the last value counts."""

    def __init__(self, path: Path = UNIT) -> None:
        super().__init__(interpolation=None, strict=False, delimiters="=")
        self.optionxform = str  # type: ignore[assignment,method-assign]  # As in the configparser manual.
        self.read(path)


def analyze(folder: Path, unit: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run systemd-analyze on a copy of a unit whose program exists on this machine."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed; on Debian or Ubuntu: apt-get install systemd")
    for path in (ROOT / "systemd").glob("*@.*"):
        text = path.read_text().replace("/opt/linewatch/current/bin/linewatch", "/bin/true")
        (folder / path.name).write_text(text)
    return subprocess.run(
        ["systemd-analyze", *arguments, str(folder / unit.name)], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("unit", [*UNITS, SHIP.with_suffix(".timer")], ids=lambda path: path.name)
def test_systemd_understands_every_line_of_the_unit(tmp_path: Path, unit: Path) -> None:
    """`systemd-analyze verify` only warns about unknown keys, so a warning is a failure."""
    done = analyze(tmp_path, unit, "verify")

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_the_unit_is_hardened(tmp_path: Path, unit: Path) -> None:
    """`systemd-analyze security` rates the exposure of the unit at most 2.0."""
    done = analyze(
        tmp_path, unit, "security", "--offline=true", f"--threshold={int(EXPOSURE_MAX * 10)}", "--no-pager"
    )

    assert done.returncode == 0, done.stdout[-200:]
    assert "Overall exposure level" in done.stdout


def test_the_unit_fits_the_daemon() -> None:
    """Its timeouts are longer than the daemon's own, and errors a restart cannot fix are not restarted."""
    service, limits = Unit()["Service"], LimitsSettings()

    assert service["Type"] == "notify"
    assert service["Restart"] == "on-failure"
    assert service["RestartPreventExitStatus"].split() == [str(EXIT_USAGE), str(EXIT_CONFIG)]
    assert int(service["WatchdogSec"]) > limits.stall_s
    assert int(service["TimeoutStopSec"]) > 2 * (limits.grace_s + 5)
    assert int(Unit()["Unit"]["StartLimitBurst"]) > 0


def test_shipping_gives_way_to_the_line_and_catches_up() -> None:
    """It has the lowest priority for processor and disk, and runs at the next start if it was missed."""
    service, timer = Unit(SHIP)["Service"], Unit(SHIP.with_suffix(".timer"))["Timer"]

    assert service["Type"] == "oneshot"
    assert (service["Nice"], service["IOSchedulingClass"]) == ("19", "idle")
    assert service["ExecStart"].split()[1:] == [
        "ship", "${SHIP_TO}", "--config", "/etc/linewatch/%i.toml"
    ]  # fmt: skip
    assert int(service["MemoryMax"].removesuffix("M")) >= 250
    assert timer["Persistent"] == "yes"
    assert int(timer["RandomizedDelaySec"]) > 0


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make as a packager does."""
    return subprocess.run(["make", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def test_an_installed_tree_has_its_documented_layout(tmp_path: Path) -> None:
    """`make install` adds a relocated release below PREFIX and never overwrites one."""
    where = (f"DESTDIR={tmp_path}", "PREFIX=/srv/lw", "PIP_ARGUMENTS=--no-deps", "RELEASE=one")
    done = make("install", *where)
    again = make("install", *where)

    assert done.returncode == 0, done.stderr[-2000:]
    assert (again.returncode, "is installed already" in again.stdout) == (2, True)
    release = tmp_path / "srv/lw/releases/one"
    assert (tmp_path / "srv/lw/current").readlink() == Path("releases/one")
    assert (release / "bin/linewatch").read_text().startswith("#!/srv/lw/releases/one/bin/python")
    assert next(release.glob("lib/python3*/site-packages/linewatch/cli/main.py"))
    assert (release / "share/linewatch/mosquitto/acl").exists()
    assert (release / "share/doc/linewatch/operations.md").exists()
    share, example = release / "share/linewatch", tmp_path / "etc/linewatch/example.toml"
    models = tomllib.loads(example.read_text())["models"]
    assert models == {
        "path": "/srv/lw/current/share/linewatch/models",
        "recipes": "/srv/lw/current/share/linewatch/recipes",
    }
    # The clone's own station, models and recipes stay there.
    assert {path.name for path in share.rglob("*.toml")} == {"bench.toml", "demo.toml"}
    assert [path.name for path in (share / "models").iterdir()] == ["demo"]
    units = tmp_path / "usr/local/lib/systemd/system"
    assert "ExecStart=/srv/lw/current/bin/linewatch ship " in (units / SHIP.name).read_text()
    assert (units / "linewatch-ship@.timer").exists()
    unit = (units / "linewatch@.service").read_text()
    assert "ExecStart=/srv/lw/current/bin/linewatch run --config /etc/linewatch/%i.toml" in unit
    assert (tmp_path / "usr/local/lib/sysusers.d/linewatch.conf").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"srv", "etc", "usr"}


def test_a_release_is_installed_with_its_extras() -> None:
    """A line PC with a PLC that speaks Modbus needs the extra; without EXTRAS there is none."""
    assert "'.[modbus]'" in make("--dry-run", "install", "EXTRAS=modbus", "RELEASE=none").stdout
    assert "'.'" in make("--dry-run", "install", "RELEASE=none").stdout


def test_the_example_station_becomes_ready(tmp_path: Path) -> None:
    """Copied as docs/operations.md says, it inspects the demo product in a folder with nothing in it."""
    example = (ROOT / "config/example.toml").read_text()
    share = tmp_path / "share"
    (share / "recipes").mkdir(parents=True)
    shutil.copy(ROOT / "config/recipes/demo.toml", share / "recipes")
    shutil.copytree(ROOT / "models/demo", share / "models/demo")
    here = tmp_path / "station1"
    here.mkdir()
    config = tmp_path / "station1.toml"
    config.write_text(example.replace("/opt/linewatch/current/share/linewatch", str(share)))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LINEWATCH_")}
    environment |= {"LINEWATCH_HTTP__PORT": "0", "PYTHONPATH": str(ROOT)}
    environment |= {"HOME": "/proc/none"}  # The service's user has none that it can write to.
    # Other tests share these cores.
    environment |= {"LINEWATCH_LIMITS__DEADLINE_MS": "5000", "LINEWATCH_LIMITS__FRAME_AGE_MS_MAX": "5000"}

    done = subprocess.run(
        [sys.executable, "-m", "linewatch", "run", "--config", config, "--duration", "8"],
        cwd=here, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "to=READY" in done.stdout
    assert "FAULT" not in done.stdout and "DEGRADED" not in done.stdout
    assert "result=PASS" in done.stdout


def test_a_line_pc_gets_neither_training_nor_the_demo_broker() -> None:
    """TensorFlow and iotcore are extras; the tests need both."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]

    def names(requirements: list[str]) -> set[str]:
        return {re.split(r"[^\w-]", requirement)[0] for requirement in requirements}

    assert {"tensorflow", "iotcore"}.isdisjoint(names(project["dependencies"]))
    assert "tensorflow" in names(extras["train"])
    assert names(extras["demo"]) == {"iotcore"}
    own = next(name for name in extras["test"] if name.startswith("linewatch["))
    assert {"demo", "train"} <= set(re.findall(r"\w+", own)[1:])


CONTAINERFILE = "config/container/Containerfile"
IMAGE = (ROOT / CONTAINERFILE).read_text()


def test_the_containerfile_passes_its_linter() -> None:
    """Hadolint reports nothing, as in `make image-lint`."""
    program = shutil.which("hadolint") or shutil.which("hadolint", path=str(ROOT / "build/tools/bin"))
    if program is None:
        pytest.skip("hadolint is not installed; `make image-lint` does that")
    done = subprocess.run([program, CONTAINERFILE], cwd=ROOT, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_needs_no_root_and_no_training() -> None:
    """It runs as a numeric user other than 0 and copies only paths that `.containerignore` admits."""
    copied = [part for line in IMAGE.splitlines() if line.startswith("COPY ") and "--from" not in line
              for part in line.split()[1:-1]]  # fmt: skip
    ignored = (ROOT / ".containerignore").read_text().splitlines()

    assert int(re.findall(r"^USER (\d+)$", IMAGE, re.MULTILINE)[-1]) > 0
    assert "[train]" not in IMAGE
    assert ignored[0] == "*"
    for path in copied:
        assert (ROOT / path).exists()
        assert f"!{path}" in ignored


def test_the_image_is_healthy_while_the_daemon_is(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """The health check follows http.port of the settings file; it fails without a daemon."""
    program, *arguments = json.loads(re.findall(r"^    CMD (\[.*\])$", IMAGE, re.MULTILINE)[0])
    assert (program, arguments[-1]) == ("linewatch", "/etc/linewatch/linewatch.toml")

    def healthy(port: str, **environment: str) -> bool:
        file = tmp_path / "asked.toml"
        file.write_text(f'[http]\nhost = "0.0.0.0"\nport = {port}\ntoken_file = "token"\n')
        command = [sys.executable, "-m", "linewatch", *arguments[:-1], file]
        return subprocess.run(command, env=os.environ | environment, check=False).returncode == 0

    with Daemon(tmp_path, mosquitto.port) as daemon:
        port = daemon.address.rpartition(":")[2]
        assert healthy(port)
        assert healthy("1", LINEWATCH_HTTP__PORT=port)
        assert healthy(port, http_proxy="http://127.0.0.1:9")
    assert not healthy(port)
