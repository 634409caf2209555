"""Estimate for how many days the disk holds evidence and journal, before and between runs of the daemon."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from linewatch.domain import Image
from linewatch.settings import EvidenceSettings
from linewatch.storage.evidence import DAY_S, RATE_SPAN_S_MIN, encode_frame

REJECT_SHARE = 0.02  # Of the parts, all of which are kept; assumed where nothing is recorded yet.
ROW_BYTES = 160  # Of one verdict in the journal, indices included; assumed where nothing is recorded yet.


def folder_bytes(folder: Path) -> int:
    """Return the size of all files below a folder, 0 if it does not exist."""
    return sum(size for size, _ in _files(folder))


def recorded_per_day(evidence: Path, utc_s: float) -> float:
    """Return the bytes of evidence per day, from the folders of yesterday and today; 0.0 without any.

    The higher one of yesterday's size and today's, extrapolated to a whole day from its first file on.
    """
    today = datetime.fromtimestamp(utc_s, UTC).date()
    yesterday = folder_bytes(evidence / str(today - timedelta(days=1)))
    files = list(_files(evidence / str(today)))
    span_s = max(RATE_SPAN_S_MIN, utc_s - min((mtime_s for _, mtime_s in files), default=utc_s))
    return max(yesterday, sum(size for size, _ in files) * DAY_S / span_s)


def expected_per_day(
    frame: Image, parts_per_s: float, settings: EvidenceSettings, drawn_share: float = 0.0
) -> float:
    """Return the bytes of evidence per day for frames like this one, with 2 % of the parts rejected.

    `drawn_share` is that of the PASS parts whose images are kept for re-inspection, 0 to 1.
    """
    kept = REJECT_SHARE + (1 / settings.pass_every if settings.pass_every else 0.0) + drawn_share
    return len(encode_frame(frame, settings.jpeg_quality)) * parts_per_s * DAY_S * min(kept, 1.0)


def room_bytes(settings: EvidenceSettings) -> int:
    """Return how much evidence may take in all, what is there included. Raises OSError."""
    disk = os.statvfs(settings.path)
    kept = folder_bytes(settings.path)
    disk_allows = max(0, kept + disk.f_bavail * disk.f_frsize - settings.free_bytes_min)
    return min(settings.bytes_max, disk_allows) if settings.bytes_max else disk_allows


def _files(folder: Path) -> Iterator[tuple[int, float]]:
    """Yield size and time of change (UTC seconds) of all files below a folder."""
    try:
        entries = list(os.scandir(folder))
    except OSError:  # Retention removed it, or it was never there.
        return
    for entry in entries:
        try:
            if entry.is_dir(follow_symlinks=False):
                yield from _files(Path(entry.path))
            elif entry.is_file(follow_symlinks=False):
                found = entry.stat()
                yield found.st_size, found.st_mtime
        except FileNotFoundError:
            continue
