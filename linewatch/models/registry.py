"""List, verify, activate, try, import and export a product's model versions; every change is audited.

Every function takes the settings first, then product and version where it needs them. What changes a
model is recorded in the journal's audit log with the user's name, or `who`, and the reason `why`.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from linewatch.domain import Result
from linewatch.errors import RecipeError, UsageError
from linewatch.models.archive import pack, unpacked
from linewatch.models.bundle import (
    ACTIVE,
    Bundle,
    GoldenSample,
    active_version,
    previous_version,
    read_bundle,
    set_active,
    set_trial,
    trial_version,
    versions,
    write_variant,
)
from linewatch.models.loader import prepare
from linewatch.models.recipe_file import pinned_version
from linewatch.runtime.atomic_files import rename_synced
from linewatch.runtime.user import user_name
from linewatch.settings import Settings
from linewatch.storage.audit.writing import append_audit
from linewatch.vision.image_io import encode_sample, read_image, read_mask, shrink_to
from linewatch.vision.recipe import judge
from linewatch.vision.scoring import check_mask, crop_mask, cut_roi

SAMPLE_SIDE_PX = 1024  # Golden samples are shrunk to at most this side length.


@dataclass(frozen=True, slots=True)
class ListedModel:
    """One model version on disk."""

    product: str
    version: str
    active: bool
    created: str  # UTC, ISO 8601; "" if the version is unfit.
    text: str  # For people: the threshold, or why the version is unfit.


class Activation(NamedTuple):
    """A change of the active version."""

    version: str
    previous: str  # "" if none was active.


def list_models(settings: Settings, product: str | None = None) -> list[ListedModel]:
    """Return every version of one product, or of all, oldest first. Raises RecipeError if it has none."""
    models = settings.models.path
    if product and not versions(models, product):
        raise RecipeError(
            f"product {product!r} has no model in {str(models)!r}; "
            f"train one: linewatch train {product} --images DIR"
        )
    products = (
        [product]
        if product
        else sorted(path.name for path in models.glob("*/") if versions(models, path.name))
    )
    return [_listed(models, name, version) for name in products for version in versions(models, name)]


def describe(settings: Settings, product: str, version: str) -> dict[str, object]:
    """Return a version's threshold, training data, settings and file hashes. Raises RecipeError."""
    bundle = read_bundle(settings.models.path, product, version)
    calibration = bundle.calibration
    return {
        "product": product,
        "version": bundle.version,
        "active": bundle.version == find_active(settings.models.path, product),
        "created": bundle.created,
        "input_shape": list(bundle.input_shape),
        "registered": bundle.registration is not None,
        "threshold": calibration.threshold,
        "unsure_threshold": calibration.unsure_threshold,
        "false_reject": calibration.false_reject,
        "false_reject_bound": calibration.bound,
        "calibration_pictures": len(calibration.scores),
        "training": dict(bundle.training),
        "files": dict(bundle.files),
    }


def verify(settings: Settings, product: str, version: str = ACTIVE) -> Bundle:
    """Verify a version's files and, if active or pinned, its golden samples. Raises RecipeError."""
    models = settings.models
    bundle = read_bundle(models.path, product, version)
    if bundle.version in (
        find_active(settings.models.path, product),
        pinned_version(models.recipes, product),
    ):
        prepare(product, models, version=bundle.version)
    return bundle


def pin_warning(settings: Settings, product: str, version: str) -> str:
    """Return a sentence if the recipe pins another version than `version`, "" otherwise.

    Raises RecipeError if the recipe cannot be read.
    """
    pinned = pinned_version(settings.models.recipes, product)
    if pinned in ("", version):
        return ""
    path = settings.models.recipes / f"{product}.toml"
    return (
        f"recipe {str(path)!r} pins model {pinned}, which the line uses all the same; "
        f'write model = "{ACTIVE}" there to follow'
    )


def activate(settings: Settings, product: str, version: str, why: str = "", who: str = "") -> Activation:
    """Make a version the active one after verifying its files and golden samples.

    A refusal is audited too. Raises RecipeError and StorageFull, and changes nothing then.
    """
    previous = _verify_or_audit(settings, product, version, why, who)
    _audit(settings, "model_activated", product, previous, version, why, who)
    set_active(settings.models.path, product, version)
    return Activation(version, previous)


def rollback(settings: Settings, product: str, version: str = "", who: str = "") -> Activation:
    """Activate the previously active version again, or the named one.

    Raises UsageError if no version was active before, RecipeError and StorageFull.
    """
    version = version or previous_version(settings.models.path, product)
    if not version:
        raise UsageError(
            f"product {product!r} has no earlier active model; see: linewatch models list {product}"
        )
    return activate(settings, product, version, "rollback", who)


def start_trial(settings: Settings, product: str, version: str, why: str = "", who: str = "") -> None:
    """Put a version on trial after verifying its files and golden samples.

    A version on trial judges the same parts as the active one; its verdicts are only compared.
    Raises UsageError if it is the active one, RecipeError and StorageFull.
    """
    if version == find_active(settings.models.path, product):
        raise UsageError(f"{product}/{version} is on the line already; put another version on trial")
    active = _verify_or_audit(settings, product, version, why, who)
    _audit(settings, "trial_begun", product, active, version, why, who)
    set_trial(settings.models.path, product, version)


def promote_trial(settings: Settings, product: str, why: str = "", who: str = "") -> Activation:
    """Activate the version on trial and end the trial. Raises UsageError, RecipeError and StorageFull."""
    activation = activate(
        settings, product, version_on_trial(settings, product), why or "promoted after its trial", who
    )
    set_trial(settings.models.path, product, "")
    return activation


