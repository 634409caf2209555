"""Measure how recall finds real defects of the same kind, and the time in which they were made.

    python -m tests.benchmarks.recall_products DATA [PRODUCT ...] [--models DIR] [--parts 20000]

DATA has a folder per product with train/good, test/good and test/KIND. A model is trained for each product
that has none in `--models`. Every image with a defect of a kind with at least 6 images is asked for once:

- ranked: of the parts most similar to it, as many as there are others of its kind, how many are of its kind.
  Compared are all test images and good parts, per view; chance is the share of its kind among them.
- named: the others of its kind are hidden in 2 % of the time of `--parts` good parts, which are the real ones
  with a spread of their own; all other defects are spread over the whole time. A window is right if it
  overlaps the true one by at least half of both.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linewatch.errors import NotRegistered
from linewatch.recall.recall import _most_telling
from linewatch.recall.scan import Scan
from linewatch.recall.similarity import Likeness, Usual, View, learn_usual
from linewatch.training.train import train
from linewatch.vision.image_folders import images_in
from linewatch.vision.image_io import read_image
from linewatch.vision.signature import Signature
from tests.benchmarks.recall import Scene, multiply

KIND_MIN = 6  # Images with the same kind of defect: fewer are no cluster.
WINDOW_SHARE = 0.02
SEED = 7


@dataclass(frozen=True)
class Part:
    """One image of the data set."""

    kind: str  # "good", or that of its defect.
    signature: Signature


def main() -> None:
    """Print a table with a row per product and kind."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("products", nargs="*")
    parser.add_argument("--models", type=Path, default=Path("var/recall_products"))
    parser.add_argument("--parts", type=int, default=20_000)
    arguments = parser.parse_args()
    views = " | ".join(View)
    print(f"| product | kind | images | chance | {views} | named right / wrong / not |")
    print("|---|---|---|---|" + "---|" * (len(View) + 1), flush=True)
    for product in arguments.products or sorted(path.parent.name for path in arguments.data.glob("*/train")):
        measure(arguments.data / product, product, arguments.models, arguments.parts)


def measure(data: Path, product: str, models: Path, parts: int) -> None:
    """Print the rows of one product."""
    recipes = models / "recipes"
    if not (models / product / "active").exists():
        train(product, data / "train/good", models, recipes, progress=lambda _doing, _done: None)
    scene = Scene(models, recipes, product)
    every = [*read(scene, data / "train/good", "good")]
    for folder in sorted((data / "test").iterdir()):
        every += read(scene, folder, folder.name)
    rows = scene.rows([part.signature for part in every])
    kinds = np.array([part.kind for part in every])
    rng = np.random.default_rng(SEED)
    stream = multiply(rows[kinds == "good"], parts, rng)
    for kind in sorted(set(kinds) - {"good"}):
        if (count := int((kinds == kind).sum())) >= KIND_MIN:
            asked = np.flatnonzero(kinds == kind).tolist()
            usual = learn_usual(rows)
            precision = np.mean([ranked(every[at].signature, usual, rows, kinds, at) for at in asked], axis=0)
            outcomes = [named(every[at].signature, stream.copy(), rows, kinds, at, rng) for at in asked]
            found = " / ".join(str(outcomes.count(one)) for one in ("right", "wrong", "none"))
            shown = " | ".join(f"{100 * one:.0f} %" for one in precision)
            chance = (count - 1) / (len(every) - 1)
            print(f"| {product} | {kind} | {count} | {100 * chance:.0f} % | {shown} | {found} |", flush=True)


def read(scene: Scene, folder: Path, kind: str) -> list[Part]:
    """Return the parts of a folder; one that is not found in its image has no signature."""
    found = []
    for path in images_in(folder):
        try:
            (signature,) = scene.sign(iter([read_image(path)]))
        except NotRegistered:
            print(f"{path}: the part is not found", file=sys.stderr)
            continue
        found.append(Part(kind, signature))
    return found


def ranked(
    like: Signature, usual: Usual, rows: NDArray[Any], kinds: NDArray[np.str_], at: int
) -> list[float]:
    """Return per view the share of the same kind among the most similar others."""
    others = np.delete(np.arange(len(rows)), at)
    wanted = int((kinds[others] == kinds[at]).sum())
    found = Likeness(like, usual).compare(rows[others])
    shares = []
    for view in View:
        best = np.argsort(-found[view], kind="stable")[:wanted] if view in found else np.zeros(0, int)
        shares.append(float((kinds[others[best]] == kinds[at]).mean()) if len(best) else 0.0)
    return shares


def named(
    like: Signature,
    stream: NDArray[Any],
    rows: NDArray[Any],
    kinds: NDArray[np.str_],
    at: int,
    rng: np.random.Generator,
) -> str:
    """Return whether the first window named is the "right" one, a "wrong" one, or "none" is."""
    same = np.flatnonzero(kinds == kinds[at])
    same = same[same != at]
    others = np.flatnonzero((kinds != kinds[at]) & (kinds != "good"))
    span = max(int(len(stream) * WINDOW_SHARE), 2 * len(same))
    first = int(rng.integers(0, len(stream) - span))
    stream[rng.choice(len(stream), len(others), replace=False)] = rows[others]
    places = np.sort(rng.choice(span, len(same), replace=False)) + first
    stream[places] = rows[same]
    stream["captured_ms"] = np.arange(len(stream)) * 1000
    scan = Scan()
    scan.add(stream, Likeness(like, learn_usual(stream)).compare(stream))
    _, clusters = _most_telling(scan)
    if not clusters:
        return "none"
    true, window = (places[0], places[-1]), (clusters[0].first, clusters[0].last)
    common = min(true[1], window[1]) - max(true[0], window[0])
    longest = max(true[1] - true[0], window[1] - window[0])
    return "right" if common >= longest / 2 else "wrong"


if __name__ == "__main__":
    main()
