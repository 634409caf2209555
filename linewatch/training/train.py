"""Train one product: from a folder of good images to a usable model version."""

import datetime
import platform
import shutil
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from linewatch.errors import LinewatchError, RecipeError, UsageError
from linewatch.models.bundle import REPORT, Bundle, active_version, set_active, versions, write_bundle
from linewatch.models.engine import OpenVinoEngine
from linewatch.models.recipe_file import area_facts, index_for, inspected_area, load_recipe, write_recipe
from linewatch.models.training_quality import is_adequate, missing_challenge, summarize_training
from linewatch.runtime.atomic_files import check_writable, temporary_folder
from linewatch.training.calibrate import calibrate
from linewatch.training.detection import measure_detection
from linewatch.training.golden_samples import RECALL_SIZE, CompiledScorer, write_golden_samples
from linewatch.training.images import IMAGES_MIN, open_image_folder
from linewatch.training.network.graph import save_graph, verify_parity
from linewatch.training.network.model import ARCHITECTURES, Design, train_scorer
from linewatch.training.progress import ProgressCallback, no_progress
from linewatch.training.reports.good_images import largest_of_groups, write_good_images
from linewatch.training.reports.kinds import describe_kinds, find_rarer_kind
from linewatch.training.reports.page import GalleryImage
from linewatch.training.reports.training import training_report
from linewatch.training.runs import find_runs
from linewatch.training.training_set import ALIGN, FOREGROUND, build_training_set, measure_images
from linewatch.vision.product_match import learn_likeness

PIXELS_MIN, PIXELS_MAX = 64 * 64, 1024 * 1024
PIXEL = Design("pixel", whitening="none", noise=0.0, iterations=900)
_PACKAGES = ("linewatch", "tensorflow", "keras", "openvino", "numpy", "opencv-python-headless")


def train(
    product: str,
    images: Path,
    models: Path,
    recipes: Path,
    *,
    false_reject: float = 0.01,
    pixels: int = 65536,
    align: str = "auto",
    foreground: str = "auto",
    architecture: str = "feature",
    seed: int = 0,
    design: Design | None = None,
    activate_first: bool = True,
    progress: ProgressCallback = no_progress,
) -> Bundle:
    """Train `product` on the good images in `images` and return the new version.

    `false_reject` is the wanted share of rejected good parts (0 to 0.5), `pixels` the area of the
    network's input, `align` "auto", "on" or "off" for registration, `foreground` the same for inspecting
    only the part and not its background. Writes `MODELS/PRODUCT/VERSION/` with
    `report.html`, and a recipe if there is none; with `activate_first` the product's first version becomes
    active. Raises UsageError, ImageError, RecipeError and StorageFull, before training wherever possible.
    """
    _check(false_reject, pixels, align, foreground, architecture)
    if design is None:
        design = PIXEL if architecture == "pixel" else Design()
    index_for(recipes, product)  # Checked first: the daemon, too, needs every recipe to be valid.
    roi, mask = inspected_area(recipes, product)
    progress("reading pictures", 0.0)
    folder = open_image_folder(images, roi=roi, mask=mask)
    for target in (models / product, recipes):
        check_writable(target)
    statistics = measure_images(folder)
    progress("finding the part", 0.04)
    training_set = build_training_set(folder, pixels, align, foreground)
    count = int(training_set.groups.max()) + 1
    if count < IMAGES_MIN:
        raise UsageError(
            f"only {count} of {len(training_set.names)} pictures differ, {IMAGES_MIN} are the least; "
            "capture different parts"
        )
    kept = frozenset(training_set.names)
    runs = find_runs([path for path in folder.paths if path.name in kept])
    trained = train_scorer(
        training_set.crops,
        training_set.part_mask,
        design,
        seed,
        training_set.groups,
        lambda done: progress("training", 0.1 + 0.65 * done),
        runs.numbers,
    )
    rarer = None if trained.embeddings is None else find_rarer_kind(trained.embeddings)
    maps = trained.maps * training_set.inspected
    scores = tuple(float(score) for score in maps.max(axis=(1, 2)))
    distinct = largest_of_groups(scores, training_set.groups.tolist())
    calibration = calibrate(distinct, false_reject)
    with temporary_folder() as content:
        progress("compiling the scorer", 0.78)
        engine = OpenVinoEngine(save_graph(trained.network, content))
        parity = verify_parity(trained.network, engine, list(training_set.crops[:3]))
        progress("choosing golden samples", 0.88)
        scorer = CompiledScorer(engine, training_set.registration, training_set.part_mask)
        golden = write_golden_samples(content, folder, calibration, scorer, seed)
        write_good_images(content, training_set.names, scores, training_set.groups)
        detection = measure_detection(folder, calibration, scorer, seed)
        facts: dict[str, Any] = {
            "architecture": design.architecture,
            "design": asdict(design),
            "images": len(folder),
            "folder": images.name,
            "images_digest": folder.digest(),
            "images_distinct": len(distinct),
            "images_left_out": list(training_set.left_out),
            "seed": seed,
            "pixels": pixels,
            "align": align,
            **area_facts(roi, mask),
            "registered": training_set.registration is not None,
            "foreground": foreground,
            "inspected_share": round(float(training_set.part_mask.mean()), 4),
            "overlap": training_set.overlap and asdict(training_set.overlap),
            "loss": trained.loss,
            "contrast": round(trained.contrast, 4),
            "kinds": [] if rarer is None else [int((~rarer).sum()), int(rarer.sum())],
            "parity": parity,
            "made_up_recall": detection.recall[RECALL_SIZE],
            "recall_by_size": {f"{size:g}": recall for size, recall in detection.recall.items()},
            "light_band": list(detection.light),
            "python": platform.python_version(),
            "packages": {name: version(name) for name in _PACKAGES},
        }
        progress("writing the report", 0.95)
        rows = zip(training_set.names, scores, training_set.crops, maps, strict=True)
        created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        report = partial(
            training_report,
            product,
            calibration,
            facts,
            [GalleryImage(*row) for row in rows],
            created=created,
            runs=runs,
            detection=detection,
            part_mask=training_set.part_mask,
            rarer=rarer,
        )
        before = versions(models, product)
        bundle = write_bundle(
            models,
            product,
            created=created,
            input_shape=engine.input_shape,
            registration=training_set.registration,
            calibration=calibration,
            pictures=statistics,
            golden=golden,
            training=facts,
            content=content,
            likeness=None if trained.embeddings is None else learn_likeness(trained.embeddings),
            report=lambda name: report(version=name),
        )
    make_available(bundle, models, recipes, before, activate_first=activate_first)
    load_recipe(recipes, product, models, "" if activate_first else bundle.version)
    progress("done", 1.0)
    return bundle


