"""Signatures of parts on disk: what comes back, what survives, and what is removed."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from linewatch.domain import Result, Verdict
from linewatch.errors import StorageFull
from linewatch.storage.signatures import (
    DAY_MS,
    HEADER_BYTES,
    ROWS_AT_ONCE,
    SignatureKind,
    SignatureStore,
    folder_of,
    signature_files,
)
from linewatch.vision.signature import CELLS, Signature
from tests.fakes import verdict

NOON_MS = 1_790_000_000_000 // DAY_MS * DAY_MS + DAY_MS // 2


def signature(raw: float = 0.5, channels: int = 3, local: int = 0) -> Signature:
    """Return a signature of that many channels."""
    return Signature(
        raw,
        (10, 200),
        np.full((CELLS, CELLS), 77, np.uint8),
        np.arange(channels, dtype=np.float32) * raw,
        np.arange(local, dtype=np.int8),
    )


def part(seq: int, **facts: Any) -> tuple[Verdict, Signature]:
    """Return a part of noon."""
    return verdict(seq, captured_ms=NOON_MS + seq, **facts), signature(seq / 10)


def read_seqs(folder: Path, product: str = "bottle") -> list[int]:
    """Return the seq of every row, file by file."""
    return [
        int(row["seq"]) for file in signature_files(folder, product) for rows in file.read() for row in rows
    ]


def test_every_field_comes_back(tmp_path: Path) -> None:
    """A row holds part, score, place, map and both embeddings."""
    one = verdict(7, Result.FAIL, captured_ms=NOON_MS)
    SignatureStore(tmp_path).append([(one, signature(1.25, local=4))], NOON_MS)

    (file,) = signature_files(tmp_path, "bottle")
    (row,) = next(file.read())
    assert (file.kind.product, file.kind.model, file.rows) == ("bottle", "7f3a91c2", 1)
    assert (row["boot"], row["seq"], row["captured_ms"]) == (41, 7, NOON_MS)
    assert (row["raw"], row["threshold"], row["result"]) == (1.25, 2.0, 1)
    assert row["peak"].tolist() == [10, 200]
    assert set(row["cells"].tolist()) == {77}
    assert row["embedding"].tolist() == [0.0, 1.25, 2.5]
    assert row["local"].tolist() == [0, 1, 2, 3]


def test_a_row_takes_the_bytes_that_the_documents_state() -> None:
    """176 channels take 444 bytes, and 620 with the local embedding."""
    assert SignatureKind("p", "m", 176, 0).row_type.itemsize == 444
    assert SignatureKind("p", "m", 176, 176).row_type.itemsize == 620


def test_products_and_models_have_files_of_their_own(tmp_path: Path) -> None:
    """Signatures are compared within one model only."""
    store = SignatureStore(tmp_path)
    store.append([part(1), part(2, model="aaaaaaaa"), part(3, product="cup"), part(4)], NOON_MS)

    assert read_seqs(tmp_path) == [1, 4, 2]
    assert read_seqs(tmp_path, "cup") == [3]
    assert read_seqs(tmp_path, "cap") == []


def test_rows_are_added_after_a_restart(tmp_path: Path) -> None:
    """The file of a day is continued."""
    SignatureStore(tmp_path).append([part(1)], NOON_MS)
    SignatureStore(tmp_path).append([part(2)], NOON_MS)

    assert read_seqs(tmp_path) == [1, 2]


def test_a_torn_row_is_not_read_and_cut_off_before_the_next(tmp_path: Path) -> None:
    """A power cut in the middle of a row costs that row alone."""
    store = SignatureStore(tmp_path)
    store.append([part(1), part(2)], NOON_MS)
    (file,) = signature_files(tmp_path, "bottle")
    os.truncate(file.path, HEADER_BYTES + 2 * file.kind.row_type.itemsize - 5)

    assert read_seqs(tmp_path) == [1]
    store.append([part(3)], NOON_MS)
    assert read_seqs(tmp_path) == [1, 3]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"foreign" * 99, b'{"format": 2}'.ljust(256), b"[]".ljust(256)]
)
def test_a_damaged_file_is_skipped_and_left_alone(tmp_path: Path, content: bytes) -> None:
    """What cannot be understood is neither read nor written to; an empty file is filled."""
    store = SignatureStore(tmp_path)
    store.append([part(1)], NOON_MS)
    (file,) = signature_files(tmp_path, "bottle")
    file.path.write_bytes(content)

    assert read_seqs(tmp_path) == []
    store.append([part(2)], NOON_MS)
    assert read_seqs(tmp_path) == [2]
    assert file.path.read_bytes().startswith(content)


def test_every_row_is_read_once_across_chunks(tmp_path: Path) -> None:
    """Reading in steps loses and repeats nothing; with a step it takes every so many."""
    store = SignatureStore(tmp_path)
    seqs = list(range(1, ROWS_AT_ONCE + 3))
    store.append([part(seq) for seq in seqs], NOON_MS)

    assert read_seqs(tmp_path) == seqs
    (file,) = signature_files(tmp_path, "bottle")
    assert [int(row["seq"]) for rows in file.read(5, 1000) for row in rows] == seqs[5::1000]


def test_only_files_of_the_time_are_opened(tmp_path: Path) -> None:
    """A part exposed shortly before midnight may stand in the file of the next day."""
    store = SignatureStore(tmp_path)
    for day in range(4):
        store.append([part(day + 1)], NOON_MS + day * DAY_MS)

    def days(since_ms: int | None, until_ms: int | None) -> list[int]:
        return [
            int(next(file.read())[0]["seq"])
            for file in signature_files(tmp_path, "bottle", since_ms, until_ms)
        ]

    assert days(NOON_MS + DAY_MS, None) == [2, 3, 4]
    assert days(None, NOON_MS + DAY_MS) == [1, 2]
    assert days(None, NOON_MS + DAY_MS + DAY_MS // 2 - 1) == [1, 2, 3]


def test_days_before_the_retention_are_removed(tmp_path: Path) -> None:
    """A day goes when its last part is too old; other folders stay."""
    store = SignatureStore(tmp_path)
    for day in range(4):
        store.append([part(day + 1)], NOON_MS + day * DAY_MS)
    (tmp_path / "notes").mkdir()

    left = store.sweep(NOON_MS + 4 * DAY_MS, 2.0)

    assert read_seqs(tmp_path) == [3, 4]
    assert left == sum(file.path.stat().st_size for file in signature_files(tmp_path, "bottle"))
    assert (tmp_path / "notes").exists()


def test_the_oldest_days_go_when_there_are_too_many_bytes(tmp_path: Path) -> None:
    """Today's are kept, whatever they take."""
    store = SignatureStore(tmp_path, bytes_max=900)
    for day in range(4):
        store.append([part(day + 1)], NOON_MS + day * DAY_MS)

    store.sweep(NOON_MS + 3 * DAY_MS, 90)
    assert read_seqs(tmp_path) == [3, 4]
    SignatureStore(tmp_path, bytes_max=1).sweep(NOON_MS + 3 * DAY_MS, 90)
    assert read_seqs(tmp_path) == [4]


def full_disk(tmp_path: Path) -> SignatureStore:
    """Return a store that leaves more room than any disk has."""
    return SignatureStore(tmp_path, free_bytes_min=2**62)


def no_folder(tmp_path: Path) -> SignatureStore:
    """Return a store whose folder is a file."""
    (tmp_path / "file").write_text("x")
    return SignatureStore(tmp_path / "file")


@pytest.mark.parametrize("make", [full_disk, no_folder])
def test_a_disk_that_refuses_is_one_sentence(tmp_path: Path, make: Callable[[Path], SignatureStore]) -> None:
    """The caller gets StorageFull, whatever the reason."""
    with pytest.raises(StorageFull):
        make(tmp_path).append([part(1)], NOON_MS)


def test_the_folder_is_beside_its_journal() -> None:
    """Two stations with journals in one folder do not share it."""
    assert folder_of(Path("var/a.db")) == Path("var/a.db.signatures")
