"""The complete scorer as one graph: uint8 crop in; score, anomaly map and embeddings out."""

from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from linewatch.domain import Image
from linewatch.errors import LinewatchError, StorageFull
from linewatch.models.engine import OpenVinoEngine
from linewatch.training.network.backbone import STRIDE
from linewatch.training.network.export import convert_to_openvino
from linewatch.training.network.features import PIXEL_STRIDE, Features
from linewatch.training.network.keras_backend import keras, ops
from linewatch.training.network.whitening import CELL, Whitening

BLOCK = STRIDE // PIXEL_STRIDE  # Positions of the pixel network on a side of one grid position.
PARITY_MAX = 0.01  # Relative score difference; half-precision weights cause a few thousandths.

_OUTPUTS = {1: "score", 2: "embedding", 3: "map", 4: "local"}  # By number of dimensions.
REACH = 2  # Positions around the most unusual one that the local embedding averages.
USUAL_SPREADS = 2.0  # Above the mean of good parts; anomalies are compared with this at each position.
_BLUR = np.outer((1, 2, 1), (1, 2, 1)).astype(np.float32) / 16


class ParityError(LinewatchError):
    """The compiled graph scores differently from the trained network."""


class Residual(keras.layers.Layer):  # type: ignore[misc]
    """The reconstruction residual: the autoencoder's output minus the standardised features.

    Without an autoencoder it is the standardised features themselves.
    """

    def __init__(self, mean: Any, spread: Any, autoencoder: keras.Model | None) -> None:
        super().__init__()
        self.mean, self.spread, self.autoencoder = mean, spread, autoencoder

    def standardise(self, features: Any) -> Any:
        """Return features (n, rows, columns, channels) with zero mean and unit variance per channel."""
        return (features - self.mean) / self.spread

    def call(self, x: Any) -> Any:
        """Return the residual of standardised features, in their shape."""
        return x if self.autoencoder is None else self.autoencoder(x, training=False) - x


class Distance(keras.layers.Layer):  # type: ignore[misc]
    """The anomaly map of a residual: Mahalanobis distance per position, smoothed, masked to the part.

    The same computation as `Whitening.maps`, as a layer.
    """

    def __init__(self, whitening: Whitening) -> None:
        super().__init__()
        self.whitening = whitening

    def call(self, residual: Any) -> Any:
        """Return the map (1, rows, columns) of a residual (1, rows, columns, channels)."""
        fitted = self.whitening
        rows, columns = fitted.base_precision.shape
        channels, rank = fitted.directions.shape[-2:]
        y = ops.matmul(residual, fitted.matrix) - fitted.mean
        squared = ops.sum(y * y, -1) * np.repeat(np.repeat(fitted.base_precision, CELL, 0), CELL, 1)
        if rank:
            cells = ops.reshape(y, (rows, CELL, columns, CELL, channels))
            cells = ops.reshape(ops.transpose(cells, (0, 2, 1, 3, 4)), (rows * columns, -1, channels))
            z = ops.matmul(cells, fitted.directions.reshape(rows * columns, channels, rank))
            explained = ops.reshape(ops.sum(z * z, -1), (rows, columns, CELL, CELL))
            squared = squared - ops.reshape(
                ops.transpose(explained, (0, 2, 1, 3)), (1, rows * CELL, columns * CELL)
            )
        distance = ops.sqrt(ops.maximum(squared, 0.0) / channels)
        # A defect covers several positions; a single one is noise.
        padded = ops.pad(distance[..., None], ((0, 0), (1, 1), (1, 1), (0, 0)), mode="symmetric")
        return ops.conv(padded, _BLUR[:, :, None, None], padding="valid")[..., 0] * fitted.part_mask


