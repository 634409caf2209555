"""Data sets as folders of images: `PRODUCT/train/good`, `PRODUCT/test/KIND`, `PRODUCT/left_out`.

The layout is that of MVTec AD (Bergmann et al. 2019), so commands and other tools read it as it is.
"""

import os
import shutil
import threading
from collections.abc import Iterable
from pathlib import Path

import cv2

from linewatch.domain import Image
from linewatch.errors import StorageFull, UsageError
from linewatch.identifiers import NAME
from linewatch.runtime.atomic_files import translate_os_errors
from linewatch.teach_settings import TeachSettings
from linewatch.teaching import LEFT_OUT, TEST, TEST_GOOD, TRAIN_GOOD
from linewatch.vision.image_folders import folders_in, images_in
from linewatch.vision.image_io import SUFFIXES

IMAGES_MAX = 1000  # In one folder.
NAME_CHARACTERS_MAX = 100
KINDS_MAX = 50  # Of defects.
PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1]  # Three times as quick as the default, files a tenth larger.


class Datasets:
    """The data sets below one folder; any thread may call.

    `place` is `train/good`, `test/good`, `test/KIND` or `left_out`. Every method raises UsageError for
    another, and for a product or an image that has no valid name.
    """

    def __init__(self, settings: TeachSettings, free_bytes_min: int = 0) -> None:
        self._root = settings.path
        self._bytes_max = settings.bytes_max
        self._free_bytes_min = free_bytes_min  # On the disk, to leave for the line.
        self._adding = threading.Lock()

    @property
    def root(self) -> Path:
        """The folder of all data sets."""
        return self._root

    def folder(self, product: str, place: str) -> Path:
        """Return the folder of a place, whether it exists or not."""
        return self.product_folder(product) / check_place(place)

    def product_folder(self, product: str) -> Path:
        """Return the folder of a product's data set."""
        if not NAME.fullmatch(product):
            raise UsageError(
                f"{product[:40]!r} is no product name; use up to 32 letters, digits, dots, dashes and "
                "underscores, a letter or digit first"
            )
        return self._root / product

    def places(self, product: str) -> dict[str, int]:
        """Return the number of images in each place; the usual ones also when they are empty."""
        folder = self.product_folder(product)
        kinds = folders_in(folder / "test") if (folder / "test").is_dir() else []
        others = [f"{TEST}{kind.name}" for kind in kinds if kind.name != "good" and NAME.fullmatch(kind.name)]
        return {
            place: len(self.names(product, place))
            for place in (TRAIN_GOOD, TEST_GOOD, *others[:KINDS_MAX], LEFT_OUT)
        }

    def names(self, product: str, place: str) -> list[str]:
        """Return the names of the images in a place, sorted."""
        folder = self.folder(product, place)
        return [path.name for path in images_in(folder)] if folder.is_dir() else []

    def file(self, product: str, place: str, name: str) -> Path:
        """Return the file of an image. Raises UsageError if there is none."""
        path = self.folder(product, place) / _check_name(name)
        if not path.is_file():
            raise UsageError(f"there is no image {name!r} in {place!r} of {product!r}; load the page again")
        return path

    def add(self, product: str, place: str, image: Image) -> str:
        """Store a frame as PNG under the next free number and return its name. Raises StorageFull."""
        return self.add_file(product, place, cv2.imencode(".png", image, PNG)[1].tobytes(), "", ".png")

    def add_file(self, product: str, place: str, data: bytes, stem: str, suffix: str) -> str:
        """Store an encoded image and return its name: `stem`, or the next free number. Raises StorageFull."""
        folder = self.folder(product, place)
        with self._adding:
            taken = self.names(product, place)
            self._check_room(folder, len(taken), len(data))
            if stem:
                name = free_name(folder, f"{stem}{suffix}")
            else:
                numbers = [int(Path(name).stem) for name in taken if Path(name).stem.isdecimal()]
                name = f"{max(numbers, default=0) + 1:06d}{suffix}"
            with translate_os_errors(folder):
                folder.mkdir(parents=True, exist_ok=True)
                fresh = folder / f".{_check_name(name)}"
                try:
                    fresh.write_bytes(data)
                    fresh.rename(folder / name)
                finally:
                    fresh.unlink(missing_ok=True)
        return name

    def move(self, product: str, place: str, names: Iterable[str], to: str) -> int:
        """Move images to another place and return how many. Raises UsageError and StorageFull."""
        target = self.folder(product, to)
        files = [self.file(product, place, name) for name in names]
        with self._adding, translate_os_errors(target):
            target.mkdir(parents=True, exist_ok=True)
            if len(images_in(target)) + len(files) > IMAGES_MAX:
                raise UsageError(f"{to!r} would hold more than {IMAGES_MAX} images; take some out first")
            for file in files:
                file.rename(target / free_name(target, file.name))
        return len(files)

    def remove(self, product: str, names: Iterable[str]) -> int:
        """Delete images that were left out, and return how many. Raises UsageError and StorageFull."""
        files = [self.file(product, LEFT_OUT, name) for name in names]
        with self._adding, translate_os_errors(self._root):
            for file in files:
                file.unlink(missing_ok=True)
        return len(files)

    def _check_room(self, folder: Path, images: int, size: int) -> None:
        if images >= IMAGES_MAX:
            raise UsageError(
                f"{str(folder)!r} holds {IMAGES_MAX} images, which is ample; take some out first"
            )
        used = _bytes_below(self._root)
        if self._bytes_max and used + size > self._bytes_max:
            raise StorageFull(
                self._root, f"{used:,} bytes of data sets; delete some or raise teach.bytes_max", no_room=True
            )
        with translate_os_errors(self._root):
            self._root.mkdir(parents=True, exist_ok=True)
            if shutil.disk_usage(self._root).free - size < self._free_bytes_min:
                raise StorageFull(
                    self._root, "the disk's last space is kept for the line; make room", no_room=True
                )


def check_place(place: str) -> str:
    """Return the place if it is one of a data set. Raises UsageError."""
    kind = place.removeprefix(TEST)
    if place in (TRAIN_GOOD, LEFT_OUT) or (place == f"{TEST}{kind}" and NAME.fullmatch(kind)):
        return place
    raise UsageError(
        f"{place[:40]!r} is no place in a data set; use {TRAIN_GOOD}, {LEFT_OUT} or {TEST}KIND, "
        "where KIND is letters, digits, dots, dashes and underscores"
    )


def free_name(folder: Path, name: str) -> str:
    """Return `name`, or with a number before its suffix if the folder has that name already."""
    stem, suffix = Path(name).stem, Path(name).suffix
    return next(
        found
        for number in range(1, IMAGES_MAX + 2)
        if not (folder / (found := name if number == 1 else f"{stem}-{number}{suffix}")).exists()
    )


def _check_name(name: str) -> str:
    """Return the name of an image if it cannot lead out of its folder. Raises UsageError."""
    plain = (
        name.isprintable() and 0 < len(name) <= NAME_CHARACTERS_MAX and "/" not in name and "\\" not in name
    )
    if not plain or name.startswith(".") or Path(name).suffix.lower() not in SUFFIXES:
        raise UsageError(f"{name[:40]!r} is no name of an image; load the page again")
    return name


def _bytes_below(folder: Path) -> int:
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(place) / name).stat().st_size
            except OSError:
                continue  # Removed meanwhile.
    return total
