"""Train a scorer from crops of good parts: features, autoencoder, whitening, out-of-fold scores."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from linewatch.training.network.autoencoder import (
    build_autoencoder,
    build_pixel_autoencoder,
    reconstruct,
    train_autoencoder,
)
from linewatch.training.network.features import (
    FeatureExtractor,
    Features,
    build_feature_network,
    build_pixel_network,
    choose_contrast,
    mean_luminance,
)
from linewatch.training.network.graph import Residual, build_scorer, compute_embeddings, space_to_depth
from linewatch.training.network.keras_backend import keras
from linewatch.training.network.whitening import (
    BORROWED_IMAGES,
    Whitening,
    fit_whitening,
    identity_whitening,
)

BATCH = 8
FOLDS = 4  # Of the cross-validation whose scores calibrate the thresholds,
FOLDS_OF_FEW = 8  # and with fewer images than this limit: three quarters of them teach too little.
_FEW = 64
_BLOCKS = 4  # Runs of successive images per fold: what drifts in time is held out with its neighbours.
FOLD_ITERATIONS_DIVISOR = 3  # A third of the iterations suffices for the autoencoders of the folds.
ARCHITECTURES = ("feature", "pixel")


@dataclass(frozen=True, slots=True)
class Design:
    """The options of a scorer's training. Products use the defaults; the others serve as ablations."""

    architecture: str = "feature"  # Or "pixel": an autoencoder of the image itself.
    autoencoder: bool = True
    whitening: str = "local"  # Or "global": one covariance for all positions; or "none": mean square.
    damp_rim: bool = True  # Count the zeros around the image in the mean of the features.
    gain: bool = True  # Scale each image to the same mean luminance.
    contrast: bool = True  # Give flat images the contrast that the backbone learnt.
    neighbours: bool = True  # Cells borrow covariance from their neighbours, the more the fewer the images.
    noise: float = 1.0  # Added to the autoencoder's input, in standard deviations of each channel.
    iterations: int = 300


@dataclass(frozen=True, slots=True)
class TrainedScorer:
    """A trained scorer, and the anomaly maps of its good parts by models that were not trained on them."""

    network: keras.Model
    maps: NDArray[np.float32]  # (n, rows, columns) float32, out of fold.
    loss: float  # Mean squared error of the autoencoder on its last batch.
    contrast: float  # Factor of the images' contrast, 1 to 2.
    embeddings: NDArray[np.float32] | None  # (n, channels); None: the network has none.


class _AnomalyHead(NamedTuple):
    """The trainable stages behind the feature network."""

    residual: Residual
    whitening: Whitening
    maps: NDArray[np.float32]  # (n, rows, columns), each image left out of the whitening only.
    loss: float

    @property
    def mean_score(self) -> float:
        """Mean score of its own good parts: makes scores of separately trained heads comparable."""
        return float(self.maps.max(axis=(1, 2)).mean())


def train_scorer(
    crops: NDArray[np.uint8],
    part_mask: NDArray[np.float32],
    design: Design,
    seed: int,
    groups: NDArray[np.int_] | None = None,
    progress: Callable[[float], None] = lambda _: None,
    runs: NDArray[np.int_] | None = None,
) -> TrainedScorer:
    """Train on BGR crops (n, height, width, 3); `part_mask` (rows, columns) is 1 where the part may be.

    The crops are in the order of exposure. `groups` (n,) numbers them from 0 in that order, with the same
    number for near-duplicates, which are never in different folds; without it every crop is its own group.
    `runs` (n,) numbers the runs of production, if they are known. `progress` is called with the completed
    share, 0 to 1. The same seed and number of threads give
    the same scorer.
    """
    height, width = crops.shape[1:3]
    target = float(np.median([mean_luminance(crop) for crop in crops])) if design.gain else None
    contrast = 1.0
    if design.architecture == "pixel":
        front = build_pixel_network((height, width), target)
    else:
        if design.contrast:
            contrast = choose_contrast(crops, part_mask)
        front = build_feature_network((height, width), target, contrast=contrast, damp_rim=design.damp_rim)
    features = FeatureExtractor(front)(crops)
    progress(0.1)
    head = _train_head(features, part_mask, design, seed, lambda done: progress(0.1 + 0.4 * done))
    fold = assign_folds(np.arange(len(crops)) if groups is None else groups, runs)
    maps = _out_of_fold_maps(
        features, part_mask, design, seed, fold, head.mean_score, lambda done: progress(0.5 + 0.5 * done)
    )
    embeddings = compute_embeddings(features, head.residual) if design.architecture == "feature" else None
    network = build_scorer(front, head.residual, head.whitening, maps)
    return TrainedScorer(network, maps, head.loss, contrast, embeddings)


