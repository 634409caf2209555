"""Small images of a data set for the page, made in a process of low priority: its files are untrusted.

A decoder that crashes ends that process only, and the file counts as unreadable from then on.
"""

import json
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np

from linewatch.domain import Image
from linewatch.errors import ImageError
from linewatch.runtime.atomic_files import translate_os_errors
from linewatch.teach.datasets import Datasets, check_place
from linewatch.teaching import Picture
from linewatch.training.duplicates import group_duplicates
from linewatch.vision.image_io import read_image, shrink_to

SIDE_PX = 240
FOLDER = "_thumbnails"  # Of the data sets' folder; no product's name begins with an underscore.
TROUBLE = ".txt"  # Instead of .jpg: why there is no thumbnail.
CRASHED = "cannot be decoded here; save it again as PNG or JPEG"
# Set before the imports, so that the threads of the libraries inherit it.
_PROGRAM = """
import os
os.nice(10)
os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
from linewatch.teach.thumbnails import main
main()
"""


class Thumbnails:
    """Thumbnails beside the data sets; any thread may call. `close` ends the process."""

    def __init__(self, datasets: Datasets) -> None:
        self._datasets = datasets
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._grouped: dict[tuple[str, str], tuple[object, dict[str, int]]] = {}

    def close(self) -> None:
        """End the process that makes them."""
        with self._lock:
            if self._process is not None:
                self._process.kill()
                self._process.wait()
                self._process = None

    def pictures(self, product: str, place: str) -> list[Picture]:
        """Return the images of a place with their near-duplicates; thumbnails that are missing get made."""
        names = self._datasets.names(product, place)
        folder = self._folder(product, place)
        self._forget_others(folder, names)
        missing = [name for name in names if not self._made(folder, name)]
        if missing:
            self._make(self._datasets.folder(product, place), folder)
        groups = self._groups(product, place, [name for name in names if (folder / f"{name}.jpg").exists()])
        return [
            Picture(
                name,
                groups.get(name, 0),
                ready=(folder / f"{name}.jpg").exists(),
                trouble=_read_trouble(folder / f"{name}{TROUBLE}"),
            )
            for name in names
        ]

    def read(self, product: str, place: str, name: str) -> bytes | None:
        """Return a thumbnail as JPEG; None if there is none yet. Raises UsageError for an unknown image."""
        self._datasets.file(product, place, name)
        try:
            return (self._folder(product, place) / f"{name}.jpg").read_bytes()
        except OSError:
            return None

    def image(self, product: str, place: str, name: str) -> Image | None:
        """Return a thumbnail, decoded; None if there is none yet."""
        data = self.read(product, place, name)
        if data is None:
            return None
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        return None if decoded is None else np.asarray(decoded, np.uint8)

    def write(self, product: str, place: str, name: str, image: Image) -> None:
        """Store the thumbnail of an image that is at hand. Raises StorageFull."""
        folder = self._folder(product, place)
        with translate_os_errors(folder):
            write_thumbnail(folder, name, image)

    def _folder(self, product: str, place: str) -> Path:
        check_place(place)
        return self._datasets.root / FOLDER / product / place.replace("/", "__")

    def _made(self, folder: Path, name: str) -> bool:
        return (folder / f"{name}.jpg").exists() or (folder / f"{name}{TROUBLE}").exists()

    def _make(self, images: Path, folder: Path) -> None:
        """Start making the missing thumbnails of a folder, unless others are being made."""
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                return
            with suppress(OSError):  # No memory or no process id: the next view of the page tries again.
                self._process = subprocess.Popen(
                    [sys.executable, "-c", _PROGRAM, json.dumps([str(images), str(folder)])],
                    start_new_session=True,
                )

    def _forget_others(self, folder: Path, names: list[str]) -> None:
        """Delete the thumbnails of images that are no longer there."""
        known = {f"{name}.jpg" for name in names} | {f"{name}{TROUBLE}" for name in names}
        if folder.is_dir():
            for path in folder.iterdir():
                if path.name not in known and not path.name.startswith("."):
                    path.unlink(missing_ok=True)

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


def write_thumbnail(folder: Path, name: str, image: Image) -> None:
    """Write a thumbnail atomically. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    fresh = folder / f".{name}.jpg"
    jpeg = cv2.imencode(".jpg", shrink_to(image, SIDE_PX), [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
    fresh.write_bytes(jpeg.tobytes())
    fresh.rename(folder / f"{name}.jpg")


def make_thumbnails(images: Path, folder: Path) -> None:
    """Write the missing thumbnails of a folder of images, and why an image has none. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(images.iterdir()):
        trouble = folder / f"{path.name}{TROUBLE}"
        if path.name.startswith(".") or (folder / f"{path.name}.jpg").exists() or trouble.exists():
            continue
        trouble.write_text(CRASHED, encoding="utf-8")  # It stays if this process dies of the image.
        try:
            write_thumbnail(folder, path.name, read_image(path))
        except ImageError as error:
            trouble.write_text(str(error).removeprefix(str(ImageError(path, ""))), encoding="utf-8")
        else:
            trouble.unlink()


def main() -> None:
    """Make the thumbnails of the folder named on the command line."""
    with suppress(OSError):  # When memory is short, this process is killed before the line.
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    images, folder = (Path(name) for name in json.loads(sys.argv[1]))
    make_thumbnails(images, folder)


def _read_trouble(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
