"""Turn warnings of the journal into events, from before there is a station and at a bounded rate."""

import logging
import math
import time
from collections import deque
from collections.abc import Callable

from linewatch.line.station import Station

log = logging.getLogger(__name__)

REPEAT_S = 60.0  # While the disk refuses, each part may be one more lost verdict.
WAITING_MAX = 16  # When full, the oldest are dropped; the log has them all.


class JournalWarnings:
    """Warnings that wait to become `journal_damaged` events, at most one a minute of each kind.

    The first word of a warning is its kind. Any thread may `add`; one thread calls `publish`.
    """

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._waiting: deque[str] = deque(maxlen=WAITING_MAX)
        self._published_s: dict[str, float] = {}  # By kind.
        self._clock_s = clock_s

    def add(self, warning: str) -> None:
        """Log one sentence and keep it for `publish`; works before there is a station."""
        log.warning("journal_damaged reason=%r", warning)
        self._waiting.append(warning)

    def publish(self, station: Station) -> None:
        """Make events of the warnings added since the last call."""
        now_s = self._clock_s()
        while self._waiting:
            warning = self._waiting.popleft()
            kind = warning.partition(" ")[0]
            if now_s - self._published_s.get(kind, -math.inf) >= REPEAT_S:
                self._published_s[kind] = now_s
                station.event("journal_damaged", reason=warning)
