"""Find the time in which similar parts cluster: a scan over windows of the order of production.

The scan statistic of Kulldorff (1997) for a binomial count, over windows that begin and end with a similar
part. A window is named only if so many in it are no chance: the Chernoff bound of the binomial tail, times
the number of windows tried, is an upper bound of the p-value whatever the parts look like.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

P_MAX = 1e-4  # Of a window that chance would show somewhere.
COUNTS = (5, 10, 20, 50, 100, 200, 500, 1000)  # Most similar parts that are tried.
PARTS_MIN = 4  # In a window.
WINDOWS_MAX = 3  # Found one after the other, without the parts of those before.


@dataclass(frozen=True, slots=True)
class Cluster:
    """A window of the order of production with more similar parts than chance puts there."""

    first: int  # Position of its first similar part,
    last: int  # and of its last one.
    similar: tuple[int, ...]  # Positions of the similar parts in it, in order.
    elsewhere: int  # Similar parts outside.
    p: float  # Upper bound of the probability that chance shows such a window.


def find_clusters(ranked: Sequence[int] | NDArray[np.int64], total: int, tries: int = 1) -> list[Cluster]:
    """Return the windows in which similar parts cluster, the most certain first; empty if there is none.

    `ranked` are positions 0 to `total` - 1 in the order of production, the most similar first. `tries` is
    how many rankings are searched; the bound allows for it.
    """
    found: list[Cluster] = []
    left = np.asarray(ranked, np.int64)[: COUNTS[-1]]
    cut: list[tuple[int, int]] = []  # Windows found before: neither their parts nor their time count again.
    while len(found) < WINDOWS_MAX:
        moved = left - sum(((left > last) * (last + 1 - first) for first, last in cut), np.zeros_like(left))
        lasting = total - sum(last + 1 - first for first, last in cut)
        windows = (
            _best_window(moved[:count], left[:count], lasting, tries * len(COUNTS))
            for count in COUNTS
            if PARTS_MIN <= count <= len(left) and count + 2 < lasting
        )
        best = min(windows, key=lambda cluster: cluster.p, default=None)
        if best is None or best.p > P_MAX:
            break
        found.append(best)
        cut.append((best.first, best.last))
        left = left[(left < best.first) | (left > best.last)]
    return found


def _best_window(moved: NDArray[np.int64], places: NDArray[np.int64], total: int, tries: int) -> Cluster:
    """Return the least probable window of positions; `moved` are theirs without the time cut out."""
    count = len(places)
    order = np.argsort(moved)
    similar, places = moved[order], places[order]
    best = (-math.inf, 0, 0)
    for first in range(count - PARTS_MIN + 1):
        ends = np.arange(first + PARTS_MIN - 1, count)
        # The two parts at the window's ends define it: chance places the others.
        inside = (ends - first - 1) / (count - 2)
        share = (similar[ends] - similar[first] - 1) / (total - 2)
        surprise = (count - 2) * _divergence(inside, share)
        place = int(surprise.argmax())
        if surprise[place] > best[0]:
            best = (float(surprise[place]), first, int(ends[place]))
    surprise_max, first, last = best
    windows = count * (count - 1) / 2
    p = math.exp(min(0.0, math.log(windows * tries) - surprise_max))
    return Cluster(
        int(places[first]),
        int(places[last]),
        tuple(map(int, places[first : last + 1])),
        count - (last + 1 - first),
        p,
    )


def _divergence(inside: NDArray[np.float64], share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Kullback-Leibler divergence of the two rates, 0 where fewer are inside than expected."""
    share = np.clip(share, 1e-12, 1 - 1e-12)
    with np.errstate(divide="ignore", invalid="ignore"):
        more = np.where(inside > 0, inside * np.log(inside / share), 0.0)
        less = np.where(inside < 1, (1 - inside) * np.log((1 - inside) / (1 - share)), 0.0)
    return np.where(inside > share, more + less, 0.0)
