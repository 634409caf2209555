"""Evaluate a model on labelled images: AUROC, recall and false rejects, as figures and as a report."""

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
from linewatch.errors import ImageError, NotRegistered, UsageError
from linewatch.models.bundle import Bundle
from linewatch.models.engine import OpenVinoEngine
from linewatch.models.loader import build_scorer
from linewatch.models.recipe_file import load_recipe
from linewatch.training.images import GOOD, GROUND_TRUTH, find_images
from linewatch.training.progress import ProgressCallback, no_progress
from linewatch.training.reports.evaluation import evaluation_report
from linewatch.training.reports.figures import CurvePlot
from linewatch.training.reports.page import GALLERY_SIZE, GalleryImage
from linewatch.vision.image_folders import folders_in, images_in
from linewatch.vision.image_io import read_image, read_marks
from linewatch.vision.recipe import Recipe
from linewatch.vision.scoring import Scorer

MASK_NAMES = ("{}_mask", "{}", "{}_gt", "{}_label", "mask_{}", "{}-mask")  # Case and suffix do not matter.
_SIDE_PX = 256  # Longer side at which pixels are compared: ample for a map with a stride of 8.


@dataclass(frozen=True, slots=True)
class ScoredImage:
    """A labelled image and its score."""

    path: Path
    defect: str  # "good" or the name of its folder.
    raw: float  # Infinite if the part was not found.
    took_s: float
    anomaly_map: NDArray[np.float32]  # Projected onto the frame, reduced: (height, width).
    truth: NDArray[np.bool_] | None  # Ground truth mask of the same size. None: no mask.
    hit: bool = False  # The box around the largest defect meets the mask.
    located: bool = False  # The map is above the threshold somewhere in the mask.
    region: str = ""  # The recipe's region that decided.

    @property
    def good(self) -> bool:
        """Whether the image is labelled good."""
        return self.defect == GOOD


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The results of one evaluation."""

    bundle: Bundle
    recipe: Recipe
    samples: Sequence[ScoredImage]
    metrics: dict[str, Any]  # The JSON that `linewatch evaluate` writes.

    def render_report(self) -> str:
        """Return the report as HTML."""
        return _report(self.bundle, self.recipe, self.samples, self.metrics)


def evaluate(
    product: str,
    data: Path,
    models: Path,
    recipes: Path,
    *,
    version: str = "",
    threads: int = 0,
    progress: ProgressCallback = no_progress,
) -> Evaluation:
    """Score every labelled image below `data` with the recipe of `product`.

    `version` replaces the one that the recipe uses, so that a model can be measured before it is activated.

    MVTec AD layout (Bergmann et al. 2019): `data`, or its folder `test`, holds `good/` and one folder per
    defect; masks are `ground_truth/DEFECT/NAME_mask.png`, or another of `MASK_NAMES`, inside or beside it.
    Raises UsageError, RecipeError and ImageError.
    """
    recipe, bundle = load_recipe(recipes, product, models, version)
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
        samples.append(_score_image(scorer, recipe, path, defect, truth))
    progress("done", 1.0)
    return Evaluation(bundle, recipe, samples, _compute_metrics(bundle, recipe, samples))


def _labelled(data: Path) -> Iterator[tuple[Path, str, Path | None]]:
    """Yield each image, its label, and the path its mask would have."""
    root = data / "test" if (data / "test").is_dir() else data
    if not (root / GOOD).is_dir():
        raise UsageError(
            f"{str(root)!r} has no folder {GOOD!r}; put good pictures there and each kind of defect beside it"
        )
    truth = next(
        (place for place in (root / GROUND_TRUTH, root.parent / GROUND_TRUTH) if place.is_dir()), None
    )
    for folder in folders_in(root):
        if folder.name == GROUND_TRUTH:
            continue
        images = find_images(folder)
        masks = {} if truth is None or folder.name == GOOD else _masks(truth / folder.name, images)
        for path in images:
            yield path, folder.name, masks.get(path)


def _masks(folder: Path, images: Sequence[Path]) -> dict[Path, Path]:
    """Return the mask of each image that has one. Raises UsageError if a folder of masks has none of them."""
    files = images_in(folder) if folder.is_dir() else []
    by_stem = {path.stem.casefold(): path for path in files}
    found = {
        image: by_stem[name]
        for image in images
        for name in (ending.format(image.stem.casefold()) for ending in MASK_NAMES)
        if name in by_stem
    }
    if files and images and not found:
        names = ", ".join(repr(name.format(images[0].stem)) for name in MASK_NAMES)
        raise UsageError(
            f"{str(folder)!r} holds no mask for {images[0].name!r} or any other picture; call them {names}"
        )
    return found


def _score_image(scorer: Scorer, recipe: Recipe, path: Path, defect: str, mask: Path | None) -> ScoredImage:
    image = read_image(path)
    shrink = _SIDE_PX / max(image.shape[:2])
    size = (max(1, round(image.shape[1] * shrink)), max(1, round(image.shape[0] * shrink)))
    started = time.perf_counter()
    scored = None
    try:
        scored = scorer.score(image, recipe)
        raw, anomaly_map = scored.raw, _project_map(scored, shrink, size)
    except NotRegistered:
        raw, anomaly_map = float("inf"), np.zeros((size[1], size[0]), np.float32)
    took_s = time.perf_counter() - started
    region = "" if scored is None else scored.region
    truth = np.zeros(anomaly_map.shape, np.bool_) if defect == GOOD else None
    if defect == GOOD or mask is None:
        return ScoredImage(path, defect, raw, took_s, anomaly_map, truth, region=region)
    marks = read_marks(mask)
    if not marks.any():
        raise ImageError(mask, "is all black, so it marks no defect; paint the defect white or remove it")
    masked = np.where(marks, np.uint8(255), np.uint8(0))
    truth = cv2.resize(masked, size, interpolation=cv2.INTER_AREA) > 127
    hit, located = (False, False) if scored is None else _find_in_mask(scored, recipe, masked, image.shape)
    return ScoredImage(path, defect, raw, took_s, anomaly_map, truth, hit, located, region)


def _find_in_mask(
    scored: Scored, recipe: Recipe, mask: NDArray[np.uint8], shape: tuple[int, ...]
) -> tuple[bool, bool]:
    """Return whether the largest defect's box meets the mask, and whether any defect lies in it."""
    if not scored.defects:
        return False, False
    height, width = shape[:2]
    truth = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST) > 127
    x, y, box_width, box_height = scored.defects[0].box
    above = (scored.anomaly_map > recipe.threshold).astype(np.uint8)
    projected = cv2.warpAffine(above, scored.placement, (width, height), flags=cv2.INTER_NEAREST)
    return bool(truth[y : y + box_height, x : x + box_width].any()), bool((truth & (projected > 0)).any())


