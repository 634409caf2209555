"""A folder of pictures as a source: each file is one exposure, the unreadable ones too."""

import logging
import re
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Self

from linewatch.domain import Frame, Image, Reason
from linewatch.errors import ConfigError, ImageError
from linewatch.vision.image_io import SUFFIXES, read_image

log = logging.getLogger(__name__)


class FolderSource:
    """Images below a folder in natural order: part2.png comes before part10.png.

    The next file is decoded while the line works on the last one: a PNG of 5 megapixels takes 100 ms.
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
        """List the pictures once; files that come later are not seen. Raises ConfigError."""
        self._paths = find_pictures(self._folder)
        self._next = 0
        self._ahead = None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of the image that was decoded ahead."""
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
            log.warning("picture_unreadable reason=%r", str(error))
        self._ahead = self._decode_next()
        # The part is called like its file; a name that is no UTF-8 could not be sent on.
        part = path.relative_to(self._folder).as_posix().encode(errors="replace").decode()
        return Frame(image, time.monotonic_ns(), time.time_ns() // 1_000_000, part=part, fault=fault)

    def _decode_next(self) -> tuple[Path, Future[Image]] | None:
        """Begin to decode the next file; None after the last."""
        if self._next == len(self._paths):
            if not self._loop:
                return None
            self._next = 0
        path = self._paths[self._next]
        self._next += 1
        decoding: Future[Image] = Future()
        # A daemon: a network share that hangs must not keep the process alive.
        threading.Thread(target=_decode, args=(path, decoding), name="decoder", daemon=True).start()
        return path, decoding


def _decode(path: Path, decoding: Future[Image]) -> None:
    try:
        decoding.set_result(read_image(path))
    except BaseException as error:  # noqa: BLE001 - raised where the image is asked for
        decoding.set_exception(error)


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
