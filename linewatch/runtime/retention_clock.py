"""A wall clock for retention that is safe against being set while the line runs."""

import logging
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

JUMP_S = 3600.0  # Smaller corrections are not logged.


class RetentionClock:
    """UTC for retention: never ahead of UTC at start plus the monotonic time since.

    A clock set forward while the line runs expires nothing early; the next start trusts it.
    A clock set back keeps data longer.
    """

    def __init__(
        self, utc_s: Callable[[], float] = time.time, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._utc_s = utc_s
        self._clock_s = clock_s
        self._started_utc_s, self._started_s = utc_s(), clock_s()
        self._jumped = False

    def utc_s(self) -> float:
        """Return seconds since 1970, to decide what has expired."""
        wall_s = self._utc_s()
        expected_s = self._started_utc_s + self._clock_s() - self._started_s
        jumped = abs(wall_s - expected_s) > JUMP_S
        if jumped is not self._jumped:
            self._jumped = jumped
            if jumped:
                log.warning("clock_jumped by_s=%.0f", wall_s - expected_s)
        return min(wall_s, expected_s)
