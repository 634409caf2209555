"""What a client may take: numbers, sizes and times, and the processor time of its requests."""

import time
from collections.abc import Callable

MESSAGE_BYTES_MAX = 262_144  # Of a request with all its chunks.
CHUNK_BYTES = 65_535
CHUNKS_MAX = 5
PENDING_MAX = 20  # Requests of one connection that wait; further ones wait in the network.
UNREAD_BYTES_MAX = 131_072  # Of them, taken from the network.
CALLS_MAX = 8  # Of one connection under way: a changeover takes seconds.
SPARE_CONNECTIONS = 8  # Beyond the sessions, for those that are signing in.
OPERATIONS_MAX = 500  # In one request: nodes to read, to browse, methods to call.
SUBSCRIPTIONS_EACH = 8  # Of one session.
ITEMS_EACH = 200  # Monitored items of one session.
QUEUE_MAX = 100  # Values of one monitored item that wait.
UNACKNOWLEDGED_MAX = 20  # Notifications kept for one subscription.
PUBLISHING_MS = (50.0, 60_000.0)
KEEP_ALIVES_MAX, LIFETIME_MAX = 1200, 3600  # Publishing intervals.
SESSION_MS = (5_000, 120_000)
SIGN_IN_S = 10.0  # From the connection to the activated session.
WRITE_S = 1.0  # A client takes what it asked for within so long.
WRITE_BYTES_MAX = 4_000_000
SENT_BYTES_MAX = 65_536  # Kept by the system for a client that does not read: a PASS must not lie there.

SHARE = 0.2  # Of one core, for the requests of one session, and for those of all strangers together.
TOTAL_SHARE = 0.35  # For all requests: the line's threads share the interpreter.
BURST_S = 0.5  # Of processor time; browsing everything takes a fifth.


class Budget:
    """Processor time that requests may take; refills by SHARE."""

    def __init__(self, share: float = SHARE, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._share = share
        self._clock_s = clock_s
        self._left_s = BURST_S
        self._filled_s = clock_s()

    def spend(self, taken_s: float) -> float:
        """Count a request; return how long to wait before the next one."""
        now_s = self._clock_s()
        self._left_s = min(BURST_S, self._left_s + self._share * (now_s - self._filled_s)) - taken_s
        self._filled_s = now_s
        return max(0.0, -self._left_s / self._share)
