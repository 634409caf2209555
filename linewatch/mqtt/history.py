"""Delivery of the journal to the history topic: at least once, in order, one window at a time."""

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
RATE_PER_S = 500.0  # After an outage: fast enough to catch up, slow enough not to delay live verdicts.
POLL_S = 0.2  # How often the journal is polled; verdicts in between share one delivery mark.
BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.5, 15.0


class Outbox(Protocol):
    """Source of undelivered verdicts; JournalReader."""

    def undelivered(self, limit: int) -> Batch | None:
        """Return the oldest undelivered verdicts; None if all are delivered."""


class Publisher(Protocol):
    """Connection that confirms every message; `connection.Session`."""

    def publish_all(self, messages: Sequence[Message]) -> None:
        """Publish messages and wait until all are acknowledged. Raises BrokerLost."""

    def idle(self, timeout_s: float) -> None:
        """Keep the connection alive for `timeout_s`. Raises BrokerLost."""


class Courier:
    """Publishes journaled verdicts on `topic`.

    `connect` opens a new connection, `delivered` marks a batch as delivered, `sent` gets the number
    of messages acknowledged. `on_change` gets the reason when delivery stops, and "" when it resumes.
    """

    def __init__(
        self,
        outbox: Outbox,
        delivered: Callable[[Batch], None],
        connect: Callable[[], AbstractContextManager[Publisher]],
        topic: str,
        *,
        grace_s: float,
        sent: Callable[[int], None] = lambda _: None,
        on_change: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._outbox = outbox
        self._delivered = delivered
        self._connect = connect
        self._topic = topic
        self._grace_s = grace_s
        self._sent = sent
        self._on_change = on_change
        self._grace_ends_s: float | None = None
        self.trouble = "not connected yet"  # Why delivery is stopped; "" while it runs.

    def run(
        self,
        stop: threading.Event,
        drained: threading.Event | None = None,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        """Deliver until `stop`, then until `drained` is set and all is delivered, for at most `grace_s`.

        What could not be delivered stays in the journal for the next start.
        """
        backoff = Backoff(BACKOFF_FIRST_S, BACKOFF_MAX_S)
        while True:
            try:
                with self._connect() as publisher:
                    while not self._finished(stop, drained or stop):
                        beat()
                        delivered = self._deliver_window(publisher)
                        self._set_trouble(
                            ""
                        )  # Only now: with a full disk a connection alone delivers nothing.
                        if delivered:
                            backoff.reset()
                        else:
                            publisher.idle(POLL_S)
                    return
            except (BrokerLost, StorageFull) as trouble:
                self._set_trouble(str(trouble))
            until = time.monotonic() + backoff.next_s()
            while (left_s := until - time.monotonic()) > 0:
                if stop.wait(min(left_s, POLL_S)):
                    return
                beat()

    def _deliver_window(self, publisher: Publisher) -> bool:
        """Deliver one window; return False if there was nothing to deliver."""
        batch = self._outbox.undelivered(WINDOW)
        if batch is None:
            return False
        started = time.monotonic()
        publisher.publish_all([Message(self._topic, verdict_json(v, history=True)) for v in batch.verdicts])
        self._delivered(batch)
        self._sent(len(batch.verdicts))
        publisher.idle(len(batch.verdicts) / RATE_PER_S - (time.monotonic() - started))
        return True

    def _finished(self, stop: threading.Event, drained: threading.Event) -> bool:
        if not stop.is_set():
            return False
        if self._grace_ends_s is None:
            self._grace_ends_s = time.monotonic() + self._grace_s
        drained_all = drained.is_set() and self._outbox.undelivered(1) is None
        return drained_all or time.monotonic() > self._grace_ends_s

    def _set_trouble(self, trouble: str) -> None:
        if trouble != self.trouble:
            self.trouble = trouble
            if trouble:
                log.warning("history_waits reason=%r", trouble)
            else:
                log.info("history_flows")
            self._on_change(trouble)
