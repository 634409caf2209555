"""Cache of compiled models of recently used products, limited by memory."""

from collections import OrderedDict

from linewatch.models.bundle import GRAPH, WEIGHTS, Bundle
from linewatch.models.engine import OpenVinoEngine

_BYTES_PER_WEIGHT_BYTE = 2  # Weights are stored in half precision and computed in single.
_BYTES_PER_PIXEL = 400  # Activations per input pixel; measured with the demo model.

Key = tuple[str, str]
"""SHA-256 of graph and weights: versions that differ only in their thresholds share an engine."""


class EngineCache:
    """Least-recently-used cache of engines that passed their golden samples; one thread at a time.

    `bytes_max` limits their estimated memory; the engine used last is never dropped.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._engines: OrderedDict[Key, tuple[OpenVinoEngine, int]] = OrderedDict()

    def get(self, bundle: Bundle) -> OpenVinoEngine | None:
        """Return the engine of a bundle if it is cached."""
        found = self._engines.get(graph_key(bundle))
        return found[0] if found else None

    def keep(self, bundle: Bundle, engine: OpenVinoEngine) -> None:
        """Add the engine that is used now; drop those used longest ago if the limit is exceeded."""
        self._engines[graph_key(bundle)] = engine, bytes_needed(bundle)
        self._engines.move_to_end(graph_key(bundle))
        while len(self._engines) > 1 and sum(size for _, size in self._engines.values()) > self._bytes_max:
            self._engines.popitem(last=False)

    def drop(self, bundle: Bundle) -> None:
        """Drop an engine that failed its self-test."""
        self._engines.pop(graph_key(bundle), None)


def bytes_needed(bundle: Bundle) -> int:
    """Estimate the memory of a compiled model, in bytes."""
    height, width = bundle.input_shape
    weights = (bundle.folder / WEIGHTS).stat().st_size
    return _BYTES_PER_WEIGHT_BYTE * weights + _BYTES_PER_PIXEL * height * width


def graph_key(bundle: Bundle) -> Key:
    """Return the cache key of a bundle's engine."""
    return bundle.files[GRAPH], bundle.files[WEIGHTS]
