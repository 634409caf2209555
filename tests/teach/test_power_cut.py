"""The process is killed before each of its file operations: nothing is half active afterwards.

Each change runs once for every operation on the disk, in a fork that an audit hook ends with SIGKILL there.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

import cv2
import pytest

from linewatch.models import registry
from linewatch.models.bundle import (
    active_version,
    read_bundle,
    set_active,
    set_trial,
    trial_version,
    versions,
)
from linewatch.models.recipe_file import load_recipe, regions_of
from linewatch.settings import JournalSettings, Settings
from linewatch.storage.journal import Journal
from linewatch.teach.area import read_area, save_area, save_regions
from linewatch.teach.datasets import Datasets
from linewatch.teach.thresholds import save_threshold
from linewatch.teach_settings import TeachSettings
from linewatch.vision.image_io import read_image
from linewatch.vision.recipe import Region
from tests.bundles import models_in, part, teach

ROOT = Path(__file__).parents[2]
SHAPE = (64, 64)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
OPERATIONS = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.truncate")
CUTS_MAX = 200


def settings_in(folder: Path) -> Settings:
    """Return settings whose folders are below `folder`."""
    return Settings(
        models=models_in(folder),
        journal=JournalSettings(path=folder / "journal.db"),
        teach=TeachSettings(path=folder / "datasets"),
    )


def lay_out(folder: Path) -> None:
    """Write three versions, the second active, the third on trial, and an archive of a fourth."""
    settings = settings_in(folder)
    days = [
        teach(settings.models, created=f"2026-11-2{day}T10:00:00+00:00", scores=(0.1 * day, 0.9)).version
        for day in (1, 2, 3, 4)
    ]
    registry.export_version(settings, "demo", days[3], folder / "new.tar.gz")
    shutil.rmtree(settings.models.path / "demo" / days[3])
    for version in days[:2]:
        set_active(settings.models.path, "demo", version)
    set_trial(settings.models.path, "demo", days[2])
    save_regions(
        settings.models.recipes, settings.models.path, "demo", SHAPE, [Region("rim", (0, 0, 32, 32))]
    )
    Datasets(settings.teach).add("demo", "train/good", part())
    with Journal.open(settings.journal.path):
        pass


def activate(settings: Settings) -> None:
    """Make the oldest version the active one."""
    oldest = versions(settings.models.path, "demo")[0]
    registry.activate(settings, "demo", oldest, who="erika")


def roll_back(settings: Settings) -> None:
    """Make the version before the active one."""
    registry.rollback(settings, "demo", who="erika")


def promote(settings: Settings) -> None:
    """Make the version on trial the active one."""
    registry.promote_trial(settings, "demo", who="erika")


def discard(settings: Settings) -> None:
    """End the trial."""
    registry.discard_trial(settings, "demo", who="erika")


def add_archive(settings: Settings) -> None:
    """Add the version in the archive."""
    registry.import_version(settings, settings.journal.path.with_name("new.tar.gz"), who="erika")


def move_threshold(settings: Settings) -> None:
    """Write and activate a version with another threshold."""
    save_threshold(settings, "demo", 1.9, "erika")


def draw_area(settings: Settings) -> None:
    """Write area and mask into the recipe."""
    save_area(settings.models.recipes, "demo", SHAPE, (0, 0, 40, 40), "3 10 10 20 20")


def draw_regions(settings: Settings) -> None:
    """Write other regions into the recipe."""
    rim = Region("edge", (8, 8, 32, 32), factor=0.5)
    save_regions(settings.models.recipes, settings.models.path, "demo", SHAPE, [rim])


def learn_another(settings: Settings) -> None:
    """Write a version as learning does, which does not become active."""
    bundle = read_bundle(settings.models.path, "demo", active_version(settings.models.path, "demo"))
    from linewatch.models.bundle import write_variant  # noqa: PLC0415

    write_variant(
        settings.models.path, bundle, created="2026-11-25T10:00:00+00:00", training={"made_up_recall": {}}
    )


def add_image(settings: Settings) -> None:
    """Store a frame in the data set."""
    Datasets(settings.teach).add("demo", "train/good", part(20))


CHANGES: MappingProxyType[str, Callable[[Settings], None]] = MappingProxyType(
    {
        one.__name__: one
        for one in (
            activate,
            roll_back,
            promote,
            discard,
            add_archive,
            move_threshold,
            draw_area,
            draw_regions,
            learn_another,
            add_image,
        )
    }
)


def state(settings: Settings) -> dict[str, Any]:
    """Return what a restart finds; raises if any of it is half there."""
    models, recipes = settings.models.path, settings.models.recipes
    for version in versions(models, "demo"):
        read_bundle(models, "demo", version)  # Every file as its manifest has it.
    recipe, bundle = load_recipe(recipes, "demo", models)
    if recipe.mask is not None:
        read_image(recipe.mask)
    datasets = Datasets(settings.teach)
    for name in datasets.names("demo", "train/good"):
        read_image(datasets.file("demo", "train/good", name))
    return {
        "active": bundle.version,
        "trial": trial_version(models, "demo"),
        "versions": versions(models, "demo"),
        "roi": recipe.roi,
        "masked": read_area(recipes, "demo").mask != "",
        "regions": [one.name for one in regions_of(recipes, "demo")],
        "images": len(datasets.names("demo", "train/good")),
    }


def run_cut(change: str, folder: Path, cut: int) -> bool:
    """Run a change in a fork that is killed before its operation number `cut`; return whether it ended."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1] == 0
    below, done = str(folder), 0

    def before(event: str, values: tuple[Any, ...]) -> None:
        nonlocal done
        writes = event in OPERATIONS or (
            event == "open" and isinstance(values[2], int) and bool(values[2] & WRITING)
        )
        if writes and str(values[0]).startswith(below):
            if done == cut:
                os.kill(os.getpid(), signal.SIGKILL)
            done += 1

    try:
        cv2.setNumThreads(1)
        sys.addaudithook(before)
        CHANGES[change](settings_in(folder))
    except BaseException as error:  # noqa: BLE001 - a fork must not return into the caller.
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(3)  # As when it was done before the cut, and is refused the second time.
    os._exit(0)


