"""New thresholds for an unchanged model: from its calibration scores, new images, and reviewed parts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from linewatch.errors import NotRegistered, UsageError
from linewatch.models.bundle import Bundle, Calibration, write_variant
from linewatch.models.engine import OpenVinoEngine
from linewatch.models.loader import build_scorer
from linewatch.models.recipe_file import follow_model, load_recipe, unchanged_on_error
from linewatch.models.registry import activate
from linewatch.models.self_test import self_test
from linewatch.settings import Settings
from linewatch.training.calibrate import calibrate, upper_rate_bound
from linewatch.training.images import GOOD, GROUND_TRUTH, find_images
from linewatch.training.progress import ProgressCallback, no_progress
from linewatch.training.reports.calibration import calibration_report
from linewatch.training.reviewed_parts import ReviewedParts, read_reviews
from linewatch.vision.image_folders import folders_in
from linewatch.vision.image_io import read_image
from linewatch.vision.recipe import Recipe

BY_HAND = "by hand"  # The method of a threshold that a person chose.
THRESHOLDS = 5  # Listed beside the proposed one when defects are given.


@dataclass(frozen=True, slots=True)
class ThresholdEffect:
    """Error rates of one threshold on the given images, as shares 0 to 1."""

    threshold: float
    false_reject: float  # Of the good images, those rejected.
    recall: float  # Of the defective images, those rejected.
    precision: float  # Of the rejected images, those defective.


@dataclass(frozen=True, slots=True)
class ThresholdProposal:
    """New thresholds, not yet active, and their predicted effect."""

    bundle: Bundle  # The version they were computed for.
    calibration: Calibration
    before: Recipe
    after: Recipe
    reviews: ReviewedParts
    effects: tuple[ThresholdEffect, ...]  # The proposed threshold first; empty without defects.


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
    progress: ProgressCallback = no_progress,
) -> ThresholdProposal:
    """Propose thresholds for a wanted false-reject rate (0 to 1), without changing anything.

    They are calibrated on the scores of the images in `good`, which the model must not have been trained
    on, or else on the scores of its calibration; each part in `journal` reviewed as good counts as one
    more image. A recipe's regions do not count for that, so that a stricter one never loosens the others:
    they keep their factors. `bad` holds images of defects, directly or in folders other than `good` and
    `ground_truth`. Like parts reviewed as defects, they only measure the thresholds, never move them.
    Raises UsageError, RecipeError, ImageError and StorageFull.
    """
    recipe, bundle = load_recipe(recipes, product, models)
    scorer = build_scorer(bundle, OpenVinoEngine(bundle.graph, threads=threads))
    # The old threshold must not lower a score.
    regions = tuple(replace(region, min_defect_px=0) for region in recipe.regions)
    weighed = replace(recipe, min_defect_px=0, regions=regions)

    def scores(paths: Sequence[Path], doing: str, recipe: Recipe) -> tuple[float, ...]:
        found = []
        for done, path in enumerate(paths):
            progress(doing, done / len(paths))
            try:
                found.append(scorer.score(read_image(path), recipe).raw)
            except NotRegistered:
                found.append(float("inf"))
        return tuple(found)

    defect_paths = None if bad is None else _find_defects(bad)
    unseen = bundle.calibration.scores
    if good is not None:
        unseen = scores(find_images(good), "scoring good", recipe.for_calibration())
    registered = tuple(score for score in unseen if score != float("inf"))
    reviews = ReviewedParts() if journal is None else read_reviews(journal, models, bundle, last)
    reviewed = tuple(verdict.raw for verdict in reviews.good)
    calibration = replace(calibrate((*registered, *reviewed), false_reject), scores=registered)
    effects: tuple[ThresholdEffect, ...] = ()
    if defect_paths is not None:
        defect_scores = scores(defect_paths, "scoring defects", weighed)
        candidates = _candidate_thresholds(calibration.threshold, unseen)
        if good is not None and recipe.regions:
            unseen = scores(find_images(good), "scoring good", weighed)
        effects = tuple(_measure_effect(threshold, unseen, defect_scores) for threshold in candidates)
    progress("done", 1.0)
    after = replace(recipe, threshold=calibration.threshold, unsure_threshold=calibration.unsure_threshold)
    return ThresholdProposal(bundle, calibration, recipe, after, reviews, effects)


def propose_threshold(
    product: str,
    threshold: float,
    models: Path,
    recipes: Path,
    *,
    journal: Path | None = None,
    last: int = 1000,
) -> ThresholdProposal:
    """Propose a raw score chosen by hand as the threshold, without changing anything.

    The unsure band keeps its ratio. The rate is that of the calibration's good images above the threshold.
    Raises UsageError, RecipeError and StorageFull.
    """
    if not 0 < threshold < math.inf:
        raise UsageError(f"threshold {threshold:g} is not a raw score; use a number above 0")
    recipe, bundle = load_recipe(recipes, product, models)
    reviews = ReviewedParts() if journal is None else read_reviews(journal, models, bundle, last)
    scores = bundle.calibration.scores
    rejected = sum(score > threshold for score in scores)
    calibration = replace(
        bundle.calibration,
        threshold=threshold,
        unsure_threshold=threshold * recipe.unsure_threshold / recipe.threshold,
        # No rate below one in so many is known; above a half none is wanted.
        false_reject=min(0.5, max(1, rejected) / max(1, len(scores))),
        bound=upper_rate_bound(rejected, len(scores)) if scores else None,
        method=BY_HAND,
    )
    after = replace(recipe, threshold=threshold, unsure_threshold=calibration.unsure_threshold)
    return ThresholdProposal(bundle, calibration, recipe, after, reviews, ())


def describe(proposal: ThresholdProposal) -> str:
    """Return the basis of the proposed thresholds and their predicted effect, as text for the terminal."""
    calibration, reviews = proposal.calibration, proposal.reviews
    bound = "not yet known" if calibration.bound is None else f"at most {calibration.bound:.2%}"
    lines = [
        f"threshold {calibration.threshold:.6g} (now {proposal.before.threshold:.6g}), "
        f"unsure above {calibration.unsure_threshold:.6g} (now {proposal.before.unsure_threshold:.6g})",
        f"from {len(calibration.scores)} good pictures and {len(reviews.good)} parts marked good "
        f"({calibration.method}); false rejects {bound} (95 %)",
    ]
    lines += [
        f"threshold {effect.threshold:.4g}: rejects {effect.false_reject:.1%} of good, "
        f"finds {effect.recall:.1%} of defects, precision {effect.precision:.1%}"
        for effect in proposal.effects
    ]
    changes = reviews.count_changes(proposal.after)
    moved = ", ".join(f"{number} from {was} to {now}" for (was, now), number in sorted(changes.items()))
    if reviews.last:
        lines.append(f"of the last {len(reviews.last)} parts it would have changed: {moved or 'none'}")
    if reviews.defects:
        found, before = reviews.count_found(proposal.after), reviews.count_found(proposal.before)
        lines.append(f"of {len(reviews.defects)} parts marked defect it finds {found} (now {before})")
    return "\n".join(lines)


def activate_proposal(
    settings: Settings, proposal: ThresholdProposal, who: str = ""
) -> tuple[Bundle, list[str]]:
    """Write a version with the proposed thresholds, run its self-test, and activate it.

    Returns the version, and the recipe's lines that pinned a threshold or a model and are now comments.
    `linewatch models rollback` undoes it. Raises RecipeError, SelfTestFailed if a golden sample would
    be judged wrongly, and StorageFull.
    """
    bundle, store = proposal.bundle, settings.models
    facts = {
        "calibrated_from": bundle.version,
        "marked_good": [[verdict.boot, verdict.seq] for verdict in proposal.reviews.good],
    }
    now = datetime.now(UTC).isoformat(timespec="seconds")
    calibration, effects = proposal.calibration, describe(proposal).splitlines()
    version = write_variant(
        store.path,
        bundle,
        created=now,
        training=facts,
        calibration=calibration,
        report=lambda name: calibration_report(
            bundle.product, name, now, bundle.version, calibration, effects
        ),
    )
    # Before the recipe changes: a threshold that passes a challenge sample is refused.
    scorer = build_scorer(version, OpenVinoEngine(version.graph, threads=store.threads))
    self_test(scorer, proposal.after, version)
    with unchanged_on_error(store.recipes, bundle.product):
        pins = follow_model(store.recipes, bundle.product, proposal.before.threshold)
        calibration, reviewed = proposal.calibration, len(proposal.reviews.good)
        reason = f"calibrate to {calibration.false_reject:g} with {reviewed} marked good"
        if calibration.method == BY_HAND:
            reason = f"threshold {calibration.threshold:g} chosen by hand"
        activate(settings, bundle.product, version.version, reason, who)
    return version, pins


def _find_defects(folder: Path) -> list[Path]:
    """Return the images in `folder` and in its folders of defects. Raises UsageError if there are none."""
    found = find_images(folder)
    for place in folders_in(folder):
        if place.name not in (GOOD, GROUND_TRUTH):
            found += find_images(place)
    if not found:
        raise UsageError(
            f"{str(folder)!r} holds no defective pictures; put some there, or into one folder for each kind"
        )
    return found


def _candidate_thresholds(chosen: float, good: Sequence[float]) -> list[float]:
    others = np.quantile([score for score in good if score != float("inf")], np.linspace(0.8, 1, THRESHOLDS))
    return [chosen, *(float(threshold) for threshold in others)]


def _measure_effect(threshold: float, good: Sequence[float], bad: Sequence[float]) -> ThresholdEffect:
    rejected = sum(score > threshold for score in good)
    found = sum(score > threshold for score in bad)
    return ThresholdEffect(
        threshold=threshold,
        false_reject=rejected / max(1, len(good)),
        recall=found / max(1, len(bad)),
        precision=found / max(1, found + rejected),
    )
