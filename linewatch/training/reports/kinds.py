"""Find out whether good parts are of two kinds, such as two suppliers, cavities or positions."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linewatch.vision.product_match import SPREAD_MIN

IMAGES_MIN = 30  # With fewer a gap is chance.
KIND_MIN = 5  # Images; fewer are outliers, which the report shows by their scores.
GAP_MIN = 0.25  # Between the kinds, as a share of the range of all. One kind: 0.00 to 0.10, at most 0.20.
SEPARATION_MIN = 6.0  # Distance of the kinds in standard deviations. One kind: 2 to 4.6.
_DIRECTIONS = 3  # Of the largest variance.


def find_rarer_kind(embeddings: NDArray[np.float32]) -> NDArray[np.bool_] | None:
    """Return which images (n,) are of the rarer of two kinds; None if all are of one kind.

    `embeddings` is (n, channels). Along the directions of largest variance the images are cut in two by
    Otsu's criterion; they are two kinds if nothing lies in a wide gap between the halves and these are
    far apart for their width (Ashman's D: Ashman, Bird and Zepf 1994).
    """
    if len(embeddings) < IMAGES_MIN:
        return None
    scaled = (embeddings - embeddings.mean(axis=0)) / np.sqrt(embeddings.var(axis=0) + SPREAD_MIN**2)
    axes, lengths, _ = np.linalg.svd(scaled, full_matrices=False)
    cuts = [_cut(position) for position in (axes * lengths)[:, :_DIRECTIONS].T]
    gap, upper = max(cuts, key=lambda cut: cut[0])
    if gap < GAP_MIN:
        return None
    return upper if 2 * upper.sum() <= len(upper) else ~upper


def describe_kinds(facts: Mapping[str, Any]) -> str:
    """Return what two kinds of good part mean for the product, with what to do; "" if there is one."""
    if not facts.get("kinds"):
        return ""
    many, few = facts["kinds"]
    return (
        f"The good pictures are of two kinds: {many} of one, {few} of the other. If that is no mistake, "
        "capture about as many of each, since parts of the rarer kind are rejected more often; "
        "if the PLC knows the kind, make each a product of its own."
    )


def _cut(position: NDArray[np.float32]) -> tuple[float, NDArray[np.bool_]]:
    """Return the gap between the halves of positions (n,), 0 if they are not apart, and the upper half."""
    ordered = np.sort(position.astype(np.float64))
    count = len(ordered)
    sizes = np.arange(KIND_MIN, count - KIND_MIN + 1)
    sums = np.cumsum(ordered)
    lower, upper = sums[sizes - 1] / sizes, (sums[-1] - sums[sizes - 1]) / (count - sizes)
    size = int(sizes[np.argmax(sizes * (count - sizes) * (upper - lower) ** 2)])
    halves = ordered[:size], ordered[size:]
    width = np.sqrt((halves[0].var() + halves[1].var()) / 2)
    apart = halves[1].mean() - halves[0].mean() >= SEPARATION_MIN * width
    gap = float((ordered[size] - ordered[size - 1]) / max(np.ptp(ordered), 1e-9)) if apart else 0.0
    return gap, position >= ordered[size]
