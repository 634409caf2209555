"""Judge single images without a line, for `linewatch inspect` and the page's uploads."""

import time

from linewatch.domain import (
    Frame,
    Image,
    Inspection,
    Judgement,
    Reason,
    Result,
    Scored,
    Verdict,
    verdict_of,
)
from linewatch.errors import ImageError, NotRegistered, RecipeError
from linewatch.vision.recipe import Recipe, judge
from linewatch.vision.scoring import Scorer


def judge_image(
    image: Image, scorer: Scorer, recipe: Recipe, *, station: str, seq: int = 0
) -> tuple[Verdict, Scored | None]:
    """Judge one image, without the quality gate: light and sharpness are not checked.

    Returns the verdict, with `boot` 0, and the scores, None if the part was not found. Raises
    RecipeError if the recipe's `roi` or `mask` does not fit the image.
    """
    started_ns = time.monotonic_ns()
    scored: Scored | None = None
    try:
        scored = scorer.score(image, recipe)
        judged = judge(scored.raw, recipe, scored.looks_like)
    except NotRegistered:
        judged = Judgement(Result.UNSURE, Reason.NOT_REGISTERED)
    except ImageError as trouble:
        raise RecipeError(f"this image does not fit the recipe of {recipe.product!r}: {trouble}") from trouble
    inspection = Inspection(
        frame=Frame(image, started_ns, captured_ms=time.time_ns() // 1_000_000, seq=seq),
        product=recipe.product,
        product_index=recipe.index,
        model=recipe.model,
        threshold=recipe.threshold,
        result=judged.result,
        reason=judged.reason,
        age_ms=0,
        scored=scored,
    )
    return verdict_of(inspection, station=station, boot=0, now_ns=time.monotonic_ns()), scored