def main() -> None:
    """Print as JSON what is found before, after each cut and after a repetition, and after the whole change.

    What runs inference is in forks only: a process with its threads cannot be forked again.
    """
    change, laid_out, work = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    found: list[dict[str, Any]] = []
    for cut in range(CUTS_MAX):
        shutil.copytree(laid_out, work)
        before = state(settings_in(work))
        ended = run_cut(change, work, cut)
        after = state(settings_in(work))
        run_cut(change, work, CUTS_MAX)
        found.append({"ended": ended, "before": before, "after": after, "again": state(settings_in(work))})
        shutil.rmtree(work)
        if ended:
            break
    print(json.dumps(found))


@pytest.fixture(scope="module")
def laid_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with three versions of a product."""
    folder = tmp_path_factory.mktemp("station")
    lay_out(folder)
    return folder


@pytest.mark.timeout(120)
@pytest.mark.parametrize("change", CHANGES)
def test_a_power_cut_leaves_the_old_state_or_the_new_one(change: str, laid_out: Path, tmp_path: Path) -> None:
    """Each part of it alone; what is active is whole, and the change can be made again."""
    program = "from tests.teach.test_power_cut import main; main()"
    run = subprocess.run(
        [sys.executable, "-c", program, change, str(laid_out), str(tmp_path / "work")],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    cuts = json.loads(run.stdout.splitlines()[-1])
    old, new = cuts[-1]["before"], cuts[-1]["after"]

    assert cuts[-1]["ended"] and len(cuts) > 2, "it writes at least twice, and ends once nothing kills it"
    assert old != new
    for number, cut in enumerate(cuts[:-1]):
        assert not cut["ended"]
        for name, value in cut["after"].items():
            assert value in (old[name], new[name]), (number, name)
        if change not in ("roll_back", "add_image"):  # Each of these does another thing the second time.
            assert cut["again"] == new, number
