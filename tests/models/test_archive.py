"""A model version carried in a file: it arrives as it was, or not at all."""

import io
import json
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


class Carried:
    """A packed version, and the machine that takes it in."""

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
        """What the archive holds."""
        with tarfile.open(self.file) as packed:
            return {member.name: _content(packed, member) for member in packed}

    def repack(self, members: Members) -> None:
        """Write other things into the archive."""
        with tarfile.open(self.file, "w:gz") as packed:
            for name, content in members.items():
                add(packed, name, content)

    def refused(self, says: str) -> None:
        """Take it in: that is refused with one sentence, in the audit, and nothing is left."""
        with pytest.raises(RecipeError, match=says) as caught:
            import_version(self.here, self.file)
        assert "\n" not in str(caught.value) and ".import-" not in str(caught.value)
        assert list(self.here.models.path.iterdir()) == []
        assert self.audit()[-1] == ("model_refused", "model.tar.gz", str(caught.value))

    def audit(self) -> list[tuple[str, object, object]]:
        """Return what was done, to what and why, oldest first."""
        with JournalReader(JournalFile(self.here.journal.path)) as reader:
            return [(entry.action, entry.facts["to"], entry.facts["why"]) for entry in reader.audit(9)[::-1]]


@pytest.fixture
def carried(tmp_path: Path) -> Carried:
    """Pack a version."""
    return Carried(tmp_path)


