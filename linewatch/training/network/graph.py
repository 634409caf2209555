"""The whole scorer as one graph: uint8 crop in, anomaly map and score out."""

from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from linewatch.domain import Image
from linewatch.errors import LinewatchError, StorageFull
from linewatch.models.engine import OpenVinoEngine
from linewatch.training.network.backbone import STRIDE
from linewatch.training.network.export import convert
from linewatch.training.network.features import HALF, Features
from linewatch.training.network.keras_backend import keras, ops
from linewatch.training.network.whitening import CELL, Whitening

FINER = STRIDE // HALF  # How many halved pixels go into a place of the grid, each way.
PARITY = 0.01  # Of the score: half-precision weights move it by a few thousandths.

_OUTLETS = {1: "score", 2: "embedding", 3: "map"}  # By the number of their dimensions.
_BLUR = np.outer((1, 2, 1), (1, 2, 1)).astype(np.float32) / 16


class NotAlike(LinewatchError):
    """The compiled graph scores differently from the network that was trained."""


class Residual(keras.layers.Layer):  # type: ignore[misc]
    """Standardised features minus what the autoencoder makes of them."""

    def __init__(self, mean: Any, spread: Any, autoencoder: keras.Model | None) -> None:
        super().__init__()
        self.mean, self.spread, self.autoencoder = mean, spread, autoencoder

    def standardised(self, features: Any) -> Any:
        """Return features as `call` takes them."""
        return (features - self.mean) / self.spread

    def call(self, x: Any) -> Any:
        """Return the residual, of the same shape."""
        return x if self.autoencoder is None else self.autoencoder(x, training=False) - x


class Distance(keras.layers.Layer):  # type: ignore[misc]
    """The anomaly map of a residual: (1, rows, columns, channels) -> (1, rows, columns)."""

    def __init__(self, statistics: Whitening) -> None:
        super().__init__()
        self.statistics = statistics

    def call(self, residual: Any) -> Any:
        """Return the map."""
        known = self.statistics
        rows, columns = known.rest.shape
        channels, rank = known.directions.shape[-2:]
        y = ops.matmul(residual, known.whitening) - known.mean
        squared = ops.sum(y * y, -1) * np.repeat(np.repeat(known.rest, CELL, 0), CELL, 1)
        if rank:
            cells = ops.reshape(y, (rows, CELL, columns, CELL, channels))
            cells = ops.reshape(ops.transpose(cells, (0, 2, 1, 3, 4)), (rows * columns, -1, channels))
            z = ops.matmul(cells, known.directions.reshape(rows * columns, channels, rank))
            usual = ops.reshape(ops.sum(z * z, -1), (rows, columns, CELL, CELL))
            squared = squared - ops.reshape(
                ops.transpose(usual, (0, 2, 1, 3)), (1, rows * CELL, columns * CELL)
            )
        distance = ops.sqrt(ops.maximum(squared, 0.0) / channels)
        # One position is noise, its neighbourhood is a defect.
        edged = ops.pad(distance[..., None], ((0, 0), (1, 1), (1, 1), (0, 0)), mode="symmetric")
        return ops.conv(edged, _BLUR[:, :, None, None], padding="valid")[..., 0] * known.part


def fold(residuals: Features) -> Features:
    """Turn the finer positions of (n, rows, columns, c) into channels: (n, rows / 4, columns / 4, c * 16)."""
    n, rows, columns, channels = residuals.shape
    finer = residuals.reshape(n, rows // FINER, FINER, columns // FINER, FINER, channels)
    finer = finer.transpose(0, 1, 3, 2, 4, 5)
    return finer.reshape(n, rows // FINER, columns // FINER, -1)


def build_scorer(front: keras.Model, residual: Residual, statistics: Whitening) -> keras.Model:
    """Return the network (1, height, width, 3) uint8 -> score (1,), map (1, rows, columns).

    And, of features, the embedding (1, channels); the mean of pixels says nothing of a product.
    """
    inlet = keras.Input(front.input_shape[1:], batch_size=1, dtype="uint8")
    usual = residual.standardised(front(ops.cast(inlet, "float32")))
    difference = residual(usual)
    embedding = []
    if difference.shape[1] != statistics.part.shape[0]:
        difference = _Fold()(difference)
    else:
        embedding = [ops.mean(usual, axis=(1, 2))]
    anomaly_map = Distance(statistics)(difference)
    return keras.Model(inlet, [ops.max(anomaly_map, axis=(1, 2)), anomaly_map, *embedding])


def embeddings_of(features: Features, residual: Residual) -> NDArray[np.float32]:
    """Return what the network will give as embeddings of pictures, (n, channels)."""
    found: NDArray[np.float32] = residual.standardised(features.mean(axis=(1, 2)))
    return found


class _Fold(keras.layers.Layer):  # type: ignore[misc]
    """`fold` as a layer."""

    def call(self, x: Any) -> Any:
        _, rows, columns, channels = x.shape
        x = ops.reshape(x, (1, rows // FINER, FINER, columns // FINER, FINER, channels))
        x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
        return ops.reshape(x, (1, rows // FINER, columns // FINER, FINER * FINER * channels))


def export(model: keras.Model, folder: Path) -> Path:
    """Write `scorer.xml` and `scorer.bin`, weights in half precision; return the XML's path.

    Raises StorageFull.
    """
    graph = convert(model, np.uint8)
    for outlet in graph.outputs:
        outlet.set_names({_OUTLETS[len(outlet.partial_shape)]})
    path = folder / "scorer.xml"
    try:
        ov.save_model(graph, path, compress_to_fp16=True)
    except RuntimeError as error:  # All that its stream tells of a disk which takes no more.
        raise StorageFull(path, "cannot be written whole; check permissions and room") from error
    return path


def prove(model: keras.Model, engine: OpenVinoEngine, crops: list[Image]) -> float:
    """Return the largest relative difference of scores between network and graph. Raises NotAlike."""
    worst = 0.0
    for crop in crops:
        wanted = float(model(crop[None], training=False)[0][0])
        reading = engine.run(crop)
        assert reading.score == float(reading.anomaly_map.max())
        worst = max(worst, abs(reading.score - wanted) / max(wanted, 1e-3))
    if not worst <= PARITY:
        raise NotAlike(
            f"the compiled graph scores {worst:.1%} off the trained network; "
            "report this with your CPU model and the version of openvino"
        )
    return worst
