"""A model version on disk: an immutable folder `MODELS/PRODUCT/VERSION/` whose manifest hashes every file."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from linewatch.domain import Result
from linewatch.errors import RecipeError, RecipeNotThere
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
REPORT = "report.html"


@dataclass(frozen=True, slots=True)
class Calibration:
    """Thresholds on the raw score, derived from the scores of good images outside the training set."""

    threshold: float
    unsure_threshold: float
    false_reject: float  # The requested false-reject rate, 0 to 1.
    bound: float | None  # Upper 95 % confidence limit of the rate; None: too few images to estimate it.
    method: str
    scores: tuple[float, ...]  # Out-of-fold scores of the good images.


@dataclass(frozen=True, slots=True)
class ImageStatistics:
    """Brightness and sharpness of the training images: quantiles (0, 5, 25, 50, 75, 95, 100 %)."""

    brightness: tuple[float, ...]
    sharpness: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class GoldenSample:
    """A stored image with the raw score that the model must reproduce in every self-test."""

    file: str  # Relative to the version's folder.
    expected: Result  # PASS: a good part. FAIL: a challenge sample.
    raw: float


class Manifest(BaseModel):
    """The content of `manifest.json`."""

    model_config = ConfigDict(frozen=True)

    format: int = FORMAT
    product: str
    version: str = ""  # See `version_of`.
    created: str = ""  # UTC, ISO 8601.
    input_shape: tuple[int, int]  # Height, width.
    registration: Registration | None
    calibration: Calibration
    pictures: ImageStatistics
    golden: tuple[GoldenSample, ...]
    training: dict[str, Any]
    files: dict[str, str]
    likeness: Likeness | None = None
    report: str = ""  # The file among `files` that names the version.

    def document(self) -> dict[str, Any]:
        """Return the manifest as it is stored, in plain JSON types; what was introduced later only if set."""
        document: dict[str, Any] = json.loads(json.dumps(self.model_dump()))
        # As in versions trained before they were introduced: same content, same hash.
        return {key: value for key, value in document.items() if value or key not in ("likeness", "report")}


def version_of(document: Mapping[str, Any]) -> str:
    """Return the version of a manifest in plain JSON types: 8 hex digits of a SHA-256 over its content.

    Its `version` and `created` are left out, so equal content is the same version; and so is the digest of
    its `report`, which names the version.
    """
    content = {key: value for key, value in document.items() if key not in ("version", "created")}
    if report := document.get("report"):
        content["files"] = {name: sha for name, sha in document["files"].items() if name != report}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]


@dataclass(frozen=True, slots=True)
class Bundle:
    """One verified model version: its folder and the content of its manifest."""

    folder: Path
    product: str
    version: str
    digest: str  # SHA-256 of its manifest, which names every file with its own.
    created: str  # UTC, ISO 8601.
    input_shape: tuple[int, int]  # Height, width.
    registration: Registration | None  # None: the inspected area is scored as a whole.
    calibration: Calibration
    pictures: ImageStatistics
    golden: tuple[GoldenSample, ...]
    training: Mapping[str, Any] = field(hash=False)  # Facts for people: data digest, seed, settings, ...
    files: Mapping[str, str] = field(hash=False)  # Name relative to the folder -> SHA-256.
    likeness: Likeness | None = None  # None: parts of other products are not recognised.

    @property
    def graph(self) -> Path:
        """The OpenVINO graph's XML file; the weights are beside it."""
        return self.folder / GRAPH

    @property
    def checksum(self) -> str:
        """SHA-256 of the weights, for the metric `model_info`."""
        return self.files[WEIGHTS]


