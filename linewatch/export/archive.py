"""A ZIP of parts' images that is read while it is written: neither a file nor the memory holds it whole.

Images are entries under their evidence paths; with each few thousand parts a sheet of their verdicts follows,
and at the end a text that says what is in it and what is not. Entries are deflated at level 0, which costs no
more than storing: a stored entry whose size follows it has no end that a program could see while it reads.
"""

import stat
import time
import zipfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import BinaryIO

from linewatch.domain import Verdict, view_name
from linewatch.export.rows import Form, verdict_lines
from linewatch.storage.evidence import part_of
from linewatch.storage.export import Exported
from linewatch.storage.journal_reader import Review

IMAGES_MAX = 50_000  # About 500 bytes of memory each, for the directory at the archive's end.
BYTES_MAX = 4_000_000_000
SHEET_ROWS = 2_000
CHUNK_BYTES = 262_144
VIEWS_MAX = 16  # As trigger.views allows.
_EARLIEST = (1980, 1, 1, 0, 0, 0)  # That the format knows.
SHEET, NOTE = "parts-{number:04d}.csv", "export.txt"


class _Pipe:
    """Collects what zipfile writes until it is taken: a stream that cannot seek."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Do nothing."""

    def take(self) -> bytes:
        data = b"".join(self._pieces)
        self._pieces.clear()
        return data


class Archive:
    """Yields the bytes of a ZIP part by part; `folder` is that of the evidence."""

    def __init__(
        self,
        folder: Path,
        *,
        images_max: int = IMAGES_MAX,
        bytes_max: int = BYTES_MAX,
    ) -> None:
        self._folder = folder.resolve()
        self._images_max = images_max
        self._bytes_max = bytes_max
        self._pipe = _Pipe()
        self._zip = zipfile.ZipFile(self._pipe, "w", zipfile.ZIP_DEFLATED, compresslevel=0)  # type: ignore[call-overload]  # a stream
        self._rows: list[Exported] = []  # Of the next sheet.
        self._last: Verdict | None = None
        self._sheets = self._parts = self._images = self._missing = self._bytes = 0

    @property
    def full(self) -> bool:
        """Whether no further part is taken."""
        return self._images >= self._images_max or self._bytes >= self._bytes_max

    @property
    def summary(self) -> str:
        """What is in it, and from where to go on if it is full."""
        said = f"{self._images} images of {self._parts} parts"
        if self._missing:
            said += f"; {self._missing} images were not kept, or are no longer there"
        if self.full and self._last is not None:
            key = f"{self._last.boot}-{self._last.seq}"
            said += f"; the archive is full and ends with part {key}: go on with those before {key}"
        return said

    def add(self, verdict: Verdict, review: Review | None) -> Iterator[bytes]:
        """Yield the images of a part and, now and then, a sheet; nothing if no image is named."""
        named = list(dict.fromkeys(name for name in (verdict.image, verdict.heatmap) if name))
        if not named or self.full:
            return
        self._last = verdict
        self._parts += 1
        self._rows.append((verdict, review))
        for name in named:
            there = yield from self._image(name)
            for view in range(1, VIEWS_MAX + 1) if there and name == verdict.image else ():
                yield from self._image(view_name(name, view), optional=True)
        if len(self._rows) >= SHEET_ROWS:
            yield from self._sheet()

    def finish(self) -> Iterator[bytes]:
        """Yield the last sheet, the note and the directory."""
        if self._rows or not self._sheets:
            yield from self._sheet()
        yield from self._text(NOTE, f"{self.summary}.\n")
        self._zip.close()
        yield self._pipe.take()

    def _image(self, name: str, *, optional: bool = False) -> Generator[bytes, None, bool]:
        """Yield one image, and return whether it is there."""
        file = self._open(name)
        if file is None:
            self._missing += not optional
            return False
        self._images += 1
        with file:
            size = 0
            with self._zip.open(self._entry(name), "w") as entry:
                while chunk := file.read(CHUNK_BYTES):
                    entry.write(chunk)
                    size += len(chunk)
                    yield self._pipe.take()
        self._bytes += size
        yield self._pipe.take()
        return True

    def _open(self, name: str) -> BinaryIO | None:
        """Open an image of the part added last; None if it is gone, or the path is none of such an image."""
        assert self._last is not None
        if part_of(name) != (self._last.boot, self._last.seq):  # Anything could be written to a journal.
            return None
        try:
            path = (self._folder / name).resolve(strict=True)
            if not path.is_relative_to(self._folder) or not stat.S_ISREG(path.stat().st_mode):
                return None
            return path.open("rb")
        except OSError:
            return None

    def _sheet(self) -> Iterator[bytes]:
        self._sheets += 1
        yield from self._text(SHEET.format(number=self._sheets), "".join(verdict_lines(self._rows, Form.CSV)))
        self._rows.clear()

    def _text(self, name: str, text: str) -> Iterator[bytes]:
        with self._zip.open(self._entry(name), "w") as entry:
            entry.write(text.encode())
        yield self._pipe.take()

    def _entry(self, name: str) -> zipfile.ZipInfo:
        """Return an entry with the local time of the part that was added last."""
        at_s = self._last.captured_ms / 1000 if self._last else time.time()
        entry = zipfile.ZipInfo(name, max(time.localtime(at_s)[:6], _EARLIEST))
        entry.compress_type = zipfile.ZIP_DEFLATED
        entry._compresslevel = 0  # type: ignore[attr-defined]
        entry.external_attr = 0o644 << 16
        return entry
