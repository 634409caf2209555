"""Run a compiled model with OpenVINO. No other module outside training imports OpenVINO."""

import functools
import os
import threading
from pathlib import Path

import numpy as np
import openvino as ov

from linewatch.domain import NO_EMBEDDING, EngineOutput, Image
from linewatch.errors import RecipeError


class OpenVinoEngine:
    """One network compiled for this CPU; may be shared between threads, which then take turns.

    `threads` is the number of inference threads; 0 leaves one core to the rest of the line. `cache` is
    a folder for compiled networks. Raises RecipeError if the graph cannot be compiled.
    """

    def __init__(self, path: Path, *, threads: int = 0, cache: Path | None = None) -> None:
        options: dict[str, str | int] = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            # The default is bfloat16 on some CPUs; an image must get the same score on every machine.
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads or max(1, len(os.sched_getaffinity(0)) - 1),
        }
        if cache is not None:
            options["CACHE_DIR"] = str(cache)
        try:
            compiled = _core().compile_model(path, "CPU", options)
            inlet = compiled.input(0)
            self._shape = _input_shape(inlet)
            self._request = compiled.create_infer_request()
            # Tensors are bound once: passing them by name at each run costs a tenth of the inference time.
            self._crop = np.zeros((1, *self._shape, 3), np.uint8)
            self._request.set_input_tensor(ov.Tensor(self._crop, shared_memory=True))
            self._score, self._map = (self._request.get_tensor(name) for name in ("score", "map"))
            # Models trained before these were introduced have no such outputs.
            outputs = {name for outlet in compiled.outputs for name in outlet.names}
            self._embedding, self._local = (
                self._request.get_tensor(name) if name in outputs else None for name in ("embedding", "local")
            )
        except RuntimeError as error:
            raise RecipeError(
                f"model graph {str(path)!r} does not load: {_last_line(error)}; train the product again"
            ) from error
        self._running = threading.Lock()

    @property
    def input_shape(self) -> tuple[int, int]:
        """Height and width of the network's input, in pixels."""
        return self._shape

    def run(self, crop: Image) -> EngineOutput:
        """Score one crop, (*input_shape, 3) uint8."""
        assert crop.shape == (*self._shape, 3), f"crop {crop.shape} for a graph of {self._shape}"
        with self._running:
            self._crop[0] = crop
            self._request.infer(share_outputs=True)
            anomaly_map = self._map.data
            return EngineOutput(
                float(self._score.data.item()),
                anomaly_map.reshape(anomaly_map.shape[-2:]).copy(),
                *(
                    NO_EMBEDDING if tensor is None else tensor.data.flatten()
                    for tensor in (self._embedding, self._local)
                ),
            )


@functools.cache
def _core() -> ov.Core:
    """Return the OpenVINO core of this process, which is never released.

    The CPU plugin gives the thread that loads it an alternate signal stack and frees that when it is
    released, in whatever thread: the next SIGTERM after a changeover would then crash the process.
    """
    return ov.Core()


def _input_shape(inlet: "ov.Output") -> tuple[int, int]:
    shape = tuple(inlet.shape)
    if len(shape) != 4 or shape[0] != 1 or shape[3] != 3 or inlet.element_type != ov.Type.u8:
        raise RuntimeError(f"its input is {inlet.element_type} {shape}, not one uint8 image")
    return int(shape[1]), int(shape[2])


def _last_line(error: Exception) -> str:
    """Return the last line that is not blank: OpenVINO puts C++ source positions before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
