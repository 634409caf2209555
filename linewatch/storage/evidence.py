"""Pictures on disk: which are kept, whole or not at all, and which go first when room is short."""

import errno
import math
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import cv2

from linewatch.domain import Image, Result, Verdict
from linewatch.errors import StorageFull
from linewatch.settings import EvidenceSettings

HEATMAP_QUALITY = 85
# On sensor noise Huffman coding alone is quicker than searching for repeats, and the file is smaller.
PNG = (cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY)
SWEEP_FILES = 50  # Removed in one step.
RETRY_S = 5.0  # After the disk refused, how long until it is asked again.
RESUME_PICTURES = 10  # So many must have room before it counts as working again; else it would flap.
FIRST_TO_GO = (Result.PASS, Result.ERROR, Result.UNSURE, Result.FAIL)

DAY_S = 86_400.0
RATE_SPAN_S_MIN = 600.0  # A rate is not extrapolated from less.
COUNT_S = 0.02  # Spent counting old pictures in one step.
HALF_AGE_S = 60.0  # An unfinished file this old has nobody who finishes it.

_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_NAME = re.compile(
    r"(\d{4}-\d\d-\d\d)/(pass|fail|unsure|error)/(\d+)-(\d+)(?:\.frame)?(?:\.view\d+)?\.(png|jpg)",
    re.ASCII,
)

Shelf = tuple[str, Result]
"""Day as YYYY-MM-DD and result: the pictures of one folder."""


