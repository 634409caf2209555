"""New thresholds for a model that stays as it is: from its own scores, or from pictures taken on site."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from linewatch.errors import NotRegistered, UsageError
from linewatch.models.bundle import Bundle, Calibration, write_variant
from linewatch.models.engine import OpenVinoEngine
from linewatch.models.loader import build_scorer
from linewatch.models.recipe_file import follow_model, load_recipe
from linewatch.models.registry import activate
from linewatch.models.self_test import self_test
from linewatch.settings import Settings
from linewatch.training.calibrate import calibrate
from linewatch.training.images import GOOD, TRUTH, find_pictures
from linewatch.training.progress import Report, silent
from linewatch.training.reviewed_parts import ReviewedParts, read_reviews
from linewatch.vision.image_io import read_image
from linewatch.vision.recipe import Recipe

THRESHOLDS = 5  # Shown beside the chosen one, when defects are given.


@dataclass(frozen=True, slots=True)
class Point:
    """What one threshold would do to the pictures that were given."""

    threshold: float
    false_reject: float  # Share of the good ones that it rejects.
    recall: float  # Share of the defective ones that it finds.
    precision: float  # Share of defective ones among those it rejects.


@dataclass(frozen=True, slots=True)
class Proposal:
    """New thresholds that nobody uses yet, and what they would do."""

    bundle: Bundle  # What they are for.
    calibration: Calibration
    before: Recipe
    after: Recipe
    marks: ReviewedParts
    points: tuple[Point, ...]  # The chosen threshold first; empty without defects.


def recalibrate(
    product: str,
    false_reject: float,
    models: Path,
    recipes: Path,
    *,
    good: Path | None = None,
    bad: Path | None = None,
    journal: Path | None = None,
    last: int = 1000,
    threads: int = 0,
    progress: Report = silent,
) -> Proposal:
    """Propose thresholds for a wanted false-reject rate (0 to 1); nothing is changed.

    They come from the scores of the good pictures in `good`, which the model must not have learnt
    from, or from those it was calibrated with; and from the parts in `journal` that were marked as
    good, each like one picture more. `bad` holds defective pictures, directly or in folders other than
    `good` and `ground_truth`: like parts marked as defects they show what the thresholds find, and never
    move them. Raises UsageError, RecipeError, ImageError and StorageFull.
    """
    recipe, bundle = load_recipe(recipes, product, models)
    scorer = build_scorer(bundle, OpenVinoEngine(bundle.graph, threads=threads))
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

    spoilt = None if bad is None else _defects(bad)
    unseen = bundle.calibration.scores if good is None else scores(find_pictures(good), "scoring good")
    registered = tuple(score for score in unseen if score != float("inf"))
    marks = ReviewedParts() if journal is None else read_reviews(journal, models, bundle, last)
    marked = tuple(verdict.raw for verdict in marks.good)
    calibration = replace(calibrate((*registered, *marked), false_reject), scores=registered)
    points: tuple[Point, ...] = ()
    if spoilt is not None:
        defects = scores(spoilt, "scoring defects")
        points = tuple(
            _point(threshold, unseen, defects) for threshold in _thresholds(calibration.threshold, unseen)
        )
    progress("done", 1.0)
    after = replace(recipe, threshold=calibration.threshold, unsure_threshold=calibration.unsure_threshold)
    return Proposal(bundle, calibration, recipe, after, marks, points)


def describe(proposal: Proposal) -> str:
    """Return what the thresholds rest on and what they would change, for people."""
    calibration, marks = proposal.calibration, proposal.marks
    bound = "not yet known" if calibration.bound is None else f"at most {calibration.bound:.2%}"
    lines = [
        f"threshold {calibration.threshold:.6g} (now {proposal.before.threshold:.6g}), "
        f"unsure above {calibration.unsure_threshold:.6g} (now {proposal.before.unsure_threshold:.6g})",
        f"from {len(calibration.scores)} good pictures and {len(marks.good)} parts marked good "
        f"({calibration.method}); false rejects {bound} (95 %)",
    ]
    lines += [
        f"threshold {point.threshold:.4g}: rejects {point.false_reject:.1%} of good, "
        f"finds {point.recall:.1%} of defects, precision {point.precision:.1%}"
        for point in proposal.points
    ]
    changes = marks.changes(proposal.after)
    told = ", ".join(f"{number} from {was} to {now}" for (was, now), number in sorted(changes.items()))
    if marks.last:
        lines.append(f"of the last {len(marks.last)} parts it would have changed: {told or 'none'}")
    if marks.defects:
        found, before = marks.found(proposal.after), marks.found(proposal.before)
        lines.append(f"of {len(marks.defects)} parts marked defect it finds {found} (now {before})")
    return "\n".join(lines)


def adopt(settings: Settings, proposal: Proposal) -> tuple[Bundle, list[str]]:
    """Write a version with the proposed thresholds, prove it, and make it the active one.

    Returns it, and the lines of the recipe that pinned a threshold or a model and are comments now.
    `linewatch models rollback` undoes it. Raises RecipeError, also when a golden sample would be judged
    wrongly, and StorageFull.
    """
    bundle, place = proposal.bundle, settings.models
    facts = {
        "calibrated_from": bundle.version,
        "marked_good": [[verdict.boot, verdict.seq] for verdict in proposal.marks.good],
    }
    now = datetime.now(UTC).isoformat(timespec="seconds")
    fresh = write_variant(place.path, bundle, created=now, training=facts, calibration=proposal.calibration)
    # Before the recipe is touched: a threshold that lets a challenge sample pass is refused.
    self_test(build_scorer(fresh, OpenVinoEngine(fresh.graph, threads=place.threads)), proposal.after, fresh)
    pins = follow_model(place.recipes, bundle.product)
    why = f"calibrate to {proposal.calibration.false_reject:g} with {len(proposal.marks.good)} marked good"
    activate(settings, bundle.product, fresh.version, why)
    return fresh, pins


def _defects(folder: Path) -> list[Path]:
    """Return the pictures in a folder, and in those inside it that hold defects. Raises UsageError."""
    found = find_pictures(folder)
    for place in sorted(path for path in folder.iterdir() if path.is_dir()):
        if place.name not in (GOOD, TRUTH):
            found += find_pictures(place)
    if not found:
        raise UsageError(
            f"{str(folder)!r} holds no defective pictures; put some there, or into one folder for each kind"
        )
    return found


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
