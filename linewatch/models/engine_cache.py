"""Compiled models of recently used products, kept within a budget of memory."""

from collections import OrderedDict

from linewatch.models.bundle import GRAPH, WEIGHTS, Bundle
from linewatch.models.engine import OpenVinoEngine

_ROOM_PER_WEIGHT = 2  # Weights are stored in half precision and computed in single.
_ROOM_PER_PIXEL = 400  # Of the input, for what lies between the layers; measured with the demo model.

Key = tuple[str, str]
"""SHA-256 of graph and weights: versions that differ in their thresholds alone share an engine."""


class EngineCache:
    """Keeps the engines used last; all of them have passed their golden samples. One thread at a time.

    `bytes_max` is the room they may take together, estimated; the one used last always stays.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._kept: OrderedDict[Key, tuple[OpenVinoEngine, int]] = OrderedDict()

    def get(self, bundle: Bundle) -> OpenVinoEngine | None:
        """Return the engine of a bundle if it is resident."""
        found = self._kept.get(graph_key(bundle))
        return found[0] if found else None

    def keep(self, bundle: Bundle, engine: OpenVinoEngine) -> None:
        """Keep the engine that is used now, and let go of those used longest ago if room is short."""
        self._kept[graph_key(bundle)] = engine, bytes_needed(bundle)
        self._kept.move_to_end(graph_key(bundle))
        while len(self._kept) > 1 and sum(room for _, room in self._kept.values()) > self._bytes_max:
            self._kept.popitem(last=False)

    def drop(self, bundle: Bundle) -> None:
        """Let go of an engine that did not pass."""
        self._kept.pop(graph_key(bundle), None)


def bytes_needed(bundle: Bundle) -> int:
    """Return an estimate of the memory that a compiled model takes."""
    height, width = bundle.input_shape
    weights = (bundle.folder / WEIGHTS).stat().st_size
    return _ROOM_PER_WEIGHT * weights + _ROOM_PER_PIXEL * height * width


def graph_key(bundle: Bundle) -> Key:
    """Return what tells a bundle's engine from others."""
    return bundle.files[GRAPH], bundle.files[WEIGHTS]
