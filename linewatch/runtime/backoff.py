"""Exponential back-off with jitter."""

import random
from collections.abc import Callable


class Backoff:
    """Wait times that double from `first_s` to `max_s`; jitter spreads the retries of a plant's stations."""

    def __init__(
        self, first_s: float, max_s: float, *, jitter: Callable[[], float] = lambda: random.uniform(0.8, 1.2)
    ) -> None:
        assert 0 < first_s <= max_s, (first_s, max_s)
        self._first_s = first_s
        self._max_s = max_s
        self._jitter = jitter
        self._next_s = first_s

    def next_s(self) -> float:
        """Return how many seconds to wait before the next try."""
        wait_s = self._next_s
        self._next_s = min(2 * wait_s, self._max_s)
        return wait_s * self._jitter()

    def reset(self) -> None:
        """Start again at `first_s`, after a success."""
        self._next_s = self._first_s