def _project_map(scored: Scored, shrink: float, size: tuple[int, int]) -> NDArray[np.float32]:
    """Return the anomaly map projected onto the frame, scaled by `shrink` to `size` (width, height)."""
    matrix = scored.placement * shrink
    matrix[:, 2] += 0.5 * shrink - 0.5
    return np.asarray(cv2.warpAffine(scored.anomaly_map, matrix, size, flags=cv2.INTER_LINEAR), np.float32)


def _compute_metrics(bundle: Bundle, recipe: Recipe, samples: Sequence[ScoredImage]) -> dict[str, Any]:
    good = [sample.raw for sample in samples if sample.good]
    kinds = sorted({sample.defect for sample in samples if not sample.good})
    by_kind = {kind: [sample.raw for sample in samples if sample.defect == kind] for kind in kinds}
    bad = [raw for raws in by_kind.values() for raw in raws]
    took_ms = np.array([sample.took_s for sample in samples]) * 1000
    return {
        "product": bundle.product,
        "version": bundle.version,
        "images": len(samples),
        "image_auroc": auroc(good, bad),
        "pixel_auroc": _pixel_auroc(samples),
        "false_reject_rate": _share_above(good, recipe.threshold),
        "recall": _share_above(bad, recipe.threshold),
        "per_defect": {
            kind: {
                "images": len(raws),
                "image_auroc": auroc(good, raws),
                "recall": _share_above(raws, recipe.threshold),
            }
            for kind, raws in by_kind.items()
        },
        "scorer_ms_p50": round(float(np.quantile(took_ms, 0.5)), 3),
        "scorer_ms_p95": round(float(np.quantile(took_ms, 0.95)), 3),
        "threshold": recipe.threshold,
        "unsure_threshold": recipe.unsure_threshold,
        "images_good": len(good),
        "unsure_rate": _share_above(good, recipe.unsure_threshold) - _share_above(good, recipe.threshold),
        "average_precision": _average_precision(good, bad),
        "not_registered": sum(sample.raw == float("inf") for sample in samples),
        "pb1": recall_at(good, bad, 0.01),
        "pb5": recall_at(good, bad, 0.05),
        "pg2": _passed_at(good, bad, 0.02),
        **_localization(recipe, samples),
        "per_region": _rejected_by_region(recipe, samples),
    }


