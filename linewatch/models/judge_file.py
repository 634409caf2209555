"""Judge pictures as the line would, without a line: for `linewatch inspect` and the page's uploads."""

import time

from linewatch.domain import NO_BOX, Image, Reason, Result, Scored, Verdict
from linewatch.errors import ImageError, NotRegistered, RecipeError
from linewatch.vision.recipe import Recipe, judge
from linewatch.vision.scoring import Scorer


def judge_picture(
    image: Image, scorer: Scorer, recipe: Recipe, *, station: str, seq: int = 0
) -> tuple[Verdict, Scored | None]:
    """Judge one picture that no camera of the line took: any light and sharpness will do.

    `boot` is 0. Returns None beside the verdict when the part was not found. Raises RecipeError when
    the recipe's `roi` or `mask` does not fit the picture.
    """
    started_ns = time.monotonic_ns()
    scored: Scored | None = None
    try:
        scored = scorer.score(image, recipe)
        result, reason = judge(scored.raw, recipe, scored.looks_like)
    except NotRegistered:
        result, reason = Result.UNSURE, Reason.NOT_REGISTERED
    except ImageError as trouble:
        raise RecipeError(
            f"this picture does not fit the recipe of {recipe.product!r}: {trouble}"
        ) from trouble
    verdict = Verdict(
        station=station,
        boot=0,
        seq=seq,
        product=recipe.product,
        product_index=recipe.index,
        model=recipe.model,
        result=result,
        reason=reason,
        raw=scored.raw if scored else 0.0,
        threshold=recipe.threshold,
        captured_ms=time.time_ns() // 1_000_000,
        latency_ms=(time.monotonic_ns() - started_ns) // 1_000_000,
        defects=len(scored.defects) if scored else 0,
        box=scored.defects[0].box if scored and scored.defects else NO_BOX,
    )
    return verdict, scored
