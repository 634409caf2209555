"""Evidence images on disk: atomic writes, and retention by age, size and free space."""

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
# The kernel collects what is written for up to 30 s; flushing that at once can hold up the journal's next
# commit on the same disk, and so a verdict. Files from this size on are handed to the disk immediately.
WRITE_BACK_BYTES = 100_000
RETRY_S = 5.0  # Between two tries after a write failed.
RESUME_IMAGES = 10  # After a failure room for so many is needed before writing resumes; avoids flapping.
REMOVAL_ORDER = (Result.PASS, Result.ERROR, Result.UNSURE, Result.FAIL)

DAY_S = 86_400.0
RATE_SPAN_S_MIN = 600.0  # A rate is not extrapolated from less.
COUNT_S = 0.02  # Spent in one step on counting what is there from before.
PARTIAL_AGE_S = 60.0  # A partial file older than this was left by a killed process.
DIGITS_MAX = 18  # Of boot and seq; more are no 64-bit number.

_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_NAME = re.compile(
    r"(\d{4}-\d\d-\d\d)/(pass|fail|unsure|error)/(\d+)-(\d+)(?:\.frame)?(?:\.view\d+)?\.(png|jpg)",
    re.ASCII,
)

_VIEW = re.compile(r"\.view\d+(?=\.(?:png|jpg)$)", re.ASCII)

Group = tuple[str, Result]
"""Day as YYYY-MM-DD, and result: one folder of images."""


