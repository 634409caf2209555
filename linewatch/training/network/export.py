"""Conversion of a Keras network into an OpenVINO graph, the format that the line's engine runs."""

import warnings
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import DTypeLike

from linewatch.training.network.keras_backend import keras


def convert_to_openvino(network: keras.Model, dtype: DTypeLike) -> Any:
    """Return `network` as an OpenVINO model with batch size 1, input type `dtype` and outputs in order."""
    shape = [1, *network.input_shape[1:]]
    with warnings.catch_warnings():
        # The converter passes its input in a tuple; Keras warns and accepts it.
        warnings.filterwarnings("ignore", "The structure of `inputs`", UserWarning)
        graph = ov.convert_model(network, example_input=np.zeros(shape, dtype))
    graph.reshape(shape)
    return graph
