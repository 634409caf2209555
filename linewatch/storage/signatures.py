"""Files of part signatures beside the journal: one for each day and model, rows of one length in order.

A file is a header, one line of JSON padded to HEADER_BYTES, then rows of `row_type`, little-endian. Rows are
only appended; a row that a power cut left incomplete is cut off when the file is continued, and ignored by
readers until then. Removing a day is removing its files.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linewatch.domain import Result, Verdict
from linewatch.errors import StorageFull
from linewatch.runtime.atomic_files import translate_os_errors
from linewatch.vision.signature import CELLS, Signature

FORMAT = 1
HEADER_BYTES = 256
ROWS_AT_ONCE = 8192  # Read in one step: about 5 MB, which caches hold.
DAY_MS = 86_400_000
MARGIN_MS = 3_600_000  # A part belongs to the day on which it is written, up to this much after its exposure.
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
RESULTS = tuple(Result)
"""A row's result is an index into this."""


@dataclass(frozen=True, slots=True)
class SignatureKind:
    """What all rows of one file have in common."""

    product: str
    model: str
    channels: int  # Of the embedding, float16; 0 if the model computes none.
    local: int  # Channels of the local embedding, int8; 0 if the model computes none.

    @property
    def row_type(self) -> np.dtype[Any]:
        """The dtype of one row."""
        return np.dtype(
            [
                ("captured_ms", "<i8"),
                ("boot", "<u4"),
                ("seq", "<u4"),
                ("raw", "<f4"),
                ("threshold", "<f4"),
                ("result", "u1"),
                ("peak", "u1", (2,)),
                ("spare", "u1"),
                ("cells", "u1", (CELLS * CELLS,)),
                ("embedding", "<f2", (self.channels,)),
                ("local", "i1", (self.local,)),
            ]
        )


