"""Thumbnails of a data set for the page, made in a process of low priority: its files are untrusted.

A decoder that crashes ends that process only, and the file counts as unreadable from then on.
"""

from pathlib import Path

import cv2
import numpy as np

from linewatch.domain import Image
from linewatch.runtime.side_process import SideProcess, read_job
from linewatch.teach.datasets import Datasets, check_place
from linewatch.teach.derived_images import SIDE_PX, DerivedImages
from linewatch.teaching import Picture
from linewatch.training.duplicates import group_duplicates
from linewatch.vision.image_folders import images_in
from linewatch.vision.image_io import shrink_to

FOLDER = "_thumbnails"  # Of the data sets' folder; no product's name begins with an underscore.
NICE = 10


class Thumbnails:
    """Thumbnails beside the data sets; any thread may call. `close` ends the process."""

    def __init__(self, datasets: Datasets) -> None:
        self._datasets = datasets
        self._process = SideProcess(__name__, datasets.root / FOLDER, NICE)
        self._grouped: dict[tuple[str, str], tuple[object, dict[str, int]]] = {}

    def close(self) -> None:
        """End the process that makes them."""
        self._process.close()

    def pictures(self, product: str, place: str) -> list[Picture]:
        """Return the images of a place with their near-duplicates; thumbnails that are missing get made."""
        names = self._datasets.names(product, place)
        known = self._known(product, place)
        known.keep_only(names)
        if not all(known.is_made(name) for name in names):
            images = str(self._datasets.folder(product, place))
            self._process.start({"images": images, "folder": str(known.folder)})
        ready = [name for name in names if known.is_ready(name)]
        groups = self._groups(product, place, ready)
        return [
            Picture(name, groups.get(name, 0), ready=known.is_ready(name), trouble=known.trouble(name))
            for name in names
        ]

    def read(self, product: str, place: str, name: str) -> bytes | None:
        """Return a thumbnail as WebP; None if there is none yet. Raises UsageError for an unknown image."""
        self._datasets.file(product, place, name)
        return self._known(product, place).read(name)

    def image(self, product: str, place: str, name: str) -> Image | None:
        """Return a thumbnail, decoded; None if there is none yet."""
        data = self.read(product, place, name)
        if data is None:
            return None
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        return None if decoded is None else np.asarray(decoded, np.uint8)

    def write(self, product: str, place: str, name: str, image: Image) -> None:
        """Store the thumbnail of an image that is at hand. Raises StorageFull."""
        self._known(product, place).write(name, _shrink(image))

    def _known(self, product: str, place: str) -> DerivedImages:
        check_place(place)
        return DerivedImages(self._datasets.root / FOLDER / product / place.replace("/", "__"))

    def _groups(self, product: str, place: str, names: list[str]) -> dict[str, int]:
        """Return a number from 1 for each image that resembles another; cached while the images stay."""
        key = tuple(names)
        known = self._grouped.get((product, place))
        if known and known[0] == key:
            return known[1]
        found: dict[str, int] = {}
        images = [(name, self.image(product, place, name)) for name in names]
        readable = [(name, image) for name, image in images if image is not None]
        if len(readable) > 1:
            numbers = group_duplicates([image for _, image in readable])
            counts = np.bincount(numbers)
            several = {int(number): place for place, number in enumerate(np.flatnonzero(counts > 1), 1)}
            found = {
                name: several.get(int(number), 0) for (name, _), number in zip(readable, numbers, strict=True)
            }
        self._grouped[product, place] = key, found
        return found


def make_thumbnails(images: Path, folder: Path) -> None:
    """Write the missing thumbnails of a folder of images. Raises OSError and StorageFull."""
    for path in images_in(images):
        DerivedImages(folder).derive(path.name, path, _shrink)


def main() -> None:
    """Make the thumbnails that the job asks for."""
    job = read_job()
    make_thumbnails(Path(job["images"]), Path(job["folder"]))


def _shrink(image: Image) -> Image:
    return shrink_to(image, SIDE_PX)
