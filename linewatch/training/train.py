"""Learn one product: from a folder of good pictures to a model version that may be used."""

import datetime
import platform
import shutil
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from linewatch.errors import LinewatchError, RecipeError, UsageError
from linewatch.models.bundle import Bundle, active_version, set_active, versions, write_bundle
from linewatch.models.engine import OpenVinoEngine
from linewatch.models.recipe_file import index_for, inspected_area, load_recipe, write_recipe
from linewatch.models.training_quality import is_adequate, missing_challenge, summarize_training
from linewatch.runtime.atomic_files import check_writable, temporary_folder
from linewatch.training.calibrate import calibrate
from linewatch.training.golden_samples import Bench, golden_samples, made_up_recall
from linewatch.training.images import open_folder
from linewatch.training.network.graph import export, prove
from linewatch.training.network.model import ARCHITECTURES, Design, learn
from linewatch.training.prepare import ALIGN, measure, prepare
from linewatch.training.progress import Report, silent
from linewatch.training.report import Shown, training_report

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
    architecture: str = "feature",
    seed: int = 0,
    design: Design | None = None,
    progress: Report = silent,
) -> Bundle:
    """Learn `product` from the good pictures in `images` and return the new version.

    Writes `MODELS/PRODUCT/VERSION/` with `report.html`, a recipe if there is none, and makes the
    first version active. Raises UsageError, ImageError, RecipeError and StorageFull; what can be known
    before anything is learnt is refused then.
    """
    _check(false_reject, pixels, align, architecture)
    if design is None:
        design = PIXEL if architecture == "pixel" else Design()
    index_for(recipes, product)  # The line, too, needs all recipes to be sound.
    roi, mask = inspected_area(recipes, product)
    progress("reading pictures", 0.0)
    folder = open_folder(images, roi=roi, mask=mask)
    for place in (models / product, recipes):
        check_writable(place)
    pictures = measure(folder)
    progress("finding the part", 0.04)
    prepared = prepare(folder, pixels, align)
    learnt = learn(
        prepared.crops,
        prepared.part,
        design,
        seed,
        lambda done: progress("learning what is usual", 0.1 + 0.65 * done),
    )
    maps = learnt.maps * prepared.seen
    scores = tuple(float(score) for score in maps.max(axis=(1, 2)))
    calibration = calibrate(scores, false_reject)
    with temporary_folder() as content:
        progress("compiling the scorer", 0.78)
        engine = OpenVinoEngine(export(learnt.network, content))
        worst = prove(learnt.network, engine, list(prepared.crops[:3]))
        progress("choosing golden samples", 0.88)
        bench = Bench(engine, prepared.registration)
        golden = golden_samples(content, folder, calibration, bench, seed)
        facts: dict[str, Any] = {
            "architecture": design.architecture,
            "design": asdict(design),
            "images": len(folder),
            "images_digest": folder.digest(),
            "images_left_out": list(prepared.left_out),
            "seed": seed,
            "pixels": pixels,
            "align": align,
            "registered": prepared.registration is not None,
            "overlap": prepared.overlap and asdict(prepared.overlap),
            "loss": learnt.loss,
            "parity": worst,
            "made_up_recall": made_up_recall(folder, calibration, bench, seed),
            "python": platform.python_version(),
            "packages": {name: version(name) for name in _PACKAGES},
        }
        progress("writing the report", 0.95)
        shown = [
            Shown(name, score, crop, one)
            for name, score, crop, one in zip(prepared.names, scores, prepared.crops, maps, strict=True)
        ]
        text = training_report(product, calibration, facts, shown)
        (content / "report.html").write_text(text, encoding="utf-8")
        before = versions(models, product)
        bundle = write_bundle(
            models,
            product,
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            input_shape=engine.input_shape,
            registration=prepared.registration,
            calibration=calibration,
            pictures=pictures,
            golden=golden,
            training=facts,
            content=content,
            likeness=learnt.likeness,
        )
    _introduce(bundle, models, recipes, before)
    load_recipe(recipes, product, models)
    progress("done", 1.0)
    return bundle


def describe(bundle: Bundle, models: Path, recipes: Path) -> str:
    """Return what came of a training, for people: where it is, how good it is, what is to be done."""
    product, version = bundle.product, bundle.version
    recipe, _ = load_recipe(recipes, product, models)
    active = active_version(models, product)
    lines = [
        f"{product} {version}",
        f"report: {bundle.folder / 'report.html'}",
        f"recipe: {recipes / product}.toml, number {recipe.index} for the PLC",
        summarize_training(bundle.training),
    ]
    if missing := missing_challenge(bundle):
        lines.append(f"{missing[0].upper()}{missing[1:]}")
    if active != version:
        lines.append(
            f"It is not active, {active} is; try it beside the line: linewatch models try {product} {version}"
        )
    elif not is_adequate(bundle.training):
        lines.append(
            "It is active all the same: let no line depend on it, train again, then: "
            f"linewatch models activate {product} VERSION"
        )
    return "\n".join(lines)


def _introduce(bundle: Bundle, models: Path, recipes: Path, before: list[str]) -> None:
    """Give a product its recipe and its active version; where that fails, a new version goes again."""
    try:
        write_recipe(recipes, bundle.product)
        try:
            active_version(models, bundle.product)
        except RecipeError:
            set_active(models, bundle.product, bundle.version)
    except LinewatchError:
        if bundle.version not in before:
            shutil.rmtree(bundle.folder)  # Nobody was told of it.
        raise


def _check(false_reject: float, pixels: int, align: str, architecture: str) -> None:
    if not 0 < false_reject <= 0.5:
        raise UsageError(f"false-reject {false_reject:g} is not a share of good parts; use 0.01 for 1 %")
    if not PIXELS_MIN <= pixels <= PIXELS_MAX:
        raise UsageError(f"pixels {pixels} is out of range; use {PIXELS_MIN} to {PIXELS_MAX}")
    if align not in ALIGN:
        raise UsageError(f"align {align!r} is unknown; use one of {', '.join(ALIGN)}")
    if architecture not in ARCHITECTURES:
        raise UsageError(f"architecture {architecture!r} is unknown; use one of {', '.join(ARCHITECTURES)}")
