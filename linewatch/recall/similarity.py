"""How alike two signatures are: three views of a part, each compared with how parts of the product vary."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linewatch.vision.signature import STEPS, Signature

Rows = NDArray[Any]
"""Rows of a signature file."""
Values = NDArray[np.float32]

SAMPLE_ROWS = 20_000  # Enough for 176 x 176 covariances.
SAMPLE_ROWS_MIN = 50  # Fewer say little about what is usual.
RIDGE = 0.01  # Of the mean variance; bounds the weight of directions in which parts never vary.
LEVEL_SPREAD_MIN = 0.03  # Octaves: parts that never differ in a cell must not make noise a defect.
UNUSUAL_MAX = 8.0  # Spreads: beyond it a cell does not count more.


class View(StrEnum):
    """What is compared. The order is that of preference where none finds more than the others."""

    DEFECT = "defect"  # What the most unusual place looks like, wherever it is on the part.
    PLACE = "place"  # Where on the part, and how much, the anomaly map is above what is usual there.
    WHOLE = "whole"  # The whole part, as the backbone sees it.


@dataclass(frozen=True, slots=True)
class Usual:
    """How parts of one model vary: what the similarity of each view is measured against."""

    level: Values  # (cells,) median, in octaves;
    level_spread: Values  # half the distance from the 16th to the 84th percentile.
    mean: Values  # (channels,) of the embedding.
    whitening: Values  # (channels, channels)
    local_mean: Values  # (local,)
    local_spread: Values


def learn_usual(rows: Rows) -> Usual:
    """Return how these rows, a sample of the journal, vary. Defects are few among them."""
    levels = _levels(rows["cells"])
    low, middle, high = np.percentile(levels, (16, 50, 84), axis=0).astype(np.float32)
    embedding = _finite(rows["embedding"])
    local = _finite(rows["local"])
    return Usual(
        level=middle,
        level_spread=(high - low) / 2 + np.float32(LEVEL_SPREAD_MIN),
        mean=_mean(embedding),
        whitening=_whitening(embedding),
        local_mean=_mean(local),
        local_spread=local.std(axis=0) + np.float32(1e-3) if len(local) else local.sum(axis=0),
    )


class Likeness:
    """Compares rows with one part, in every view that both have."""

    def __init__(self, like: Signature, usual: Usual) -> None:
        self._usual = usual
        one = {
            "cells": like.cells.reshape(1, -1),
            "embedding": like.embedding[None],
            "local": like.local[None],
        }
        self._targets: dict[View, Values] = {}
        for view in View:
            vector = self._vectors(view, one)[0]
            length = float(np.linalg.norm(vector))
            if length > 0:
                self._targets[view] = vector / np.float32(length)

    @property
    def views(self) -> tuple[View, ...]:
        """What can be compared: nothing of a view in which the part is as usual as can be."""
        return tuple(self._targets)

    def compare(self, rows: Rows) -> dict[View, Values]:
        """Return the similarity of every row in each view, -1 to 1."""
        found = {}
        for view, target in self._targets.items():
            vectors = self._vectors(view, rows)
            # In the view of places most parts have hardly anything unusual: that is like nothing.
            calm = np.float32(1 if view is View.PLACE else 1e-9)
            lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
            found[view] = (vectors @ target) / (lengths + calm)
        return found

    def _vectors(self, view: View, rows: Any) -> Values:
        usual = self._usual
        if view is View.PLACE:
            unusual = (_levels(rows["cells"]) - usual.level) / usual.level_spread
            return np.asarray(np.clip(unusual, 0, UNUSUAL_MAX), np.float32)
        if view is View.WHOLE:
            return _fitting(_centred(rows["embedding"], usual.mean) @ usual.whitening)
        local = _centred(rows["local"], usual.local_mean)
        local /= usual.local_spread
        return _fitting(local)


def sample(parts: Iterable[Rows]) -> Rows | None:
    """Return all rows in one array; None if there are too few to say what is usual."""
    chunks = [rows for rows in parts if len(rows)]
    total = sum(map(len, chunks))
    return np.concatenate(chunks) if total >= SAMPLE_ROWS_MIN else None


def _levels(cells: Rows) -> Values:
    """Return codes as octaves; a cell that is not inspected is at 0, as in every part."""
    return np.asarray(cells, np.float32) / np.float32(STEPS)


def _finite(values: Rows) -> Values:
    found = np.asarray(values, np.float32)
    return found if np.isfinite(found.sum()) else np.nan_to_num(found, posinf=0.0, neginf=0.0)


def _centred(values: Rows, mean: Values) -> Values:
    found = np.asarray(values, np.float32) - mean
    return found if np.isfinite(found.sum()) else np.nan_to_num(found, posinf=0.0, neginf=0.0)


def _mean(values: Values) -> Values:
    return np.asarray(values.mean(axis=0) if values.size else np.zeros(values.shape[1]), np.float32)


def _whitening(embedding: Values) -> Values:
    """Return the matrix that gives the embeddings unit covariance (PCA whitening, with a ridge)."""
    if not embedding.size:
        return np.zeros((0, 0), np.float32)
    covariance = np.atleast_2d(np.cov(embedding.T.astype(np.float64)))
    variances, axes = np.linalg.eigh(covariance)
    floor = RIDGE * variances.mean() + 1e-12
    return np.asarray(axes / np.sqrt(np.maximum(variances, 0) + floor), np.float32)


def _fitting(vectors: NDArray[Any]) -> Values:
    """Return vectors of at least one component, so that a view without any has length 0."""
    return np.asarray(vectors if vectors.shape[1] else np.zeros((len(vectors), 1)), np.float32)
