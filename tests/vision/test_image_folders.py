"""Image files in folders as file managers, file servers and phones leave them."""

import os
from pathlib import Path

from linewatch.acquisition.sources.folder import find_images as find_source_images
from linewatch.training.images import open_image_folder
from linewatch.vision.image_folders import folders_in, images_below, images_in
from tests.bundles import part, png

LITTER = (
    ".hidden.png", "._1.png", ".ipynb_checkpoints/1.png", "@eaDir/1.png", "__MACOSX/1.png",
    "#recycle/1.png", "$RECYCLE.BIN/1.png", "Thumbs.db", "desktop.ini", ".DS_Store", "notes.txt",
)  # fmt: skip


def put(path: Path) -> Path:
    """Write an image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(part()))
    return path


def test_what_a_person_did_not_put_there_is_no_image_and_no_kind_of_defect(tmp_path: Path) -> None:
    """Hidden files and the folders of file servers and systems are left out."""
    wanted = [put(tmp_path / "1.png"), put(tmp_path / "scratch" / "2.JPG")]
    for name in LITTER:
        put(tmp_path / name)
        put(tmp_path / "scratch" / name)

    assert images_in(tmp_path) == wanted[:1]
    assert folders_in(tmp_path) == [tmp_path / "scratch"]
    assert sorted(images_below(tmp_path)) == wanted
    assert find_source_images(tmp_path) == wanted


def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    """A link to another disk is read; a link back to where it came from is no endless way."""
    inside, outside = put(tmp_path / "here" / "1.png"), put(tmp_path / "elsewhere" / "2.png")
    (tmp_path / "here" / "more").symlink_to(outside.parent)
    (tmp_path / "here" / "loop").symlink_to(tmp_path / "here")
    (tmp_path / "here" / "gone").symlink_to(tmp_path / "nowhere")

    assert sorted(images_below(tmp_path / "here")) == [inside, tmp_path / "here" / "more" / "2.png"]


def test_a_file_name_that_is_not_utf_8_can_be_trained_on(tmp_path: Path) -> None:
    """The digest of the training images takes the bytes of the name."""
    for number in range(10):
        put(tmp_path / os.fsdecode(b"teil\xfc%d.png" % number))

    assert len(open_image_folder(tmp_path).digest()) == 64
