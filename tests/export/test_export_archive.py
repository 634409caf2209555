"""The ZIP of images: whole, safe in its names, readable while it is read, of any size, and bounded."""

import csv
import io
import shutil
import struct
import subprocess
import zipfile
import zlib
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from linewatch.domain import Result, view_name
from linewatch.export.archive import CHUNK_BYTES, SHEET_ROWS, VIEWS_MAX, Archive
from linewatch.settings import TriggerSettings
from tests.fakes import verdict

FAILED = Result.FAIL


def frame(seq: int, folder: Path | None = None, data: bytes = b"frame") -> str:
    """Return the path of a part's frame; with `folder` it is there."""
    name = f"2026-11-27/fail/41-{seq}.frame.jpg"
    if folder is not None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return name


def packed(archive: Archive, *parts: Any) -> bytes:
    """Return the bytes of an archive of some verdicts."""
    return b"".join(chain(*(archive.add(part, None) for part in parts), archive.finish()))


def opened(data: bytes) -> zipfile.ZipFile:
    """Return the archive in bytes, every entry of which was checked."""
    archive = zipfile.ZipFile(io.BytesIO(data))
    assert archive.testzip() is None
    return archive


def test_images_come_with_a_sheet_and_a_note(tmp_path: Path) -> None:
    """Under their evidence paths, with the time of the part; further views of it, too."""
    name = frame(1, tmp_path)
    (tmp_path / view_name(name, 2)).write_bytes(b"second view")
    part = verdict(1, FAILED, part="=A1", image=name, heatmap="2026-11-27/fail/41-1.jpg")

    with opened(packed(Archive(tmp_path), part, verdict(2))) as archive:
        assert archive.namelist() == [name, view_name(name, 2), "parts-0001.csv", "export.txt"]
        rows = list(csv.DictReader(archive.read("parts-0001.csv").decode().splitlines()))
        assert [(row["seq"], row["part"], row["image"]) for row in rows] == [("1", "'=A1", name)]
        assert archive.read("export.txt").startswith(b"2 images of 1 parts; 1 images were not kept")
        assert archive.getinfo(name).date_time[0] > 2020


def test_every_view_that_can_be_set_is_looked_for() -> None:
    """The settings and the archive know the same number of views."""
    bounds = {getattr(one, "le", None) for one in TriggerSettings.model_fields["views"].metadata}

    assert VIEWS_MAX in bounds


@pytest.mark.parametrize(
    "name",
    [
        *("../secret.png", "/etc/passwd", "2026-11-27/fail/../../../secret.png", "2026-11-27/fail/41-1.svg"),
        *("2026-11-27\\fail\\41-1.png", "C:/41-1.png", "2026-11-27/fail/.41-1.png", "a.jpg", "x\0.png"),
        *("2026-11-27/fail/41-1.png", "2026-11-27/fail/41-8.png", "2026-11-27/fail/41-9.png"),
    ],
)
def test_a_path_that_is_no_evidence_is_left_out(tmp_path: Path, name: str) -> None:
    """A journal could name anything: other files, links out of the folder, folders."""
    folder = tmp_path / "evidence"
    (folder / "2026-11-27/fail/41-8.png").mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(b"secret")
    (folder / "2026-11-27/fail/41-1.png").symlink_to(tmp_path / "secret.png")
    (folder / "2026-11-27/fail/41-9.png").write_bytes(b"secret, as it is of another part")

    data = packed(
        Archive(folder), verdict(1, FAILED, image=name), verdict(8, FAILED, image="2026-11-27/fail/41-8.png")
    )

    with opened(data) as archive:
        assert archive.namelist() == ["parts-0001.csv", "export.txt"]
        assert b"secret" not in data.replace(b"secret.png", b"")


