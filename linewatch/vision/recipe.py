"""How one product is inspected: numbers that an engineer may change without touching the model."""

from dataclasses import dataclass
from pathlib import Path

from linewatch.domain import Box, Reason, Result


@dataclass(frozen=True, slots=True)
class Recipe:
    """One product's recipe, with the model's calibration filled in where the file is silent.

    `threshold` and `unsure_threshold` are raw scores. A part fails above `threshold`; between
    `unsure_threshold` and `threshold` it is UNSURE, so equal values mean: no unsure band.
    """

    product: str
    index: int  # 1 to 999, the PLC's product number.
    model: str  # The version that is used, never "active".
    threshold: float
    unsure_threshold: float
    roi: Box | None = None  # Where to look, in frame pixels; None is the whole frame.
    mask: Path | None = None  # PNG of the frame's size; black is not looked at.
    min_defect_px: int = 0  # Regions smaller than this, in frame pixels, do not make a part fail.


def judge(raw: float, recipe: Recipe, looks_like: str = "") -> tuple[Result, Reason]:
    """Decide one part. A score equal to a threshold is still on its good side.

    What looks like another product is for a person to look at, whatever it scores.
    """
    if looks_like:
        return Result.UNSURE, Reason.WRONG_PRODUCT
    if not raw <= recipe.threshold:  # Written so that NaN is never a PASS.
        return Result.FAIL, Reason.ABOVE_THRESHOLD
    if raw > recipe.unsure_threshold:
        return Result.UNSURE, Reason.NEAR_THRESHOLD
    return Result.PASS, Reason.NONE
