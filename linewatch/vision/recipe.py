"""A product's recipe and the rule that turns a raw score into a result."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from linewatch.domain import PASSED, Box, Judgement, Reason, Result, Verdict


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle of the frame with limits of its own."""

    name: str
    roi: Box  # In frame pixels.
    factor: float = 1.0  # Its threshold as a multiple of the recipe's.
    threshold: float | None = None  # A raw score instead, as in a recipe file.
    min_defect_px: int | None = None  # None: the recipe's.


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
    min_defect_px: int = 0  # Smaller defects, in frame pixels, do not make a part fail.
    regions: tuple[Region, ...] = ()  # Disjoint, with `factor` and `min_defect_px` known; the worst decides.

    def factor_of(self, region: str) -> float:
        """Return the factor of a region's threshold; 1 outside all regions, and for one that is no more."""
        return next((one.factor for one in self.regions if one.name == region), 1.0)

    def for_samples(self) -> Self:
        """Return what applies to golden samples, which are cropped and carry their own mask."""
        return replace(self, roi=None, mask=None, min_defect_px=0, regions=())

    def for_calibration(self) -> Self:
        """Return what thresholds are calibrated with: nothing may lower a score or weigh it."""
        return replace(self, min_defect_px=0, regions=())


def comparable_raw(verdict: Verdict, recipe: Recipe) -> float:
    """Return a journaled raw score in units of the recipe's threshold, as `judge` takes it."""
    return verdict.raw / recipe.factor_of(verdict.region)


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
