"""Whether a part looks like its own product, or clearly more like another one that is made here."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from linewatch.domain import Embedding

FLOOR = (
    0.05  # Of a channel's spread, in standard deviations over the places of a picture: nothing is steadier.
)
ROOM = 1.5  # Of the oddest good part that was learnt from; good parts seen later were at most 1.2 of it.
CLEARLY = 0.5  # Of the distance to its own product: a gross defect is far from all of them.
QUIET_PARTS = 20  # So many parts of the own product in a row, and another product is told anew.


@dataclass(frozen=True, slots=True)
class Likeness:
    """What good parts of one product look like as a whole, channel by channel of the embedding."""

    mean: tuple[float, ...]
    spread: tuple[float, ...]
    limit: float  # Distance from the mean beyond which a part is no usual one, in spreads.

    def distance(self, embedding: Embedding, other: Embedding) -> float:
        """Return how far two embeddings are apart: the root mean square over the channels, in spreads."""
        apart = (embedding - other) / np.asarray(self.spread, np.float32)
        return float(np.sqrt(np.mean(apart * apart)))


@dataclass(frozen=True, slots=True)
class Stranger:
    """Another product: what its good parts look like to the model in use."""

    product: str
    embeddings: tuple[Embedding, ...]


def learn_likeness(embeddings: NDArray[np.float32]) -> Likeness:
    """Return the likeness of good parts, (n, channels)."""
    mean = embeddings.mean(axis=0)
    spread = np.sqrt(embeddings.var(axis=0) + FLOOR**2)
    likeness = Likeness(_rounded(mean), _rounded(spread), 0.0)
    oddest = max(likeness.distance(embedding, mean) for embedding in embeddings)
    return Likeness(likeness.mean, likeness.spread, round(ROOM * oddest, 6))


def stranger_like(likeness: Likeness | None, strangers: Sequence[Stranger], embedding: Embedding) -> str:
    """Return the other product that a part looks like, "" if none.

    It must be unlike its own product, and less than half as far from a good part of the other one. So
    what cannot be told is "": a model without a likeness, a graph without an embedding, no strangers.
    """
    if likeness is None or not strangers or len(embedding) != len(likeness.mean):
        return ""
    own = likeness.distance(embedding, np.asarray(likeness.mean, np.float32))
    if not own > likeness.limit:
        return ""
    nearest, product = min(
        (
            (likeness.distance(embedding, sample), stranger.product)
            for stranger in strangers
            for sample in stranger.embeddings
        ),
        default=(math.inf, ""),
    )
    return product if nearest < CLEARLY * own else ""


class Sightings:
    """Which other products were seen of late, so that each is told once and not with every part."""

    def __init__(self) -> None:
        self._told: set[str] = set()
        self._quiet = 0

    def part(self, looks_like: str) -> bool:
        """Take one scored part; return whether the other product it looks like is to be told."""
        if not looks_like:
            self._quiet += 1
            if self._quiet >= QUIET_PARTS:
                self._told.clear()
            return False
        self._quiet = 0
        fresh = looks_like not in self._told
        self._told.add(looks_like)
        return fresh


def _rounded(values: NDArray[np.float32]) -> tuple[float, ...]:
    return tuple(round(float(value), 6) for value in values)
