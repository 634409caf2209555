from pathlib import Path

import numpy as np
import pytest

from linewatch.errors import StorageFull, UsageError
from linewatch.teach.datasets import Datasets
from linewatch.teach.thumbnails import Thumbnails, make_thumbnails
from linewatch.teach_settings import TeachSettings
from tests.bundles import part, png


@pytest.fixture
def datasets(tmp_path: Path) -> Datasets:
    """Return data sets in a folder that does not exist yet."""
    return Datasets(TeachSettings(path=tmp_path / "sets"))


def test_images_lie_in_the_usual_layout(datasets: Datasets, tmp_path: Path) -> None:
    """Plain numbered files in train/good and test/KIND, which commands and other tools read."""
    datasets.add("cup", "train/good", part())
    datasets.add("cup", "train/good", part(10))
    datasets.add("cup", "test/scratch", part(90))

    files = sorted(str(path.relative_to(tmp_path / "sets")) for path in (tmp_path / "sets").rglob("*.png"))
    assert files == ["cup/test/scratch/000001.png", "cup/train/good/000001.png", "cup/train/good/000002.png"]
    assert datasets.places("cup") == {"train/good": 2, "test/good": 0, "test/scratch": 1, "left_out": 0}


def test_what_is_left_out_can_come_back_until_it_is_deleted(datasets: Datasets) -> None:
    """Leaving out moves the file; only what was left out can be deleted."""
    name = datasets.add("cup", "train/good", part())

    datasets.move("cup", "train/good", [name], "left_out")
    again = datasets.add("cup", "train/good", part(5))  # The number is free again.
    datasets.move("cup", "left_out", [name], "train/good")
    assert datasets.names("cup", "train/good") == ["000001-2.png", again]

    datasets.move("cup", "train/good", [again], "left_out")
    assert datasets.remove("cup", [again]) == 1
    with pytest.raises(UsageError, match="no image"):
        datasets.remove("cup", ["000001-2.png"])


@pytest.mark.parametrize(
    ("product", "place", "name"),
    [
        ("../cup", "train/good", "1.png"),
        ("cup", "../../etc", "1.png"),
        ("cup", "test/../../x", "1.png"),
        ("cup", "train/good", "../../../secret.png"),
        ("cup", "train/good", ".hidden.png"),
        ("cup", "train/good", "passwd"),
        ("cup", "train/good", "a\0.png"),
        ("cup", "train/good", "1" * 200 + ".png"),
    ],
)
def test_no_name_leads_out_of_a_data_set(datasets: Datasets, product: str, place: str, name: str) -> None:
    """Names come from requests."""
    with pytest.raises(UsageError):
        datasets.file(product, place, name)


def test_data_sets_have_a_bound(tmp_path: Path) -> None:
    """A full data set, and a disk whose last space is the line's, refuse an image and keep the others."""
    size = len(png(part()))
    small = Datasets(TeachSettings(path=tmp_path, bytes_max=2 * size + 50))
    small.add("cup", "train/good", part())
    small.add("cup", "train/good", part())

    with pytest.raises(StorageFull, match=r"teach\.bytes_max"):
        small.add("cup", "train/good", part())
    with pytest.raises(StorageFull, match="kept for the line"):
        Datasets(TeachSettings(path=tmp_path), free_bytes_min=10**18).add("cup", "train/good", part())
    assert len(small.names("cup", "train/good")) == 2


def test_near_duplicates_are_grouped(datasets: Datasets) -> None:
    """Copies get one number, others none."""
    thumbnails = Thumbnails(datasets)
    noise = np.random.default_rng(1)
    images = [noise.integers(0, 255, (64, 64, 3), np.uint8) for _ in range(4)]
    for image in (*images, images[1]):
        name = datasets.add("cup", "train/good", image)
        thumbnails.write("cup", "train/good", name, image)

    groups = [picture.group for picture in thumbnails.pictures("cup", "train/good")]
    thumbnails.close()

    assert groups == [0, 1, 0, 0, 1]


def test_an_unreadable_image_is_named_and_can_be_left_out(datasets: Datasets, tmp_path: Path) -> None:
    """The others get their thumbnails; a file that ended the decoder stays marked."""
    datasets.add("cup", "train/good", part())
    broken = datasets.add_file("cup", "train/good", b"\x89PNG\r\n\x1a\nrest", "broken", ".png")
    thumbnails = Thumbnails(datasets)
    files = {name: str(datasets.file("cup", "train/good", name)) for name in ("000001.png", broken)}
    folder = str(tmp_path / "sets/_thumbnails/cup/train__good")
    make_thumbnails({"files": files, "folder": folder, "images_max": 0})

    pictures = {picture.name: picture for picture in thumbnails.pictures("cup", "train/good")}
    assert pictures["000001.png"].ready and not pictures["000001.png"].trouble
    assert not pictures[broken].ready and pictures[broken].trouble

    datasets.move("cup", "train/good", [broken], "left_out")
    assert [picture.name for picture in thumbnails.pictures("cup", "train/good")] == ["000001.png"]
    thumbnails.close()


def test_missing_thumbnails_are_made_by_another_process(datasets: Datasets) -> None:
    """Images that another program put there appear after a moment."""
    datasets.add("cup", "train/good", part())
    thumbnails = Thumbnails(datasets)

    first = thumbnails.pictures("cup", "train/good")
    assert thumbnails._process.wait(60) == 0
    later = thumbnails.pictures("cup", "train/good")
    thumbnails.close()

    assert (first[0].ready, later[0].ready) == (False, True)