@dataclass(frozen=True, slots=True)
class SignatureFile:
    """One file of signatures, which the daemon may be appending to."""

    path: Path
    kind: SignatureKind
    rows: int  # Complete ones, when the folder was listed.

    def read(self, first: int = 0, step: int = 1) -> Iterator[NDArray[Any]]:
        """Yield the rows, ROWS_AT_ONCE at a time; with `step` only every so many. Raises StorageFull."""
        row_type = self.kind.row_type
        with translate_os_errors(self.path), self.path.open("rb", buffering=0) as file:
            for start in range(first, self.rows, ROWS_AT_ONCE * step):
                if step == 1:
                    file.seek(HEADER_BYTES + start * row_type.itemsize)
                    data = file.read(min(ROWS_AT_ONCE, self.rows - start) * row_type.itemsize)
                else:
                    places = range(start, min(self.rows, start + ROWS_AT_ONCE * step), step)
                    data = b"".join(self._row(file.fileno(), place, row_type.itemsize) for place in places)
                yield np.frombuffer(data[: len(data) // row_type.itemsize * row_type.itemsize], row_type)

    def _row(self, fd: int, place: int, size: int) -> bytes:
        data = os.pread(fd, size, HEADER_BYTES + place * size)
        return data if len(data) == size else b""  # Removed or cut meanwhile.


def folder_of(journal: Path) -> Path:
    """Return the folder of the signatures of a journal's parts: beside it."""
    return journal.with_name(f"{journal.name}.signatures")


def signature_files(
    folder: Path, product: str, since_ms: int | None = None, until_ms: int | None = None
) -> list[SignatureFile]:
    """Return the files of a product that may hold parts of this time (UTC milliseconds), oldest first."""
    first = "" if since_ms is None else _day(since_ms)
    last = "9999" if until_ms is None else _day(until_ms + MARGIN_MS)
    found = []
    for path in sorted(folder.glob("????-??-??/*.sig"), key=lambda path: (path.parent.name, path.name)):
        if not first <= path.parent.name <= last:
            continue
        file = _opened(path)
        if file is not None and file.kind.product == product and file.rows:
            found.append(file)
    return found


class SignatureStore:
    """Appends signatures and removes old ones; one thread uses it."""

    def __init__(self, folder: Path, bytes_max: int = 0, free_bytes_min: int = 0) -> None:
        self.folder = folder
        self._bytes_max = bytes_max
        self._free_bytes_min = free_bytes_min

    def append(self, parts: Sequence[tuple[Verdict, Signature]], utc_ms: int) -> None:
        """Write signatures of parts, in their order. Raises StorageFull; then a model has all or none."""
        kinds: dict[SignatureKind, list[tuple[Any, ...]]] = {}
        for verdict, signature in parts:
            kind = SignatureKind(
                verdict.product, verdict.model, len(signature.embedding), len(signature.local)
            )
            kinds.setdefault(kind, []).append(_row(verdict, signature))
        with translate_os_errors(self.folder):
            self._check_room()
            for kind, rows in kinds.items():
                self._append(kind, np.array(rows, kind.row_type).tobytes(), _day(utc_ms))

    def sweep(self, utc_ms: int, retention_days: float) -> int:
        """Remove days before the retention and, while there are too many bytes, the oldest.

        Returns the bytes that are left. Raises StorageFull.
        """
        oldest = _day(utc_ms - round(retention_days * DAY_MS) - MARGIN_MS)
        with translate_os_errors(self.folder):
            sizes = {day: sum(map(_size, day.iterdir())) for day in self._days()}
            today = _day(utc_ms)
            for day in sorted(sizes):
                over = 0 < self._bytes_max < sum(sizes.values())
                if day.name < oldest or (over and day.name < today):
                    shutil.rmtree(day)
                    del sizes[day]
        return sum(sizes.values())

    def _days(self) -> Iterator[Path]:
        if self.folder.is_dir():
            yield from (day for day in self.folder.iterdir() if _DAY.fullmatch(day.name) and day.is_dir())

    def _check_room(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        disk = os.statvfs(self.folder)
        if disk.f_bavail * disk.f_frsize < self._free_bytes_min:
            raise StorageFull(
                self.folder, f"less than {self._free_bytes_min} bytes are free; free some", no_room=True
            )

    def _append(self, kind: SignatureKind, data: bytes, day: str) -> None:
        path = self._path(kind, day)
        path.parent.mkdir(exist_ok=True)
        with path.open("ab", buffering=0) as file:
            size = file.tell() or file.write(_header(kind))
            whole = size - (size - HEADER_BYTES) % kind.row_type.itemsize
            if whole < size:
                file.truncate(whole)
            written = 0
            try:
                written = file.write(data)
            finally:
                if written < len(data):
                    file.truncate(whole)  # All rows or none.
            if written < len(data):
                raise StorageFull(path, "the disk is full; free some room", no_room=True)

    def _path(self, kind: SignatureKind, day: str) -> Path:
        """Return the file of a kind; one with another header, or a damaged one, is left alone."""
        for number in range(1000):
            ending = f".{number}.sig" if number else ".sig"
            path = self.folder / day / f"{kind.product}-{kind.model or 'none'}{ending}"
            if not path.exists() or _size(path) == 0:
                return path
            found = _opened(path)
            if found is not None and found.kind == kind:
                return path
        raise StorageFull(self.folder, "too many damaged files; remove the folder")


def _header(kind: SignatureKind) -> bytes:
    line = json.dumps({"format": FORMAT, **asdict(kind)}).encode()
    assert len(line) < HEADER_BYTES, kind
    return line.ljust(HEADER_BYTES - 1) + b"\n"


def _opened(path: Path) -> SignatureFile | None:
    """Return a file by its header, None if it has none that is understood."""
    try:
        with path.open("rb") as file:
            facts = json.loads(file.read(HEADER_BYTES))
            size = os.fstat(file.fileno()).st_size
        if facts.pop("format") != FORMAT:
            return None
        kind = SignatureKind(**facts)
        return SignatureFile(path, kind, (size - HEADER_BYTES) // kind.row_type.itemsize)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):  # Removed, cut, or foreign.
        return None


def _row(verdict: Verdict, signature: Signature) -> tuple[Any, ...]:
    return (
        verdict.captured_ms,
        verdict.boot,
        verdict.seq,
        signature.raw,
        verdict.threshold,
        RESULTS.index(verdict.result),
        signature.peak,
        0,
        signature.cells.reshape(-1),
        signature.embedding,
        signature.local,
    )


def _day(utc_ms: int) -> str:
    try:
        return str(datetime.fromtimestamp(utc_ms / 1000, UTC).date())
    except (ValueError, OverflowError, OSError):
        return str(date.min + timedelta(days=1) if utc_ms < 0 else date.max)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
