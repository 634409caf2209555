"""The convolutional autoencoder: trained on good parts only, so its residual marks anomalies."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linewatch.training.network.keras_backend import keras, tf

LATENT = 48


def build_autoencoder(channels: int, latent: int = LATENT) -> keras.Model:
    """Return an untrained autoencoder of feature maps: (n, rows, columns, channels) float32 in and out.

    Rows and columns are multiples of 4; the bottleneck has a quarter of each and `latent` channels.
    """
    inlet = keras.Input((None, None, channels))
    x = _convolve(inlet, 64, 1)
    x = _convolve(x, 96, 3, 2)
    x = _convolve(x, 128, 3, 2)
    x = keras.layers.Conv2D(latent, 1, name="latent")(x)
    x = _convolve(x, 128, 3)
    x = keras.layers.UpSampling2D(2)(x)
    x = _convolve(x, 96, 3)
    x = _convolve(x, 256, 1)
    x = DepthToSpace(2)(x)
    return keras.Model(inlet, keras.layers.Conv2D(channels, 1)(x), name="autoencoder")


def build_pixel_autoencoder() -> keras.Model:
    """Return an untrained autoencoder of images, (n, height, width, 3) float32 in and out: a baseline.

    Sides are multiples of 16. The layers at full resolution, where a convolution costs most, are narrow.
    """
    inlet = keras.Input((None, None, 3))
    x = inlet
    for channels in (16, 32, 64, 128):
        x = _convolve(x, channels, 3, 2)
    x = keras.layers.Conv2D(64, 1, name="latent")(x)
    for channels in (96, 64, 32):
        x = keras.layers.UpSampling2D(2)(_convolve(x, channels, 3))
    x = keras.layers.Conv2D(3 * 2**2, 3, padding="same")(_convolve(x, 16, 3))
    return keras.Model(inlet, DepthToSpace(2)(x), name="pixel_autoencoder")


def reconstruct(model: keras.Model, features: NDArray[np.float32], batch: int = 16) -> NDArray[np.float32]:
    """Return the reconstruction of features (n, rows, columns, channels), computed in batches."""
    batches = range(0, len(features), batch)
    return np.concatenate(
        [model(tf.constant(features[i : i + batch]), training=False).numpy() for i in batches]
    )


class DepthToSpace(keras.layers.Layer):  # type: ignore[misc]
    """Rearrange channels into spatial positions: (n, h, w, c * f * f) -> (n, h * f, w * f, c)."""

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor

    def call(self, x: Any) -> Any:
        """Return `x` at `factor` times its resolution."""
        return tf.nn.depth_to_space(x, self.factor)

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the output shape for an input shape (n, h, w, channels)."""
        n, height, width, channels = shape
        assert channels is not None
        upsampled = [None if side is None else side * self.factor for side in (height, width)]
        return n, *upsampled, channels // self.factor**2


def _convolve(x: Any, channels: int, kernel: int, stride: int = 1) -> Any:
    x = keras.layers.Conv2D(channels, kernel, stride, padding="same", use_bias=False)(x)
    return keras.layers.ReLU()(keras.layers.BatchNormalization()(x))


def train_autoencoder(
    model: keras.Model,
    batches: Callable[[np.random.Generator], tuple[NDArray[np.float32], NDArray[np.float32]]],
    *,
    iterations: int,
    seed: int,
    rate: float = 4e-3,
    progress: Callable[[float], None] = lambda _: None,
) -> float:
    """Train `model` in place; return the mean squared error of the last batch.

    `batches` draws one batch (input, target), both float32 in the model's shape. The optimiser is
    AdamW (Loshchilov and Hutter 2019) with linear warm-up to `rate` and cosine decay. `progress` is
    called with the completed share, 0 to 1.
    """
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, max(1, iterations - 20), warmup_target=rate, warmup_steps=min(20, iterations)
    )
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=1e-4)
    optimizer.build(model.trainable_variables)

    @tf.function(autograph=False, jit_compile=False, reduce_retracing=True)  # type: ignore[untyped-decorator]
    def step(inputs: Any, targets: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(inputs, training=True) - targets))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    rng = np.random.default_rng(seed)
    loss = tf.constant(0.0)
    for iteration in range(iterations):
        inputs, targets = batches(rng)
        loss = step(tf.constant(inputs), tf.constant(targets))
        progress((iteration + 1) / iterations)
    return float(loss)