def space_to_depth(residuals: Features) -> Features:
    """Move blocks of positions into channels: (n, rows, columns, c) -> (n, rows / 4, columns / 4, 16 * c)."""
    n, rows, columns, channels = residuals.shape
    blocks = residuals.reshape(n, rows // BLOCK, BLOCK, columns // BLOCK, BLOCK, channels)
    return blocks.transpose(0, 1, 3, 2, 4, 5).reshape(n, rows // BLOCK, columns // BLOCK, -1)


def build_scorer(
    front: keras.Model, residual: Residual, whitening: Whitening, good_maps: NDArray[np.float32]
) -> keras.Model:
    """Return the network from a crop (1, height, width, 3) uint8 BGR to its score, map and embedding.

    Outputs, float32: score (1,), the map's maximum; map (1, rows, columns); and, for backbone features
    only, the embedding (1, channels), their standardised mean, and the local embedding (1, 1, 1, channels),
    the residual where the map is most unusual. `good_maps` (n, rows, columns) are those of good parts. The
    mean of pixels identifies no product.
    """
    inlet = keras.Input(front.input_shape[1:], batch_size=1, dtype="uint8")
    standardised = residual.standardise(front(ops.cast(inlet, "float32")))
    difference = residual(standardised)
    embeddings = []
    if difference.shape[1] != whitening.part_mask.shape[0]:
        difference = _SpaceToDepth()(difference)
    else:
        embeddings = [ops.mean(standardised, axis=(1, 2))]
    anomaly_map = Distance(whitening)(difference)
    if embeddings:
        usual = good_maps.mean(axis=0) + USUAL_SPREADS * good_maps.std(axis=0)
        embeddings.append(LocalEmbedding(usual)(anomaly_map, difference))
    return keras.Model(inlet, [ops.max(anomaly_map, axis=(1, 2)), anomaly_map, *embeddings])


def compute_embeddings(features: Features, residual: Residual) -> NDArray[np.float32]:
    """Return the embeddings (n, channels) that the scorer computes for these features."""
    embeddings: NDArray[np.float32] = residual.standardise(features.mean(axis=(1, 2)))
    return embeddings


class LocalEmbedding(keras.layers.Layer):  # type: ignore[misc]
    """The residual where the anomaly map is most unusual: what the largest anomaly of a part looks like.

    A small defect hardly changes a mean over the whole part. Unusual is measured against `usual` (rows,
    columns), the anomalies of good parts at each position: so a weak defect on a smooth surface counts more
    than the texture that always scores highest. Positions within REACH are averaged, weighted by the fourth
    power of their anomaly.
    """

    def __init__(self, usual: NDArray[np.float32]) -> None:
        super().__init__()
        self.usual = np.maximum(usual, 1e-3)[None, ..., None].astype(np.float32)

    def call(self, anomaly_map: Any, residual: Any) -> Any:
        """Return the mean (1, 1, 1, channels) of a residual (1, rows, columns, channels)."""
        values = anomaly_map[..., None]
        unusual = values / self.usual
        most = ops.max(unusual, axis=(1, 2), keepdims=True)
        here = ops.cast(unusual >= most, "float32")
        near = ops.max_pool(here, 2 * REACH + 1, strides=1, padding="same")
        largest = ops.maximum(ops.max(values * near, axis=(1, 2), keepdims=True), 1e-6)
        weights = near * (values / largest) ** 4
        total = ops.maximum(ops.sum(weights, axis=(1, 2), keepdims=True), 1e-6)
        return ops.sum(residual * weights, axis=(1, 2), keepdims=True) / total


class _SpaceToDepth(keras.layers.Layer):  # type: ignore[misc]
    """`space_to_depth` as a layer, for a batch of one."""

    def call(self, x: Any) -> Any:
        _, rows, columns, channels = x.shape
        x = ops.reshape(x, (1, rows // BLOCK, BLOCK, columns // BLOCK, BLOCK, channels))
        x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
        return ops.reshape(x, (1, rows // BLOCK, columns // BLOCK, BLOCK * BLOCK * channels))


def save_graph(model: keras.Model, folder: Path) -> Path:
    """Write `scorer.xml` and `scorer.bin` with half-precision weights; return the XML's path.

    Raises StorageFull.
    """
    graph = convert_to_openvino(model, np.uint8)
    for output in graph.outputs:
        output.set_names({_OUTPUTS[len(output.partial_shape)]})
    path = folder / "scorer.xml"
    try:
        ov.save_model(graph, path, compress_to_fp16=True)
    except RuntimeError as error:  # OpenVINO reports write errors without errno.
        raise StorageFull(path, "cannot be written whole; check permissions and room") from error
    return path


def verify_parity(model: keras.Model, engine: OpenVinoEngine, crops: list[Image]) -> float:
    """Return the largest relative score difference between network and compiled graph.

    Raises ParityError if it exceeds `PARITY_MAX`.
    """
    worst = 0.0
    for crop in crops:
        expected = float(model(crop[None], training=False)[0][0])
        output = engine.run(crop)
        assert output.score == float(output.anomaly_map.max())
        worst = max(worst, abs(output.score - expected) / max(expected, 1e-3))
    if not worst <= PARITY_MAX:
        raise ParityError(
            f"the compiled graph scores {worst:.1%} off the trained network; "
            "report this with your CPU model and the version of openvino"
        )
    return worst
