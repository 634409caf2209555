"""A folder of pictures as a source: each file is one exposure, the unreadable ones too."""

import logging
import re
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from linewatch.domain import Frame, Reason
from linewatch.errors import ConfigError, ImageError
from linewatch.vision.image_io import SUFFIXES, read_image

log = logging.getLogger(__name__)


class FolderSource:
    """Pictures below a folder in natural order: part2.png comes before part10.png."""

    def __init__(self, folder: Path, *, loop: bool = False) -> None:
        self.name = str(folder)
        self.live = False
        self._folder = folder
        self._loop = loop
        self._paths: list[Path] = []
        self._next = 0

    def __enter__(self) -> Self:
        """List the pictures once; files that come later are not seen. Raises ConfigError."""
        self._paths = find_pictures(self._folder)
        self._next = 0
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is held open between two pictures."""

    def read(self) -> Frame | None:
        """Return the next picture, None after the last; a file that is no picture is BAD_PICTURE."""
        if self._next == len(self._paths):
            if not self._loop:
                return None
            self._next = 0
        path = self._paths[self._next]
        self._next += 1
        image, fault = None, Reason.NONE
        try:
            image = read_image(path)
        except ImageError as error:
            fault = Reason.BAD_PICTURE
            log.warning("picture_unreadable reason=%r", str(error))
        # The part is called like its file; a name that is no UTF-8 could not be sent on.
        part = path.relative_to(self._folder).as_posix().encode(errors="replace").decode()
        return Frame(image, time.monotonic_ns(), time.time_ns() // 1_000_000, part=part, fault=fault)


def find_pictures(folder: Path, setting: str = "source.uri") -> list[Path]:
    """Return every picture file below `folder`, at any depth, in natural order.

    Raises ConfigError, which names the `setting` that names the folder.
    """
    where = f"{setting} {str(folder)!r}"
    try:
        if not folder.is_dir():
            what = "is a file, not a folder" if folder.exists() else "does not exist"
            raise ConfigError(f"{where} {what}; name a folder with pictures")
        paths = [path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()]
    except OSError as error:
        raise ConfigError(f"{where} cannot be read ({error.strerror}); check its permissions") from error
    if not paths:
        raise ConfigError(f"{where} holds no pictures; known are {', '.join(sorted(SUFFIXES))}")
    return sorted(paths, key=lambda path: (natural_key(path.relative_to(folder)), str(path)))


def natural_key(path: Path) -> list[list[int | str]]:
    """Return a key that sorts folder by folder, and digits by their value."""
    # The pattern's group makes every second piece a number, so like is compared with like.
    return [
        [int(piece) if odd % 2 else piece.casefold() for odd, piece in enumerate(re.split(r"(\d+)", part))]
        for part in path.parts
    ]