def test_an_archive_can_be_unpacked_while_it_arrives(tmp_path: Path) -> None:
    """Each entry's end is in its data: no reader has to wait for the directory."""
    content = bytes(range(256)) * 2_000
    data = packed(
        Archive(tmp_path), *(verdict(seq, FAILED, image=frame(seq, tmp_path, content)) for seq in (1, 2))
    )

    place, found = 0, []
    while data[place : place + 4] == b"PK\x03\x04":
        length, extra = struct.unpack_from("<HH", data, place + 26)
        found.append(data[place + 30 : place + 30 + length].decode())
        reader = zlib.decompressobj(-15)
        inflated = reader.decompress(data[place + 30 + length + extra :])
        assert reader.eof
        place = len(data) - len(reader.unused_data)
        assert data[place : place + 4] == b"PK\x07\x08"
        assert struct.unpack_from("<I", data, place + 4)[0] == zlib.crc32(inflated)
        place += 16

    assert found == [frame(1), frame(2), "parts-0001.csv", "export.txt"]


def test_what_unzip_says(tmp_path: Path) -> None:
    """Another program than Python's finds nothing wrong with it."""
    if (unzip := shutil.which("unzip")) is None:
        pytest.skip("no unzip here")
    path = tmp_path / "all.zip"
    path.write_bytes(packed(Archive(tmp_path), verdict(1, FAILED, image=frame(1, tmp_path))))

    done = subprocess.run([unzip, "-t", str(path)], capture_output=True, text=True, check=False)

    assert "No errors detected" in done.stdout, done.stdout + done.stderr


def test_a_large_image_passes_in_pieces(tmp_path: Path) -> None:
    """No more than a piece of it is in memory."""
    part = verdict(1, FAILED, image=frame(1, tmp_path, bytes(5 * CHUNK_BYTES)))
    archive = Archive(tmp_path)

    pieces = [len(piece) for piece in archive.add(part, None)]

    assert sum(pieces) > 5 * CHUNK_BYTES
    assert max(pieces) < 1.5 * CHUNK_BYTES


def test_a_full_archive_says_where_to_go_on(tmp_path: Path) -> None:
    """By the number of images or by bytes; later parts are not in it, not even on the sheet."""
    parts = [verdict(seq, FAILED, image=frame(seq, tmp_path)) for seq in (5, 4, 3)]
    for bounds in ({"images_max": 2}, {"bytes_max": 10}):
        archive = Archive(tmp_path, **bounds)
        with opened(packed(archive, *parts)) as found:
            assert archive.full
            assert "go on with those before 41-4" in found.read("export.txt").decode()
            assert found.namelist()[:2] == [frame(5), frame(4)]
            assert found.read("parts-0001.csv").decode().count("\n") == 3


def test_an_archive_beyond_4_gb_and_65_535_entries_is_zip64(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tried with limits of 100 kB and 3 entries in their place; other programs read it, too."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 100_000)
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 3)
    content = bytes(60_000)
    parts = [verdict(seq, FAILED, image=frame(seq, tmp_path, content)) for seq in (1, 2, 3)]

    data = packed(Archive(tmp_path), *parts)

    assert b"PK\x06\x06" in data[-200:], "the end of a ZIP64 directory"
    with opened(data) as found:
        assert len(found.infolist()) == 5
        assert found.getinfo(frame(3)).header_offset > 100_000
        assert found.read(frame(3)) == content
    if unzip := shutil.which("unzip"):
        (tmp_path / "all.zip").write_bytes(data)
        subprocess.run([unzip, "-tq", str(tmp_path / "all.zip")], check=True)


def test_sheets_follow_the_images_of_some_thousand_parts(tmp_path: Path) -> None:
    """So that the rows of the rest need not be kept in memory."""
    parts = (verdict(seq, FAILED, image=frame(seq)) for seq in range(SHEET_ROWS + 1))

    with opened(packed(Archive(tmp_path), *parts)) as archive:
        assert archive.namelist() == ["parts-0001.csv", "parts-0002.csv", "export.txt"]


def test_an_archive_of_nothing_says_so(tmp_path: Path) -> None:
    """It has a sheet without rows."""
    with opened(packed(Archive(tmp_path))) as archive:
        assert archive.read("parts-0001.csv").startswith(b"captured,")
        assert archive.read("export.txt") == b"0 images of 0 parts.\n"
