"""What another threshold would do to the latest parts and to the labelled images."""

from collections.abc import Iterable, Sequence, Set
from dataclasses import asdict, replace
from pathlib import Path

from linewatch.domain import Result
from linewatch.errors import UsageError
from linewatch.models.bundle import versions_with_same_scores
from linewatch.models.recipe_file import load_recipe
from linewatch.settings import Settings
from linewatch.teach.datasets import Datasets
from linewatch.teach.derived_images import PARTS
from linewatch.teach.measuring import read_measured
from linewatch.teach.score_maps import ScoreMaps
from linewatch.teach.thumbnails import Thumbnails
from linewatch.teaching import TEST_GOOD, Change, Measured, ScoredPart, Tally, ThresholdEffect
from linewatch.training.recalibrate import activate_proposal, propose_threshold
from linewatch.training.reviewed_parts import DEFECT, GOOD, read_reviews
from linewatch.vision.recipe import Recipe, comparable_raw, judge

CHANGES_MAX = 24
HEATMAP = ".heatmap"  # After the name of a part: the thumbnail of its heatmap.
LAST_MAX = 5000


def predict(
    product: str,
    models: Path,
    recipes: Path,
    datasets: Datasets,
    journal: Path,
    *,
    threshold: float | None = None,
    version: str = "",
    last: int = 1000,
) -> ThresholdEffect:
    """Return the effect of `threshold`, a raw score, or of the one in use.

    `version` replaces the one that the recipe uses. Only scores of the same graph are compared. Raises
    UsageError, RecipeError and StorageFull.
    """
    recipe, bundle = load_recipe(recipes, product, models, version)
    wanted = recipe.threshold if threshold is None else threshold
    if not 0 < wanted < float("inf"):
        raise UsageError(f"threshold {wanted:g} is not a raw score; use a number above 0")
    unsure = wanted * recipe.unsure_threshold / recipe.threshold
    after = replace(recipe, threshold=wanted, unsure_threshold=unsure)
    reviews = read_reviews(journal, models, bundle, min(last, LAST_MAX))
    known = {(verdict.boot, verdict.seq): GOOD for verdict in reviews.good}
    known |= {(verdict.boot, verdict.seq): DEFECT for verdict in reviews.defects}
    numbered = {
        (verdict.boot, verdict.seq): verdict for verdict in (*reviews.last, *reviews.good, *reviews.defects)
    }
    parts = [
        ScoredPart(
            title=f"{boot}-{seq}",
            raw=comparable_raw(verdict, recipe),
            actual=known.get((boot, seq), ""),
            boot=boot,
            seq=seq,
            image=verdict.image,
            heatmap=verdict.heatmap,
            region=verdict.region,
        )
        for (boot, seq), verdict in numbered.items()
    ]
    same = [bundle.version, *sorted(versions_with_same_scores(models, bundle))]
    measured = next(filter(None, (read_measured(datasets, product, name) for name in same)), None)
    labelled = [
        ScoredPart(
            title=f"{place}/{name}",
            raw=_comparable(raw, measured, f"{place}/{name}", recipe),
            actual=GOOD if place == TEST_GOOD else DEFECT,
            place=place,
            name=name,
            region=_decided(measured, f"{place}/{name}")[0],
        )
        for place, name, raw in (measured.images if measured else ())
    ]
    every = [*parts, *labelled]
    latest = parts[: len(reviews.last)]
    changes = [change for part in every if (change := _change(part, recipe, after)) is not None]
    # In an order that the next parts change little, so that their maps are there when people look.
    changes.sort(key=lambda change: -abs(change.raw - wanted))
    good = [part for part in every if part.actual == GOOD]
    bad = [part for part in every if part.actual == DEFECT]
    highest = max((part.raw for part in every if part.raw < float("inf")), default=0.0)
    return ThresholdEffect(
        threshold=wanted,
        unsure_threshold=unsure,
        threshold_now=recipe.threshold,
        lowest=recipe.threshold / 4,
        highest=max(2 * recipe.threshold, min(1.1 * highest, 6 * recipe.threshold), wanted),
        parts=len(latest),
        labelled=len(labelled),
        rejected=_tally(latest, recipe, after, {Result.FAIL}),
        unsure=_tally(latest, recipe, after, {Result.UNSURE}),
        false_rejects=_tally(good, recipe, after, {Result.FAIL, Result.UNSURE}),
        escapes=_tally(bad, recipe, after, {Result.PASS}),
        changes=tuple(changes[:CHANGES_MAX]),
        changes_all=len(changes),
    )


