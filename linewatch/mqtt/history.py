"""Journal to history topic, for as long as it takes: at least once, in order, a window at a time."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from linewatch.domain import Batch
from linewatch.errors import BrokerLost, StorageFull
from linewatch.mqtt.messages import Message, verdict_json
from linewatch.runtime.backoff import Backoff

log = logging.getLogger(__name__)

WINDOW = 50
RATE_PER_S = 500.0  # After an outage: fast enough to catch up, slow enough to leave live verdicts alone.
REST_S = 0.2  # How often to look for more; one mark for all that came meanwhile.
BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.5, 15.0


class Outbox(Protocol):
    """What waits; the journal's reader."""

    def undelivered(self, limit: int) -> Batch | None:
        """Return the oldest verdicts that the history misses, None if it has them all."""


class Publisher(Protocol):
    """A connection that answers for every message; the MQTT adapter's Session."""

    def publish_all(self, letters: Sequence[Message]) -> None:
        """Send one window; return once all of it is acknowledged. Raises BrokerLost."""

    def rest(self, timeout_s: float) -> None:
        """Keep the connection alive for a while. Raises BrokerLost."""


class Courier:
    """Carries verdicts to `topic`. `connect` opens a fresh connection, `delivered` marks a batch."""

    def __init__(
        self,
        outbox: Outbox,
        delivered: Callable[[Batch], None],
        connect: Callable[[], AbstractContextManager[Publisher]],
        topic: str,
        *,
        grace_s: float,
        sent: Callable[[int], None] = lambda _: None,
        on_edge: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._outbox = outbox
        self._delivered = delivered
        self._connect = connect
        self._topic = topic
        self._grace_s = grace_s
        self._sent = sent  # Told how many messages were acknowledged.
        self._on_edge = on_edge  # Hears why history waits, "" when it flows.
        self._grace_ends_s: float | None = None
        self.trouble = "not connected yet"  # Why history waits, "" while it does not.

    def run(
        self,
        stop: threading.Event,
        drained: threading.Event | None = None,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        """Deliver until `stop`; then what is left and still comes before `drained`, for `grace_s` at most.

        Without a broker the rest waits on disk for the next start.
        """
        backoff = Backoff(BACKOFF_FIRST_S, BACKOFF_MAX_S)
        while True:
            try:
                with self._connect() as publisher:
                    while not self._finished(stop, drained or stop):
                        beat()
                        carried = self._carry(publisher)
                        self._edge("")  # Not before: a connection alone carries nothing on a full disk.
                        if carried:
                            backoff.reset()
                        else:
                            publisher.rest(REST_S)
                    return
            except (BrokerLost, StorageFull) as trouble:
                self._edge(str(trouble))
            until = time.monotonic() + backoff.next_s()
            while (left_s := until - time.monotonic()) > 0:
                if stop.wait(min(left_s, REST_S)):
                    return
                beat()

    def _carry(self, publisher: Publisher) -> bool:
        """Deliver one window; return whether there was any."""
        batch = self._outbox.undelivered(WINDOW)
        if batch is None:
            return False
        started = time.monotonic()
        publisher.publish_all([Message(self._topic, verdict_json(v, history=True)) for v in batch.verdicts])
        self._delivered(batch)
        self._sent(len(batch.verdicts))
        publisher.rest(len(batch.verdicts) / RATE_PER_S - (time.monotonic() - started))
        return True

    def _finished(self, stop: threading.Event, drained: threading.Event) -> bool:
        if not stop.is_set():
            return False
        if self._grace_ends_s is None:
            self._grace_ends_s = time.monotonic() + self._grace_s
        nothing_left = drained.is_set() and self._outbox.undelivered(1) is None
        return nothing_left or time.monotonic() > self._grace_ends_s

    def _edge(self, trouble: str) -> None:
        if trouble != self.trouble:
            self.trouble = trouble
            if trouble:
                log.warning("history_waits reason=%r", trouble)
            else:
                log.info("history_flows")
            self._on_edge(trouble)
