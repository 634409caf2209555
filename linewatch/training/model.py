"""From crops of good parts to a trained scorer: features, autoencoder, statistics."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from linewatch.training.autoencoder import build_autoencoder, build_pixel_autoencoder, fit, rebuild
from linewatch.training.backend import keras
from linewatch.training.features import Extractor, Features, feature_model, luminance, pixel_model
from linewatch.training.graph import Residual, build_scorer, fold
from linewatch.training.statistics import learn_statistics, no_statistics

BATCH = 8
ARCHITECTURES = ("feature", "pixel")


@dataclass(frozen=True, slots=True)
class Design:
    """What is learnt. The defaults are what a product gets; the rest is there to be measured against."""

    architecture: str = "feature"  # Or "pixel": an autoencoder of the picture itself.
    autoencoder: bool = True
    whitening: str = "local"  # Or "global": one covariance for all places; or "none": plain squares.
    gain: bool = True
    noise: float = 1.0  # On what the autoencoder is shown, in standard deviations of each channel.
    iterations: int = 300


@dataclass(frozen=True, slots=True)
class Learnt:
    """A trained scorer as a network, and what it says of the parts it learnt from."""

    network: keras.Model
    maps: NDArray[np.float32]  # (n, rows, columns), each picture left out of the statistics.
    loss: float  # Mean squared error of the autoencoder on its last batch.


def learn(
    crops: NDArray[np.uint8],
    part: NDArray[np.float32],
    design: Design,
    seed: int,
    progress: Callable[[float], None] = lambda _: None,
) -> Learnt:
    """Learn from crops (n, height, width, 3); `part` (rows, columns) is 1 where the part may be."""
    keras.utils.set_random_seed(seed)
    pixel = design.architecture == "pixel"
    height, width = crops.shape[1:3]
    target = float(np.median([luminance(crop) for crop in crops])) if design.gain else None
    front = (pixel_model if pixel else feature_model)((height, width), target)
    features = Extractor(front)(crops)
    mean, spread = features.mean(axis=(0, 1, 2)), features.std(axis=(0, 1, 2)) + 1e-3
    features -= mean
    features /= spread
    progress(0.15)
    network, loss, residuals = None, 0.0, features
    if design.autoencoder:
        network = build_pixel_autoencoder() if pixel else build_autoencoder(features.shape[-1])
        loss = fit(
            network,
            lambda rng: _draw(features, design.noise, rng),
            iterations=design.iterations,
            seed=seed,
            progress=lambda done: progress(0.15 + 0.7 * done),
        )
        residuals = rebuild(network, features) - features
    if pixel:
        residuals = fold(residuals)
    if design.whitening == "none":
        statistics = no_statistics(residuals.shape[-1], part)
        maps = statistics.maps(residuals)
    else:
        statistics, maps = learn_statistics(residuals, part, local=design.whitening == "local")
    progress(1.0)
    return Learnt(build_scorer(front, Residual(mean, spread, network), statistics), maps, loss)


def _draw(features: Features, noise: float, rng: np.random.Generator) -> tuple[Features, Features]:
    """Draw what the autoencoder is shown and what it must make of it.

    Noise keeps it from copying: what a place looks like must follow from its surroundings.
    """
    batch = features[rng.integers(0, len(features), BATCH)]
    return batch + noise * rng.standard_normal(batch.shape, np.float32), batch