class Evidence:
    """The evidence folder, `YYYY-MM-DD/result/BOOT-SEQ.png` or `.frame.jpg` (frame), `.jpg` (heatmap).

    Any thread may name and write; one thread calls `sweep`. What is in the folder from before is
    counted by the first sweeps, not at start. Files with other names are never counted or removed.
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
        self._bytes: dict[Group, int] = {}  # Bytes of each.
        self._written = 0  # Bytes since the start.
        self._started_s = clock_s()
        self._uncounted: list[Group] | None = None  # None before the first sweep.
        self._removal_queue: tuple[Group | None, list[Path]] = (None, [])
        self._failure: StorageFull | None = None  # The last failed write, until `probe` succeeds.
        self._suspended_until_s = -1.0
        self._room_bytes = settings.free_bytes_min  # Must be free for a write; more after a failure.

    @property
    def bytes_kept(self) -> int:
        """Return the bytes of all images counted so far."""
        with self._lock:
            return sum(self._bytes.values())

    def free_bytes(self) -> int:
        """Return the free bytes of the file system. Raises StorageFull."""
        with self._translate_errors(self._root):
            self._root.mkdir(parents=True, exist_ok=True)
            disk = os.statvfs(self._root)
        return disk.f_bavail * disk.f_frsize

    def room_bytes(self) -> int:
        """Return how much evidence may take in all: `bytes_max`, or less if the disk allows less.

        Raises StorageFull.
        """
        disk_allows = max(0, self.bytes_kept + self.free_bytes() - self._settings.free_bytes_min)
        return min(self._settings.bytes_max, disk_allows) if self._settings.bytes_max else disk_allows

    def days_left(self) -> float:
        """Return for how many days the room holds evidence at the present rate; infinite without any.

        The rate is that of this process, or yesterday's if that was higher: a night without parts must not
        promise years. Raises StorageFull.
        """
        yesterday = str(self._today() - timedelta(days=1))
        with self._lock:
            before = sum(size for (day, _), size in self._bytes.items() if day == yesterday)
            running_s = max(RATE_SPAN_S_MIN, self._clock_s() - self._started_s)
            rate = max(before, self._written * DAY_S / running_s)
        return self.room_bytes() / rate if rate else math.inf

    def frame_name(self, verdict: Verdict) -> str:
        """Return the path for a part's frame, "" while writes fail."""
        if self._suspended():
            return ""
        return verdict.evidence_stem + (".png" if verdict.result in self._settings.lossless else ".frame.jpg")

    def heatmap_name(self, verdict: Verdict) -> str:
        """Return the path for a part's heatmap, "" for a result that has none."""
        return f"{verdict.evidence_stem}.jpg" if verdict.result in (Result.FAIL, Result.UNSURE) else ""

    def write(self, name: str, image: Image) -> None:
        """Encode and write one image atomically; `name` is of `frame_name` or `heatmap_name`.

        Raises StorageFull; after a failure it does so for 5 s without a try.
        """
        assert _NAME.fullmatch(name), name
        failure = self._failure  # Read once: `probe` may reset it at any time.
        if failure and self._suspended():
            raise StorageFull(self._root, failure.problem, no_room=failure.no_room)
        try:
            size = self._write(self._root / name, image)
        except StorageFull as trouble:
            self._failure, self._suspended_until_s = trouble, self._clock_s() + RETRY_S
            least = self._settings.free_bytes_min
            self._room_bytes = least + max(least // 10, RESUME_IMAGES * image.nbytes)
            raise
        self._add_bytes(_group_of(name), size)
        with self._lock:
            self._written += size

    def probe(self) -> None:
        """Write and remove a small file, and resume writing. Raises StorageFull when that fails."""
        self._check_room()  # For several images, so that it is not full again at once.
        file = self._root / ".probe"
        with self._translate_errors(file):
            file.write_bytes(b"linewatch")
            file.unlink()
        self._suspended_until_s = -1.0
        self._failure = None
        self._room_bytes = self._settings.free_bytes_min

    def _check_room(self) -> None:
        if self.free_bytes() < self._room_bytes:
            raise StorageFull(
                self._root, f"less than {self._room_bytes} bytes are free; free some", no_room=True
            )

    def _write(self, target: Path, image: Image) -> int:
        self._check_room()
        data = _encode(target.name, image, self._settings.jpeg_quality)
        new = target.with_name(f".{target.name}")
        with self._translate_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                with new.open("wb") as file:
                    file.write(data)
                    if len(data) >= WRITE_BACK_BYTES:
                        file.flush()
                        with suppress(OSError):  # Advice, which not every file system takes.
                            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                new.replace(target)
            except OSError:
                new.unlink(missing_ok=True)
                raise
        return len(data)

    def sweep(self) -> int:
        """Do a small step of retention; call it about once a second. Returns how many files were removed.

        Images are removed when they are too old, exceed `bytes_max` or leave less than `free_bytes_min`:
        PASS first, then ERROR, UNSURE and FAIL last, each from the oldest on. Raises StorageFull.
        """
        with self._translate_errors(self._root):
            if self._count_step():
                return 0
            removed = 0
            while removed < SWEEP_FILES and (group := self._next_to_remove()) is not None:
                self._remove_oldest(group)
                removed += 1
            return removed

    def _suspended(self) -> bool:
        return self._clock_s() < self._suspended_until_s

    def _next_to_remove(self) -> Group | None:
        oldest = str(self._today() - timedelta(days=self._settings.retention_days))
        with self._lock:
            groups = sorted(self._bytes, key=lambda group: (REMOVAL_ORDER.index(group[1]), group[0]))
        expired = next((group for group in groups if group[0] < oldest), None)
        if expired is not None:
            return expired
        wanted = self._room_bytes if self._settings.free_bytes_min else 0
        bytes_max = self._settings.bytes_max
        short = 0 < bytes_max < self.bytes_kept or self.free_bytes() < wanted
        return next(iter(groups), None) if short else None

    def _remove_oldest(self, group: Group) -> None:
        """Remove the oldest image of a group; drop the group when it is empty."""
        if self._removal_queue[0] != group or not self._removal_queue[1]:
            images = sorted(self._images(group), key=_by_part, reverse=True)  # Taken from the end.
            self._removal_queue = group, images
        path = self._removal_queue[1].pop() if self._removal_queue[1] else None
        if path is not None:
            self._add_bytes(group, -_size(path))
            path.unlink(missing_ok=True)
        if not self._removal_queue[1] and next(self._images(group), None) is None:
            with self._lock:
                self._bytes.pop(group, None)
            if group[0] < str(self._today()):  # Today's may be written to just now.
                folder = self._folder(group)
                for empty in (folder, folder.parent):
                    if empty.is_dir() and not any(empty.iterdir()):
                        empty.rmdir()

    def _count_step(self) -> bool:
        """Count some folders that are there from before; return whether any are left to count."""
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
            group = self._uncounted.pop()  # Before counting: one that cannot be read is skipped then.
            self._remove_partial_files(group)
            total = sum(map(_size, self._images(group)))
            with self._lock:
                self._bytes[group] = total
        return bool(self._uncounted)

    def _remove_partial_files(self, group: Group) -> None:
        """Remove files that a killed process had not finished writing."""
        for path in self._folder(group).glob(".*-*.*"):
            with suppress(FileNotFoundError):  # It has just been renamed to its final name.
                if self._utc_s() - path.stat().st_mtime > PARTIAL_AGE_S:
                    path.unlink()

    def _images(self, group: Group) -> Iterator[Path]:
        folder = self._folder(group)
        if folder.is_dir():
            day, result = folder.parent.name, folder.name
            yield from (path for path in folder.iterdir() if _NAME.fullmatch(f"{day}/{result}/{path.name}"))

    def _folder(self, group: Group) -> Path:
        return self._root / group[0] / group[1].value.lower()

    def _add_bytes(self, group: Group, size: int) -> None:
        with self._lock:
            self._bytes[group] = max(0, self._bytes.get(group, 0) + size)

    def _today(self) -> date:
        return datetime.fromtimestamp(self._utc_s(), UTC).date()

    @contextmanager
    def _translate_errors(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            problem = error.strerror or str(error)
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise StorageFull(path, f"{problem}; free some room or check the disk", no_room=full) from error


def part_of(path: str) -> tuple[int, int] | None:
    """Return boot and seq of the part that a path below the folder belongs to; None if it is no such path."""
    match = _NAME.fullmatch(path)
    if match is None or max(len(match[3]), len(match[4])) > DIGITS_MAX:
        return None
    return int(match[3]), int(match[4])


def without_view(path: str) -> str:
    """Return the path of a part's first view, which its verdict names."""
    return _VIEW.sub("", path)


def encode_frame(image: Image, jpeg_quality: int) -> bytes:
    """Return a frame as JPEG without chroma subsampling."""
    sampling = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
    done, data = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, jpeg_quality, *sampling))
    assert done
    return data.tobytes()


def _encode(name: str, image: Image, jpeg_quality: int) -> bytes:
    """Return lossless PNG or high-quality JPEG for a frame, small JPEG for a heatmap."""
    if name.endswith(".png"):
        done, data = cv2.imencode(".png", image, PNG)
    elif ".frame" in name:
        return encode_frame(image, jpeg_quality)
    else:
        done, data = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, HEATMAP_QUALITY))
    assert done, name
    return data.tobytes()


def _group_of(name: str) -> Group:
    day, result, _ = name.split("/")
    return day, Result(result.upper())


def _by_part(path: Path) -> tuple[int, int, str]:
    boot, seq = path.name.partition(".")[0].split("-")  # The number of the view follows the first dot.
    return int(boot), int(seq), path.name


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
