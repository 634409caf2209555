"""Small file systems for tests: full, read-only, hanging, and back."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class SmallDisk:
    """A tmpfs of `size_mb`; mounting it needs root."""

    def __init__(self, folder: Path, size_mb: int = 1) -> None:
        self.folder = folder
        self._size_mb = size_mb
        self._ballast = folder / "ballast"

    def mount(self) -> bool:
        """Mount it; return whether that is allowed here."""
        self.folder.mkdir()
        return not _run("mount", "-t", "tmpfs", "-o", f"size={self._size_mb}m", "tmpfs", self.folder)

    def unmount(self) -> None:
        """Unmount it."""
        _run("umount", "--lazy", self.folder)

    def fill(self) -> None:
        """Fill it to the last byte."""
        with self._ballast.open("ab", buffering=0) as file:
            for size in (65536, 4096, 1):
                try:
                    while True:
                        file.write(b"\0" * size)
                except OSError:
                    continue

    def empty(self) -> None:
        """Free the room again."""
        self._ballast.unlink()

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """Refuse every write for a while; nothing may be open for writing when it begins."""
        subprocess.run(["mount", "-o", "remount,ro", self.folder], check=True)
        yield
        subprocess.run(["mount", "-o", "remount,rw", self.folder], check=True)


class HangingDisk:
    """An ext4 file system in a file, which `hang` freezes: what writes to it waits. Needs root."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file = folder.with_suffix(".ext4")

    def mount(self) -> bool:
        """Make and mount it; return whether that is possible here."""
        self.folder.mkdir()
        with self._file.open("wb") as file:
            file.truncate(32_000_000)
        made = not _run("mkfs.ext4", "-q", self._file)
        return made and not _run("mount", "-o", "loop", self._file, self.folder)

    def unmount(self) -> None:
        """Let it answer and unmount it."""
        self.answer()
        _run("umount", "--lazy", self.folder)

    def hang(self) -> None:
        """Let each write wait, also those of a killed process, which ends only after `answer`."""
        subprocess.run(["fsfreeze", "--freeze", self.folder], check=True)

    def answer(self) -> None:
        """Let writes go on."""
        _run("fsfreeze", "--unfreeze", self.folder)


def _run(*command: str | Path) -> int:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode
    except FileNotFoundError:
        return 127
