"""Reports that were worked out, in a folder of their own: figures as JSON, each heatmap as JPEG."""

import threading
from collections import OrderedDict
from pathlib import Path

from pydantic import ValidationError

from linewatch.reporting.calendar import Shift
from linewatch.reporting.figures import ShiftFigures
from linewatch.reporting.report import ShiftReport
from linewatch.runtime.atomic_files import translate_os_errors, write_text

IN_MEMORY_MAX = 64
_Stamp = tuple[int, int]  # Time and size of a file.


class KeptReports:
    """The folder; any thread, and a process that writes, may use it at the same time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._read: OrderedDict[str, tuple[_Stamp, ShiftFigures]] = OrderedDict()

    def read(self, shift: Shift) -> ShiftFigures | None:
        """Return the figures of a shift; None if there are none, or of another version or other settings."""
        path = self._path(shift)
        try:
            found = path.stat()
            stamp = found.st_mtime_ns, found.st_size
            with self._lock:
                known = self._read.get(path.name)
            if known is None or known[0] != stamp:
                known = stamp, ShiftFigures.model_validate_json(path.read_bytes())
                self._remember(path.name, known)
        except (OSError, ValidationError):
            return None
        return known[1] if (known[1].day, known[1].shift) == (shift.day, shift.name) else None

    def picture(self, shift: Shift, number: int) -> bytes:
        """Return the heatmap of a product by its number from 0; b"" if there is none."""
        try:
            return self._picture_path(shift, number).read_bytes()
        except OSError:
            return b""

    def write(self, shift: Shift, report: ShiftReport) -> None:
        """Keep a report; the figures come last. Raises StorageFull."""
        for number, jpeg in enumerate(report.pictures):
            path = self._picture_path(shift, number)
            with translate_os_errors(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                if not jpeg:
                    path.unlink(missing_ok=True)
                    continue
                temporary = path.with_suffix(".new")
                temporary.write_bytes(jpeg)
                temporary.replace(path)
        write_text(self._path(shift), report.figures.model_dump_json())

    def remove_before(self, utc_ms: int) -> None:
        """Remove the reports of shifts that ended before a time. Raises StorageFull."""
        with translate_os_errors(self._folder):
            for path in self._folder.glob("*-*.*"):
                until = path.stem.split("-")[1]
                if until.isdecimal() and int(until) < utc_ms:
                    path.unlink(missing_ok=True)

    def _remember(self, name: str, known: tuple[_Stamp, ShiftFigures]) -> None:
        with self._lock:
            self._read[name] = known
            self._read.move_to_end(name)
            while len(self._read) > IN_MEMORY_MAX:
                self._read.popitem(last=False)

    def _path(self, shift: Shift) -> Path:
        return self._folder / f"{shift.since_ms}-{shift.until_ms}.json"

    def _picture_path(self, shift: Shift, number: int) -> Path:
        return self._folder / f"{shift.since_ms}-{shift.until_ms}-{number}.jpg"
