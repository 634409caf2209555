"""The life of a product's models: which are there, which is active, and who changed that."""

import getpass
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from linewatch.domain import Result
from linewatch.errors import RecipeError, UsageError
from linewatch.models.archive import pack, unpacked
from linewatch.models.bundle import (
    ACTIVE,
    Bundle,
    GoldenSample,
    activate,
    active_version,
    previous_version,
    put_on_trial,
    read_bundle,
    trial_version,
    versions,
    write_variant,
)
from linewatch.models.loader import prepare
from linewatch.models.recipe_file import pinned_version
from linewatch.runtime.atomic_files import rename_synced
from linewatch.settings import Settings
from linewatch.storage.journal import append_audit
from linewatch.vision.image_io import encode_sample, read_image, read_mask, shrunk
from linewatch.vision.recipe import judge
from linewatch.vision.scoring import check_mask, cut_roi, mask_over

SAMPLE_SIDE_PX = 1024  # Golden samples are kept no larger than this.


@dataclass(frozen=True, slots=True)
class ListedModel:
    """One model version on disk."""

    product: str
    version: str
    active: bool
    created: str  # UTC, ISO 8601; "" if the model is unfit.
    text: str  # For people: the threshold, or why it is unfit.


def list_models(models: Path, product: str | None = None) -> list[ListedModel]:
    """Return every version of one product, or of all, oldest first. Raises RecipeError if it has none."""
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


