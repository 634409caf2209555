"""Files and folders that are there whole or not at all; what the disk refuses is one sentence."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from linewatch.errors import StorageFull


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Raise StorageFull for what the disk refuses in the block."""
    try:
        yield
    except OSError as error:
        raise StorageFull(path, f"{error.strerror or error}; check permissions and room") from error


def write_text(path: Path, text: str, mode: int | None = None) -> None:
    """Write a file whole or not at all; `mode` overrules the umask. Raises StorageFull."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_text(text, encoding="utf-8")
        if mode is not None:
            fresh.chmod(mode)
        fresh.replace(path)


def try_writing(folder: Path) -> None:
    """Make a folder that will be written to, and see whether it lets us. Raises StorageFull."""
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass


@contextmanager
def scratch() -> Iterator[Path]:
    """Make a folder for a version on its way, gone afterwards. Raises StorageFull, also for the block."""
    wanted = Path(os.environ.get("TMPDIR", "/tmp"))
    with storing(wanted), tempfile.TemporaryDirectory(prefix="linewatch-") as folder:
        yield Path(folder)


def copy(content: Path, folder: Path) -> None:
    """Copy files without their modes: a temporary folder is private, its copy is for whom the umask lets."""
    folder.mkdir()
    for path in sorted(content.rglob("*")):  # A folder comes before what is in it.
        if path.is_dir():
            (folder / path.relative_to(content)).mkdir()
        else:
            shutil.copyfile(path, folder / path.relative_to(content))


def move_in(content: Path, folder: Path) -> None:
    """Bring `content` to its place in one rename, from a copy on the same disk."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    waiting = Path(tempfile.mkdtemp(prefix=".new-", dir=folder.parent))
    try:
        staged = waiting / folder.name
        copy(content, staged)
        settle(staged, folder)
    finally:
        shutil.rmtree(waiting)
    shutil.rmtree(content)


def settle(staged: Path, folder: Path) -> None:
    """Bring a folder to its place on the same disk in one rename; its files survive a power cut then."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    for path in staged.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    staged.rename(folder)
