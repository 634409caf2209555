"""A model version on disk: an immutable folder `MODELS/PRODUCT/VERSION/` whose every file is hashed."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from linewatch.domain import Result
from linewatch.errors import RecipeError
from linewatch.identifiers import VERSION
from linewatch.runtime.atomic_files import (
    copy_tree,
    move_tree,
    temporary_folder,
    translate_os_errors,
    write_text,
)
from linewatch.vision.product_match import Likeness
from linewatch.vision.registration import Registration

FORMAT = 1
ACTIVE = "active"
PREVIOUS = "previous"
TRIAL = "trial"
MANIFEST = "manifest.json"
GRAPH = "scorer.xml"
WEIGHTS = "scorer.bin"


@dataclass(frozen=True, slots=True)
class Calibration:
    """Thresholds that follow from the scores of good pictures the model had not seen."""

    threshold: float
    unsure_threshold: float
    false_reject: float  # The wanted rate, 0 to 1.
    bound: float | None  # Upper 95 % confidence limit of the rate; None: too few pictures to say.
    method: str
    scores: tuple[float, ...]  # Out-of-fold scores of the good pictures.


@dataclass(frozen=True, slots=True)
class ImageStatistics:
    """What the training pictures look like: quantiles (0, 5, 25, 50, 75, 95, 100 %)."""

    brightness: tuple[float, ...]
    sharpness: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class GoldenSample:
    """A stored picture that the model must go on scoring as it did when it was learnt."""

    file: str  # Below the bundle's folder.
    expected: Result  # PASS: a good part. FAIL: a challenge.
    raw: float


@dataclass(frozen=True, slots=True)
class Bundle:
    """One model version, its files proven unchanged."""

    folder: Path
    product: str
    version: str
    created: str  # UTC, ISO 8601.
    input_shape: tuple[int, int]  # Height, width.
    registration: Registration | None
    calibration: Calibration
    pictures: ImageStatistics
    golden: tuple[GoldenSample, ...]
    training: Mapping[str, Any] = field(hash=False)  # Facts for people: data digest, seed, settings, ...
    files: Mapping[str, str] = field(hash=False)  # Name below the folder -> SHA-256.
    likeness: Likeness | None = None  # None: another product's part cannot be told from a defect.

    @property
    def graph(self) -> Path:
        """The compiled graph's XML file; its weights lie beside it."""
        return self.folder / GRAPH

    @property
    def checksum(self) -> str:
        """SHA-256 of the weights, for `model_info`."""
        return self.files[WEIGHTS]


def read_bundle(models: Path, product: str, version: str = ACTIVE) -> Bundle:
    """Read a version and prove every file. Raises RecipeError with one sentence when it is unfit."""
    if version == ACTIVE:
        version = active_version(models, product)
    folder = models / product / version
    manifest = _read_manifest(folder, product, version)
    _verify_files(folder, manifest["files"])
    return _from_manifest(folder, manifest)


