"""From a Keras network to a graph for the line's runtime."""

import warnings
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import DTypeLike

from linewatch.training.network.keras_backend import keras


def convert(network: keras.Model, dtype: DTypeLike) -> Any:
    """Return the network as a graph for one picture; outputs keep the network's order."""
    shape = [1, *network.input_shape[1:]]
    with warnings.catch_warnings():
        # The converter hands its input over in a tuple, which Keras only remarks on.
        warnings.filterwarnings("ignore", "The structure of `inputs`", UserWarning)
        graph = ov.convert_model(network, example_input=np.zeros(shape, dtype))
    graph.reshape(shape)
    return graph
