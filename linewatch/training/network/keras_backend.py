"""Keras and TensorFlow, brought in quietly: their native parts write to stderr while they load."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _quiet() -> Iterator[None]:
    """Send the process's stderr nowhere while the block runs; Python's own stays usable after it."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
with _quiet():
    import keras
    import tensorflow as tf
    from keras import ops

    tf.config.list_physical_devices()  # Looking for a graphics card is the last thing it remarks on.

__all__ = ["keras", "ops", "tf"]
