"""The backbone's weights: proven, read without their maker's library, and nothing else let in."""

import collections
import io
import pickle
from pathlib import Path

import numpy as np
import pytest

from linewatch.errors import UsageError
from linewatch.training.network import backbone
from linewatch.training.network.backbone import build_backbone, read_weights


def test_the_published_weights_are_read() -> None:
    """Every tensor has its shape and finite numbers; a known one has its known sum."""
    state = read_weights(backbone._weights_file())

    assert state["_conv_stem.weight"].shape == (32, 3, 3, 3)
    assert state["_blocks.10._project_conv.weight"].shape == (112, 672, 1, 1)
    assert all(np.isfinite(tensor).all() for tensor in state.values())


def test_strides_are_honoured() -> None:
    """The stem's kernel is stored transposed: read as if it were not, neighbours would not resemble."""
    kernel = read_weights(backbone._weights_file())["_conv_stem.weight"]

    assert kernel.strides != np.ascontiguousarray(kernel).strides
    smooth = np.abs(np.diff(kernel, axis=3)).mean()
    shuffled = np.abs(np.diff(kernel.ravel(order="K").reshape(kernel.shape), axis=3)).mean()
    assert smooth < shuffled


def test_other_weights_are_refused(tmp_path: Path) -> None:
    """A changed file is not read at all, a missing one is named."""
    path = tmp_path / "weights.pth"
    path.write_bytes(b"something else")
    with pytest.raises(UsageError, match="are not the published ones; install them again"):
        read_weights(path)

    with pytest.raises(UsageError, match="cannot be read"):
        read_weights(tmp_path / "nowhere.pth")


def test_a_pickle_that_wants_more_is_refused() -> None:
    """Only containers and arrays are built, whatever the file asks for."""

    class Wicked:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path, ("/",)

    with pytest.raises(pickle.UnpicklingError, match="has no place in a weights file"):
        backbone._StateReader(io.BytesIO(pickle.dumps(Wicked()))).load()
    plain = collections.OrderedDict(a=1)
    assert backbone._StateReader(io.BytesIO(pickle.dumps(plain))).load() == plain


def test_the_taps_have_their_sizes() -> None:
    """Strides 4, 8 and 16; 24, 40 and 112 channels."""
    model = build_backbone(64, 96)

    assert [tap.shape[1:] for tap in model.outputs] == [(16, 24, 24), (8, 12, 40), (4, 6, 112)]
    assert not model.trainable_weights
