"""Small images derived from others: a WebP for each, or a text file that says why there is none."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import cv2

from linewatch.domain import Image
from linewatch.errors import ImageError, LinewatchError, StorageFull
from linewatch.runtime.atomic_files import translate_os_errors
from linewatch.vision.image_io import read_image

PARTS = "parts"  # The place of parts of the journal, whose names are BOOT-SEQ.
PARTS_MAX = 500  # Derived images of parts; all are deleted before there are more.
SIDE_PX = 240
QUALITY = 75  # Half the bytes of a JPEG that looks the same: many are on one page.
CRASHED = "cannot be decoded here; save it again as PNG or JPEG"
NAME_MAX = 100  # Characters.
_TROUBLE = ".txt"


def is_plain(name: str) -> bool:
    """Whether a name that comes from outside cannot lead out of its folder."""
    return name.isprintable() and "/" not in name and not name.startswith(".") and len(name) <= NAME_MAX


@dataclass(frozen=True, slots=True)
class DerivedImages:
    """The derived images in one folder, each under the name of the image that it is from."""

    folder: Path

    def is_ready(self, name: str) -> bool:
        """Whether there is an image."""
        return self._image(name).exists()

    def is_made(self, name: str) -> bool:
        """Whether there is an image, or the reason why there is none."""
        return self.is_ready(name) or self._trouble(name).exists()

    def read(self, name: str) -> bytes | None:
        """Return an image as WebP, None if there is none."""
        try:
            return self._image(name).read_bytes()
        except OSError:
            return None

    def trouble(self, name: str) -> str:
        """Return why there is no image, "" if that is not known."""
        try:
            return self._trouble(name).read_text(encoding="utf-8")
        except OSError:
            return ""

    def count(self) -> int:
        """Return the number of files there."""
        return sum(1 for _ in self.folder.iterdir()) if self.folder.is_dir() else 0

    def make_room(self, images: int, images_max: int) -> None:
        """Delete all images if `images` more would be too many; 0 is no bound."""
        if images_max and self.count() + images > images_max:
            self.keep_only(())

    def keep_only(self, names: Collection[str]) -> None:
        """Delete the images of all other names."""
        if self.folder.is_dir():
            for path in self.folder.iterdir():
                if path.stem not in names and not path.name.startswith("."):
                    path.unlink(missing_ok=True)

    def write(self, name: str, image: Image) -> None:
        """Store an image, atomically. Raises StorageFull."""
        with translate_os_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            fresh = self.folder / f".{name}.webp"
            fresh.write_bytes(cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, QUALITY])[1].tobytes())
            fresh.rename(self._image(name))

    def derive(self, name: str, source: Path, draw: Callable[[Image], Image]) -> None:
        """Read the image `source`, and store what `draw` makes of it, unless that was done before.

        If this process dies of the image, the image counts as unreadable from then on. Raises StorageFull.
        """
        if self.is_made(name):
            return
        with translate_os_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._trouble(name).write_text(CRASHED, encoding="utf-8")
        try:
            self.write(name, draw(read_image(source)))
        except StorageFull:
            self._trouble(name).unlink(missing_ok=True)
            raise
        except LinewatchError as error:
            sentence = str(error).removeprefix(str(ImageError(source, "")))
            self._trouble(name).write_text(sentence, encoding="utf-8")
        else:
            self._trouble(name).unlink(missing_ok=True)

    def _image(self, name: str) -> Path:
        return self.folder / f"{name}.webp"

    def _trouble(self, name: str) -> Path:
        return self.folder / f"{name}{_TROUBLE}"
