"""From a uint8 crop to the features that the autoencoder learns: light evened out, backbone, pooled."""

import itertools
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from linewatch.domain import Image
from linewatch.training.network.backbone import STRIDE, build_backbone
from linewatch.training.network.export import convert
from linewatch.training.network.keras_backend import keras, ops

Features = NDArray[np.float32]
"""Pictures as features: (n, rows, columns, channels) float32."""

SIDE_STEP = 32
HALF = 2
LUMINANCE = (0.114, 0.587, 0.299)  # Blue, green, red.


def input_shape(aspect: float, pixels: int, *, stretch: bool = True) -> tuple[int, int]:
    """Return height and width, multiples of 32, for an area of `aspect` (height / width).

    About `pixels` in all, a tenth more at most: the finest scale wins. With `stretch` the area
    will be stretched to the shape, so little distortion counts as much; else room is left around it.
    """
    most = max(1.1 * pixels, SIDE_STEP**2)
    steps = range(SIDE_STEP, int(most / SIDE_STEP) + 1, SIDE_STEP)
    shapes = [shape for shape in itertools.product(steps, steps) if shape[0] * shape[1] <= most]

    def merit(shape: tuple[int, int]) -> float:
        height, width = shape
        scale = min(height / math.sqrt(aspect), width * math.sqrt(aspect))
        return math.log(scale) - stretch * abs(math.log(height / width / aspect))

    return max(shapes, key=merit)


def luminance(crop: Image) -> float:
    """Return the mean luminance of a crop, as the graph computes it."""
    return float(crop.reshape(-1, 3).mean(axis=0) @ np.array(LUMINANCE))


def feature_model(shape: tuple[int, int], target: float | None) -> keras.Model:
    """Return the network (n, height, width, 3) BGR 0-255 float32 -> (n, height / 8, width / 8, 176).

    `target` is the mean luminance that every crop is brought to; None leaves the light alone.
    """
    height, width = shape
    inlet = keras.Input((height, width, 3))
    taps = build_backbone(height, width)(_lit(inlet, target))
    rows, columns = height // STRIDE, width // STRIDE
    return keras.Model(inlet, ops.concatenate([_to_grid(tap, rows, columns) for tap in taps], axis=-1))


def pixel_model(shape: tuple[int, int], target: float | None) -> keras.Model:
    """Return a network (n, height, width, 3) BGR 0-255 float32 -> (n, height / 2, width / 2, 3), evenly lit.

    Halved, because an autoencoder of pixels then learns four times as long in the same time.
    """
    inlet = keras.Input((*shape, 3))
    return keras.Model(inlet, ops.average_pool(_lit(inlet, target) / 255.0, HALF))


def _lit(x: Any, target: float | None) -> Any:
    if target is None:
        return x
    mean = ops.sum(ops.mean(x, axis=(1, 2), keepdims=True) * np.array(LUMINANCE, np.float32), -1, True)
    return ops.clip(x * (target / ops.maximum(mean, 1.0)), 0.0, 255.0)


def _to_grid(tap: Any, rows: int, columns: int) -> Any:
    pooled = ops.average_pool(tap, 3, 1, padding="same")
    if tap.shape[1] == 2 * rows:
        return ops.average_pool(pooled, 2, 2)  # What bilinear halving is, but cheaper.
    if tap.shape[1] == rows:
        return pooled
    return ops.image.resize(pooled, (rows, columns), interpolation="bilinear")


class Extractor:
    """A front network, compiled: ten times quicker than Keras on one picture."""

    def __init__(self, front: keras.Model) -> None:
        graph = convert(front, np.float32)
        options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        self._request = ov.Core().compile_model(graph, "CPU", options).create_infer_request()

    def __call__(self, crops: Iterable[Image]) -> Features:
        """Return the features of crops of the shape it was made for."""
        return np.concatenate([self._request.infer([crop[None].astype(np.float32)])[0] for crop in crops])
