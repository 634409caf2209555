"""Model versions on disk: verified file by file, or refused with one sentence."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from linewatch.errors import RecipeError
from linewatch.models.bundle import (
    MANIFEST,
    WEIGHTS,
    Bundle,
    Manifest,
    active_version,
    read_bundle,
    set_active,
    trial_version,
    version_of,
    versions,
    write_variant,
)
from linewatch.settings import ModelsSettings
from tests.bundles import GREY, models_in, teach

SHIPPED = Path(__file__).parents[2] / "models"
EARLIER = Path(__file__).with_name("manifest_22bf2243.json")


@pytest.fixture
def models(tmp_path: Path) -> ModelsSettings:
    """Return settings of an empty folder."""
    return models_in(tmp_path)


def test_a_written_version_is_read_back(models: ModelsSettings) -> None:
    """It is found by its version and as the active one."""
    bundle = teach(models)

    assert read_bundle(models.path, "demo", bundle.version) == bundle
    assert read_bundle(models.path, "demo") == bundle
    assert len(bundle.version) == 8


def test_equal_content_is_the_same_version(models: ModelsSettings) -> None:
    """The creation date is not part of the version."""
    first = teach(models, created="2026-01-01T00:00:00+00:00")
    again = teach(models, created="2026-01-02T00:00:00+00:00")
    other = teach(models, level=120)

    assert first.version == again.version != other.version


def test_a_likeness_is_kept(models: ModelsSettings) -> None:
    """A variant of the version has the same likeness."""
    bundle = teach(models, likeness=GREY)

    variant = write_variant(models.path, bundle, created="", training={"calibrated_from": bundle.version})

    assert bundle.likeness == read_bundle(models.path, "demo", variant.version).likeness == GREY


def test_a_version_without_likeness_has_no_such_key(models: ModelsSettings) -> None:
    """The digest of models trained before it was introduced stays the same."""
    bundle = teach(models)

    assert "likeness" not in json.loads((bundle.folder / MANIFEST).read_text())
    assert bundle.likeness is None


def test_the_manifest_of_an_earlier_model_keeps_its_version() -> None:
    """It is read unchanged, and written again it has the same digest."""
    document = json.loads(EARLIER.read_text())

    assert Manifest.model_validate(document).document() == document
    assert version_of(document) == document["version"] == "22bf2243"


def test_the_shipped_model_is_complete() -> None:
    """Its content has the digest that it is named after, with likeness and scores."""
    bundle = read_bundle(SHIPPED, "demo")
    document = json.loads((bundle.folder / MANIFEST).read_text())

    assert version_of(document) == bundle.version
    assert bundle.likeness is not None and bundle.likeness.limit == document["likeness"]["limit"]
    assert list(bundle.calibration.scores) == document["calibration"]["scores"]


def test_a_variant_of_a_shipped_model_has_the_digest_of_earlier_versions(models: ModelsSettings) -> None:
    """A manifest is hashed as its JSON with sorted keys, without version and creation date."""
    shipped = read_bundle(SHIPPED, "demo")

    variant = write_variant(
        models.path, shipped, created="2026-12-01", training={"calibrated_from": shipped.version}
    )

    document = json.loads((shipped.folder / MANIFEST).read_text())
    document["training"]["calibrated_from"] = shipped.version
    del document["version"], document["created"], document["report"]  # A variant has a report of its own.
    digest = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
    assert variant.version == digest[:8]


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("input_shape", [64], "input_shape.1 is wrong"),
        ("calibration", {}, "calibration.threshold is wrong"),
        ("golden", [{"file": "a.png", "expected": "GOOD", "raw": 0.0}], "golden.0.expected is wrong"),
        ("files", None, "files is wrong"),
    ],
)
def test_a_manifest_with_a_wrong_value_is_refused(
    models: ModelsSettings, key: str, value: object, says: str
) -> None:
    """Even with a correct digest, one sentence names the key."""
    bundle = teach(models)
    document = json.loads((bundle.folder / MANIFEST).read_text()) | {key: value}
    document["version"] = version = version_of(document)
    folder = bundle.folder.rename(bundle.folder.with_name(version))
    (folder / MANIFEST).write_text(json.dumps(document))

    with pytest.raises(RecipeError, match=f"is not a model manifest .{says}.; restore it") as caught:
        read_bundle(models.path, "demo", version)

    assert "\n" not in str(caught.value)


def test_versions_are_listed_oldest_first(models: ModelsSettings) -> None:
    """Versions are sorted by creation date, not by name."""
    young = teach(models, level=90, created="2026-02-01T00:00:00+00:00")
    old = teach(models, level=110, created="2026-01-01T00:00:00+00:00")

    assert versions(models.path, "demo") == [old.version, young.version]
    assert versions(models.path, "other") == []


def test_the_umask_determines_the_modes_of_a_version(models: ModelsSettings) -> None:
    """A daemon that runs as another user can read every folder and file."""
    before = os.umask(0o027)
    try:
        folder = teach(models).folder
    finally:
        os.umask(before)

    for path in (folder.parent, folder, folder / "golden"):
        assert path.stat().st_mode & 0o777 == 0o750
    for path in (folder / MANIFEST, folder / WEIGHTS, folder / "golden/0.png"):
        assert path.stat().st_mode & 0o777 == 0o640


def _change(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def _edit(bundle: Bundle, **changes: object) -> None:
    path = bundle.folder / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda bundle: _change(bundle.folder / WEIGHTS), "scorer.bin' was changed after training"),
        (lambda bundle: _change(bundle.folder / "golden/0.png"), "golden/0.png' was changed"),
        (lambda bundle: (bundle.folder / "golden/1.png").unlink(), "golden/1.png' is missing"),
        (lambda bundle: _edit(bundle, format=2), "has format 2, this linewatch reads 1; update"),
        (lambda bundle: _edit(bundle, product="cup"), "holds a model of product 'cup', not 'demo'"),
        (lambda bundle: _edit(bundle, calibration={}), "manifest.json' was changed after training"),
        (lambda bundle: (bundle.folder / MANIFEST).write_text("{"), "cannot be read"),
        (lambda bundle: (bundle.folder / MANIFEST).write_text("[]"), "is not a model manifest"),
        (lambda bundle: (bundle.folder / MANIFEST).unlink(), "list what is there: linewatch models list"),
        (lambda bundle: (bundle.folder.parent / "active").unlink(), "no active model"),
        (lambda bundle: (bundle.folder.parent / "active").write_text("../x"), "names no version"),
    ],
)
def test_a_damaged_bundle_is_refused(
    models: ModelsSettings, damage: Callable[[Bundle], object], says: str
) -> None:
    """One sentence names the file and the remedy."""
    damage(teach(models))

    with pytest.raises(RecipeError, match=says.replace(".", r"\.")) as caught:
        read_bundle(models.path, "demo")

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("garbage", [b"\xff\xfe43bb", b"nothing\n", b""])
def test_a_damaged_active_file_is_repaired_by_activating_a_version(
    models: ModelsSettings, garbage: bytes
) -> None:
    """The error names the command, and that command works."""
    bundle = teach(models)
    (models.path / "demo" / "active").write_bytes(garbage)

    with pytest.raises(RecipeError, match="names no version"):
        active_version(models.path, "demo")
    set_active(models.path, "demo", bundle.version)
    assert active_version(models.path, "demo") == bundle.version


@pytest.mark.parametrize("kind", ["folder", "bytes", "product is a file"])
def test_a_damaged_trial_file_means_no_trial(models: ModelsSettings, kind: str) -> None:
    """The daemon reads it every second and must not fail."""
    pointer = models.path / "demo" / "trial"
    if kind == "product is a file":
        models.path.mkdir()
        pointer.parent.write_text("")
    elif kind == "folder":
        pointer.mkdir(parents=True)
    else:
        pointer.parent.mkdir(parents=True)
        pointer.write_bytes(b"\xff\xfe")

    assert trial_version(models.path, "demo") == ""


def test_every_user_may_read_the_active_version(models: ModelsSettings) -> None:
    """The daemon may run as another user."""
    before = os.umask(0o077)
    try:
        teach(models)
    finally:
        os.umask(before)

    assert (models.path / "demo" / "active").stat().st_mode & 0o777 == 0o644


def test_only_a_sound_version_becomes_active(models: ModelsSettings) -> None:
    """A damaged version is refused, and the active one stays."""
    good = teach(models)
    bad = teach(models, level=120)
    set_active(models.path, "demo", good.version)
    _change(bad.folder / WEIGHTS)

    with pytest.raises(RecipeError):
        set_active(models.path, "demo", bad.version)

    assert active_version(models.path, "demo") == good.version