def _rejected_by_region(recipe: Recipe, samples: Sequence[ScoredImage]) -> dict[str, dict[str, int]]:
    """Return how many images each region rejects, "" being outside all of them; empty without regions."""
    names = ["", *(region.name for region in recipe.regions)] if recipe.regions else []
    rejected = [sample for sample in samples if sample.raw > recipe.threshold]
    return {
        name: {
            kind: sum(sample.good is good for sample in rejected if sample.region == name)
            for kind, good in (("good", True), ("defects", False))
        }
        for name in names
    }


def _localization(recipe: Recipe, samples: Sequence[ScoredImage]) -> dict[str, Any]:
    """Return how many defects with a mask are found, and found where they are."""
    masked = [sample for sample in samples if not sample.good and sample.truth is not None]
    found = [sample for sample in masked if sample.raw > recipe.threshold]
    return {
        "images_masked": len(masked),
        "masked_found": len(found),
        "hits": round(float(np.mean([sample.hit for sample in found])), 4) if found else None,
        "located": round(float(np.mean([sample.located for sample in masked])), 4) if masked else None,
    }


def recall_at(good: Sequence[float], bad: Sequence[float], rate: float) -> float | None:
    """Return the recall, in per cent, where `rate` of these good images are rejected (PB1, PB5)."""
    if not (good and bad):
        return None
    labels, raws = _labels(good, bad)
    return round(100 * float(np.mean(raws[labels == 1] > np.quantile(raws[labels == 0], 1 - rate))), 3)


def _passed_at(good: Sequence[float], bad: Sequence[float], rate: float) -> float | None:
    """Return the share, in per cent, of good images that pass where `rate` of the defects do (PG2)."""
    if not (good and bad):
        return None
    labels, raws = _labels(good, bad)
    return round(100 * float(np.mean(raws[labels == 0] < np.quantile(raws[labels == 1], rate))), 3)


def _share_above(raws: Sequence[float], threshold: float) -> float:
    return round(float(np.mean(np.asarray(raws) > threshold)), 4) if raws else 0.0


def _labels(good: Sequence[float], bad: Sequence[float]) -> tuple[NDArray[np.int_], NDArray[np.float64]]:
    """Return labels (1: defect) and finite scores: a part that was not found ranks above all others."""
    raws = np.concatenate([np.asarray(good, np.float64), np.asarray(bad, np.float64)])
    found = raws[np.isfinite(raws)]
    raws[~np.isfinite(raws)] = 2 * found.max() if found.size else 1.0
    return np.repeat([0, 1], [len(good), len(bad)]), raws


def auroc(good: Sequence[float], bad: Sequence[float]) -> float | None:
    """Return the area under the ROC curve of these scores, in per cent. None: one kind is missing."""
    return round(100 * float(roc_auc_score(*_labels(good, bad))), 3) if good and bad else None


def _average_precision(good: Sequence[float], bad: Sequence[float]) -> float | None:
    return round(100 * float(average_precision_score(*_labels(good, bad))), 3) if good and bad else None


def _pixel_auroc(samples: Sequence[ScoredImage]) -> float | None:
    masked = [(sample.truth, sample.anomaly_map) for sample in samples if sample.truth is not None]
    truth = np.concatenate([truth.ravel() for truth, _ in masked]) if masked else np.zeros(0, np.bool_)
    if truth.all() or not truth.any():
        return None
    scores = np.concatenate([anomaly_map.ravel() for _, anomaly_map in masked])
    return round(100 * float(roc_auc_score(truth, scores)), 3)


