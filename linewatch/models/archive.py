"""A model version in one file, to carry it to another machine: `PRODUCT/VERSION/` as a tar archive."""

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
BYTES_MAX = 200_000_000  # Of all files of a version; one has 25 MB.
FILES_MAX = 1_000
_HEADERS_BYTES_MAX = 10_000_000  # What the archive adds to them.


def pack(bundle: Bundle, file: Path) -> None:
    """Write a version into an archive, whole or not at all. Raises UsageError and StorageFull."""
    if not file.name.endswith(SUFFIXES):
        raise UsageError(f"{str(file)!r} is no name for an archive; end it in {SUFFIXES[0]}")
    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    with translate_os_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            with tarfile.open(fresh, "w:gz", dereference=True) as archive:
                for name in (MANIFEST, *sorted(bundle.files)):
                    path = f"{bundle.product}/{bundle.version}/{name}"
                    archive.add(bundle.folder / name, path, recursive=False, filter=_nobody_s)
            fresh.replace(file)
        finally:
            fresh.unlink(missing_ok=True)


@contextmanager
def unpacked(file: Path, models: Path) -> Iterator[Bundle]:
    """Unpack an archive beside the models for as long as the block lasts, and prove every file of it.

    Raises RecipeError when it is damaged, foreign or of a later linewatch, UsageError when it cannot be
    read, and StorageFull.
    """
    with translate_os_errors(models):
        models.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".import-", dir=models) as temporary:
            place = Path(temporary)
            names = _extract(file, place)
            yield _proven(file, place, names)


def _nobody_s(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Leave out who packed it."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o644
    return member


def _extract(file: Path, place: Path) -> set[PurePosixPath]:
    """Copy the files of an archive into `place`; only their names and bytes count, and are checked first."""
    names: set[PurePosixPath] = set()
    root: tuple[str, ...] = ()
    room = BYTES_MAX
    with _reading(file) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            if member.isdir():
                continue  # They are made as files need them.
            name = PurePosixPath(member.name)
            room -= member.size
            if name in names or not _allowed(member, name) or (root and name.parts[:2] != root):
                raise _refused(file, f"holds {member.name!r}, which is no file of one model")
            if room < 0 or len(names) == FILES_MAX:
                raise _refused(file, f"holds more than {FILES_MAX} files or {BYTES_MAX // 1_000_000} MB")
            root = name.parts[:2]
            names.add(name)
            content = archive.extractfile(member)
            assert content is not None, "a regular file has content"
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            with (place / name).open("xb") as copy:
                shutil.copyfileobj(content, copy)
    return names


def _allowed(member: tarfile.TarInfo, name: PurePosixPath) -> bool:
    """Whether it is a plain file below `PRODUCT/VERSION/`, wherever its name may try to lead."""
    plain = member.isreg() and not member.issparse() and "\0" not in member.name
    if not plain or name.is_absolute() or ".." in name.parts or len(name.parts) < 3:
        return False
    return bool(NAME.fullmatch(name.parts[0]) and VERSION.fullmatch(name.parts[1]))


def _proven(file: Path, place: Path, names: set[PurePosixPath]) -> Bundle:
    """Return the version in `place`, every file of it proven, and none beside them."""
    if not any(name.parts[2:] == (MANIFEST,) for name in names):
        raise _refused(file, f"holds no {MANIFEST}")
    product, version = next(iter(names)).parts[:2]
    try:
        bundle = read_bundle(place, product, version)
    except RecipeError as trouble:
        raise RecipeError(f"archive {str(file)!r}: {str(trouble).replace(f'{place}/', '')}") from trouble
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
    """The unpacked bytes of an archive, no more of them than a model can have."""

    def __init__(self, file: Path, raw: BinaryIO) -> None:
        self._file = file
        self._stream = gzip.open(raw)  # noqa: SIM115 - it is closed with `raw`
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