class Evidence:
    """The evidence folder, `YYYY-MM-DD/result/BOOT-SEQ.png` (frame) and `.jpg` (heatmap).

    `names` and `write` belong to the record stage; `sweep` to whoever keeps house. What lies in
    the folder from before is counted by the first sweeps, not at start. Files with other names
    are never counted or removed.
    """

    def __init__(
        self,
        settings: EvidenceSettings,
        *,
        utc_s: Callable[[], float] = time.time,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._root = settings.path
        self._settings = settings
        self._utc_s = utc_s
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._shelves: dict[Shelf, int] = {}  # Bytes of each.
        self._written = 0  # Bytes since the start.
        self._started_s = clock_s()
        self._uncounted: list[Shelf] | None = None  # None before the first sweep.
        self._leaving: tuple[Shelf | None, list[Path]] = (None, [])
        self._refusal: StorageFull | None = None  # While the disk has refused and not been proven since.
        self._refused_until_s = -1.0
        self._room_bytes = settings.free_bytes_min  # What must be free; more after a refusal.

    @property
    def bytes_kept(self) -> int:
        """Return how much room the counted pictures take."""
        with self._lock:
            return sum(self._shelves.values())

    def free_bytes(self) -> int:
        """Return the free room on the disk. Raises StorageFull when it cannot be asked."""
        with self._storing(self._root):
            self._root.mkdir(parents=True, exist_ok=True)
            disk = os.statvfs(self._root)
        return disk.f_bavail * disk.f_frsize

    def room_bytes(self) -> int:
        """Return how much evidence may take in all: `bytes_max`, or less if the disk allows less.

        Raises StorageFull when the disk cannot be asked.
        """
        disk_allows = max(0, self.bytes_kept + self.free_bytes() - self._settings.free_bytes_min)
        return min(self._settings.bytes_max, disk_allows) if self._settings.bytes_max else disk_allows

    def days_left(self) -> float:
        """Return for how many days the room holds evidence at the present rate; infinite without any.

        The rate is that of this process, or yesterday's if that was higher: a night without parts must not
        promise years. Raises StorageFull when the disk cannot be asked.
        """
        yesterday = str(self._today() - timedelta(days=1))
        with self._lock:
            before = sum(size for (day, _), size in self._shelves.items() if day == yesterday)
            running_s = max(RATE_SPAN_S_MIN, self._clock_s() - self._started_s)
            rate = max(before, self._written * DAY_S / running_s)
        return self.room_bytes() / rate if rate else math.inf

    def frame_name(self, verdict: Verdict) -> str:
        """Return the path for a part's frame, "" while the disk refuses."""
        if self._refuses():
            return ""
        return verdict.evidence_stem + (".png" if verdict.result in self._settings.lossless else ".frame.jpg")

    def heatmap_name(self, verdict: Verdict) -> str:
        """Return the path for a part's heatmap, "" for a result that has none."""
        return f"{verdict.evidence_stem}.jpg" if verdict.result in (Result.FAIL, Result.UNSURE) else ""

    def write(self, name: str, image: Image) -> None:
        """Keep one picture under a name that `names` gave, whole or not at all. Raises StorageFull.

        After a refusal the disk is left alone for 5 s; until then this raises at once.
        """
        assert _NAME.fullmatch(name), name
        refusal = self._refusal  # Read once: `prove` may forget it at any time.
        if refusal and self._refuses():
            raise StorageFull(self._root, refusal.problem, no_room=refusal.no_room)
        try:
            size = self._write(self._root / name, image)
        except StorageFull as trouble:
            self._refusal, self._refused_until_s = trouble, self._clock_s() + RETRY_S
            least = self._settings.free_bytes_min
            self._room_bytes = least + max(least // 10, RESUME_PICTURES * image.nbytes)
            raise
        self._account(_shelf(name), size)
        with self._lock:
            self._written += size

    def prove(self) -> None:
        """Write a few bytes and remove them: the disk works again. Raises StorageFull when it does not."""
        self._refuse_when_short()  # Of room for more than one picture, else it were full again at once.
        probe = self._root / ".probe"
        with self._storing(probe):
            probe.write_bytes(b"linewatch")
            probe.unlink()
        self._refused_until_s = -1.0
        self._refusal = None
        self._room_bytes = self._settings.free_bytes_min

    def _refuse_when_short(self) -> None:
        if self.free_bytes() < self._room_bytes:
            raise StorageFull(
                self._root, f"less than {self._room_bytes} bytes are free; free some", no_room=True
            )

    def _write(self, target: Path, image: Image) -> int:
        self._refuse_when_short()
        data = _encoded(target.name, image, self._settings.jpeg_quality)
        new = target.with_name(f".{target.name}")
        with self._storing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                new.write_bytes(data)
                new.replace(target)
            except OSError:
                new.unlink(missing_ok=True)
                raise
        return len(data)

    def sweep(self) -> int:
        """Do a small step of housekeeping; call it about once a second. Returns how many files went.

        Pictures go when they are too old, take too much room, or leave the disk too little:
        passes first, then errors, unsure ones and fails last, each from the oldest on.
        Raises StorageFull when the disk fails.
        """
        with self._storing(self._root):
            if self._count_some():
                return 0
            removed = 0
            while removed < SWEEP_FILES and (shelf := self._first_to_go()) is not None:
                self._remove_oldest(shelf)
                removed += 1
            return removed

    def _refuses(self) -> bool:
        return self._clock_s() < self._refused_until_s

    def _first_to_go(self) -> Shelf | None:
        oldest = str(self._today() - timedelta(days=self._settings.retention_days))
        with self._lock:
            shelves = sorted(self._shelves, key=lambda shelf: (FIRST_TO_GO.index(shelf[1]), shelf[0]))
        expired = next((shelf for shelf in shelves if shelf[0] < oldest), None)
        if expired is not None:
            return expired
        wanted = self._room_bytes if self._settings.free_bytes_min else 0
        bytes_max = self._settings.bytes_max
        short = 0 < bytes_max < self.bytes_kept or self.free_bytes() < wanted
        return next(iter(shelves), None) if short else None

    def _remove_oldest(self, shelf: Shelf) -> None:
        """Remove one part's oldest picture; forget the shelf when nothing is left on it."""
        if self._leaving[0] != shelf or not self._leaving[1]:
            pictures = sorted(self._pictures(shelf), key=_by_part, reverse=True)  # Taken from the end.
            self._leaving = shelf, pictures
        path = self._leaving[1].pop() if self._leaving[1] else None
        if path is not None:
            self._account(shelf, -_size(path))
            path.unlink(missing_ok=True)
        if not self._leaving[1] and next(self._pictures(shelf), None) is None:
            with self._lock:
                self._shelves.pop(shelf, None)
            if shelf[0] < str(self._today()):  # Somebody may be writing into today's.
                folder = self._folder(shelf)
                for empty in (folder, folder.parent):
                    if empty.is_dir() and not any(empty.iterdir()):
                        empty.rmdir()

    def _count_some(self) -> bool:
        """Count for a moment what lies there from before; return whether there is more to count."""
        if self._uncounted is None:
            self._root.mkdir(parents=True, exist_ok=True)
            self._uncounted = [
                (day.name, result)
                for day in self._root.iterdir()
                if _DAY.fullmatch(day.name)
                for result in Result
                if (day / result.value.lower()).is_dir()
            ]
        until = time.monotonic() + COUNT_S
        while self._uncounted and time.monotonic() < until:
            shelf = self._uncounted.pop()  # First: one that the disk refuses must not hold up the sweeps.
            self._remove_halves(shelf)
            total = sum(map(_size, self._pictures(shelf)))
            with self._lock:
                self._shelves[shelf] = total
        return bool(self._uncounted)

    def _remove_halves(self, shelf: Shelf) -> None:
        """Remove what a killed process had not finished writing."""
        for path in self._folder(shelf).glob(".*-*.*"):
            with suppress(FileNotFoundError):  # It was half a moment ago, and is whole now.
                if self._utc_s() - path.stat().st_mtime > HALF_AGE_S:
                    path.unlink()

    def _pictures(self, shelf: Shelf) -> Iterator[Path]:
        folder = self._folder(shelf)
        if folder.is_dir():
            day, result = folder.parent.name, folder.name
            yield from (path for path in folder.iterdir() if _NAME.fullmatch(f"{day}/{result}/{path.name}"))

    def _folder(self, shelf: Shelf) -> Path:
        return self._root / shelf[0] / shelf[1].value.lower()

    def _account(self, shelf: Shelf, size: int) -> None:
        with self._lock:
            self._shelves[shelf] = max(0, self._shelves.get(shelf, 0) + size)

    def _today(self) -> date:
        return datetime.fromtimestamp(self._utc_s(), UTC).date()

    @contextmanager
    def _storing(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            problem = error.strerror or str(error)
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise StorageFull(path, f"{problem}; free some room or check the disk", no_room=full) from error


def encode_frame(image: Image, jpeg_quality: int) -> bytes:
    """Return a frame as JPEG without chroma subsampling."""
    sampling = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
    done, data = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, jpeg_quality, *sampling))
    assert done
    return data.tobytes()


def _encoded(name: str, image: Image, jpeg_quality: int) -> bytes:
    """Return lossless PNG or high-quality JPEG for a frame, small JPEG for a heatmap."""
    if name.endswith(".png"):
        done, data = cv2.imencode(".png", image, PNG)
    elif ".frame" in name:
        return encode_frame(image, jpeg_quality)
    else:
        done, data = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, HEATMAP_QUALITY))
    assert done, name
    return data.tobytes()


def _shelf(name: str) -> Shelf:
    day, result, _ = name.split("/")
    return day, Result(result.upper())


def _by_part(path: Path) -> tuple[int, int, str]:
    boot, seq = path.name.partition(".")[0].split("-")  # Behind the point may stand which view it is.
    return int(boot), int(seq), path.name


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
