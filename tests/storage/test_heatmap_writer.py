"""Heatmaps written while their verdict waits: an evidence disk that hangs costs heatmaps, and no time."""

import threading

import numpy as np
import pytest

from linewatch.domain import Image, Verdict
from linewatch.errors import StorageFull
from linewatch.storage.heatmap_writer import HeatmapWriter
from tests.stages import running

WAIT_S = 20.0
IMAGE = np.zeros((4, 4, 3), np.uint8)


class SlowFolder:
    """An evidence folder that answers when it is allowed to, or refuses."""

    def __init__(self) -> None:
        self.kept: list[str] = []
        self.answers = threading.Event()
        self.full = False

    def heatmap_name(self, verdict: Verdict) -> str:
        """Name every heatmap."""
        return f"{verdict.seq}.jpg"

    def write(self, name: str, image: Image) -> None:
        """Keep one image."""
        assert self.answers.wait(WAIT_S)
        if self.full:
            raise StorageFull(name, "no room")
        self.kept.append(name)


def test_a_heatmap_is_there_when_its_verdict_goes_out() -> None:
    """`write` returns when the file is written."""
    folder = SlowFolder()
    folder.answers.set()
    writer = HeatmapWriter(folder)
    with running(writer):
        writer.write("1.jpg", IMAGE, WAIT_S)

        assert folder.kept == ["1.jpg"]


def test_what_the_disk_refuses_is_raised() -> None:
    """The verdict then names no heatmap, and the next one is tried again."""
    folder = SlowFolder()
    folder.answers.set()
    writer = HeatmapWriter(folder)
    with running(writer):
        folder.full = True
        with pytest.raises(StorageFull, match="no room"):
            writer.write("1.jpg", IMAGE, WAIT_S)
        folder.full = False
        writer.write("2.jpg", IMAGE, WAIT_S)

    assert folder.kept == ["2.jpg"]


def test_a_disk_that_hangs_is_waited_for_once() -> None:
    """The first heatmap waits as long as its verdict can; those after it do not wait at all."""
    folder = SlowFolder()
    writer = HeatmapWriter(folder)
    with running(writer):
        with pytest.raises(StorageFull, match="did not answer in time"):
            writer.write("1.jpg", IMAGE, 0.01)
        with pytest.raises(StorageFull, match="has not answered for the heatmap before"):
            writer.write("2.jpg", IMAGE, WAIT_S)
        folder.answers.set()

    assert folder.kept == ["1.jpg"]
