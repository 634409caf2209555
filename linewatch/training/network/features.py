"""Extract the features that the autoencoder learns: normalised luminance, backbone, pooling to one grid."""

import itertools
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from linewatch.domain import Image
from linewatch.training.network.backbone import STRIDE, build_backbone
from linewatch.training.network.export import convert_to_openvino
from linewatch.training.network.keras_backend import keras, ops

Features = NDArray[np.float32]
"""Features of n images: (n, rows, columns, channels) float32."""

SIDE_STEP = 32  # Both sides of the input are multiples of it.
PIXEL_STRIDE = 2  # Input pixels per position of the pixel network.
LUMINANCE = (0.114, 0.587, 0.299)  # Weights of blue, green, red (ITU-R BT.601).
BACKBONE_CONTRAST = 50.0  # Standard deviation of the pixels of an ordinary image; ImageNet: 57.
CONTRAST_MAX = 2.0
_GREY = 127.0  # Zero of the backbone's input.


def choose_input_shape(aspect: float, pixels: int, *, stretch: bool = True) -> tuple[int, int]:
    """Return input height and width, multiples of 32, for an area of aspect ratio `aspect` (height / width).

    The shape has at most 1.1 * `pixels` and the largest possible scale. With `stretch` the area is
    resized to fill the shape, so distortion is penalised as well; without it the area is padded.
    """
    pixels_max = max(1.1 * pixels, SIDE_STEP**2)
    steps = range(SIDE_STEP, int(pixels_max / SIDE_STEP) + 1, SIDE_STEP)
    shapes = [shape for shape in itertools.product(steps, steps) if shape[0] * shape[1] <= pixels_max]

    def merit(shape: tuple[int, int]) -> float:
        height, width = shape
        scale = min(height / math.sqrt(aspect), width * math.sqrt(aspect))
        return math.log(scale) - stretch * abs(math.log(height / width / aspect))

    return max(shapes, key=merit)


def mean_luminance(crop: Image) -> float:
    """Return the mean luminance (0 to 255) of a BGR uint8 crop, as the graph computes it."""
    return float(crop.reshape(-1, 3).mean(axis=0) @ np.array(LUMINANCE))


def choose_contrast(crops: NDArray[np.uint8], part_mask: NDArray[np.float32]) -> float:
    """Return the factor (1 to 2) that gives flat images the contrast of those that the backbone learnt.

    `crops` is (n, height, width, 3) BGR; only pixels where `part_mask` (rows, columns) is 1 count.
    """
    cell_px = crops.shape[1] // part_mask.shape[0]
    inside = np.kron(part_mask, np.ones((cell_px, cell_px), np.float32)) > 0
    deviation = float(np.mean([crop[inside].std(axis=0) for crop in crops]))
    return float(np.clip(BACKBONE_CONTRAST / max(deviation, 1.0), 1.0, CONTRAST_MAX))


def build_feature_network(
    shape: tuple[int, int], target: float | None, *, contrast: float = 1.0, damp_rim: bool = True
) -> keras.Model:
    """Return the network from BGR images to backbone features.

    Input (n, height, width, 3) float32, 0 to 255; output (n, height / 8, width / 8, 176) float32.
    `target` is the mean luminance that each image is scaled to; None skips the normalisation. `contrast`
    multiplies the distance of each pixel from grey, without clipping. With `damp_rim` the zeros around
    the image count in the mean over 3x3 positions: features at the rim are damped to 2/3 and in the
    corners to 4/9, so what enters and leaves the image there weighs less.
    """
    height, width = shape
    inlet = keras.Input((height, width, 3))
    x = _normalise_luminance(inlet, target)
    if contrast != 1:
        x = x * contrast + _GREY * (1 - contrast)
    taps = build_backbone(height, width)(x)
    rows, columns = height // STRIDE, width // STRIDE
    resampled = [_resample_to_grid(tap, rows, columns, damp_rim=damp_rim) for tap in taps]
    return keras.Model(inlet, ops.concatenate(resampled, axis=-1))


def build_pixel_network(shape: tuple[int, int], target: float | None) -> keras.Model:
    """Return the network from BGR images to half-size images, 0 to 1, with normalised luminance.

    Input (n, height, width, 3) float32, 0 to 255; output (n, height / 2, width / 2, 3) float32. At half
    size the pixel autoencoder runs four times as many training iterations in the same time.
    """
    inlet = keras.Input((*shape, 3))
    return keras.Model(inlet, ops.average_pool(_normalise_luminance(inlet, target) / 255.0, PIXEL_STRIDE))


def _normalise_luminance(x: Any, target: float | None) -> Any:
    if target is None:
        return x
    mean = ops.sum(ops.mean(x, axis=(1, 2), keepdims=True) * np.array(LUMINANCE, np.float32), -1, True)
    return ops.clip(x * (target / ops.maximum(mean, 1.0)), 0.0, 255.0)


def _resample_to_grid(tap: Any, rows: int, columns: int, *, damp_rim: bool) -> Any:
    if damp_rim:
        tap = ops.pad(tap, ((0, 0), (1, 1), (1, 1), (0, 0)))
    pooled = ops.average_pool(tap, 3, 1, padding="valid" if damp_rim else "same")
    if pooled.shape[1] == 2 * rows:
        return ops.average_pool(pooled, 2, 2)  # Equals bilinear halving, and is cheaper.
    if pooled.shape[1] == rows:
        return pooled
    return ops.image.resize(pooled, (rows, columns), interpolation="bilinear")


class FeatureExtractor:
    """A feature network compiled with OpenVINO: ten times as fast as Keras on one image."""

    def __init__(self, network: keras.Model) -> None:
        graph = convert_to_openvino(network, np.float32)
        options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        self._request = ov.Core().compile_model(graph, "CPU", options).create_infer_request()

    def __call__(self, crops: Iterable[Image]) -> Features:
        """Return the features of uint8 crops, each of the network's input shape."""
        return np.concatenate([self._request.infer([crop[None].astype(np.float32)])[0] for crop in crops])
