"""Export and import of a model version: complete and verified, or refused."""

import io
import json
import os
import random
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from linewatch.errors import LinewatchError, RecipeError, UsageError
from linewatch.models import archive
from linewatch.models.archive import pack, unpacked
from linewatch.models.bundle import MANIFEST, WEIGHTS, active_version, read_bundle, version_of, versions
from linewatch.models.registry import activate, export_version, import_version
from linewatch.settings import JournalSettings, Settings
from linewatch.storage.journal_reader import JournalFile, JournalReader
from tests.bundles import models_in, teach

Members = dict[str, bytes]


class Transfer:
    """An exported version and the machine that imports it."""

    def __init__(self, folder: Path) -> None:
        self.bundle = teach(models_in(folder / "there"))
        self.root = f"demo/{self.bundle.version}"
        self.file = folder / "model.tar.gz"
        pack(self.bundle, self.file)
        self.here = Settings(
            models=models_in(folder / "here"), journal=JournalSettings(path=folder / "journal.db")
        )

    @property
    def members(self) -> Members:
        """The archive's files."""
        with tarfile.open(self.file) as packed:
            return {member.name: _content(packed, member) for member in packed}

    def repack(self, members: Members) -> None:
        """Replace the archive's files."""
        with tarfile.open(self.file, "w:gz") as packed:
            for name, content in members.items():
                add(packed, name, content)

    def refused(self, says: str) -> None:
        """Check that the import fails with one sentence, is audited, and leaves nothing behind."""
        with pytest.raises(RecipeError, match=says) as caught:
            import_version(self.here, self.file)
        assert "\n" not in str(caught.value) and ".import-" not in str(caught.value)
        assert list(self.here.models.path.iterdir()) == []
        assert self.audit()[-1] == ("model_refused", "model.tar.gz", str(caught.value))

    def audit(self) -> list[tuple[str, object, object]]:
        """Return action, version and reason of the audit entries, oldest first."""
        with JournalReader(JournalFile(self.here.journal.path)) as reader:
            return [(entry.action, entry.facts["to"], entry.facts["why"]) for entry in reader.audit(9)[::-1]]


@pytest.fixture
def transfer(tmp_path: Path) -> Transfer:
    """Export a version."""
    return Transfer(tmp_path)


