import time
from pathlib import Path

import numpy as np
import pytest

from linewatch.domain import Frame, Image
from linewatch.errors import StorageFull, UsageError
from linewatch.teach.collector import WAITING_MAX, Collector
from linewatch.teach.datasets import Datasets
from linewatch.teach.thumbnails import Thumbnails
from linewatch.teach_settings import TeachSettings
from tests.bundles import part


@pytest.fixture
def datasets(tmp_path: Path) -> Datasets:
    """Return data sets in a folder of their own."""
    return Datasets(TeachSettings(path=tmp_path))


@pytest.fixture
def collector(datasets: Datasets) -> Collector:
    """Return a collector without a stage: the tests call `keep` themselves."""
    return Collector(datasets, Thumbnails(datasets))


def frame(level: int) -> Frame:
    """Return a frame that differs from those of other levels."""
    return Frame(np.full((64, 64, 3), level, np.uint8), time.monotonic_ns(), 0)


def drain(collector: Collector) -> None:
    """Keep what waits."""
    while (item := collector.frames.take(0.0)) is not None:
        collector.keep(item)


def test_the_next_parts_are_kept_until_there_are_enough(collector: Collector, datasets: Datasets) -> None:
    """Frames before the start, and after the last wanted one, are not kept."""
    collector.offer(frame(1))
    collector.start("cup", "train/good", 2)
    for level in (50, 90, 130):
        collector.offer(frame(level))
        drain(collector)

    assert datasets.names("cup", "train/good") == ["000001.png", "000002.png"]
    assert (collector.state.taken, collector.state.running) == (2, False)


def test_frames_like_another_are_not_kept(collector: Collector, datasets: Datasets) -> None:
    """Neither like one of this collection nor like one that was there before."""
    collector.start("cup", "train/good", 5)
    for level in (50, 50, 90):
        collector.offer(frame(level))
        drain(collector)
    collector.stop()
    collector.start("cup", "train/good", 5)
    collector.offer(frame(90))
    drain(collector)

    assert (len(datasets.names("cup", "train/good")), collector.state.alike) == (2, 1)


def test_the_line_never_waits_for_it(collector: Collector) -> None:
    """What finds no room is passed over; memory is bounded."""
    collector.start("cup", "train/good", 100)
    for level in range(50):
        collector.offer(frame(5 * level))

    assert len(collector.frames) == WAITING_MAX


def test_one_collection_at_a_time(collector: Collector) -> None:
    """A second engineer is told who collects; stopping makes room."""
    collector.start("cup", "train/good", 5)
    with pytest.raises(UsageError, match="'cup' are being collected"):
        collector.start("lid", "train/good", 5)
    collector.stop()
    collector.start("lid", "train/good", 5)

    assert collector.state.product == "lid"


def test_a_frame_of_an_earlier_collection_does_not_count(collector: Collector, datasets: Datasets) -> None:
    """One that waited while the collection changed belongs to another product."""
    collector.start("cup", "train/good", 5)
    collector.offer(frame(50))
    collector.stop()
    collector.start("lid", "train/good", 5)
    drain(collector)

    assert datasets.names("lid", "train/good") == []


def test_a_full_disk_ends_the_collection_with_its_reason(tmp_path: Path) -> None:
    """The line goes on; what was taken stays."""

    class Full(Datasets):
        def add(self, product: str, place: str, image: Image) -> str:
            raise StorageFull(tmp_path, "no space left on device")

    datasets = Full(TeachSettings(path=tmp_path))
    collector = Collector(datasets, Thumbnails(datasets))
    collector.start("cup", "train/good", 5)
    collector.offer(frame(50))
    drain(collector)

    assert not collector.state.running and "no space left" in collector.state.trouble


def test_one_frame_is_kept_on_request(collector: Collector, datasets: Datasets) -> None:
    """The newest, even if it resembles another; before the first there is none."""
    with pytest.raises(UsageError, match="no frame"):
        collector.take_one("cup", "train/good")
    collector.offer(Frame(part(), 0, 0))
    collector.take_one("cup", "train/good")
    collector.take_one("cup", "train/good")

    assert len(datasets.names("cup", "train/good")) == 2
