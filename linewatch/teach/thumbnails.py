"""Thumbnails of a data set and of parts for the page, made in a process of low priority.

The files of a data set are untrusted, and the frames of parts are large.

A decoder that crashes ends that process only, and the file counts as unreadable from then on.
"""

from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from linewatch.domain import Image
from linewatch.runtime.side_process import SideProcess, read_job
from linewatch.teach.datasets import Datasets, check_place
from linewatch.teach.derived_images import PARTS, PARTS_MAX, SIDE_PX, DerivedImages, is_plain
from linewatch.teaching import Picture
from linewatch.training.duplicates import group_duplicates
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
            folder = self._datasets.folder(product, place)
            self._make(known, {name: folder / name for name in names})
        ready = [name for name in names if known.is_ready(name)]
        groups = self._groups(product, place, ready)
        return [
            Picture(name, groups.get(name, 0), ready=known.is_ready(name), trouble=known.trouble(name))
            for name in names
        ]

    def made(self, product: str, place: str, files: Mapping[str, Path]) -> tuple[Set[str], int]:
        """Return the names of those images of a place that have a thumbnail, and how many get made."""
        known = self._known(product, place)
        missing = sum(not known.is_made(name) for name in files)
        if missing:
            self._make(known, files, PARTS_MAX if place == PARTS else 0)
        return {name for name in files if known.is_ready(name)}, missing

    def read(self, product: str, place: str, name: str) -> bytes | None:
        """Return a thumbnail as WebP; None if there is none yet. Raises UsageError for an unknown image."""
        if place != PARTS:
            self._datasets.file(product, place, name)
        return self._known(product, place).read(name) if is_plain(name) else None

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

    def _make(self, known: DerivedImages, files: Mapping[str, Path], images_max: int = 0) -> None:
        """Begin to make those that are missing; while others are being made a later call does."""
        missing = {name: str(path) for name, path in files.items() if not known.is_made(name)}
        self._process.start({"files": missing, "folder": str(known.folder), "images_max": images_max})

    def _known(self, product: str, place: str) -> DerivedImages:
        self._datasets.product_folder(product)  # Refuses what is no name.
        folder = place if place == PARTS else check_place(place).replace("/", "__")
        return DerivedImages(self._datasets.root / FOLDER / product / folder)

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


def make_thumbnails(job: Mapping[str, Any]) -> None:
    """Write the thumbnails of a job. Raises StorageFull."""
    known = DerivedImages(Path(job["folder"]))
    known.make_room(len(job["files"]), job["images_max"])
    for name, path in job["files"].items():
        known.derive(name, Path(path), _shrink)


def main() -> None:
    """Make the thumbnails that the job asks for."""
    make_thumbnails(read_job())


def _shrink(image: Image) -> Image:
    return shrink_to(image, SIDE_PX)
