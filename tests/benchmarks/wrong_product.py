"""Measure on real images how often parts are judged WRONG_PRODUCT, of their own and of other products.

    export LINEWATCH_MODELS__RECIPES=RECIPES
    linewatch train PRODUCT --images DATA/PRODUCT/train/good --models DIR    # each of them
    cp -r models/demo DIR; cp config/recipes/demo.toml RECIPES    # optionally the simulated product
    python -m tests.benchmarks.wrong_product PRODUCT... --data DATA --models DIR --recipes RECIPES

A product is a folder with test/good and test/DEFECT; demo is rendered. Each model judges the test images
of every product, and its own good ones again out of focus, in other light and rotated by 90 degrees.
"""

import argparse
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from linewatch.acquisition.sources.folder import find_images
from linewatch.acquisition.sources.simulator.source import DEFECTS, render
from linewatch.domain import Image, Reason, Result
from linewatch.models.bundle import Bundle
from linewatch.models.engine import OpenVinoEngine
from linewatch.models.judge_file import judge_image
from linewatch.models.loader import Prepared, prepare
from linewatch.models.reference_embeddings import ReferenceEmbeddings
from linewatch.settings import ModelsSettings
from linewatch.vision.image_io import read_image

DEMO = "demo"
ImagesByLabel = dict[str, list[Image]]  # By label: "good" or a defect.

CHANGES: tuple[Callable[[Image], Image], ...] = (
    lambda image: np.asarray(cv2.GaussianBlur(image, (0, 0), 3.0), np.uint8),
    lambda image: np.asarray(cv2.convertScaleAbs(image, alpha=0.6), np.uint8),
    lambda image: np.asarray(cv2.convertScaleAbs(image, alpha=1.4), np.uint8),
    lambda image: np.clip(image * np.array([0.8, 1.0, 1.15]), 0, 255).astype(np.uint8),  # A warmer lamp.
    lambda image: np.ascontiguousarray(np.rot90(image)),
)


def main() -> None:
    """Print one line for each product."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("products", nargs="+")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--recipes", type=Path, required=True)
    parser.add_argument("--each", type=int, default=40, help="most images of a kind")
    options = parser.parse_args()
    place = ModelsSettings(path=options.models, recipes=options.recipes)
    images_of = {name: dict(labelled(options.data / name, options.each)) for name in options.products}
    print("| on the line | own good | own defective | own, other light, focus or pose | other products |")
    print("|---|---|---|---|---|")
    times = []
    for product in options.products:
        prepared, bundle = prepare(product, place, references=ReferenceEmbeddings(place.path, place.recipes))
        engine = OpenVinoEngine(bundle.graph)
        fresh = ReferenceEmbeddings(place.path, place.recipes)
        times.append((_lookup_s(fresh, bundle, engine), _lookup_s(fresh, bundle, engine)))
        own = images_of[product]
        good = own["good"]
        columns = (
            good,
            [image for label, images in own.items() if label != "good" for image in images],
            [change(image) for image in good for change in CHANGES],
            [
                image
                for other, kinds in images_of.items()
                if other != product
                for images in kinds.values()
                for image in images
            ],
        )
        print(f"| {product} | {' | '.join(summarise(prepared, images) for images in columns)} |", flush=True)
    for product, (first_s, again_s) in zip(options.products, times, strict=True):
        print(f"{product}: reference embeddings in {1000 * first_s:.0f} ms, again in {1000 * again_s:.1f} ms")


def labelled(folder: Path, each: int) -> Iterator[tuple[str, list[Image]]]:
    """Yield each label of a product's test images, with at most `each` images."""
    if folder.name == DEMO and not folder.exists():
        for number, defect in enumerate((None, *DEFECTS)):
            yield defect or "good", [render(5, 1000 * (number + 1) + n, defect) for n in range(each)]
        return
    for place in sorted((folder / "test").iterdir()):
        yield place.name, [read_image(path) for path in islice(find_images(place), each)]


def summarise(prepared: Prepared, images: Iterable[Image]) -> str:
    """Return how many images are judged WRONG_PRODUCT, and the results of the others, as text."""
    seen: Counter[Result | Reason] = Counter()
    for image in images:
        verdict, _ = judge_image(image, prepared.scorer, prepared.recipe, station="")
        special = verdict.reason in (Reason.WRONG_PRODUCT, Reason.NOT_REGISTERED)
        seen[verdict.reason if special else verdict.result] += 1
    rest = [
        f"{seen[kind]} {name}"
        for kind, name in (
            (Reason.NOT_REGISTERED, "not found"),
            (Result.FAIL, "FAIL"),
            (Result.UNSURE, "UNSURE"),
            (Result.PASS, "PASS"),
        )
        if seen[kind]
    ]
    return f"{seen[Reason.WRONG_PRODUCT]} of {seen.total()} ({', '.join(rest) or 'no other'})"


def _lookup_s(references: ReferenceEmbeddings, bundle: Bundle, engine: OpenVinoEngine) -> float:
    started = time.perf_counter()
    references.for_model(bundle, engine)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
