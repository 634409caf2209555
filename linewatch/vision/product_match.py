"""Recognise parts of other products by the embedding of the whole image."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from linewatch.domain import Embedding

SPREAD_MIN = 0.05  # Floor of a channel's spread, in standard deviations over the cells of an image.
LIMIT_FACTOR = 1.5  # Of the largest training distance; good parts seen later reached at most 1.2 of it.
RATIO_MAX = 0.5  # Distance to the other product over that to the own: a gross defect is far from both.
QUIET_PARTS = 20  # Parts in a row of the own product after which the alarm is armed again.


@dataclass(frozen=True, slots=True)
class Likeness:
    """Distribution of the embeddings of one product's good parts, channel by channel."""

    mean: tuple[float, ...]
    spread: tuple[float, ...]
    limit: float  # Largest distance from the mean, in spreads, of a part of this product.


@dataclass(frozen=True, slots=True)
class OtherProduct:
    """Another product and the embeddings of its good parts, computed with the model in use."""

    product: str
    embeddings: tuple[Embedding, ...]


class ProductMatcher:
    """Compares embeddings with the own product and with the other products.

    Distances are root mean squares over the channels, in spreads of the own product: a Mahalanobis
    distance with a diagonal covariance.
    """

    def __init__(self, likeness: Likeness | None, references: Sequence[OtherProduct] = ()) -> None:
        """Without a `likeness` or without any reference embedding, nothing is ever matched."""
        samples = [(other.product, embedding) for other in references for embedding in other.embeddings]
        self._likeness = likeness if samples else None
        self._products = [product for product, _ in samples]
        if self._likeness is not None:  # Scaled once: `match` runs for every part.
            self._scale = _scale(self._likeness.spread)
            self._own = np.asarray(self._likeness.mean, np.float32) * self._scale
            self._others = np.stack([sample for _, sample in samples]) * self._scale

    def match(self, embedding: Embedding) -> str:
        """Return the name of the other product that a part looks like, "" if none.

        The part must be farther than `limit` from its own product, and less than RATIO_MAX times that
        distance from a reference embedding of the other one. Without likeness or embedding: "".
        """
        if self._likeness is None or len(embedding) != len(self._own):
            return ""
        scaled = embedding * self._scale
        own = np.linalg.norm(scaled - self._own)
        if not own > self._likeness.limit:
            return ""
        distances = np.linalg.norm(scaled - self._others, axis=1)
        nearest = int(distances.argmin())
        return self._products[nearest] if distances[nearest] < RATIO_MAX * own else ""


def learn_likeness(embeddings: NDArray[np.float32]) -> Likeness:
    """Return the likeness of good parts from their embeddings, (n, channels) float32."""
    mean = embeddings.mean(axis=0)
    spread = np.sqrt(embeddings.var(axis=0) + SPREAD_MIN**2)
    farthest = np.linalg.norm((embeddings - mean) * _scale(spread), axis=1).max()
    return Likeness(_rounded(mean), _rounded(spread), round(LIMIT_FACTOR * float(farthest), 6))


def _scale(spread: ArrayLike) -> NDArray[np.float32]:
    """Return the factor per channel that turns Euclidean distances into RMS distances in spreads."""
    values = np.asarray(spread, np.float32)
    return np.float32(1) / (values * np.float32(math.sqrt(len(values))))


class WrongProductAlarm:
    """Decides when to report another product on the belt: once, not with every part.

    QUIET_PARTS parts in a row of the own product arm the alarm again.
    """

    def __init__(self) -> None:
        self._reported: set[str] = set()
        self._quiet = 0

    def observe(self, looks_like: str) -> bool:
        """Add one scored part; return whether the product it looks like must be reported."""
        if not looks_like:
            self._quiet += 1
            if self._quiet >= QUIET_PARTS:
                self._reported.clear()
            return False
        self._quiet = 0
        is_new = looks_like not in self._reported
        self._reported.add(looks_like)
        return is_new


def _rounded(values: NDArray[np.float32]) -> tuple[float, ...]:
    return tuple(round(float(value), 6) for value in values)
