"""A folder of images as a source: each file is one exposure, unreadable files included."""

import logging
import re
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Self

from linewatch.domain import Frame, Image, Reason
from linewatch.errors import ConfigError, ImageError, NotThereYet
from linewatch.vision.image_folders import images_below
from linewatch.vision.image_io import SUFFIXES, read_image

log = logging.getLogger(__name__)


class FolderSource:
    """Images below a folder in natural order: part2.png comes before part10.png.

    The next file is decoded while the line inspects the last one: a PNG of 5 megapixels takes 100 ms.
    """

    def __init__(self, folder: Path, *, loop: bool = False) -> None:
        self.name = str(folder)
        self.live = False
        self._folder = folder
        self._loop = loop
        self._paths: list[Path] = []
        self._next = 0
        self._ahead: tuple[Path, Future[Image]] | None = None

    def __enter__(self) -> Self:
        """List the images; files added later are ignored. Raises ConfigError."""
        self._paths = find_images(self._folder)
        self._next = 0
        self._ahead = None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drop the image that was decoded ahead."""
        self._ahead = None

    def read(self) -> Frame | None:
        """Return the next image, None after the last; a file that is no image is BAD_PICTURE."""
        self._ahead = self._ahead or self._decode_next()
        if self._ahead is None:
            return None
        path, decoding = self._ahead
        image, fault = None, Reason.NONE
        try:
            image = decoding.result()
        except ImageError as error:
            fault = Reason.BAD_PICTURE
            log.warning("image_unreadable reason=%r", str(error))
        self._ahead = self._decode_next()
        # The part's id is its file name; what is not UTF-8 in it could not be published.
        part = path.relative_to(self._folder).as_posix().encode(errors="replace").decode()
        return Frame(image, time.monotonic_ns(), time.time_ns() // 1_000_000, part=part, fault=fault)

    def _decode_next(self) -> tuple[Path, Future[Image]] | None:
        """Start decoding the next file; return None after the last."""
        if self._next == len(self._paths):
            if not self._loop:
                return None
            self._next = 0
        path = self._paths[self._next]
        self._next += 1
        decoding: Future[Image] = Future()
        # A daemon thread: a network share that hangs must not keep the process alive.
        threading.Thread(target=_decode, args=(path, decoding), name="decoder", daemon=True).start()
        return path, decoding


def _decode(path: Path, decoding: Future[Image]) -> None:
    try:
        decoding.set_result(read_image(path))
    except BaseException as error:  # noqa: BLE001 - raised where the image is asked for
        decoding.set_exception(error)


def find_images(folder: Path, setting: str = "source.uri") -> list[Path]:
    """Return every image file below `folder`, at any depth, in natural order; hidden ones are left out.

    Raises ConfigError, whose sentence begins with `setting`, the name of the folder's setting.
    """
    where = f"{setting} {str(folder)!r}"
    try:
        if not folder.is_dir():
            if folder.exists():
                raise ConfigError(f"{where} is a file, not a folder; name a folder with images")
            raise missing(folder)(f"{where} does not exist; name a folder with images")
        paths = list(images_below(folder))
    except OSError as error:
        raise missing(folder)(f"{where} cannot be read ({error.strerror}); check its permissions") from error
    if not paths:
        raise missing(folder)(f"{where} holds no images; known are {', '.join(sorted(SUFFIXES))}")
    return sorted(paths, key=lambda path: (natural_key(path.relative_to(folder)), str(path)))


def missing(path: Path) -> type[ConfigError]:
    """Return the error for a missing path: an absolute one may be on a share that is mounted later."""
    return NotThereYet if path.is_absolute() else ConfigError


def natural_key(path: Path) -> list[list[int | str]]:
    """Return a sort key that compares folder by folder, and numbers by value."""
    # Every second piece is a number, so numbers are compared with numbers.
    return [
        [int(piece) if odd % 2 else piece.casefold() for odd, piece in enumerate(re.split(r"(\d+)", part))]
        for part in path.parts
    ]
