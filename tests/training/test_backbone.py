"""The backbone's weights: verified by hash, read without PyTorch, everything else refused."""

import collections
import io
import pickle
from pathlib import Path

import numpy as np
import pytest

from linewatch.errors import UsageError
from linewatch.training.network import backbone
from linewatch.training.network.backbone import build_backbone, read_weights
from linewatch.vision.regions import CELL_PX


def test_the_published_weights_are_read() -> None:
    """Every tensor is finite, and the first and last kernel have their shapes."""
    state = read_weights(backbone.weights_file())

    assert state["_conv_stem.weight"].shape == (32, 3, 3, 3)
    assert state["_blocks.10._project_conv.weight"].shape == (112, 672, 1, 1)
    assert all(np.isfinite(tensor).all() for tensor in state.values())


def test_strides_are_honoured() -> None:
    """The stem's kernel is stored transposed; neighbouring values are smooth only if strides are applied."""
    kernel = read_weights(backbone.weights_file())["_conv_stem.weight"]

    assert kernel.strides != np.ascontiguousarray(kernel).strides
    smooth = np.abs(np.diff(kernel, axis=3)).mean()
    shuffled = np.abs(np.diff(kernel.ravel(order="K").reshape(kernel.shape), axis=3)).mean()
    assert smooth < shuffled


def test_a_cell_is_what_regions_are_checked_with() -> None:
    """The page knows the size of a map's cells without the network."""
    assert backbone.STRIDE == CELL_PX


def test_other_weights_are_refused(tmp_path: Path) -> None:
    """A file with another hash and a missing file raise UsageError."""
    path = tmp_path / "weights.pth"
    path.write_bytes(b"something else")
    with pytest.raises(UsageError, match="are not the published ones; install them again"):
        read_weights(path)

    with pytest.raises(UsageError, match="cannot be read"):
        read_weights(tmp_path / "nowhere.pth")


def test_a_pickle_that_wants_more_is_refused() -> None:
    """Unpickling any class but the allowed ones raises UnpicklingError."""

    class Malicious:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path, ("/",)

    with pytest.raises(pickle.UnpicklingError, match="is not allowed in a weights file"):
        backbone.StateDictUnpickler(io.BytesIO(pickle.dumps(Malicious()))).load()
    plain = collections.OrderedDict(a=1)
    assert backbone.StateDictUnpickler(io.BytesIO(pickle.dumps(plain))).load() == plain


def test_the_taps_have_their_sizes() -> None:
    """The taps have strides 4, 8 and 16, and 24, 40 and 112 channels."""
    model = build_backbone(64, 96)

    assert [tap.shape[1:] for tap in model.outputs] == [(16, 24, 24), (8, 12, 40), (4, 6, 112)]
    assert not model.trainable_weights
