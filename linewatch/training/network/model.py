"""From crops of good parts to a trained scorer: features, autoencoder, statistics."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from linewatch.training.network.autoencoder import build_autoencoder, build_pixel_autoencoder, fit, rebuild
from linewatch.training.network.features import Extractor, Features, feature_model, luminance, pixel_model
from linewatch.training.network.graph import Residual, build_scorer, embeddings_of, fold
from linewatch.training.network.keras_backend import keras
from linewatch.training.network.whitening import Whitening, learn_whitening, no_whitening
from linewatch.vision.product_match import Likeness, learn_likeness

BATCH = 8
FOLDS = 4
BRIEF = 3  # The autoencoders of the folds learn for a third of the time: good enough to score with.
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
    """A trained scorer as a network, and what it would say of good parts it has not seen."""

    network: keras.Model
    maps: NDArray[np.float32]  # (n, rows, columns), each picture as if the model had not seen it.
    loss: float  # Mean squared error of the autoencoder on its last batch.
    likeness: Likeness | None  # None: the network has no embedding.


class _Head(NamedTuple):
    """Everything behind the features."""

    residual: Residual
    statistics: Whitening
    maps: NDArray[np.float32]  # (n, rows, columns), each picture left out of the statistics only.
    loss: float

    @property
    def level(self) -> float:
        """How high it scores good parts: heads that were trained apart measure in units of their own."""
        return float(self.maps.max(axis=(1, 2)).mean())


def learn(
    crops: NDArray[np.uint8],
    part: NDArray[np.float32],
    design: Design,
    seed: int,
    progress: Callable[[float], None] = lambda _: None,
) -> Learnt:
    """Learn from crops (n, height, width, 3); `part` (rows, columns) is 1 where the part may be."""
    height, width = crops.shape[1:3]
    target = float(np.median([luminance(crop) for crop in crops])) if design.gain else None
    front = (pixel_model if design.architecture == "pixel" else feature_model)((height, width), target)
    features = Extractor(front)(crops)
    progress(0.1)
    head = _learn_head(features, part, design, seed, lambda done: progress(0.1 + 0.4 * done))
    maps = _unseen(features, part, design, seed, head.level, lambda done: progress(0.5 + 0.5 * done))
    likeness = None
    if design.architecture == "feature":
        likeness = learn_likeness(embeddings_of(features, head.residual))
    return Learnt(build_scorer(front, head.residual, head.statistics), maps, head.loss, likeness)


def _unseen(
    features: Features,
    part: NDArray[np.float32],
    design: Design,
    seed: int,
    level: float,
    progress: Callable[[float], None],
) -> NDArray[np.float32]:
    """Return the maps (n, rows, columns) of pictures by heads that never saw them, in units of `level`.

    An autoencoder flatters what it has learnt from, most of all where pictures are few.
    """
    brief = replace(design, iterations=design.iterations // BRIEF)
    fold = np.random.default_rng(seed).permutation(len(features)) % FOLDS
    maps = np.empty((len(features), *part.shape), np.float32)
    for number in range(FOLDS):
        head = _learn_head(features[fold != number], part, brief, seed)
        unseen = _left_over(head.residual, features[fold == number])
        maps[fold == number] = head.statistics.maps(unseen) * (level / head.level)
        progress((number + 1) / FOLDS)
    return maps


def _learn_head(
    features: Features,
    part: NDArray[np.float32],
    design: Design,
    seed: int,
    progress: Callable[[float], None] = lambda _: None,
) -> _Head:
    keras.utils.set_random_seed(seed)
    mean, spread = features.mean(axis=(0, 1, 2)), features.std(axis=(0, 1, 2)) + 1e-3
    network, loss = None, 0.0
    if design.autoencoder:
        pixel = design.architecture == "pixel"
        network = build_pixel_autoencoder() if pixel else build_autoencoder(features.shape[-1])
        usual = (features - mean) / spread
        loss = fit(
            network,
            lambda rng: _draw(usual, design.noise, rng),
            iterations=design.iterations,
            seed=seed,
            progress=progress,
        )
    residual = Residual(mean, spread, network)
    residuals = _left_over(residual, features)
    if design.whitening == "none":
        statistics = no_whitening(residuals.shape[-1], part)
        maps = statistics.maps(residuals)
    else:
        statistics, maps = learn_whitening(residuals, part, local=design.whitening == "local")
    return _Head(residual, statistics, maps, loss)


def _left_over(residual: Residual, features: Features) -> Features:
    """Return the residuals of features, on the grid of the statistics."""
    usual: Features = residual.standardised(features)
    if residual.autoencoder is None:
        return usual
    residuals = rebuild(residual.autoencoder, usual) - usual
    return fold(residuals) if residual.autoencoder.name == "pixel_autoencoder" else residuals


def _draw(features: Features, noise: float, rng: np.random.Generator) -> tuple[Features, Features]:
    """Draw what the autoencoder is shown and what it must make of it.

    Noise keeps it from copying: what a place looks like must follow from its surroundings.
    """
    batch = features[rng.integers(0, len(features), BATCH)]
    if not noise:
        return batch, batch
    return batch + noise * rng.standard_normal(batch.shape, np.float32), batch
