"""How long to wait before the next try: longer each time, up to a limit, never all at once."""

import random
from collections.abc import Callable


class Backoff:
    """Doubles from `first_s` to `max_s`; jitter keeps a plant's stations from knocking together."""

    def __init__(
        self, first_s: float, max_s: float, *, jitter: Callable[[], float] = lambda: random.uniform(0.8, 1.2)
    ) -> None:
        assert 0 < first_s <= max_s, (first_s, max_s)
        self._first_s = first_s
        self._max_s = max_s
        self._jitter = jitter
        self._next_s = first_s

    def next_s(self) -> float:
        """Return how many seconds to wait now."""
        wait_s = self._next_s
        self._next_s = min(2 * wait_s, self._max_s)
        return wait_s * self._jitter()

    def reset(self) -> None:
        """Start small again: the last try held."""
        self._next_s = self._first_s
