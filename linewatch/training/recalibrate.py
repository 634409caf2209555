"""New thresholds for a model that stays as it is: from its own scores, or from pictures taken on site."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from linewatch.bundle import Calibration
from linewatch.engine import OpenVinoEngine
from linewatch.errors import NotRegistered
from linewatch.pictures import read_image
from linewatch.recipe import load_recipe, write_thresholds
from linewatch.scoring import Scorer
from linewatch.training.calibrate import calibrate
from linewatch.training.images import find_pictures
from linewatch.training.progress import Report, silent

THRESHOLDS = 5  # Shown beside the chosen one, when defects are given.


@dataclass(frozen=True, slots=True)
class Point:
    """What one threshold would do to the pictures that were given."""

    threshold: float
    false_reject: float  # Share of the good ones that it rejects.
    recall: float  # Share of the defective ones that it finds.
    precision: float  # Share of defective ones among those it rejects.


@dataclass(frozen=True, slots=True)
class Recalibrated:
    """New thresholds, where they were written, and what they do."""

    calibration: Calibration
    recipe: Path
    points: tuple[Point, ...]  # The chosen threshold first; empty without defects.


def recalibrate(
    product: str,
    false_reject: float,
    models: Path,
    recipes: Path,
    *,
    good: Path | None = None,
    bad: Path | None = None,
    threads: int = 0,
    progress: Report = silent,
) -> Recalibrated:
    """Write thresholds for a wanted false-reject rate (0 to 1) into the product's recipe.

    They come from the scores of the good pictures in `good`, which the model must not have learnt
    from, or from those it was calibrated with. `bad` holds defective pictures, directly or in
    folders: they show what the thresholds find, and never move them. Raises UsageError,
    RecipeError and ImageError.
    """
    recipe, bundle = load_recipe(recipes, product, models)
    scorer = Scorer(bundle, OpenVinoEngine(bundle.graph, threads=threads))
    everything = replace(recipe, min_defect_px=0)  # The old threshold must not hide a score.

    def scores(paths: Sequence[Path], doing: str) -> tuple[float, ...]:
        found = []
        for done, path in enumerate(paths):
            progress(doing, done / len(paths))
            try:
                found.append(scorer.score(read_image(path), everything).raw)
            except NotRegistered:
                found.append(float("inf"))
        return tuple(found)

    unseen = bundle.calibration.scores if good is None else scores(find_pictures(good), "scoring good")
    registered = tuple(score for score in unseen if score != float("inf"))
    calibration = calibrate(registered, false_reject)
    points: tuple[Point, ...] = ()
    if bad is not None:
        defects = scores(_below(bad), "scoring defects")
        points = tuple(
            _point(threshold, unseen, defects) for threshold in _thresholds(calibration.threshold, unseen)
        )
    progress("done", 1.0)
    path = write_thresholds(recipes, product, calibration.threshold, calibration.unsure_threshold)
    return Recalibrated(calibration, path, points)


def _below(folder: Path) -> list[Path]:
    """Return the pictures in a folder and in the folders inside it."""
    inside = [path for path in sorted(folder.iterdir()) if path.is_dir()] if folder.is_dir() else []
    return find_pictures(folder) + [path for place in inside for path in find_pictures(place)]


def _thresholds(chosen: float, good: Sequence[float]) -> list[float]:
    others = np.quantile([score for score in good if score != float("inf")], np.linspace(0.8, 1, THRESHOLDS))
    return [chosen, *(float(threshold) for threshold in others)]


def _point(threshold: float, good: Sequence[float], bad: Sequence[float]) -> Point:
    rejected = sum(score > threshold for score in good)
    found = sum(score > threshold for score in bad)
    return Point(
        threshold=threshold,
        false_reject=rejected / max(1, len(good)),
        recall=found / max(1, len(bad)),
        precision=found / max(1, found + rejected),
    )