def _content(packed: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = packed.extractfile(member)
    assert file is not None
    return file.read()


def add(packed: tarfile.TarFile, name: str, content: bytes = b"", **facts: Any) -> None:
    """Put one member into an archive."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for key, value in facts.items():
        setattr(member, key, value)
    packed.addfile(member, io.BytesIO(content))


def test_a_version_arrives_as_it_was_and_waits_to_be_activated(carried: Carried) -> None:
    """Every file, proven; who brought it is in the audit, and the line takes no notice yet."""
    arrived = import_version(carried.here, carried.file)

    place = carried.here.models.path
    assert arrived.files == carried.bundle.files
    assert read_bundle(place, "demo", arrived.version) == arrived
    assert [path.name for path in place.iterdir()] == ["demo"]
    assert carried.audit() == [("model_imported", arrived.version, "from model.tar.gz")]
    with pytest.raises(RecipeError, match="no active model"):
        active_version(place, "demo")
    activate(carried.here, "demo", arrived.version, "")
    assert active_version(place, "demo") == arrived.version


def test_a_version_that_is_there_is_left_alone(carried: Carried) -> None:
    """Whatever state it is in."""
    arrived = import_version(carried.here, carried.file)
    (arrived.folder / WEIGHTS).write_bytes(b"mine")

    with pytest.raises(UsageError, match=rf"model demo/{arrived.version} is in '.*models' already"):
        import_version(carried.here, carried.file)

    assert (arrived.folder / WEIGHTS).read_bytes() == b"mine"


def test_an_archive_packed_by_hand_will_do(carried: Carried) -> None:
    """`tar -czf` of the folder writes folders, too, and may begin every name with a dot."""
    with tarfile.open(carried.file, "w:gz") as packed:
        packed.add(carried.bundle.folder, f"./{carried.root}")

    assert import_version(carried.here, carried.file).files == carried.bundle.files


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
def test_nothing_leads_out_of_the_version(
    carried: Carried, tmp_path: Path, name: str, facts: dict[str, Any]
) -> None:
    """Paths, links and devices: only plain files of one model are taken."""
    members = carried.members
    before = sorted(tmp_path.rglob("*"))
    with tarfile.open(carried.file, "w:gz") as packed:
        for each, content in members.items():
            add(packed, each, content)
        add(packed, name.format(root=carried.root, manifest=MANIFEST), **facts)

    carried.refused("holds .* which is not a file of one model version; export it again")
    new = set(tmp_path.rglob("*")) - set(before)
    assert all(path.is_relative_to(tmp_path / "here") or path.name.startswith("journal") for path in new)


def spoil_weights(members: Members) -> None:
    """Change one byte."""
    name = next(name for name in members if name.endswith(WEIGHTS))
    members[name] = members[name][:-1] + bytes([members[name][-1] ^ 1])


def come_from_the_future(members: Members) -> None:
    """Have a manifest that a later linewatch wrote."""
    name = next(name for name in members if name.endswith(MANIFEST))
    members[name] = members[name].replace(b'"format": 1', b'"format": 2')


def smuggle(members: Members) -> None:
    """Bring a file that no hash protects."""
    members[next(iter(members)).rpartition("/")[0] + "/golden/more.png"] = b"x"


def leave_one_out(members: Members) -> None:
    """Forget a golden sample."""
    del members[next(name for name in members if "golden/0" in name)]


def forget_the_manifest(members: Members) -> None:
    """Bring files that nothing explains."""
    del members[next(name for name in members if name.endswith(MANIFEST))]


def hash_rightly_and_be_none(members: Members) -> None:
    """Have a manifest that somebody wrote to fit."""
    members.clear()
    document = {"format": 1, "product": "demo", "files": {}}
    version = version_of(document)
    members[f"demo/{version}/{MANIFEST}"] = json.dumps(document | {"version": version}).encode()


def hold_nothing(members: Members) -> None:
    """Be empty."""
    members.clear()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (spoil_weights, "archive '.*': 'demo/.*/scorer.bin' was changed after training; "),
        (come_from_the_future, "has format 2, this linewatch reads 1; update linewatch"),
        (smuggle, "holds other files than its manifest.json names"),
        (leave_one_out, "'demo/.*/golden/0.png' is missing from the model"),
        (forget_the_manifest, "holds no manifest.json"),
        (
            hash_rightly_and_be_none,
            "'demo/.*/manifest.json' is not a model manifest .input_shape is wrong.; ",
        ),
        (hold_nothing, "holds no manifest.json"),
    ],
)
def test_what_is_no_sound_model_is_refused(
    carried: Carried, spoil: Callable[[Members], None], says: str
) -> None:
    """One sentence, in the audit too, and nothing is left of it."""
    members = carried.members
    spoil(members)
    carried.repack(members)

    carried.refused(says)


def test_an_archive_that_grows_without_end_is_refused(
    carried: Carried, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few bytes that unpack to more than a model can have, in a file or in what describes one."""
    members = carried.members
    monkeypatch.setattr(archive, "BYTES_MAX", 1_000_000)
    carried.repack(members | {f"{carried.root}/zeros": bytes(1_000_000)})
    carried.refused("holds more than 1000 files or 1 MB")

    monkeypatch.setattr(archive, "_HEADERS_BYTES_MAX", 0)
    with tarfile.open(carried.file, "w:gz", format=tarfile.PAX_FORMAT) as packed:
        add(packed, f"{carried.root}/x", pax_headers={"comment": "x" * 2_000_000})
    carried.refused("holds more than 1 MB")


def test_a_damaged_archive_is_one_sentence(carried: Carried, tmp_path: Path) -> None:
    """Cut off anywhere, no archive at all, or with bytes changed: never a traceback, never half a model."""
    whole = carried.file.read_bytes()
    carried.file.write_bytes(b"no archive")
    carried.refused("is damaged or no archive")
    rng = random.Random(1)
    for number in range(60):
        spoilt = bytearray(whole)
        if number % 2:
            del spoilt[rng.randrange(len(spoilt)) :]
        else:
            for _ in range(3):
                spoilt[rng.randrange(len(spoilt))] ^= 1 << rng.randrange(8)
        carried.file.write_bytes(spoilt)
        try:
            with unpacked(carried.file, carried.here.models.path) as bundle:
                assert bundle.files == carried.bundle.files  # Only the padding was hit.
        except LinewatchError as trouble:
            assert "\n" not in str(trouble)
        assert list(carried.here.models.path.iterdir()) == []

    with pytest.raises(UsageError, match=r"archive '.*' cannot be read \(No such file or directory\)"):
        import_version(carried.here, tmp_path / "nowhere.tar.gz")


def test_only_a_sound_version_is_handed_out_under_a_name_that_tells_what_it_is(
    carried: Carried, tmp_path: Path
) -> None:
    """A version where the file should be named is no file name; a damaged model goes nowhere."""
    there = Settings(models=models_in(tmp_path / "there"))
    with pytest.raises(UsageError, match=r"is no name for an archive; end it in \.tar\.gz"):
        export_version(there, "demo", "active", tmp_path / carried.bundle.version)
    carried.bundle.graph.write_text("<net/>")
    with pytest.raises(RecipeError, match="was changed after training"):
        export_version(there, "demo", "active", tmp_path / "new.tar.gz")

    assert versions(there.models.path, "demo") == [carried.bundle.version]
    assert not (tmp_path / "new.tar.gz").exists()


def test_an_archive_says_nothing_of_who_packed_it(carried: Carried) -> None:
    """Neither names nor numbers; its files are for everybody to read."""
    with tarfile.open(carried.file) as packed:
        assert {(m.uid, m.gid, m.uname, m.gname, m.mode) for m in packed} == {(0, 0, "", "", 0o644)}