def facts(models: Path, product: str, version: str) -> dict[str, object]:
    """Return what is known of a version: threshold, data, settings, file hashes. Raises RecipeError."""
    bundle = read_bundle(models, product, version)
    calibration = bundle.calibration
    return {
        "product": product,
        "version": bundle.version,
        "active": bundle.version == _active(models, product),
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


def verify(settings: Settings, product: str, version: str | None) -> Bundle:
    """Prove a version's files and, if it is active or pinned, its golden samples. Raises RecipeError."""
    models = settings.models
    bundle = read_bundle(models.path, product, version or ACTIVE)
    if bundle.version in (_active(models.path, product), pinned_version(models.recipes, product)):
        prepare(product, models, version=bundle.version)
    return bundle


def overruled(settings: Settings, product: str, version: str) -> str:
    """Return a sentence if the recipe pins another version than this one, else ""."""
    pinned = pinned_version(settings.models.recipes, product)
    if pinned in ("", version):
        return ""
    path = settings.models.recipes / f"{product}.toml"
    return (
        f"recipe {str(path)!r} pins model {pinned}, which the line uses all the same; "
        f'write model = "{ACTIVE}" there to follow'
    )


def make_active(settings: Settings, product: str, version: str, why: str) -> str:
    """Activate a version and keep in the audit who did it; return the one before, "" if none was.

    A version whose files or golden samples are not as recorded is refused; the audit keeps that too.
    Raises RecipeError and StorageFull, and changes nothing then.
    """
    before = _active(settings.models.path, product)
    try:
        _prove(settings, product, version)
    except RecipeError as trouble:
        _remember(
            settings, "model_refused", product, before, version, f"{why}: {trouble}" if why else str(trouble)
        )
        raise
    _remember(settings, "model_activated", product, before, version, why)
    activate(settings.models.path, product, version)
    return before


def try_out(settings: Settings, product: str, version: str, why: str) -> None:
    """Let a version judge beside the line from now on; the audit keeps it. Raises RecipeError."""
    active = _active(settings.models.path, product)
    if version == active:
        raise UsageError(f"{product}/{version} is on the line already; put another version on trial")
    try:
        _prove(settings, product, version)
    except RecipeError as trouble:
        _remember(
            settings, "model_refused", product, active, version, f"{why}: {trouble}" if why else str(trouble)
        )
        raise
    _remember(settings, "trial_begun", product, active, version, why)
    put_on_trial(settings.models.path, product, version)


def promote(settings: Settings, product: str, why: str) -> tuple[str, str]:
    """Activate the version on trial and end the trial; return it and the one before."""
    version = on_trial(settings, product)
    before = make_active(settings, product, version, why or "promoted after its trial")
    put_on_trial(settings.models.path, product, "")
    return version, before


def discard(settings: Settings, product: str, why: str) -> str:
    """End the trial and leave the line as it is; return the version that was on trial."""
    version = on_trial(settings, product)
    _remember(settings, "trial_discarded", product, _active(settings.models.path, product), version, why)
    put_on_trial(settings.models.path, product, "")
    return version


def on_trial(settings: Settings, product: str) -> str:
    """Return the version on trial. Raises UsageError when none is."""
    version = trial_version(settings.models.path, product)
    if not version:
        raise UsageError(
            f"product {product!r} has no model on trial; begin with: linewatch models try {product} VERSION"
        )
    return version


def roll_back(settings: Settings, product: str, version: str = "") -> tuple[str, str]:
    """Activate the version that was active before, or another one; return it and the one it replaces.

    Raises UsageError, RecipeError and StorageFull.
    """
    previous = version or previous_version(settings.models.path, product)
    if not previous:
        raise UsageError(
            f"product {product!r} has no earlier active model; see: linewatch models list {product}"
        )
    return previous, make_active(settings, product, previous, "rollback")


def hand_out(settings: Settings, product: str, version: str, file: Path) -> Bundle:
    """Write a version into an archive; return it. Raises RecipeError, UsageError and StorageFull."""
    bundle = read_bundle(settings.models.path, product, version)
    pack(bundle, file)
    return bundle


def take_in(settings: Settings, file: Path) -> Bundle:
    """Bring a version in from an archive and keep in the audit who did it; return it. It is not active then.

    One that is damaged, foreign or of a later linewatch is refused; the audit keeps that too. Raises
    RecipeError, UsageError when the version is there already, and StorageFull; changes nothing then.
    """
    models = settings.models.path
    try:
        with unpacked(file, models) as bundle:
            product, version = bundle.product, bundle.version
            folder = models / product / version
            if folder.exists():
                raise UsageError(f"model {product}/{version} is in {str(models)!r} already")
            active = _active(models, product)
            _remember(settings, "model_imported", product, active, version, f"from {file.name}")
            rename_synced(bundle.folder, folder)
    except RecipeError as trouble:
        _remember(settings, "model_refused", "", "", file.name, str(trouble))
        raise
    return read_bundle(models, product, version)


def add_golden(settings: Settings, product: str, picture: Path, *, defect: bool) -> str:
    """Add a picture to the golden samples of the model in use, as a version that becomes active; return it.

    The picture is one that the line took, and the model must judge it rightly already. Raises
    UsageError when it does not, ImageError, RecipeError and StorageFull.
    """
    models = settings.models
    prepared, bundle = prepare(product, models)
    recipe = prepared.recipe
    frame = read_image(picture)
    area = shrunk(cut_roi(frame, recipe.roi)[0], SAMPLE_SIDE_PX)
    mask = None
    if recipe.mask is not None:
        whole = read_mask(recipe.mask)
        check_mask(recipe.mask, whole, frame)
        mask = mask_over(area, whole, recipe.roi)
    plain = replace(recipe, roi=None, mask=None, min_defect_px=0)
    raw = prepared.scorer.score(area, plain, mask).raw
    result, _ = judge(raw, plain)
    if defect != (result is Result.FAIL):
        wanted = "a defect must fail" if defect else "a good part must not fail"
        raise UsageError(
            f"{str(picture)!r} scores {raw:.3f} at threshold {plain.threshold:.3f}, so it is {result}; "
            f"{wanted}: train or calibrate with it first"
        )
    kind, number = ("defect" if defect else "good"), len(bundle.golden) + 1
    sample = GoldenSample(f"golden/{kind}{number}.png", Result.FAIL if defect else Result.PASS, raw)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    fresh = write_variant(
        models.path,
        bundle,
        created=now,
        training={"golden_from": bundle.version},
        sample=(sample, encode_sample(area, mask)),
    )
    make_active(settings, product, fresh.version, f"golden sample {sample.file} added")
    return fresh.version


def _listed(models: Path, product: str, version: str) -> ListedModel:
    active = version == _active(models, product)
    try:
        bundle = read_bundle(models, product, version)
    except RecipeError as trouble:
        return ListedModel(product, version, active, "", f"UNFIT: {trouble}")
    calibration = bundle.calibration
    text = f"threshold {calibration.threshold:.4g} from {len(calibration.scores)} pictures"
    return ListedModel(product, version, active, bundle.created, text)


def _active(models: Path, product: str) -> str:
    try:
        return active_version(models, product)
    except RecipeError:
        return ""


def _prove(settings: Settings, product: str, version: str) -> None:
    """Try a version as the line would: its files and, once there is a recipe, its golden samples."""
    if (settings.models.recipes / f"{product}.toml").exists():
        prepare(product, settings.models, version=version)
    else:
        read_bundle(settings.models.path, product, version)


def _remember(settings: Settings, action: str, product: str, before: str, after: str, why: str) -> None:
    facts = {"product": product, "from": before, "to": after, "why": why}
    append_audit(settings.journal.path, getpass.getuser(), action, facts)
