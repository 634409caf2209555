"""Small file systems for tests: full, read-only and back."""

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
        return not self._run("mount", "-t", "tmpfs", "-o", f"size={self._size_mb}m", "tmpfs", self.folder)

    def unmount(self) -> None:
        """Unmount it."""
        self._run("umount", "--lazy", self.folder)

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

    @staticmethod
    def _run(*command: str | Path) -> int:
        return subprocess.run(command, capture_output=True, check=False).returncode
