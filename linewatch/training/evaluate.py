"""How well a model tells good from defective pictures that somebody has labelled."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from linewatch.domain import Scored
from linewatch.errors import NotRegistered, UsageError
from linewatch.models.bundle import Bundle
from linewatch.models.engine import OpenVinoEngine
from linewatch.models.loader import build_scorer
from linewatch.models.recipe_file import load_recipe
from linewatch.training.images import GOOD, TRUTH
from linewatch.training.progress import Report, silent
from linewatch.training.report import Curve, Shown, evaluation_report
from linewatch.vision.image_io import SUFFIXES, read_image
from linewatch.vision.recipe import Recipe
from linewatch.vision.scoring import Scorer

_SIDE_PX = 256  # Pixels are compared on pictures this long: enough for a map of cells of eight pixels.


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled picture and what the scorer made of it; `raw` is infinite if the part was not found."""

    path: Path
    defect: str  # "good" or the name of its folder.
    raw: float
    took_s: float
    heat: NDArray[np.float32]  # The map laid over the frame, reduced.
    truth: NDArray[np.bool_] | None  # Of the same size; None: not marked.

    @property
    def good(self) -> bool:
        """Whether the picture is labelled good."""
        return self.defect == GOOD


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What came of it."""

    bundle: Bundle
    recipe: Recipe
    samples: Sequence[Sample]
    figures: dict[str, Any]  # For a program.

    def page(self) -> str:
        """Return the report for people, as HTML."""
        return _report(self.bundle, self.recipe, self.samples, self.figures)


def evaluate(
    product: str,
    data: Path,
    models: Path,
    recipes: Path,
    *,
    threads: int = 0,
    progress: Report = silent,
) -> Evaluation:
    """Score every picture below `data`.

    `data` holds `good/` and one folder per defect, or a folder `test` that does; masks are looked
    for in `ground_truth/DEFECT/NAME_mask.png` inside or beside it. Raises UsageError, RecipeError
    and ImageError.
    """
    recipe, bundle = load_recipe(recipes, product, models)
    scorer = build_scorer(bundle, OpenVinoEngine(bundle.graph, threads=threads))
    files = list(_labelled(data))
    if not files:
        raise UsageError(
            f"{str(data)!r} holds no pictures to measure with; put good ones into {GOOD!r} "
            "and each kind of defect into a folder beside it"
        )
    samples = []
    for done, (path, defect, truth) in enumerate(files):
        progress(f"scoring {defect}"[:28], done / len(files))
        samples.append(_sample(scorer, recipe, path, defect, truth))
    progress("done", 1.0)
    return Evaluation(bundle, recipe, samples, _figures(bundle, recipe, samples))


def _labelled(data: Path) -> Iterator[tuple[Path, str, Path | None]]:
    """Yield every picture, its label, and where its mask would be."""
    root = data / "test" if (data / "test").is_dir() else data
    if not (root / GOOD).is_dir():
        raise UsageError(
            f"{str(root)!r} has no folder {GOOD!r}; put good pictures there and each kind of defect beside it"
        )
    truth = next((place for place in (root / TRUTH, root.parent / TRUTH) if place.is_dir()), None)
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and path.name != TRUTH):
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() in SUFFIXES:
                mask = None if truth is None else truth / folder.name / f"{path.stem}_mask.png"
                yield path, folder.name, mask


def _sample(scorer: Scorer, recipe: Recipe, path: Path, defect: str, mask: Path | None) -> Sample:
    image = read_image(path)
    shrink = _SIDE_PX / max(image.shape[:2])
    size = (max(1, round(image.shape[1] * shrink)), max(1, round(image.shape[0] * shrink)))
    started = time.perf_counter()
    try:
        scored = scorer.score(image, recipe)
        raw, heat = scored.raw, _laid_over(scored, shrink, size)
    except NotRegistered:
        raw, heat = float("inf"), np.zeros((size[1], size[0]), np.float32)
    took_s = time.perf_counter() - started
    truth = None
    if defect == GOOD:
        truth = np.zeros(heat.shape, np.bool_)
    elif mask is not None and mask.exists():
        marked = read_image(mask).max(axis=2)
        truth = cv2.resize(marked, size, interpolation=cv2.INTER_AREA) > 127
    return Sample(path, defect, raw, took_s, heat, truth)


def _laid_over(scored: Scored, shrink: float, size: tuple[int, int]) -> NDArray[np.float32]:
    """Return the map laid over a frame reduced by `shrink`."""
    matrix = scored.placement * shrink
    matrix[:, 2] += 0.5 * shrink - 0.5
    return np.asarray(cv2.warpAffine(scored.anomaly_map, matrix, size, flags=cv2.INTER_LINEAR), np.float32)


def _figures(bundle: Bundle, recipe: Recipe, samples: Sequence[Sample]) -> dict[str, Any]:
    good = [sample.raw for sample in samples if sample.good]
    kinds = sorted({sample.defect for sample in samples if not sample.good})
    by_kind = {kind: [sample.raw for sample in samples if sample.defect == kind] for kind in kinds}
    bad = [raw for raws in by_kind.values() for raw in raws]
    took_ms = np.array([sample.took_s for sample in samples]) * 1000
    return {
        "product": bundle.product,
        "version": bundle.version,
        "images": len(samples),
        "image_auroc": _auroc(good, bad),
        "pixel_auroc": _pixel_auroc(samples),
        "false_reject_rate": _above(good, recipe.threshold),
        "recall": _above(bad, recipe.threshold),
        "per_defect": {
            kind: {
                "images": len(raws),
                "image_auroc": _auroc(good, raws),
                "recall": _above(raws, recipe.threshold),
            }
            for kind, raws in by_kind.items()
        },
        "scorer_ms_p50": round(float(np.quantile(took_ms, 0.5)), 3),
        "scorer_ms_p95": round(float(np.quantile(took_ms, 0.95)), 3),
        "threshold": recipe.threshold,
        "unsure_threshold": recipe.unsure_threshold,
        "images_good": len(good),
        "unsure_rate": _above(good, recipe.unsure_threshold) - _above(good, recipe.threshold),
        "average_precision": _precision(good, bad),
        "not_registered": sum(sample.raw == float("inf") for sample in samples),
    }


def _above(raws: Sequence[float], threshold: float) -> float:
    return round(float(np.mean(np.asarray(raws) > threshold)), 4) if raws else 0.0


def _labels(good: Sequence[float], bad: Sequence[float]) -> tuple[NDArray[np.int_], NDArray[np.float64]]:
    """Return labels and finite scores: a part that was not found is above all others."""
    raws = np.concatenate([np.asarray(good, np.float64), np.asarray(bad, np.float64)])
    found = raws[np.isfinite(raws)]
    raws[~np.isfinite(raws)] = 2 * found.max() if found.size else 1.0
    return np.repeat([0, 1], [len(good), len(bad)]), raws


def _auroc(good: Sequence[float], bad: Sequence[float]) -> float | None:
    return round(100 * float(roc_auc_score(*_labels(good, bad))), 3) if good and bad else None


def _precision(good: Sequence[float], bad: Sequence[float]) -> float | None:
    return round(100 * float(average_precision_score(*_labels(good, bad))), 3) if good and bad else None


def _pixel_auroc(samples: Sequence[Sample]) -> float | None:
    marked = [(sample.truth, sample.heat) for sample in samples if sample.truth is not None]
    truth = np.concatenate([truth.ravel() for truth, _ in marked]) if marked else np.zeros(0, np.bool_)
    if truth.all() or not truth.any():
        return None
    return round(100 * float(roc_auc_score(truth, np.concatenate([heat.ravel() for _, heat in marked]))), 3)


def _report(bundle: Bundle, recipe: Recipe, samples: Sequence[Sample], figures: dict[str, Any]) -> str:
    good = [sample for sample in samples if sample.good]
    bad = [sample for sample in samples if not sample.good]
    scores = {"good": [sample.raw for sample in good], "defect": [sample.raw for sample in bad]}
    curves = []
    if good and bad:
        labels, raws = _labels(scores["good"], scores["defect"])
        false, true, _ = roc_curve(labels, raws)
        precision, recall, _ = precision_recall_curve(labels, raws)
        roc = Curve(false.tolist(), true.tolist(), f"AUROC {figures['image_auroc']:.2f}")
        pr = Curve(
            recall.tolist(), precision.tolist(), f"average precision {figures['average_precision']:.2f}"
        )
        curves = [
            ("ROC", "good parts rejected", "defects found", roc),
            ("Precision and recall", "defects found", "rejects that are defects", pr),
        ]
    finite = {label: [raw for raw in raws if np.isfinite(raw)] for label, raws in scores.items() if raws}
    by_raw = lambda sample: sample.raw  # noqa: E731
    return evaluation_report(
        bundle.product,
        recipe,
        [(name.replace("_", " "), _text(value)) for name, value in figures.items()],
        finite,
        curves,
        [
            ("Good pictures that score highest", [_shown(s) for s in sorted(good, key=by_raw)[::-1][:6]]),
            ("Defects that score lowest", [_shown(s) for s in sorted(bad, key=by_raw)[:6]]),
            ("Defects that score highest", [_shown(s) for s in sorted(bad, key=by_raw)[::-1][:6]]),
        ],
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _shown(sample: Sample) -> Shown:
    image = read_image(sample.path)
    size = (sample.heat.shape[1], sample.heat.shape[0])
    crop = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    truth = None if sample.good else sample.truth
    return Shown(f"{sample.defect}/{sample.path.name}", sample.raw, crop, sample.heat, truth)
