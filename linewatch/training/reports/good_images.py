"""The scores behind a training report: each good image by a model trained without it, as a file beside it."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from linewatch.models.bundle import Bundle
from linewatch.teaching import ThresholdWithout
from linewatch.training.calibrate import IMAGES_MIN, calibrate

FILE = "good_images.json"


@dataclass(frozen=True, slots=True)
class GoodImage:
    """A good image that a version was trained on."""

    name: str
    score: float  # Raw, of a model trained without it.
    group: int  # Near-duplicates have the same number.


def write_good_images(
    folder: Path, names: Sequence[str], scores: Sequence[float], groups: NDArray[np.int_]
) -> None:
    """Write the scores of n images into `folder`; `groups` (n,) are numbers of near-duplicates."""
    rows = zip(names, scores, groups.tolist(), strict=True)
    found = [{"name": name, "score": score, "group": group} for name, score, group in rows]
    (folder / FILE).write_text(json.dumps(found, indent=0) + "\n", encoding="utf-8", errors="replace")


def read_good_images(bundle: Bundle) -> tuple[GoodImage, ...]:
    """Return the images that a version was trained on; none if it is older than this file."""
    try:
        return _IMAGES.validate_json((bundle.folder / FILE).read_bytes())
    except (OSError, ValidationError):
        return ()


def threshold_without(bundle: Bundle, left_out: Collection[str]) -> ThresholdWithout:
    """Predict the threshold of a training that leaves images out.

    Their scores are dropped, those of the others stay: in truth these rise a little where the images that
    are left out were like them.
    """
    rate = bundle.calibration.false_reject
    images = read_good_images(bundle)
    every = largest_of_groups([image.score for image in images], [image.group for image in images])
    kept = [image for image in images if image.name not in left_out]
    rest = largest_of_groups([image.score for image in kept], [image.group for image in kept])
    enough = len(rest) >= IMAGES_MIN
    return ThresholdWithout(
        left_out=len(images) - len(kept),
        images=len(rest),
        threshold=calibrate(every, rate).threshold if len(every) >= IMAGES_MIN else 0.0,
        becomes=calibrate(rest, rate).threshold if enough else None,
    )


def largest_of_groups(scores: Sequence[float], groups: Sequence[int]) -> tuple[float, ...]:
    """Return the largest score of each group of near-duplicates, in the order of their numbers."""
    largest: dict[int, float] = {}
    for score, group in zip(scores, groups, strict=True):
        largest[group] = max(score, largest.get(group, score))
    return tuple(largest[group] for group in sorted(largest))


_IMAGES = TypeAdapter(tuple[GoodImage, ...])