def _content(packed: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = packed.extractfile(member)
    assert file is not None
    return file.read()


def add(packed: tarfile.TarFile, name: str, content: bytes = b"", **facts: Any) -> None:
    """Add one member to an archive."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for key, value in facts.items():
        setattr(member, key, value)
    packed.addfile(member, io.BytesIO(content))


def test_an_imported_version_is_identical_and_not_active(transfer: Transfer) -> None:
    """Every file is verified, the import is audited, and the active version stays."""
    arrived = import_version(transfer.here, transfer.file)

    place = transfer.here.models.path
    assert arrived.files == transfer.bundle.files
    assert read_bundle(place, "demo", arrived.version) == arrived
    assert [path.name for path in place.iterdir()] == ["demo"]
    assert transfer.audit() == [("model_imported", arrived.version, "from model.tar.gz")]
    with pytest.raises(RecipeError, match="no active model"):
        active_version(place, "demo")
    activate(transfer.here, "demo", arrived.version, "")
    assert active_version(place, "demo") == arrived.version


def test_an_existing_version_is_not_overwritten(transfer: Transfer) -> None:
    """Not even a damaged one."""
    arrived = import_version(transfer.here, transfer.file)
    (arrived.folder / WEIGHTS).write_bytes(b"mine")

    with pytest.raises(UsageError, match=rf"model demo/{arrived.version} is in '.*models' already"):
        import_version(transfer.here, transfer.file)

    assert (arrived.folder / WEIGHTS).read_bytes() == b"mine"


def test_an_archive_made_with_tar_is_imported(transfer: Transfer) -> None:
    """It has entries for folders, and names that begin with `./`."""
    with tarfile.open(transfer.file, "w:gz") as packed:
        packed.add(transfer.bundle.folder, f"./{transfer.root}")

    assert import_version(transfer.here, transfer.file).files == transfer.bundle.files


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("../demo/00000000/x", {}),
        ("/tmp/demo/00000000/x", {}),
        ("{root}/../../../x", {}),
        ("{root}/{manifest}", {}),
        ("demo/active", {}),
        ("demo/x/y", {}),
        (".hidden/00000000/x", {}),
        ("lid/00000000/x", {}),
        ("{root}/link", {"type": tarfile.SYMTYPE, "linkname": "/etc"}),
        ("{root}/link", {"type": tarfile.LNKTYPE, "linkname": "{root}/scorer.bin"}),
        ("{root}/null", {"type": tarfile.CHRTYPE}),
        ("{root}/pipe", {"type": tarfile.FIFOTYPE}),
    ],
)
def test_members_outside_the_version_are_refused(
    transfer: Transfer, tmp_path: Path, name: str, facts: dict[str, Any]
) -> None:
    """Only regular files of one version are extracted, no other paths, links or devices."""
    members = transfer.members
    before = sorted(tmp_path.rglob("*"))
    with tarfile.open(transfer.file, "w:gz") as packed:
        for each, content in members.items():
            add(packed, each, content)
        add(packed, name.format(root=transfer.root, manifest=MANIFEST), **facts)

    transfer.refused("holds .* which is not a file of one model version; export it again")
    new = set(tmp_path.rglob("*")) - set(before)
    assert all(path.is_relative_to(tmp_path / "here") or path.name.startswith("journal") for path in new)


def spoil_weights(members: Members) -> None:
    """Change one byte."""
    name = next(name for name in members if name.endswith(WEIGHTS))
    members[name] = members[name][:-1] + bytes([members[name][-1] ^ 1])


def come_from_the_future(members: Members) -> None:
    """Give the manifest the format of a later linewatch."""
    name = next(name for name in members if name.endswith(MANIFEST))
    members[name] = members[name].replace(b'"format": 1', b'"format": 2')


def smuggle(members: Members) -> None:
    """Add a file that the manifest does not hash."""
    members[next(iter(members)).rpartition("/")[0] + "/golden/more.png"] = b"x"


def remove_a_sample(members: Members) -> None:
    """Remove a golden sample."""
    del members[next(name for name in members if "golden/0" in name)]


def remove_the_manifest(members: Members) -> None:
    """Remove the manifest."""
    del members[next(name for name in members if name.endswith(MANIFEST))]


def forge_the_manifest(members: Members) -> None:
    """Replace the manifest by an incomplete one with a correct digest."""
    members.clear()
    document = {"format": 1, "product": "demo", "files": {}}
    version = version_of(document)
    members[f"demo/{version}/{MANIFEST}"] = json.dumps(document | {"version": version}).encode()


def remove_everything(members: Members) -> None:
    """Remove all files."""
    members.clear()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (spoil_weights, "archive '.*': 'demo/.*/scorer.bin' was changed after training; "),
        (come_from_the_future, "has format 2, this linewatch reads 1; update linewatch"),
        (smuggle, "holds other files than its manifest.json names"),
        (remove_a_sample, "'demo/.*/golden/0.png' is missing from the model"),
        (remove_the_manifest, "holds no manifest.json"),
        (
            forge_the_manifest,
            "'demo/.*/manifest.json' is not a model manifest .input_shape is wrong.; ",
        ),
        (remove_everything, "holds no manifest.json"),
    ],
)
def test_an_unsound_model_is_refused(transfer: Transfer, spoil: Callable[[Members], None], says: str) -> None:
    """One sentence in the error and in the audit; nothing is left on disk."""
    members = transfer.members
    spoil(members)
    transfer.repack(members)

    transfer.refused(says)


def test_a_decompression_bomb_is_refused(transfer: Transfer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both file content and tar headers are limited."""
    members = transfer.members
    monkeypatch.setattr(archive, "BYTES_MAX", 1_000_000)
    transfer.repack(members | {f"{transfer.root}/zeros": bytes(1_000_000)})
    transfer.refused("holds more than 1000 files or 1 MB")

    monkeypatch.setattr(archive, "_HEADERS_BYTES_MAX", 0)
    with tarfile.open(transfer.file, "w:gz", format=tarfile.PAX_FORMAT) as packed:
        add(packed, f"{transfer.root}/x", pax_headers={"comment": "x" * 2_000_000})
    transfer.refused("holds more than 1 MB")


def test_a_damaged_archive_is_one_sentence(transfer: Transfer, tmp_path: Path) -> None:
    """Truncated and corrupted archives give one sentence and leave no partial model."""
    whole = transfer.file.read_bytes()
    transfer.file.write_bytes(b"no archive")
    transfer.refused("is damaged or no archive")
    rng = random.Random(1)
    for number in range(60):
        spoilt = bytearray(whole)
        if number % 2:
            del spoilt[rng.randrange(len(spoilt)) :]
        else:
            for _ in range(3):
                spoilt[rng.randrange(len(spoilt))] ^= 1 << rng.randrange(8)
        transfer.file.write_bytes(spoilt)
        try:
            with unpacked(transfer.file, transfer.here.models.path) as bundle:
                assert bundle.files == transfer.bundle.files  # Only padding was changed.
        except LinewatchError as trouble:
            assert "\n" not in str(trouble)
        assert list(transfer.here.models.path.iterdir()) == []

    with pytest.raises(UsageError, match=r"archive '.*' cannot be read \(No such file or directory\)"):
        import_version(transfer.here, tmp_path / "nowhere.tar.gz")


def test_an_export_needs_a_sound_version_and_an_archive_name(transfer: Transfer, tmp_path: Path) -> None:
    """A file name without .tar.gz and a damaged version are refused."""
    there = Settings(models=models_in(tmp_path / "there"))
    with pytest.raises(UsageError, match=r"is no name for an archive; end it in \.tar\.gz"):
        export_version(there, "demo", "active", tmp_path / transfer.bundle.version)
    transfer.bundle.graph.write_text("<net/>")
    with pytest.raises(RecipeError, match="was changed after training"):
        export_version(there, "demo", "active", tmp_path / "new.tar.gz")

    assert versions(there.models.path, "demo") == [transfer.bundle.version]
    assert not (tmp_path / "new.tar.gz").exists()


def test_an_archive_does_not_reveal_its_author(transfer: Transfer) -> None:
    """Owner and group are cleared, and every file is readable."""
    with tarfile.open(transfer.file) as packed:
        assert {(m.uid, m.gid, m.uname, m.gname, m.mode) for m in packed} == {(0, 0, "", "", 0o644)}


def test_the_same_version_makes_the_same_archive(tmp_path: Path) -> None:
    """Wherever it is exported: so the digest of the file, or of an OCI layer, proves the version."""
    transfer = Transfer(tmp_path)
    again = tmp_path / "again.tar.gz"
    for path in transfer.bundle.folder.iterdir():
        os.utime(path, (1, 1))
    pack(import_version(transfer.here, transfer.file), again)

    assert again.read_bytes() == transfer.file.read_bytes()
