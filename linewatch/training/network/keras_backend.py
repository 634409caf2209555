"""Import Keras and TensorFlow with stderr silenced: their native libraries log while they load."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _quiet() -> Iterator[None]:
    """Redirect file descriptor 2 to /dev/null inside the block; restored afterwards."""
    sys.stderr.flush()
    saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
with _quiet():
    import keras
    import tensorflow as tf
    from keras import ops

    tf.config.list_physical_devices()  # Its search for a GPU is the last step that logs.

__all__ = ["keras", "ops", "tf"]
