"""Evaluate the part trigger on belts with ground truth; exits 1 if it finds fewer than 99.8 % of the parts.

    python -m tests.benchmarks.belt [--parts 1000] [--pictures FOLDER ...]

Runs the simulator's belt at several speeds, with stops and touching parts; and, for each FOLDER of
images (one product, one part in each), a video in which they move across a background.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

from linewatch.acquisition.sources.folder import find_images
from linewatch.domain import Image
from linewatch.vision.image_io import read_image
from tests.belts import Outcome, film, filmed, simulated

BELTS = (
    "belt=4&size=96&touching=0.2",
    "belt=12&size=160&touching=0.2",
    "belt=30&size=128&touching=0.2",
)
# Reported, not required: first parts touch, so their length is unknown; a third of the image per frame.
HARD = ("belt=12&size=320&touching=0.6", "belt=60&size=96&touching=0.4")
FOUND_MIN = 0.998
IMAGES_MAX = 40


def main() -> int:
    """Run every belt and print the results; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.belt")
    parser.add_argument("--parts", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pictures", type=Path, nargs="*", default=[])
    options = parser.parse_args()
    held = True
    for uri in BELTS:
        held &= _report(uri, simulated(f"{uri}&count={options.parts}&seed={options.seed}"))
    for uri in HARD:
        _report(f"hard: {uri}", simulated(f"{uri}&count={options.parts}&seed={options.seed}"))
    for folder in options.pictures:
        images = [_square(path) for path in find_images(folder)[:IMAGES_MAX]]
        with tempfile.TemporaryDirectory() as place:
            path = Path(place) / "belt.avi"
            truth = film(path, images, max(20, options.parts // 5), seed=options.seed, speed=16)
            held &= _report(str(folder), filmed(path, truth))
    return 0 if held else 1


def _square(path: Path) -> Image:
    return np.asarray(cv2.resize(read_image(path), (400, 400), interpolation=cv2.INTER_AREA), np.uint8)


def _report(name: str, outcome: Outcome) -> bool:
    held = outcome.once >= FOUND_MIN * len(outcome.passed) and not outcome.empty
    print(f"{'ok ' if held else 'BAD'} {name}: {outcome}", flush=True)
    return held


if __name__ == "__main__":
    sys.exit(main())
