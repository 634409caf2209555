"""A product's recipe and the rule that turns a raw score into a result."""

from dataclasses import dataclass
from pathlib import Path

from linewatch.domain import PASSED, Box, Judgement, Reason, Result


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one product is inspected; keys missing in the recipe file come from the model's calibration.

    `threshold` and `unsure_threshold` are raw scores. A part fails above `threshold`; between
    `unsure_threshold` and `threshold` it is UNSURE. Equal values mean that there is no unsure band.
    """

    product: str
    index: int  # 1 to 999, the PLC's product number.
    model: str  # A version, never "active".
    threshold: float
    unsure_threshold: float
    roi: Box | None = None  # Inspected area in frame pixels; None: the whole frame.
    mask: Path | None = None  # Image of the frame's size; black is not inspected.
    min_defect_px: int = 0  # Smaller regions, in frame pixels, do not make a part fail.


def judge(raw: float, recipe: Recipe, looks_like: str = "") -> Judgement:
    """Judge one raw score; a score equal to a threshold is still on its good side, NaN fails.

    A part that looks like another product is UNSURE at any score.
    """
    if looks_like:
        return Judgement(Result.UNSURE, Reason.WRONG_PRODUCT)
    if not raw <= recipe.threshold:  # Written so that NaN is never a PASS.
        return Judgement(Result.FAIL, Reason.ABOVE_THRESHOLD)
    if raw > recipe.unsure_threshold:
        return Judgement(Result.UNSURE, Reason.NEAR_THRESHOLD)
    return PASSED
