import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from linewatch.acquisition.sources import open_source
from linewatch.acquisition.sources.folder import FolderSource, find_images
from linewatch.domain import Frame, Reason
from linewatch.errors import ConfigError
from linewatch.settings import SourceSettings


def save(path: Path, level: int) -> None:
    """Write an image that is identified by its grey level."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((40, 50, 3), level, np.uint8))


def level(frame: Frame | None) -> int:
    """Return the number of the image in a frame, -1 for none."""
    assert frame is not None
    return -1 if frame.image is None else round(float(frame.image.mean()))


def test_pictures_come_in_natural_order_at_any_depth(tmp_path: Path) -> None:
    """part2 comes before part10, and a folder's images stay together."""
    names = ["part1.png", "part2.jpg", "part10.png", "tray2/a.bmp", "tray10/a.tif", "tray10/B.PNG", "zz.webp"]
    for number, name in enumerate(names):
        save(tmp_path / name, 20 * number)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "folder.png").mkdir()

    assert [path.relative_to(tmp_path).as_posix() for path in find_images(tmp_path)] == names
    with FolderSource(tmp_path) as source:
        assert [level(source.read()) for _ in names] == pytest.approx([0, 20, 40, 60, 80, 100, 120], abs=1)
        assert source.read() is None
        assert source.read() is None


def test_the_next_image_is_decoded_meanwhile(tmp_path: Path) -> None:
    """A file may be deleted once the image before it was returned; its time is that of its own read."""
    for number in (1, 2):
        save(tmp_path / f"part{number}.png", 0)
    with FolderSource(tmp_path) as source:
        first = source.read()
        assert source._ahead is not None
        source._ahead[1].result(10)
        (tmp_path / "part2.png").unlink()
        second = source.read()

    assert first is not None and second is not None
    assert second.image is not None
    assert second.captured_ns > first.captured_ns


def test_names_of_any_script_and_equal_numbers_have_one_order(tmp_path: Path) -> None:
    """The order copes with unusual digits, and does not depend on the file system."""
    names = ["a01.png", "a1.png", "a².png", "a٣.png", "ä1.png", "12.png"]
    for name in names:
        save(tmp_path / name, 0)

    once = [path.name for path in find_images(tmp_path)]
    shutil.copytree(tmp_path, tmp_path / "copy")
    assert once == ["12.png", "a01.png", "a1.png", "a٣.png", "a².png", "ä1.png"]
    assert [path.name for path in find_images(tmp_path / "copy")] == once


def test_an_unreadable_picture_is_an_exposure_without_a_picture(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Broken, disguised, empty and vanished files each become one frame with a fault, and a log line."""
    save(tmp_path / "1.png", 10)
    whole = (tmp_path / "1.png").read_bytes()
    (tmp_path / "2.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "3.jpg").write_text("<svg/>")
    (tmp_path / "4.png").touch()
    save(tmp_path / "5.png", 50)
    save(tmp_path / "6.png", 60)

    with FolderSource(tmp_path) as source:
        (tmp_path / "5.png").unlink()
        frames = [source.read() for _ in range(6)]

    assert [level(frame) for frame in frames] == [10, -1, -1, -1, -1, 60]
    assert [frame.fault for frame in frames if frame] == [
        Reason.NONE, *[Reason.BAD_PICTURE] * 4, Reason.NONE,
    ]  # fmt: skip
    assert [record.message.split("=")[0] for record in caplog.records] == ["image_unreadable reason"] * 4


def test_a_loop_starts_again_at_the_end(tmp_path: Path) -> None:
    """With `loop`, the folder never ends; opening again starts at the first image."""
    save(tmp_path / "1.png", 10)
    save(tmp_path / "2.png", 20)
    source = FolderSource(tmp_path, loop=True)

    for _ in range(2):
        with source:
            assert [level(source.read()) for _ in range(5)] == [10, 20, 10, 20, 10]


def test_frames_carry_the_time_of_reading(tmp_path: Path) -> None:
    """A frame is captured when it is read, so a recording is never stale."""
    save(tmp_path / "1.png", 10)
    with FolderSource(tmp_path, loop=True) as source:
        first, second = source.read(), source.read()

    assert first is not None and second is not None
    assert 0 < first.captured_ns < second.captured_ns
    assert not first.simulated
    assert first.part == "1.png"
    assert not source.live


def test_what_is_no_folder_of_pictures_is_said_in_a_sentence(tmp_path: Path) -> None:
    """Missing, empty and wrong folders raise ConfigError."""
    (tmp_path / "file.png").touch()
    (tmp_path / "empty").mkdir()

    for uri, words in (
        (tmp_path / "nowhere", "does not exist; name a folder with images"),
        (tmp_path / "file.png", "is a file, not a folder"),
        (tmp_path / "empty", "holds no images; known are .bmp"),
    ):
        with pytest.raises(ConfigError) as caught, FolderSource(uri):
            pass
        assert words in str(caught.value)
        assert repr(str(uri)) in str(caught.value)


def test_the_settings_open_it(tmp_path: Path) -> None:
    """`kind = "folder"` reads the folder that `uri` names, and an empty `uri` is refused."""
    save(tmp_path / "1.png", 10)
    with open_source(SourceSettings(kind="folder", uri=str(tmp_path), loop=True)) as source:
        assert [level(source.read()) for _ in range(3)] == [10, 10, 10]

    with pytest.raises(ConfigError, match=r"source\.uri is empty; name a folder"):
        open_source(SourceSettings(kind="folder"))


def test_a_file_name_that_is_no_text_can_be_sent_on(tmp_path: Path) -> None:
    """The part's id is the file name; bytes that are not UTF-8 are replaced."""
    save(tmp_path / "tray" / "1.png", 10)
    (tmp_path / "tray" / "1.png").rename(tmp_path / "tray" / os.fsdecode(b"\xff1.png"))

    with FolderSource(tmp_path) as source:
        frame = source.read()
    assert frame is not None
    assert (frame.part, level(frame)) == ("tray/?1.png", 10)
