from pathlib import Path

import cv2
import numpy as np
import pytest

from linewatch.commission import save_frames
from linewatch.errors import ConfigError, LinewatchError, StorageFull
from linewatch.settings import SourceSettings
from linewatch.sources.simulator import render
from tests.disks import SmallDisk


def names(folder: Path) -> list[str]:
    """Return the files of a folder, in order."""
    return sorted(path.name for path in folder.iterdir())


def test_frames_are_saved_as_the_camera_saw_them(tmp_path: Path) -> None:
    """Without loss, in order, as many as were asked for."""
    saved = save_frames(SourceSettings(uri="seed=3&defects=0"), tmp_path / "a/b", 2)

    assert (saved, names(tmp_path / "a/b")) == (2, ["000001.png", "000002.png"])
    second = cv2.imread(str(tmp_path / "a/b/000002.png"))
    assert second is not None and np.array_equal(second, render(3, 2))


def test_numbering_goes_on_after_what_is_there(tmp_path: Path) -> None:
    """A second session adds pictures; whatever else lies in the folder is left alone."""
    for name in ("000041.png", "notes.txt", "good one.png"):
        (tmp_path / name).write_text("mine")

    save_frames(SourceSettings(uri="count=1"), tmp_path, 5)

    assert names(tmp_path) == ["000041.png", "000042.png", "good one.png", "notes.txt"]
    assert (tmp_path / "000041.png").read_text() == "mine"


def test_exposures_without_a_picture_are_left_out(tmp_path: Path) -> None:
    """An unreadable file of a folder is nothing to learn from; the others are saved."""
    parts = tmp_path / "parts"
    parts.mkdir()
    (parts / "1.png").write_bytes(b"nothing")
    cv2.imwrite(str(parts / "2.png"), render(1, 1))

    assert save_frames(SourceSettings(kind="folder", uri=str(parts)), tmp_path / "out", 9) == 1
    assert names(tmp_path / "out") == ["000001.png"]


def test_a_source_without_any_picture_is_an_error(tmp_path: Path) -> None:
    """Nobody trains on an empty folder by mistake."""
    parts = tmp_path / "parts"
    parts.mkdir()
    (parts / "1.png").write_bytes(b"nothing")
    with pytest.raises(LinewatchError, match="gave no picture"):
        save_frames(SourceSettings(kind="folder", uri=str(parts)), tmp_path / "out", 1)

    with pytest.raises(ConfigError):
        save_frames(SourceSettings(kind="folder", uri="nowhere"), tmp_path / "out", 1)


def test_a_full_disk_leaves_no_half_picture(small_disk: SmallDisk) -> None:
    """What was saved whole stays, and the sentence says what to do."""
    with pytest.raises(StorageFull, match="make room and start again"):
        save_frames(SourceSettings(uri="size=512"), small_disk.folder, 9)

    kept = [cv2.imread(str(small_disk.folder / name)) for name in names(small_disk.folder)]
    assert kept and all(picture is not None and picture.shape == (512, 512, 3) for picture in kept)