def assign_folds(groups: NDArray[np.int_], runs: NDArray[np.int_] | None = None) -> NDArray[np.int_]:
    """Return the fold (n,) of each image from its group: short runs of successive groups, dealt in turn.

    Later parts differ from earlier ones; thresholds from randomly drawn folds would not hold for them. Where
    the `runs` (n,) of production are known and there are enough, each of them lies in one fold.
    """
    count = int(groups.max()) + 1
    folds = min(FOLDS_OF_FEW if count < _FEW else FOLDS, count)
    if runs is not None and (known := int(runs.max()) + 1) >= FOLDS:
        _, firsts = np.unique(groups, return_index=True)
        fold: NDArray[np.int_] = runs[firsts][groups] % min(folds, known)
        if 2 * np.bincount(fold).max() <= len(fold):  # Otherwise too little is left to learn from.
            return fold
    blocks = min(_BLOCKS * folds, count)
    return groups * blocks // count % folds


def _out_of_fold_maps(
    features: Features,
    part_mask: NDArray[np.float32],
    design: Design,
    seed: int,
    fold: NDArray[np.int_],
    mean_score: float,
    progress: Callable[[float], None],
) -> NDArray[np.float32]:
    """Return the cross-validated maps (n, rows, columns), scaled to a head whose mean score is `mean_score`.

    An autoencoder reconstructs its training images better than new ones, most of all when they are few.
    """
    short = replace(design, iterations=design.iterations // FOLD_ITERATIONS_DIVISOR)
    folds = int(fold.max()) + 1
    maps = np.empty((len(features), *part_mask.shape), np.float32)
    for number in range(folds):
        head = _train_head(features[fold != number], part_mask, short, seed)
        held_out = _compute_residuals(head.residual, features[fold == number])
        maps[fold == number] = head.whitening.maps(held_out) * (mean_score / head.mean_score)
        progress((number + 1) / folds)
    return maps


def _train_head(
    features: Features,
    part_mask: NDArray[np.float32],
    design: Design,
    seed: int,
    progress: Callable[[float], None] = lambda _: None,
) -> _AnomalyHead:
    keras.utils.set_random_seed(seed)
    mean, spread = features.mean(axis=(0, 1, 2)), features.std(axis=(0, 1, 2)) + 1e-3
    network, loss = None, 0.0
    if design.autoencoder:
        pixel = design.architecture == "pixel"
        network = build_pixel_autoencoder() if pixel else build_autoencoder(features.shape[-1])
        standardised = (features - mean) / spread
        loss = train_autoencoder(
            network,
            lambda rng: _draw_batch(standardised, design.noise, rng),
            iterations=design.iterations,
            seed=seed,
            progress=progress,
        )
    residual = Residual(mean, spread, network)
    residuals = _compute_residuals(residual, features)
    if design.whitening == "none":
        whitening = identity_whitening(residuals.shape[-1], part_mask)
        maps = whitening.maps(residuals)
    else:
        whitening, maps = fit_whitening(
            residuals,
            part_mask,
            local=design.whitening == "local",
            borrowed=BORROWED_IMAGES if design.neighbours else 0,
        )
    return _AnomalyHead(residual, whitening, maps, loss)


def _compute_residuals(residual: Residual, features: Features) -> Features:
    """Return the residuals of features, on the grid of the whitening."""
    standardised: Features = residual.standardise(features)
    if residual.autoencoder is None:
        return standardised
    residuals = reconstruct(residual.autoencoder, standardised) - standardised
    return space_to_depth(residuals) if residual.autoencoder.name == "pixel_autoencoder" else residuals


def _draw_batch(features: Features, noise: float, rng: np.random.Generator) -> tuple[Features, Features]:
    """Draw a batch (input, target) for a denoising autoencoder.

    Noise on the input prevents an identity mapping: a position must be inferred from its surroundings.
    """
    batch = features[rng.integers(0, len(features), BATCH)]
    if not noise:
        return batch, batch
    return batch + noise * rng.standard_normal(batch.shape, np.float32), batch