def read_bundle(models: Path, product: str, version: str = ACTIVE, *, verify: bool = True) -> Bundle:
    """Read a version and verify every file of it. Raises RecipeError if it is missing, changed or damaged.

    Without `verify` only the manifest is read, which does for a list.
    """
    if version == ACTIVE:
        version = active_version(models, product)
    folder = models / product / version
    manifest, digest = _read_manifest(folder, product, version)
    if verify:
        _verify_files(folder, manifest.files)
    fields = {key: value for key, value in manifest if key not in ("format", "report")}
    return Bundle(folder=folder, digest=digest, **fields)


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
    report: Callable[[str], str] | None = None,
) -> Bundle:
    """Move the files of folder `content` into a new version, atomically, and return it.

    `report` returns the HTML report of the version that it is given. Equal content is the same version,
    and leaves an existing one alone. `content` is used up. Raises StorageFull.
    """
    files = {
        path.relative_to(content).as_posix(): _sha256(path)
        for path in sorted(content.rglob("*"))
        if path.is_file()
    }
    assert GRAPH in files and WEIGHTS in files, f"no graph in {content}"
    document = Manifest(
        product=product,
        created=created,
        input_shape=input_shape,
        registration=registration,
        calibration=calibration,
        pictures=pictures,
        golden=golden,
        training=dict(training),
        files=files,
        likeness=likeness,
        report=REPORT if report else "",
    ).document()
    document["version"] = version = version_of(document)
    folder = models / product / version
    with translate_os_errors(models):
        if report:
            (content / REPORT).write_text(report(version), encoding="utf-8", errors="replace")
            document["files"][REPORT] = _sha256(content / REPORT)
        (content / MANIFEST).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
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
    report: Callable[[str], str] | None = None,
) -> Bundle:
    """Write a version with the same graph but other thresholds, statistics or golden samples; return it.

    `training` is merged into its facts, `sample` is one more golden sample and its PNG, `report` replaces
    that of `bundle` (see `write_bundle`). Raises StorageFull.
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
            report=report,
        )


def good_samples(models: Path, product: str, version: str, count_max: int) -> list[Path]:
    """Return the files of the first good golden samples and verify only these. Raises RecipeError."""
    folder = models / product / version
    manifest, _ = _read_manifest(folder, product, version)
    names = [sample.file for sample in manifest.golden if sample.expected is Result.PASS][:count_max]
    for name in names:
        path = (folder / name).resolve()
        if path.suffix != ".png" or not path.is_relative_to(folder.resolve()) or name not in manifest.files:
            raise RecipeError(f"{str(path)!r} is no golden sample; {_remedy(product)}")
    _verify_files(folder, {name: manifest.files[name] for name in names})
    return [folder / name for name in names]


def versions_with_same_scores(models: Path, bundle: Bundle) -> frozenset[str]:
    """Return the versions on disk with the same graph and weights, whose raw scores can be compared."""
    found = {bundle.version}
    for version in versions(models, bundle.product):
        try:
            manifest, _ = _read_manifest(models / bundle.product / version, bundle.product, version)
        except RecipeError:
            continue  # Damaged: its graph and weights are unknown.
        if all(manifest.files.get(name) == bundle.files[name] for name in (GRAPH, WEIGHTS)):
            found.add(version)
    return frozenset(found)


def versions(models: Path, product: str) -> list[str]:
    """Return the versions on disk, oldest first; empty if there are none."""
    found = [path for path in (models / product).glob("*/" + MANIFEST) if VERSION.fullmatch(path.parent.name)]
    return [path.parent.name for path in sorted(found, key=_created)]


def active_version(models: Path, product: str) -> str:
    """Return the active version. Raises RecipeError if there is none."""
    pointer = models / product / ACTIVE
    try:
        version = pointer.read_text(encoding="utf-8-sig", errors="replace").strip()
    except OSError as error:
        raise RecipeNotThere(
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
    """Verify a version and make it the active one. Raises RecipeError and StorageFull."""
    read_bundle(models, product, version)
    pointer = models / product / ACTIVE
    before = _pointed_at(pointer)
    if before and before != version:
        _point(pointer.with_name(PREVIOUS), before)
    _point(pointer, version)


def previous_version(models: Path, product: str) -> str:
    """Return the previously active version, "" if there was none."""
    return _pointed_at(models / product / PREVIOUS)


def trial_version(models: Path, product: str) -> str:
    """Return the version on trial, "" if none is."""
    return _pointed_at(models / product / TRIAL)


def set_trial(models: Path, product: str, version: str) -> None:
    """Put a version on trial; "" ends the trial. Raises StorageFull."""
    pointer = models / product / TRIAL
    if version:
        _point(pointer, version)
    else:
        with translate_os_errors(pointer):
            pointer.unlink(missing_ok=True)


def _pointed_at(pointer: Path) -> str:
    """Return the version in a pointer file, "" if there is none or the file is unreadable."""
    try:
        version = pointer.read_text(encoding="utf-8-sig", errors="replace").strip()
    except OSError:
        return ""
    return version if VERSION.fullmatch(version) else ""


def _point(pointer: Path, version: str) -> None:
    write_text(pointer, version + "\n", 0o644)  # The daemon may run as another user.


def _read_manifest(folder: Path, product: str, version: str) -> tuple[Manifest, str]:
    path = folder / MANIFEST
    try:
        content = path.read_bytes()
        document = json.loads(content)
    except FileNotFoundError as error:
        raise RecipeNotThere(
            f"model {product}/{version} is not in {str(folder.parent.parent)!r}; "
            f"list what is there: linewatch models list {product}"
        ) from error
    except (OSError, ValueError) as error:
        kind = RecipeNotThere if isinstance(error, OSError) else RecipeError
        raise kind(f"{str(path)!r} cannot be read: {error}; {_remedy(product)}") from error
    if not isinstance(document, dict) or not isinstance(document.get("format"), int):
        raise RecipeError(f"{str(path)!r} is not a model manifest; {_remedy(product)}")
    if document["format"] != FORMAT:
        raise RecipeError(
            f"model {product}/{version} has format {document['format']}, this linewatch reads {FORMAT}; "
            "update linewatch or train the product again"
        )
    if document.get("product") != product:
        raise RecipeError(
            f"{str(folder)!r} holds a model of product {document.get('product')!r}, not {product!r}; "
            f"{_remedy(product)}"
        )
    if not version == document.get("version") == version_of(document):
        raise RecipeError(f"{str(path)!r} was changed after training; {_remedy(product)}")
    try:
        return Manifest.model_validate(document), hashlib.sha256(content).hexdigest()
    except ValidationError as error:
        key = ".".join(map(str, error.errors()[0]["loc"]))
        raise RecipeError(
            f"{str(path)!r} is not a model manifest ({key} is wrong); {_remedy(product)}"
        ) from error


def _verify_files(folder: Path, files: Mapping[str, str]) -> None:
    product = folder.parent.name
    for name, wanted in files.items():
        path = folder / name
        try:
            found = _sha256(path)
        except OSError as error:
            raise RecipeNotThere(f"{str(path)!r} is missing from the model; {_remedy(product)}") from error
        if found != wanted:
            raise RecipeError(f"{str(path)!r} was changed after training; {_remedy(product)}")


def _remedy(product: str) -> str:
    return f"restore it from a copy, activate another version, or train {product!r} again"


def _created(manifest: Path) -> tuple[str, str]:
    """Return a sort key: when the version was made, and its name."""
    try:
        found = json.loads(manifest.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "", manifest.parent.name  # Listed all the same: `models verify` names the damage.
    return str(found.get("created", "")) if isinstance(found, dict) else "", manifest.parent.name


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