def discard_trial(settings: Settings, product: str, why: str = "", who: str = "") -> str:
    """End the trial, leave the active version as it is, and return the version that was on trial.

    Raises UsageError if none was, and StorageFull.
    """
    version = version_on_trial(settings, product)
    _audit(
        settings, "trial_discarded", product, find_active(settings.models.path, product), version, why, who
    )
    set_trial(settings.models.path, product, "")
    return version


def version_on_trial(settings: Settings, product: str) -> str:
    """Return the version on trial. Raises UsageError if none is."""
    version = trial_version(settings.models.path, product)
    if not version:
        raise UsageError(
            f"product {product!r} has no model on trial; begin with: linewatch models try {product} VERSION"
        )
    return version


def export_version(settings: Settings, product: str, version: str, file: Path) -> Bundle:
    """Write a version to an archive and return it. Raises RecipeError, UsageError and StorageFull."""
    bundle = read_bundle(settings.models.path, product, version)
    pack(bundle, file)
    return bundle


def import_version(settings: Settings, file: Path, who: str = "") -> Bundle:
    """Add the version in an archive to the models, without activating it, and return it.

    Raises RecipeError if the archive is damaged, foreign or of a later linewatch, which is audited too,
    UsageError if the version exists already, and StorageFull. Changes nothing then.
    """
    models = settings.models.path
    try:
        with unpacked(file, models) as bundle:
            product, version = bundle.product, bundle.version
            folder = models / product / version
            if folder.exists():
                raise UsageError(f"model {product}/{version} is in {str(models)!r} already")
            active = find_active(settings.models.path, product)
            _audit(settings, "model_imported", product, active, version, f"from {file.name}", who)
            rename_synced(bundle.folder, folder)
    except RecipeError as trouble:
        _audit(settings, "model_refused", "", "", file.name, str(trouble), who)
        raise
    return read_bundle(models, product, version)


def record_training(settings: Settings, bundle: Bundle, models: Path, who: str = "") -> None:
    """Record a version that was learnt, and whether it is active as the first one. Raises StorageFull."""
    product, version = bundle.product, bundle.version
    facts: dict[str, object] = {"product": product, "from": "", "to": version, "models": str(models)}
    facts |= {key: bundle.training.get(key) for key in ("folder", "images", "images_digest")}
    active = find_active(models, product) == version
    why = "learnt, and active as the first version" if active else "learnt, not active"
    append_audit(settings.journal.path, who or user_name(), "model_trained", facts | {"why": why})


def add_golden_sample(settings: Settings, product: str, image: Path, *, defect: bool) -> Activation:
    """Write and activate a version that has one golden sample more than the one in use.

    `image` is a frame taken on the line, which the version in use must judge correctly: a `defect` FAIL,
    a good part not FAIL. Raises UsageError if it does not, ImageError, RecipeError and StorageFull.
    """
    models = settings.models
    prepared, bundle = prepare(product, models)
    recipe = prepared.recipe
    frame = read_image(image)
    area = shrink_to(cut_roi(frame, recipe.roi)[0], SAMPLE_SIDE_PX)
    mask = None
    if recipe.mask is not None:
        whole = read_mask(recipe.mask)
        check_mask(recipe.mask, whole, frame)
        mask = crop_mask(area, whole, recipe.roi)
    plain = recipe.for_samples()
    raw = prepared.scorer.score(area, plain, mask).raw
    result = judge(raw, plain).result
    if defect != (result is Result.FAIL):
        wanted = "a defect must fail" if defect else "a good part must not fail"
        raise UsageError(
            f"{str(image)!r} scores {raw:.3f} at threshold {plain.threshold:.3f}, so it is {result}; "
            f"{wanted}: train or calibrate with it first"
        )
    kind, number = ("defect" if defect else "good"), len(bundle.golden) + 1
    sample = GoldenSample(f"golden/{kind}{number}.png", Result.FAIL if defect else Result.PASS, raw)
    variant = write_variant(
        models.path,
        bundle,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        training={"golden_from": bundle.version},
        sample=(sample, encode_sample(area, mask)),
    )
    return activate(settings, product, variant.version, f"golden sample {sample.file} added")


def _listed(models: Path, product: str, version: str) -> ListedModel:
    active = version == find_active(models, product)
    try:
        bundle = read_bundle(models, product, version)
    except RecipeError as trouble:
        return ListedModel(product, version, active, "", f"UNFIT: {trouble}")
    calibration = bundle.calibration
    text = f"threshold {calibration.threshold:.4g} from {len(calibration.scores)} pictures"
    return ListedModel(product, version, active, bundle.created, text)


def find_active(models: Path, product: str) -> str:
    """Return the active version, "" if there is none."""
    try:
        return active_version(models, product)
    except RecipeError:
        return ""


def _verify_or_audit(settings: Settings, product: str, version: str, why: str, who: str) -> str:
    """Verify a version's files and, once there is a recipe, its golden samples; return the active version.

    Audits a refusal. Raises RecipeError.
    """
    active = find_active(settings.models.path, product)
    try:
        if (settings.models.recipes / f"{product}.toml").exists():
            prepare(product, settings.models, version=version)
        else:
            read_bundle(settings.models.path, product, version)
    except RecipeError as trouble:
        reason = f"{why}: {trouble}" if why else str(trouble)
        _audit(settings, "model_refused", product, active, version, reason, who)
        raise
    return active


def _audit(
    settings: Settings, action: str, product: str, before: str, after: str, why: str, who: str
) -> None:
    facts = {"product": product, "from": before, "to": after, "why": why}
    append_audit(settings.journal.path, who or user_name(), action, facts)
