"""Scan the signatures of a product for parts like one image: a sequential read with bounded memory."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linewatch.recall.similarity import SAMPLE_ROWS, Likeness, Usual, Values, View, learn_usual, sample
from linewatch.recall.windows import COUNTS
from linewatch.storage.signatures import SignatureFile
from linewatch.vision.signature import Signature

HOUR_MS = 3_600_000
KEPT = COUNTS[-1]  # Most similar parts that are kept in each view.
_FOUND = np.dtype(
    [
        ("similarity", "f4"),
        ("position", "i8"),
        ("captured_ms", "i8"),
        ("boot", "u4"),
        ("seq", "u4"),
        ("raw", "f4"),
        ("threshold", "f4"),
        ("result", "u1"),
    ]
)


@dataclass
class Scan:
    """What a scan has found so far."""

    scanned: int = 0  # Parts compared, in the order of production; a position counts them from 0.
    hours: Counter[int] = field(default_factory=Counter)  # Start of the hour, UTC ms -> parts compared.
    best: dict[View, NDArray[Any]] = field(default_factory=dict)  # Rows of _FOUND, the most similar first.

    def add(self, rows: NDArray[Any], similarities: Mapping[View, Values]) -> None:
        """Add rows that follow those before in the order of production, and how similar each is."""
        if not len(rows):
            return
        hours, counts = np.unique(rows["captured_ms"] // HOUR_MS, return_counts=True)
        self.hours.update({int(hour) * HOUR_MS: int(n) for hour, n in zip(hours, counts, strict=True)})
        for view, similarity in similarities.items():
            kept = self.best.get(view, np.zeros(0, _FOUND))
            floor = kept["similarity"][-1] if len(kept) == KEPT else -np.inf
            chosen = np.flatnonzero(similarity >= floor)
            found = np.zeros(len(chosen), _FOUND)
            found["similarity"], found["position"] = similarity[chosen], self.scanned + chosen
            for name in _FOUND.names[2:] if _FOUND.names else ():
                found[name] = rows[name][chosen]
            merged = np.concatenate([kept, found])
            self.best[view] = merged[np.lexsort((_shuffled(merged), -merged["similarity"]))[:KEPT]]
        self.scanned += len(rows)


def _shuffled(found: NDArray[Any]) -> NDArray[np.uint64]:
    """Return a number per part that has nothing to do with its time: equally similar parts are no cluster."""
    mixed: NDArray[np.uint64] = found["position"].astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return mixed >> np.uint64(20)


def usual_of(files: Sequence[SignatureFile], since_ms: int | None, until_ms: int | None) -> Usual | None:
    """Return how the parts in files of one kind vary, from an even sample; None if there are too few."""
    step = max(1, sum(file.rows for file in files) // SAMPLE_ROWS)
    every = sample(rows for file in files for rows in _inside(file, since_ms, until_ms, step))
    return None if every is None else learn_usual(every)


def scan_file(
    scan: Scan,
    file: SignatureFile,
    like: Signature,
    usual: Usual,
    since_ms: int | None = None,
    until_ms: int | None = None,
) -> None:
    """Compare every part of a file that was exposed from `since_ms` up to `until_ms` (UTC)."""
    likeness = Likeness(like, usual)
    for rows in _inside(file, since_ms, until_ms):
        scan.add(rows, likeness.compare(rows))


def _inside(
    file: SignatureFile, since_ms: int | None, until_ms: int | None, step: int = 1
) -> Iterator[NDArray[Any]]:
    for rows in file.read(step=step):
        if since_ms is None and until_ms is None:
            yield rows
            continue
        at = rows["captured_ms"]
        inside = np.ones(len(rows), bool)
        if since_ms is not None:
            inside &= at >= since_ms
        if until_ms is not None:
            inside &= at < until_ms
        yield rows[inside]
