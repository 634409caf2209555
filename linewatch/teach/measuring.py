"""Measure a version on the labelled images of its data set, and keep the figures beside them."""

import json
import math
from pathlib import Path

from linewatch.runtime.atomic_files import translate_os_errors, write_text
from linewatch.teach.datasets import Datasets
from linewatch.teaching import LEFT_OUT, TEST, TEST_GOOD, TRAIN_GOOD, Measured
from linewatch.training.progress import ProgressCallback, no_progress

FOLDER = "_measured"  # Of the data sets' folder; no product's name begins with an underscore.


def measure(
    datasets: Datasets,
    product: str,
    models: Path,
    recipes: Path,
    version: str,
    *,
    threads: int = 0,
    progress: ProgressCallback = no_progress,
) -> Measured | None:
    """Measure as `linewatch evaluate` does; None without labelled images.

    Raises RecipeError, ImageError and StorageFull.
    """
    places = datasets.places(product)
    if not any(count for place, count in places.items() if place not in (TRAIN_GOOD, LEFT_OUT)):
        return None
    from linewatch.training.evaluate import evaluate  # noqa: PLC0415 - needs the extra [train].

    folder = datasets.product_folder(product)
    with translate_os_errors(folder):
        (folder / TEST_GOOD).mkdir(parents=True, exist_ok=True)  # Defects alone can be measured, too.
    found = evaluate(
        product, folder / "test", models, recipes, version=version, threads=threads, progress=progress
    )
    measured = Measured(
        version,
        found.metrics,
        tuple((f"{TEST}{sample.defect}", sample.path.name, sample.raw) for sample in found.samples),
        {
            f"{TEST}{sample.defect}/{sample.path.name}": (
                sample.region,
                found.recipe.factor_of(sample.region),
            )
            for sample in found.samples
            if sample.region
        },
    )
    stem = datasets.root / FOLDER / product / version
    images = [[place, name, raw if math.isfinite(raw) else None] for place, name, raw in measured.images]
    write_text(stem.with_suffix(".html"), found.render_report())
    write_text(
        stem.with_suffix(".json"),
        json.dumps({"metrics": found.metrics, "images": images, "decided": measured.decided}),
    )
    return measured


def read_measured(datasets: Datasets, product: str, version: str) -> Measured | None:
    """Return the figures of a version, None if it was not measured."""
    datasets.product_folder(product)  # Refuses what is no name.
    path = (datasets.root / FOLDER / product / version).with_suffix(".json")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        rows = (
            (place, name, math.inf if raw is None else float(raw)) for place, name, raw in found["images"]
        )
        decided = {
            key: (str(region), float(factor)) for key, (region, factor) in found.get("decided", {}).items()
        }
        return Measured(version, found["metrics"], tuple(rows), decided)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def read_measured_report(datasets: Datasets, product: str, version: str) -> bytes | None:
    """Return the report of a measured version, one HTML file; None if it was not measured."""
    datasets.product_folder(product)
    try:
        return (datasets.root / FOLDER / product / version).with_suffix(".html").read_bytes()
    except OSError:
        return None
