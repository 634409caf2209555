"""Atomic file writes; OS errors become StorageFull."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from linewatch.errors import StorageFull


@contextmanager
def translate_os_errors(path: Path) -> Iterator[None]:
    """Raise StorageFull, with `path` in its sentence, for an OSError inside the block."""
    try:
        yield
    except OSError as error:
        raise StorageFull(path, f"{error.strerror or error}; check permissions and room") from error


def write_text(path: Path, text: str, mode: int | None = None, *, sync: bool = False) -> None:
    """Write a file atomically, as UTF-8; `mode` overrides the umask, `sync` waits for the disk.

    Raises StorageFull.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with translate_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8", errors="replace")  # File names may not be UTF-8.
        if mode is not None:
            temporary.chmod(mode)
        if sync:
            _sync(temporary)
        temporary.replace(path)
        if sync:
            _sync(path.parent)


def _sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_writable(folder: Path) -> None:
    """Make the folder if it is missing and check that files can be created in it. Raises StorageFull."""
    with translate_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Make a folder below TMPDIR, removed after the block. Raises StorageFull for any OSError in it."""
    parent = Path(os.environ.get("TMPDIR", "/tmp"))
    with translate_os_errors(parent), tempfile.TemporaryDirectory(prefix="linewatch-") as folder:
        yield Path(folder)


def copy_tree(source: Path, target: Path) -> None:
    """Copy a folder's files without their modes, so that the umask applies: a temporary folder is 0700."""
    target.mkdir()
    for path in sorted(source.rglob("*")):  # A folder sorts before its content.
        if path.is_dir():
            (target / path.relative_to(source)).mkdir()
        else:
            shutil.copyfile(path, target / path.relative_to(source))


def move_tree(source: Path, target: Path) -> None:
    """Move a folder, possibly from another file system; `target` appears complete, in one rename."""
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".new-", dir=target.parent))
    try:
        staged = staging / target.name
        copy_tree(source, staged)
        rename_synced(staged, target)
    finally:
        shutil.rmtree(staging)
    shutil.rmtree(source)


def rename_synced(source: Path, target: Path) -> None:
    """Rename a folder within one file system, after an fsync of every file in it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    for path in source.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    source.rename(target)