def describe(bundle: Bundle, models: Path, recipes: Path) -> str:
    """Return a summary for the terminal: location, quality and next steps of a trained version."""
    product, version = bundle.product, bundle.version
    recipe, _ = load_recipe(recipes, product, models)
    active = active_version(models, product)
    lines = [
        f"{product} {version}",
        f"report: {bundle.folder / REPORT}",
        f"recipe: {recipes / product}.toml, number {recipe.index} for the PLC",
        summarize_training(bundle.training),
    ]
    if kinds := describe_kinds(bundle.training):
        lines.append(kinds)
    if missing := missing_challenge(bundle):
        lines.append(f"{missing[0].upper()}{missing[1:]}")
    if active != version:
        lines.append(
            f"It is not active, {active} is; run it on trial: linewatch models try {product} {version}"
        )
    elif not is_adequate(bundle.training):
        lines.append(
            "It is active nevertheless: do not run a line with it, but train again, then: "
            f"linewatch models activate {product} VERSION"
        )
    return "\n".join(lines)


def make_available(
    bundle: Bundle, models: Path, recipes: Path, before: list[str], *, activate_first: bool = True
) -> None:
    """Write the product's recipe and activate its first version, where missing.

    On failure the version is deleted, unless it is one of `before`, the versions that existed already.
    """
    try:
        write_recipe(recipes, bundle.product)
        if not activate_first:
            return
        try:
            active_version(models, bundle.product)
        except RecipeError:
            set_active(models, bundle.product, bundle.version)
    except LinewatchError:
        if bundle.version not in before:
            shutil.rmtree(bundle.folder)  # Not reported to the user yet.
        raise


def _check(false_reject: float, pixels: int, align: str, foreground: str, architecture: str) -> None:
    if not 0 < false_reject <= 0.5:
        raise UsageError(f"false-reject {false_reject:g} is not a share of good parts; use 0.01 for 1 %")
    if not PIXELS_MIN <= pixels <= PIXELS_MAX:
        raise UsageError(f"pixels {pixels} is out of range; use {PIXELS_MIN} to {PIXELS_MAX}")
    if align not in ALIGN:
        raise UsageError(f"align {align!r} is unknown; use one of {', '.join(ALIGN)}")
    if foreground not in FOREGROUND:
        raise UsageError(f"foreground {foreground!r} is unknown; use one of {', '.join(FOREGROUND)}")
    if architecture not in ARCHITECTURES:
        raise UsageError(f"architecture {architecture!r} is unknown; use one of {', '.join(ARCHITECTURES)}")