def add_images(
    effect: ThresholdEffect,
    product: str,
    thumbnails: Thumbnails,
    maps: ScoreMaps,
    datasets: Datasets,
    evidence: Path,
) -> ThresholdEffect:
    """Return the effect with the images and maps of its changes that exist.

    Thumbnails and maps that are missing get made. A part that was rejected has its heatmap already. Raises
    UsageError and RecipeError.
    """
    key = maps.key(product)
    kept = [
        replace(
            change,
            image=change.image if change.image and (evidence / change.image).is_file() else "",
            heatmap=change.heatmap if change.heatmap and (evidence / change.heatmap).is_file() else "",
        )
        for change in effect.changes
    ]
    mapped: dict[str, dict[str, Path]] = {}
    shown: dict[str, dict[str, Path]] = {}
    for change in kept:
        if change.name:
            file = datasets.folder(product, change.place) / change.name
            mapped.setdefault(change.place, {})[change.name] = file
            shown.setdefault(change.place, {})[change.name] = file
        elif change.image and not change.heatmap:
            mapped.setdefault(PARTS, {})[change.title] = evidence / change.image
        for name, image in ((change.title, change.image), (f"{change.title}{HEATMAP}", change.heatmap)):
            if image:
                shown.setdefault(PARTS, {})[name] = evidence / image
    waiting = sum(maps.make(product, key, "", place, files) for place, files in mapped.items())
    small: dict[str, Set[str]] = {}
    for place, files in shown.items():
        small[place], missing = thumbnails.made(product, place, files)
        waiting += missing
    changes = tuple(
        replace(
            change,
            map_ready=maps.is_ready(product, key, change.place or PARTS, change.name or change.title),
            thumbnail_ready=(change.name or change.title) in small.get(change.place or PARTS, ()),
            heatmap_ready=f"{change.title}{HEATMAP}" in small.get(PARTS, ()),
        )
        for change in kept
    )
    return replace(effect, changes=changes, maps=key, waiting=waiting)


def save_threshold(settings: Settings, product: str, threshold: float, who: str) -> str:
    """Write and activate a version with a threshold chosen by hand, as `linewatch calibrate` does.

    Returns the version. Raises UsageError, RecipeError if a challenge sample would pass, and StorageFull.
    """
    models = settings.models
    proposal = propose_threshold(
        product, threshold, models.path, models.recipes, journal=settings.journal.path
    )
    bundle, _ = activate_proposal(settings, proposal, who)
    return bundle.version


def _comparable(raw: float, measured: Measured | None, image: str, recipe: Recipe) -> float:
    """Return a measured raw score as the recipe's regions weigh it now."""
    region, factor = _decided(measured, image)
    return raw * factor / recipe.factor_of(region)


def _decided(measured: Measured | None, image: str) -> tuple[str, float]:
    """Return the region that decided on a labelled image, and the factor that its score was divided by."""
    return measured.decided.get(image, ("", 1.0)) if measured else ("", 1.0)


def _tally(parts: Sequence[ScoredPart], now: Recipe, then: Recipe, results: Iterable[Result]) -> Tally:
    wanted = frozenset(results)
    return Tally(
        sum(judge(part.raw, now).result in wanted for part in parts),
        sum(judge(part.raw, then).result in wanted for part in parts),
        len(parts),
    )


def _change(part: ScoredPart, now: Recipe, then: Recipe) -> Change | None:
    was, becomes = judge(part.raw, now).result, judge(part.raw, then).result
    if was is becomes:
        return None
    return Change(was=was, becomes=becomes, **asdict(part))