def write_bundle(
    models: Path,
    product: str,
    *,
    created: str,
    input_shape: tuple[int, int],
    registration: Registration | None,
    calibration: Calibration,
    pictures: ImageStatistics,
    golden: tuple[GoldenSample, ...],
    training: Mapping[str, Any],
    content: Path,
    likeness: Likeness | None = None,
) -> Bundle:
    """Move the files of folder `content` into a new version and return it; all or nothing.

    The version is the first 8 hex digits of the hash over everything in it, so equal content is
    the same version. `content` is used up. Raises StorageFull.
    """
    files = {
        path.relative_to(content).as_posix(): _sha256(path)
        for path in sorted(content.rglob("*"))
        if path.is_file()
    }
    assert GRAPH in files and WEIGHTS in files, f"no graph in {content}"
    manifest = {
        "format": FORMAT,
        "product": product,
        "input_shape": list(input_shape),
        "registration": None if registration is None else asdict(registration),
        "calibration": asdict(calibration),
        "pictures": asdict(pictures),
        "golden": [asdict(sample) for sample in golden],
        "training": dict(training),
        "files": files,
    }
    if likeness is not None:
        manifest["likeness"] = asdict(likeness)
    manifest = json.loads(json.dumps(manifest))  # What is hashed is what a reader will see.
    version = _digest(manifest)[:8]
    manifest = {"format": FORMAT, "product": product, "version": version, "created": created} | manifest
    folder = models / product / version
    with translate_os_errors(models):
        (content / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        if not folder.exists():
            move_tree(content, folder)
    return read_bundle(models, product, version)


def write_variant(
    models: Path,
    bundle: Bundle,
    *,
    created: str,
    training: Mapping[str, Any],
    calibration: Calibration | None = None,
    pictures: ImageStatistics | None = None,
    sample: tuple[GoldenSample, bytes] | None = None,
) -> Bundle:
    """Write a version with the same graph and another calibration, or one golden sample more; return it.

    `training` is added to the facts, `sample` is a golden sample and its PNG file. Raises StorageFull.
    """
    golden = bundle.golden
    with temporary_folder() as folder, translate_os_errors(models):
        content = folder / "content"
        copy_tree(bundle.folder, content)
        (content / MANIFEST).unlink()
        if sample is not None:
            (content / sample[0].file).write_bytes(sample[1])
            golden = (*golden, sample[0])
        return write_bundle(
            models,
            bundle.product,
            created=created,
            input_shape=bundle.input_shape,
            registration=bundle.registration,
            calibration=calibration or bundle.calibration,
            pictures=pictures or bundle.pictures,
            golden=golden,
            training={**bundle.training, **training},
            content=content,
            likeness=bundle.likeness,
        )


def good_samples(models: Path, product: str, version: str, count_max: int) -> list[Path]:
    """Return the first golden samples that must pass, each proven; the rest of the version is not looked at.

    Raises RecipeError.
    """
    folder = models / product / version
    manifest = _read_manifest(folder, product, version)
    try:
        good = [sample["file"] for sample in manifest["golden"] if sample["expected"] == Result.PASS.value]
        files = {name: str(manifest["files"][name]) for name in good[:count_max]}
    except (KeyError, TypeError) as error:
        raise RecipeError(
            f"{str(folder / MANIFEST)!r} is not a model manifest; {_restore(product)}"
        ) from error
    for name in files:
        path = (folder / name).resolve()
        if path.suffix != ".png" or not path.is_relative_to(folder.resolve()):
            raise RecipeError(f"{str(path)!r} is no golden sample; {_restore(product)}")
    _verify_files(folder, files)
    return [folder / name for name in files]


def same_scores(models: Path, bundle: Bundle) -> frozenset[str]:
    """Return the versions on disk whose scores can be compared: their graph and weights are the same."""
    found = {bundle.version}
    for version in versions(models, bundle.product):
        try:
            files = _read_manifest(models / bundle.product / version, bundle.product, version)["files"]
        except RecipeError:
            continue  # Nobody knows what it scored with.
        if all(files.get(name) == bundle.files[name] for name in (GRAPH, WEIGHTS)):
            found.add(version)
    return frozenset(found)


def versions(models: Path, product: str) -> list[str]:
    """Return the versions on disk, oldest first; empty if the product was never trained."""
    found = [path for path in (models / product).glob("*/" + MANIFEST) if VERSION.fullmatch(path.parent.name)]
    return [path.parent.name for path in sorted(found, key=_created)]


def active_version(models: Path, product: str) -> str:
    """Return the version that "active" stands for. Raises RecipeError when there is none."""
    pointer = models / product / ACTIVE
    try:
        version = pointer.read_text(encoding="utf-8", errors="replace").strip()
    except OSError as error:
        raise RecipeError(
            f"product {product!r} has no active model in {str(models)!r}; "
            f"train one: linewatch train {product} --images DIR"
        ) from error
    if not VERSION.fullmatch(version):
        raise RecipeError(
            f"{str(pointer)!r} names no version but {version[:20]!r}; "
            f"activate one: linewatch models activate {product} VERSION"
        )
    return version


def set_active(models: Path, product: str, version: str) -> None:
    """Make `version` the active one, after proving it. Raises RecipeError and StorageFull."""
    read_bundle(models, product, version)
    pointer = models / product / ACTIVE
    before = _pointed_at(pointer)
    if before and before != version:
        _point(pointer.with_name(PREVIOUS), before)
    _point(pointer, version)


def previous_version(models: Path, product: str) -> str:
    """Return the version that was active before the present one, "" if there was none."""
    return _pointed_at(models / product / PREVIOUS)


def trial_version(models: Path, product: str) -> str:
    """Return the version that is on trial beside the active one, "" if none is."""
    return _pointed_at(models / product / TRIAL)


def set_trial(models: Path, product: str, version: str) -> None:
    """Let a version judge beside the line; "" ends the trial."""
    pointer = models / product / TRIAL
    if version:
        _point(pointer, version)
    else:
        with translate_os_errors(pointer):
            pointer.unlink(missing_ok=True)


def _pointed_at(pointer: Path) -> str:
    """Return the version that a pointer names, "" if it names none; whatever lies there ends no line."""
    try:
        version = pointer.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
    return version if VERSION.fullmatch(version) else ""


def _point(pointer: Path, version: str) -> None:
    write_text(pointer, version + "\n", 0o644)  # The line may run as somebody else than whoever activates.


def _read_manifest(folder: Path, product: str, version: str) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RecipeError(
            f"model {product}/{version} is not in {str(folder.parent.parent)!r}; "
            f"list what is there: linewatch models list {product}"
        ) from error
    except (OSError, ValueError) as error:
        raise RecipeError(f"{str(path)!r} cannot be read: {error}; {_restore(product)}") from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("format"), int):
        raise RecipeError(f"{str(path)!r} is not a model manifest; {_restore(product)}")
    if manifest["format"] != FORMAT:
        raise RecipeError(
            f"model {product}/{version} has format {manifest['format']}, this linewatch reads {FORMAT}; "
            "update linewatch or train the product again"
        )
    if manifest.get("product") != product:
        raise RecipeError(
            f"{str(folder)!r} holds a model of product {manifest.get('product')!r}, not {product!r}; "
            f"{_restore(product)}"
        )
    rest = {key: value for key, value in manifest.items() if key not in ("version", "created")}
    if not version == manifest.get("version") == _digest(rest)[:8]:
        raise RecipeError(f"{str(path)!r} was changed after training; {_restore(product)}")
    return manifest


