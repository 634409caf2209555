import threading
from pathlib import Path

import pytest

from linewatch.errors import StorageFull
from linewatch.storage.journal_wait import open_journal


class MountsLater(threading.Event):
    """A stop that never comes; the disk is there after the first wait."""

    def __init__(self, obstacle: Path) -> None:
        super().__init__()
        self._obstacle = obstacle

    def wait(self, timeout: float | None = None) -> bool:
        """Make the disk usable instead of waiting."""
        self._obstacle.unlink()
        return False


def test_a_journal_whose_disk_is_mounted_later_is_awaited(tmp_path: Path) -> None:
    """The daemon does not end because it starts before the disk."""
    (tmp_path / "disk").write_text("not a folder yet")

    with open_journal(
        tmp_path / "disk/journal.db", lambda _: None, MountsLater(tmp_path / "disk")
    ) as journal:
        assert journal.boot == 1


def test_a_stop_ends_the_wait_for_the_journal(tmp_path: Path) -> None:
    """SIGTERM during the wait ends the daemon with the reason."""
    (tmp_path / "disk").write_text("not a folder")
    stop = threading.Event()
    stop.set()

    with pytest.raises(StorageFull):
        open_journal(tmp_path / "disk/journal.db", lambda _: None, stop)
