import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from linewatch.errors import UsageError
from linewatch.runtime.paused_processes import PausedProcesses
from linewatch.settings import ModelsSettings, Settings
from linewatch.teach.datasets import Datasets
from linewatch.teach.learning import Learning
from linewatch.teach_settings import TeachSettings
from linewatch.teaching import LearningStage
from tests.bundles import part

STUB = """
import json, os, sys, time
from pathlib import Path
folder = Path(sys.argv[1])
(folder / "state.json").write_text(json.dumps({"pid": os.getpid(), "doing": "training", "share": 0.4}))
print("step", flush=True)
sys.stdin = open(folder / "go")  # A named pipe: opened once the test says how to end.
outcome = sys.stdin.read().strip()
if outcome == "crash":
    os._exit(9)
facts = {"outcome": outcome, "sentence": "so it is", "version": "0a1b2c3d"}
(folder / "state.json").write_text(json.dumps(facts))
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return settings whose folders are the test's own."""
    return Settings(
        teach=TeachSettings(path=tmp_path / "sets", nice=0),
        models=ModelsSettings(path=tmp_path / "models", recipes=tmp_path / "recipes"),
    )


@pytest.fixture
def datasets(settings: Settings) -> Datasets:
    """Return the data set of a cup, with ten images."""
    found = Datasets(settings.teach)
    for level in range(10):
        found.add("cup", "train/good", part(level))
    return found


@pytest.fixture
def learning(settings: Settings, datasets: Datasets, tmp_path: Path) -> Iterator[Learning]:
    """Return learning whose process waits for the test."""
    (tmp_path / "sets/_learning").mkdir()
    os.mkfifo(tmp_path / "sets/_learning/go")
    found = Learning(settings, datasets, command=(sys.executable, "-c", STUB))
    yield found
    if found.state().running:
        found.cancel("test")


def started(learning: Learning) -> None:
    """Begin, and wait until the process has written its state."""
    learning.start("cup", "erika")
    while not learning.state().log:
        os.sched_yield()


def end(learning: Learning, folder: Path, how: str) -> None:
    """Let the process end, and wait for it."""
    (folder / "sets/_learning/go").write_text(how)
    while learning.state().running:
        os.sched_yield()


def test_one_product_is_learnt_at_a_time(learning: Learning, tmp_path: Path) -> None:
    """The second is refused until the first has ended; then its outcome is there."""
    started(learning)
    assert (learning.state().stage, learning.state().by) == (LearningStage.RUNNING, "erika")
    with pytest.raises(UsageError, match="another product is being learnt"):
        learning.start("cup", "otto")

    end(learning, tmp_path, "done")

    state = learning.state()
    assert (state.stage, state.version, state.sentence) == (LearningStage.DONE, "0a1b2c3d", "so it is")


def test_it_survives_a_restart_of_the_daemon(
    learning: Learning, settings: Settings, datasets: Datasets, tmp_path: Path
) -> None:
    """Another daemon sees the same process, cannot begin a second one, and can cancel it."""
    started(learning)
    other = Learning(settings, datasets)

    assert (other.state().stage, other.state().doing) == (LearningStage.RUNNING, "training")
    with pytest.raises(UsageError, match="another product"):
        other.start("cup", "otto")
    other.cancel("otto")

    assert other.state().stage is LearningStage.CANCELLED


def test_it_stands_still_while_a_part_is_judged(
    learning: Learning, settings: Settings, datasets: Datasets
) -> None:
    """Also after a restart of the daemon, which lets it go on."""
    started(learning)
    assert learning._process is not None
    status = Path(f"/proc/{learning._process.pid}/status")
    learning._beside.give_way(True)
    while "T (stopped)" not in status.read_text():
        os.sched_yield()
    other_beside = PausedProcesses()
    other = Learning(settings, datasets, beside=other_beside)
    while "T (stopped)" in status.read_text():
        os.sched_yield()
    other_beside.give_way(True)
    while "T (stopped)" not in status.read_text():
        os.sched_yield()
    other.close()
    while "T (stopped)" in status.read_text():
        os.sched_yield()


def test_a_process_that_died_is_recognised(learning: Learning, tmp_path: Path) -> None:
    """A crash, as after a power cut, leaves no state that looks alive, and another start is possible."""
    started(learning)
    end(learning, tmp_path, "crash")

    assert learning.state().stage is LearningStage.INTERRUPTED
    started(learning)
    assert learning.state().running


def test_cancelling_ends_the_process(learning: Learning) -> None:
    """At once, and twice is refused."""
    started(learning)
    learning.cancel("erika")

    assert learning.state().stage is LearningStage.CANCELLED
    with pytest.raises(UsageError, match="nothing is being learnt"):
        learning.cancel("erika")


def test_a_state_file_that_was_cut_off_is_no_bug(learning: Learning, tmp_path: Path) -> None:
    """A power cut may leave half a file."""
    started(learning)
    end(learning, tmp_path, "crash")
    (tmp_path / "sets/_learning/state.json").write_text('{"pid": 12')

    assert learning.state().stage is LearningStage.INTERRUPTED


def test_too_few_images_are_refused(settings: Settings) -> None:
    """Before a process starts, with how many are there."""
    with pytest.raises(UsageError, match="has 0 good images, 10 are the least"):
        Learning(settings, Datasets(settings.teach)).start("cup", "erika")


def test_without_the_extra_the_way_elsewhere_is_named(
    learning: Learning, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line PC has no TensorFlow: learn on another machine and upload the archive."""
    monkeypatch.setattr("linewatch.teach.learning.find_spec", lambda _name: None)

    assert "upload the archive" in learning.unavailable()
    with pytest.raises(UsageError, match="upload the archive"):
        learning.start("cup", "erika")


@pytest.mark.timeout(300)
def test_killed_while_learning_nothing_is_half_active(settings: Settings, datasets: Datasets) -> None:
    """The real process, killed at work: no version, no active one, and the next start cleans up."""
    for level in range(20, 30):
        datasets.add("cup", "train/good", part(2 * level))
    learning = Learning(settings, datasets)
    left = settings.models.path / "cup" / ".new-abc"
    left.mkdir(parents=True)
    learning.start("cup", "erika", detail="coarse")
    while left.exists():
        assert learning.state().running, learning.state()
        os.sched_yield()
    process = learning._process
    assert process is not None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()

    assert learning.state().stage is LearningStage.INTERRUPTED
    assert list((settings.models.path / "cup").iterdir()) == []