def _verify_files(folder: Path, files: Mapping[str, str]) -> None:
    product = folder.parent.name
    for name, wanted in files.items():
        path = folder / name
        try:
            found = _sha256(path)
        except OSError as error:
            raise RecipeError(f"{str(path)!r} is missing from the model; {_restore(product)}") from error
        if found != wanted:
            raise RecipeError(f"{str(path)!r} was changed after training; {_restore(product)}")


def _restore(product: str) -> str:
    return f"restore it from a copy, activate another version, or train {product!r} again"


def _from_manifest(folder: Path, manifest: dict[str, Any]) -> Bundle:
    registration = manifest["registration"]
    calibration = manifest["calibration"]
    likeness = manifest.get("likeness")  # Earlier versions have none.
    height, width = manifest["input_shape"]
    return Bundle(
        folder=folder,
        product=manifest["product"],
        version=manifest["version"],
        created=str(manifest.get("created", "")),
        input_shape=(height, width),
        registration=None if registration is None else Registration(**registration),
        calibration=Calibration(**calibration | {"scores": tuple(calibration["scores"])}),
        pictures=ImageStatistics(**{key: tuple(value) for key, value in manifest["pictures"].items()}),
        golden=tuple(
            GoldenSample(sample["file"], Result(sample["expected"]), sample["raw"])
            for sample in manifest["golden"]
        ),
        training=manifest["training"],
        files=manifest["files"],
        likeness=None if likeness is None else _likeness(likeness),
    )


def _likeness(found: Mapping[str, Any]) -> Likeness:
    return Likeness(tuple(found["mean"]), tuple(found["spread"]), found["limit"])


def _created(manifest: Path) -> tuple[str, str]:
    try:
        found = json.loads(manifest.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "", manifest.parent.name  # Listed all the same: `models verify` will say what is wrong.
    return str(found.get("created", "")) if isinstance(found, dict) else "", manifest.parent.name


def _digest(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