def _report(bundle: Bundle, recipe: Recipe, samples: Sequence[ScoredImage], metrics: dict[str, Any]) -> str:
    good = [sample for sample in samples if sample.good]
    bad = [sample for sample in samples if not sample.good]
    scores = {"good": [sample.raw for sample in good], "defect": [sample.raw for sample in bad]}
    curves = []
    if good and bad:
        labels, raws = _labels(scores["good"], scores["defect"])
        false, true, _ = roc_curve(labels, raws)
        precision, recall, _ = precision_recall_curve(labels, raws)
        auroc, average = f"AUROC {metrics['image_auroc']:.2f}", metrics["average_precision"]
        curves = [
            CurvePlot("ROC", "good parts rejected", "defects found", auroc, false.tolist(), true.tolist()),
            CurvePlot(
                "Precision and recall",
                "defects found",
                "rejects that are defects",
                f"average precision {average:.2f}",
                recall.tolist(),
                precision.tolist(),
            ),
        ]
    finite = {label: [raw for raw in raws if np.isfinite(raw)] for label, raws in scores.items() if raws}
    by_raw = lambda sample: sample.raw  # noqa: E731
    return evaluation_report(
        bundle.product,
        recipe,
        _report_rows(metrics),
        finite,
        curves,
        [
            ("Good pictures that score highest", _gallery(sorted(good, key=by_raw)[::-1])),
            ("Defects that score lowest", _gallery(sorted(bad, key=by_raw))),
            ("Defects that score highest", _gallery(sorted(bad, key=by_raw)[::-1])),
        ],
    )


def _report_rows(metrics: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the table of the report: every metric in plain words."""
    rows = [
        ("Version", metrics["version"]),
        ("Pictures", f"{metrics['images']}, {metrics['images_good']} of them good"),
        ("Image AUROC", _percent(metrics["image_auroc"], "needs good and defective pictures")),
        ("Pixel AUROC", _percent(metrics["pixel_auroc"], "needs masks of the defects")),
        ("Average precision", _percent(metrics["average_precision"], "needs good and defective pictures")),
        ("Good pictures rejected", f"{metrics['false_reject_rate']:.2%}"),
        ("Good pictures unsure", f"{metrics['unsure_rate']:.2%}"),
        ("Defects found", f"{metrics['recall']:.2%}"),
        ("Found if 1 % of these good pictures were rejected", _percent(metrics["pb1"], "needs both kinds")),
        ("Found if 5 % of these good pictures were rejected", _percent(metrics["pb5"], "needs both kinds")),
        ("Good passed if 2 % of defects were missed", _percent(metrics["pg2"], "needs both kinds")),
    ]
    if metrics["images_masked"]:
        hits = (
            "none found"
            if metrics["hits"] is None
            else f"{metrics['hits']:.0%} of these have their box on it"
        )
        rows.append(
            (
                "Found where they are",
                f"{metrics['masked_found']} of {metrics['images_masked']} with a mask found, {hits}; "
                f"above the limit inside the mask: {metrics['located']:.0%}",
            )
        )
    for kind, one in metrics["per_defect"].items():
        auroc = _percent(one["image_auroc"], "needs good pictures")
        rows.append(
            (f"Defect {kind}", f"{one['recall']:.2%} of {one['images']} pictures found; image AUROC {auroc}")
        )
    for name, one in metrics["per_region"].items():
        place = f"Region {name}" if name else "Outside all regions"
        rows.append((place, f"rejects {one['good']} good pictures and {one['defects']} with defects"))
    return [
        *rows,
        ("Part not found", f"in {metrics['not_registered']} pictures"),
        ("Time to score", f"median {metrics['scorer_ms_p50']} ms, 95 % within {metrics['scorer_ms_p95']} ms"),
        ("Limit", f"score 1000, which is a raw score of {metrics['threshold']:.3f}"),
        ("Unsure from", f"raw score {metrics['unsure_threshold']:.3f}"),
    ]


def _percent(value: float | None, missing: str) -> str:
    return missing if value is None else f"{value:.2f}%"


def _gallery(samples: Sequence[ScoredImage]) -> list[GalleryImage]:
    return [_gallery_image(sample) for sample in samples[:GALLERY_SIZE]]


def _gallery_image(sample: ScoredImage) -> GalleryImage:
    image = read_image(sample.path)
    size = (sample.anomaly_map.shape[1], sample.anomaly_map.shape[0])
    crop = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    truth = None if sample.good else sample.truth
    title = f"{sample.defect}/{sample.path.name}" + (f", {sample.region}" if sample.region else "")
    return GalleryImage(title, sample.raw, crop, sample.anomaly_map, truth)
