"""The number of a session (bdSeq), by which a host knows which death belongs to which birth."""

import logging
from pathlib import Path

from linewatch.errors import StorageFull
from linewatch.runtime.atomic_files import write_text

log = logging.getLogger(__name__)

NUMBERS = 256


class SessionNumber:
    """Counts connections from 0 to 255, then from 0 again, also over restarts (Sparkplug 3.0.0, 5.4).

    The number is in `path` before the broker gets it. Without a readable file it begins at 0.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._refused = False
        self._last = _read(path)

    @property
    def last(self) -> int:
        """The number of the newest connection."""
        return self._last

    @property
    def next(self) -> int:
        """The number of the next connection."""
        return (self._last + 1) % NUMBERS

    def use(self) -> None:
        """Take the next number; if the disk refuses to keep it, it is counted in memory."""
        self._last = self.next
        try:
            write_text(self._path, f"{self._last}\n", sync=True)
        except StorageFull as trouble:
            if not self._refused:
                log.warning("sparkplug_session_not_kept reason=%r", str(trouble))
            self._refused = True
        else:
            self._refused = False


def _read(path: Path) -> int:
    try:
        number = int(path.read_text("ascii"))
    except (OSError, ValueError):
        return NUMBERS - 1
    return number % NUMBERS
