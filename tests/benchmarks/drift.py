"""Delay and false alarms of drift detection, on real images of one camera each.

    python -m tests.benchmarks.drift PRODUCT... --data DIR --models DIR --recipes DIR [--streams N]

Test images of good parts are drawn at random, with replacement, into streams of 1,000
parts; then the light falls by 15 %, or the lens loses focus (a blur of 2 pixels), or the next product in
the list is put on the belt. The demo product is always there, with fresh parts, a fifth of them defective.
"""

import argparse
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

import cv2
import numpy as np

from linewatch.acquisition.sources.folder import find_images
from linewatch.acquisition.sources.simulator.source import DEFECTS, render
from linewatch.domain import Image, Reason, Result
from linewatch.errors import NotRegistered
from linewatch.models.loader import Prepared, prepare
from linewatch.settings import ModelsSettings
from linewatch.vision.drift import Drift, Signal
from linewatch.vision.image_io import read_image
from linewatch.vision.image_quality import ImageQuality
from linewatch.vision.recipe import judge

PARTS, SOON = 1000, 50
Measured = tuple[ImageQuality, Result, float | None]
CHANGES: dict[Signal, Callable[[Image], Image]] = {
    Signal.BRIGHTNESS: lambda image: np.asarray(cv2.convertScaleAbs(image, alpha=0.85), np.uint8),
    Signal.SHARPNESS: lambda image: np.asarray(cv2.GaussianBlur(image, (0, 0), 2.0), np.uint8),
}


def main() -> None:
    """Print one line for each product."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.drift")
    parser.add_argument("products", nargs="*")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--recipes", type=Path)
    parser.add_argument("--streams", type=int, default=20)
    options = parser.parse_args()
    own = ModelsSettings()
    demo = [
        render(5, number, DEFECTS[number % len(DEFECTS)] if number % 5 == 0 else None)
        for number in range(200)
    ]
    lines = [("demo", own, demo)]
    if options.products:
        place = ModelsSettings(path=options.models, recipes=options.recipes)
        for product in options.products:
            paths = find_images(options.data / product / "test" / "good")
            lines.append((product, place, [read_image(path) for path in paths]))
    other_products = cycle([images for _, _, images in lines[1:]] + [lines[0][2]])
    for product, settings, images in lines:
        report(product, settings, images, next(other_products), options.streams)


def report(
    product: str, settings: ModelsSettings, images: list[Image], others: list[Image], streams: int
) -> None:
    """Measure all images once, then draw streams from them and print the delays."""
    prepared, bundle = prepare(product, settings)
    usual = [_measure(prepared, image) for image in images]
    injected = {
        signal: [_measure(prepared, change(image)) for image in images] for signal, change in CHANGES.items()
    }
    injected[Signal.REJECTS] = [_measure(prepared, image) for image in others[:20]]
    false: list[str] = []
    delays: dict[Signal, list[int]] = {signal: [] for signal in injected}
    for seed in range(streams):
        for signal, changed in injected.items():
            rng = np.random.default_rng(seed)
            pictures, threshold = bundle.pictures, prepared.recipe.threshold
            drift = Drift(bundle.calibration.scores, threshold, pictures.brightness, pictures.sharpness)
            signals = [name for _ in range(PARTS) for name in _feed(drift, usual[rng.integers(len(usual))])]
            if signal is Signal.REJECTS:
                false += signals
            delays[signal].append(
                next(
                    (
                        number
                        for number in range(1, PARTS + 1)
                        if signal in _feed(drift, changed[rng.integers(len(changed))])
                    ),
                    PARTS,
                )
            )
    late = ", ".join(
        f"{signal} after {np.median(d):.0f}, at most {max(d)} parts" for signal, d in delays.items()
    )
    print(
        f"{product} {bundle.version}: {len(false)} signals in {streams} x {PARTS} usual parts "
        f"({', '.join(sorted(set(false))) or 'none'}); {late}"
    )


def _measure(prepared: Prepared, image: Image) -> Measured:
    health = prepared.gate.examine(image)
    if health.reason is Reason.BAD_PICTURE:
        return health, Result.ERROR, None
    try:
        raw = prepared.scorer.score(image, prepared.recipe).raw
    except NotRegistered:
        return health, Result.UNSURE, None
    return health, judge(raw, prepared.recipe).result, raw


def _feed(drift: Drift, measured: Measured) -> list[Signal]:
    health, result, raw = measured
    changes = [
        *drift.observe_image(health.brightness_ratio, health.sharpness_ratio),
        *drift.observe_part(result, raw),
    ]
    return [change.signal for change in changes if change.on]


if __name__ == "__main__":
    main()
