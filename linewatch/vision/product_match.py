"""Whether a part looks like its own product, or clearly more like another one that is made here."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

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


@dataclass(frozen=True, slots=True)
class OtherProduct:
    """Another product: what its good parts look like to the model in use."""

    product: str
    embeddings: tuple[Embedding, ...]


class ProductMatcher:
    """Tells parts of other products from those of one.

    Distances are root mean squares over the channels, in spreads of the own product.
    """

    def __init__(self, likeness: Likeness | None, strangers: Sequence[OtherProduct] = ()) -> None:
        """Take what the own product looks like, None if that is not known, and the others."""
        samples = [(stranger.product, sample) for stranger in strangers for sample in stranger.embeddings]
        self._likeness = likeness if samples else None
        self._products = [product for product, _ in samples]
        if self._likeness is not None:  # Made once: the answer is wanted with every part.
            self._unit = _unit(self._likeness.spread)
            self._own = np.asarray(self._likeness.mean, np.float32) * self._unit
            self._others = np.stack([sample for _, sample in samples]) * self._unit

    def other(self, embedding: Embedding) -> str:
        """Return the other product that a part looks like, "" if none.

        The part must be unlike its own product, and less than half as far from a good part of the other
        one. So what cannot be told is "": no likeness, no embedding, no other product.
        """
        if self._likeness is None or len(embedding) != len(self._own):
            return ""
        place = embedding * self._unit
        own = np.linalg.norm(place - self._own)
        if not own > self._likeness.limit:
            return ""
        apart = np.linalg.norm(place - self._others, axis=1)
        nearest = int(apart.argmin())
        return self._products[nearest] if apart[nearest] < CLEARLY * own else ""


def learn_likeness(embeddings: NDArray[np.float32]) -> Likeness:
    """Return the likeness of good parts, (n, channels)."""
    mean = embeddings.mean(axis=0)
    spread = np.sqrt(embeddings.var(axis=0) + FLOOR**2)
    oddest = np.linalg.norm((embeddings - mean) * _unit(spread), axis=1).max()
    return Likeness(_rounded(mean), _rounded(spread), round(ROOM * float(oddest), 6))


def _unit(spread: ArrayLike) -> NDArray[np.float32]:
    """Return what each channel is multiplied by, so that plain distances are those that count."""
    values = np.asarray(spread, np.float32)
    return np.float32(1) / (values * np.float32(math.sqrt(len(values))))


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
