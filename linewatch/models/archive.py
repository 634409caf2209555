"""Export and import a model version as one tar archive that holds `PRODUCT/VERSION/`."""

import gzip
import io
import os
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from linewatch.errors import RecipeError, UsageError
from linewatch.identifiers import NAME, VERSION
from linewatch.models.bundle import GRAPH, MANIFEST, WEIGHTS, Bundle, read_bundle
from linewatch.runtime.atomic_files import translate_os_errors

SUFFIXES = (".tar.gz", ".tgz")
BYTES_MAX = 200_000_000  # All files of a version; a typical one has 25 MB.
FILES_MAX = 1_000
_HEADERS_BYTES_MAX = 10_000_000  # Tar headers and padding.


def pack(bundle: Bundle, file: Path) -> None:
    """Write a version to an archive, atomically. Raises UsageError and StorageFull."""
    if not file.name.endswith(SUFFIXES):
        raise UsageError(f"{str(file)!r} is no name for an archive; end it in {SUFFIXES[0]}")
    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    with translate_os_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            with (
                fresh.open("wb") as raw,
                gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as stream,
                tarfile.open(fileobj=stream, mode="w", dereference=True) as archive,
            ):
                for name in (MANIFEST, *sorted(bundle.files)):
                    path = f"{bundle.product}/{bundle.version}/{name}"
                    archive.add(bundle.folder / name, path, recursive=False, filter=_anonymous)
            fresh.replace(file)
        finally:
            fresh.unlink(missing_ok=True)


@contextmanager
def unpacked(file: Path, models: Path) -> Iterator[Bundle]:
    """Unpack an archive to a temporary folder inside `models` and yield the verified version in it.

    Raises RecipeError if it is damaged, foreign or of a later linewatch, UsageError if it cannot be read,
    and StorageFull.
    """
    with translate_os_errors(models):
        models.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".import-", dir=models) as temporary:
            folder = Path(temporary)
            names = _extract(file, folder)
            yield _verified(file, folder, names)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Clear owner, group, mode and time: the same version makes the same archive, byte for byte."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o644
    member.mtime = 0
    return member


def _extract(file: Path, folder: Path) -> set[PurePosixPath]:
    """Copy the files of an archive into `folder` and return their names; links and metadata are refused."""
    names: set[PurePosixPath] = set()
    root: tuple[str, ...] = ()
    bytes_left = BYTES_MAX
    with _reading(file) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            if member.isdir():
                continue  # Created below, as files need them.
            name = PurePosixPath(member.name)
            bytes_left -= member.size
            if name in names or not _allowed(member, name) or (root and name.parts[:2] != root):
                raise _refused(file, f"holds {member.name!r}, which is not a file of one model version")
            if bytes_left < 0 or len(names) == FILES_MAX:
                raise _refused(file, f"holds more than {FILES_MAX} files or {BYTES_MAX // 1_000_000} MB")
            root = name.parts[:2]
            names.add(name)
            content = archive.extractfile(member)
            assert content is not None, "a regular file has content"
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            with (folder / name).open("xb") as copy:
                shutil.copyfileobj(content, copy)
    return names


def _allowed(member: tarfile.TarInfo, name: PurePosixPath) -> bool:
    """Whether a member is a regular file below `PRODUCT/VERSION/`, without path traversal."""
    plain = member.isreg() and not member.issparse() and "\0" not in member.name
    if not plain or name.is_absolute() or ".." in name.parts or len(name.parts) < 3:
        return False
    return bool(NAME.fullmatch(name.parts[0]) and VERSION.fullmatch(name.parts[1]))


def _verified(file: Path, folder: Path, names: set[PurePosixPath]) -> Bundle:
    """Read and verify the version in `folder`; it must hold exactly the files that the manifest names."""
    if not any(name.parts[2:] == (MANIFEST,) for name in names):
        raise _refused(file, f"holds no {MANIFEST}")
    product, version = next(iter(names)).parts[:2]
    try:
        bundle = read_bundle(folder, product, version)
    except RecipeError as trouble:
        raise RecipeError(f"archive {str(file)!r}: {str(trouble).replace(f'{folder}/', '')}") from trouble
    known = {PurePosixPath(product, version, name) for name in (MANIFEST, *bundle.files)}
    needed = {GRAPH, WEIGHTS, *(sample.file for sample in bundle.golden)}
    if names != known or not needed <= bundle.files.keys():
        raise _refused(file, f"holds other files than its {MANIFEST} names")
    return bundle


@contextmanager
def _reading(file: Path) -> Iterator["_Bounded"]:
    try:
        raw = file.open("rb")
    except OSError as error:
        raise UsageError(
            f"archive {str(file)!r} cannot be read ({error.strerror}); check the path"
        ) from error
    with raw:
        try:
            yield _Bounded(file, raw)
        except tarfile.TarError as error:
            raise _refused(file, f"is damaged or no archive ({error})") from error


class _Bounded(io.BufferedIOBase):
    """Decompressed stream of an archive that ends with RecipeError beyond the size of any model."""

    def __init__(self, file: Path, raw: BinaryIO) -> None:
        self._file = file
        self._stream = gzip.open(raw)  # noqa: SIM115 - closed with `raw`.
        self._left = BYTES_MAX + _HEADERS_BYTES_MAX

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next bytes. Raises RecipeError."""
        try:
            data = self._stream.read(size)
        except (OSError, EOFError, zlib.error) as error:
            raise _refused(self._file, f"is damaged or no archive ({error})") from error
        self._left -= len(data)
        if self._left < 0:
            raise _refused(self._file, f"holds more than {BYTES_MAX // 1_000_000} MB")
        return data


def _refused(file: Path, problem: str) -> RecipeError:
    return RecipeError(
        f"archive {str(file)!r} {problem}; export it again: linewatch models export PRODUCT VERSION FILE"
    )
