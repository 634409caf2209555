"""What the journal complains of: in the log at once, and as events once there is a station to tell them."""

import logging
import math
import time
from collections import deque
from collections.abc import Callable

from linewatch.station import Station

log = logging.getLogger(__name__)

REPEAT_S = 60.0  # While the disk refuses, each part may be one more lost verdict.
UNTOLD_MAX = 16  # The oldest go first; the log has them all.


class Complaints:
    """Sentences that wait to become events `journal_damaged`; any thread may add one, one other tells them.

    Of each kind (the journal was damaged, a verdict is lost) at most one a minute is told.
    """

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._untold: deque[str] = deque(maxlen=UNTOLD_MAX)
        self._told_s: dict[str, float] = {}  # Kind -> when.
        self._clock_s = clock_s

    def add(self, sentence: str) -> None:
        """Take one sentence, also before there is a station."""
        log.warning("journal_damaged reason=%r", sentence)
        self._untold.append(sentence)

    def tell(self, station: Station) -> None:
        """Make events of what was added since the last call."""
        now_s = self._clock_s()
        while self._untold:
            sentence = self._untold.popleft()
            kind = sentence.partition(" ")[0]
            if now_s - self._told_s.get(kind, -math.inf) >= REPEAT_S:
                self._told_s[kind] = now_s
                station.event("journal_damaged", reason=sentence)
