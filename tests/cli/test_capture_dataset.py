from pathlib import Path

import cv2
import numpy as np
import pytest

from linewatch.acquisition.sources.simulator.source import render
from linewatch.cli.capture_dataset import IDLE_FRAMES_MAX, Captured, describe_source, save_frames
from linewatch.errors import ConfigError, LinewatchError, StorageFull
from linewatch.settings import SourceSettings
from linewatch.teach.variety import Variety
from tests.disks import SmallDisk


def names(folder: Path) -> list[str]:
    """Return the files of a folder, in order."""
    return sorted(path.name for path in folder.iterdir())


def test_frames_are_saved_as_the_camera_saw_them(tmp_path: Path) -> None:
    """Lossless, in order, as many as requested."""
    done = save_frames(SourceSettings(uri="seed=3&defects=0"), tmp_path / "a/b", 2)

    assert (done, names(tmp_path / "a/b")) == (Captured(2, 2, 0, False), ["000001.png", "000002.png"])
    second = cv2.imread(str(tmp_path / "a/b/000002.png"))
    assert second is not None and np.array_equal(second, render(3, 2))


def test_numbering_goes_on_after_what_is_there(tmp_path: Path) -> None:
    """A second session adds images; other files in the folder stay as they are."""
    for name in ("000041.png", "notes.txt", "good one.png"):
        (tmp_path / name).write_text("mine")

    save_frames(SourceSettings(uri="count=1"), tmp_path, 5)

    assert names(tmp_path) == ["000041.png", "000042.png", "good one.png", "notes.txt"]
    assert (tmp_path / "000041.png").read_text() == "mine"


def test_a_second_session_saves_only_what_the_first_has_not_seen(tmp_path: Path) -> None:
    """Images that are in the folder already are skipped, also those of another program."""
    cv2.imwrite(str(tmp_path / "from the office.bmp"), render(1, 2))
    first = save_frames(SourceSettings(uri="count=2&defects=0"), tmp_path, 9)
    second = save_frames(SourceSettings(uri="count=3&defects=0"), tmp_path, 9)
    third = save_frames(SourceSettings(uri="count=3&defects=0"), tmp_path, 9)

    assert (first.saved, first.total, first.skipped) == (1, 2, 1)
    assert (second.saved, second.total, second.skipped) == (1, 3, 2)
    assert (third.saved, third.total, third.skipped) == (0, 3, 3)


def test_the_source_is_described() -> None:
    """The simulator is named as such, and a camera's password is not shown."""
    assert describe_source(SourceSettings()).startswith("the simulator, which renders parts")
    assert describe_source(SourceSettings(kind="camera", uri="0")) == "camera 0"
    assert (
        describe_source(SourceSettings(kind="rtsp", uri="rtsp://a:b@10.0.0.5/x")) == "rtsp rtsp://10.0.0.5/x"
    )


def test_exposures_without_a_picture_are_left_out(tmp_path: Path) -> None:
    """An unreadable file is skipped, and the others are saved."""
    parts = tmp_path / "parts"
    parts.mkdir()
    (parts / "1.png").write_bytes(b"nothing")
    cv2.imwrite(str(parts / "2.png"), render(1, 1))

    assert save_frames(SourceSettings(kind="folder", uri=str(parts)), tmp_path / "out", 9).saved == 1
    assert names(tmp_path / "out") == ["000001.png"]


def test_a_source_without_any_picture_is_an_error(tmp_path: Path) -> None:
    """An empty result is reported, so it is not used for training by mistake."""
    parts = tmp_path / "parts"
    parts.mkdir()
    (parts / "1.png").write_bytes(b"nothing")
    with pytest.raises(LinewatchError, match="gave no image"):
        save_frames(SourceSettings(kind="folder", uri=str(parts)), tmp_path / "out", 1)

    with pytest.raises(ConfigError):
        save_frames(SourceSettings(kind="folder", uri="nowhere"), tmp_path / "out", 1)


def test_a_full_disk_leaves_no_half_picture(small_disk: SmallDisk) -> None:
    """Complete images stay, and the error says what to do."""
    with pytest.raises(StorageFull, match="make room and start again"):
        save_frames(SourceSettings(uri="size=512"), small_disk.folder, 9)

    kept = [cv2.imread(str(small_disk.folder / name)) for name in names(small_disk.folder)]
    assert kept and all(image is not None and image.shape == (512, 512, 3) for image in kept)


def test_a_looping_folder_without_a_readable_picture_ends_with_a_sentence(tmp_path: Path) -> None:
    """Capturing ends instead of reading for ever."""
    parts = tmp_path / "parts"
    parts.mkdir()
    (parts / "1.png").write_bytes(b"nothing")
    source = SourceSettings(kind="folder", uri=str(parts), loop=True)

    with pytest.raises(LinewatchError, match=r"gave no image; check source\.uri"):
        save_frames(source, tmp_path / "out", 1)


def test_a_picture_that_is_there_already_is_not_saved_again(tmp_path: Path) -> None:
    """Frames of a part at rest are skipped; a folder that only repeats its images ends."""
    parts = tmp_path / "parts"
    parts.mkdir()
    noise = np.random.default_rng(0).normal(0, 2, (320, 320, 3))
    noisy = np.clip(np.rint(render(1, 1) + noise), 0, 255).astype(np.uint8)
    for number, image in enumerate((render(1, 1), noisy, render(1, 2)), 1):
        cv2.imwrite(str(parts / f"{number}.png"), image)

    done = save_frames(SourceSettings(kind="folder", uri=str(parts), loop=True), tmp_path / "out", 9)

    assert (done.saved, done.skipped) == (2, IDLE_FRAMES_MAX + 1)
    assert names(tmp_path / "out") == ["000001.png", "000002.png"]


def test_variety_is_enough_once_new_images_fill_no_gap() -> None:
    """Images of slowly drifting light still fill gaps; parts that differ at random soon do not."""
    grey = np.full((64, 64, 3), 60, np.uint8)
    wandering, parts = Variety(), Variety()
    enough = []
    for number in range(60):
        wandering.add(grey + np.uint8(number * 64 // 60 if number % 2 else 64 - number * 64 // 60))
        parts.add(render(3, number, size=96))
        enough.append((wandering.enough, parts.enough))

    assert enough[30] == (False, False)
    assert enough[-1][1]


def test_the_session_reports_enough_variety(tmp_path: Path) -> None:
    """Sixty of the simulator's parts are enough."""
    done = save_frames(SourceSettings(uri="seed=3&defects=0&size=96"), tmp_path / "out", 60)

    assert (done.saved, done.enough) == (60, True)
