"""The wall clock, as far as what it says can cost data: it may be set while the line runs."""

import logging
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

JUMP_S = 3600.0  # Corrections smaller than this are nobody's news.


class RetentionClock:
    """UTC for retention: never ahead of what the clock said at start plus the time since.

    A clock that is set forward while the line runs makes nothing old before its time; the next start
    takes its word. One that is set back only keeps things longer.
    """

    def __init__(
        self, utc_s: Callable[[], float] = time.time, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._utc_s = utc_s
        self._clock_s = clock_s
        self._started_utc_s, self._started_s = utc_s(), clock_s()
        self._jumped = False

    def utc_s(self) -> float:
        """Return seconds since 1970, for deciding what is too old."""
        told_s = self._utc_s()
        due_s = self._started_utc_s + self._clock_s() - self._started_s
        jumped = abs(told_s - due_s) > JUMP_S
        if jumped is not self._jumped:
            self._jumped = jumped
            if jumped:
                log.warning("clock_jumped by_s=%.0f", told_s - due_s)
        return min(told_s, due_s)
