import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# Two tests run at a time on two cores: one that learns must leave the other something.
os.environ |= dict.fromkeys(("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")

import linewatch  # noqa: F401 - it sets what OpenCV reads when it is loaded, so it comes before any test's cv2
from tests.disks import HangingDisk, SmallDisk
from tests.mosquitto import Mosquitto


@pytest.fixture(autouse=True)
def _settings_of_this_machine_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.upper().startswith("LINEWATCH_"):
            monkeypatch.delenv(name)


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    """Run a broker of the test's own; `stop()` and `start()` make an outage."""
    broker = Mosquitto(tmp_path)
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """Mount a disk of 1 MB that can be filled and emptied."""
    disk = SmallDisk(tmp_path / "disk")
    if not disk.mount():
        pytest.skip("mounting a tmpfs needs root")
    yield disk
    disk.unmount()


@pytest.fixture
def hanging_disk(tmp_path: Path) -> Iterator[HangingDisk]:
    """Mount a disk whose writes can be made to wait."""
    disk = HangingDisk(tmp_path / "slow")
    if not disk.mount():
        pytest.skip("mounting an ext4 file needs root and mkfs.ext4")
    yield disk
    disk.unmount()
