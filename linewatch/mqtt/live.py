"""Live MQTT link to PLC and dashboards. Verdicts are neither queued nor repeated."""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from linewatch.domain import Verdict
from linewatch.errors import BrokerLost
from linewatch.mqtt.messages import (
    Incoming,
    Message,
    StateFacts,
    Topics,
    event_json,
    plc_line,
    state_json,
    verdict_json,
    word_text,
)
from linewatch.runtime.backoff import Backoff
from linewatch.runtime.wakeup import Wakeup

log = logging.getLogger(__name__)

WORD_S = 0.5
STATE_S = 5.0
STEADY_S = 10.0  # After a connection of this length the back-off starts again at its first wait.
BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.25, 10.0
WINDOW_MAX = 20  # Unacknowledged messages; more means that a verdict would come late.
TOPIC_CHARACTERS_MAX = 255  # Of a response topic.
ACK_S = 2.0  # A broker that acknowledges later than this counts as lost; for `Broker(ack_s=...)`.

Reply = Callable[[str], None]
"""Publish the reply to one command; may be called later and from any thread."""


@dataclass(frozen=True, slots=True)
class Announcement:
    """State and status word of the station at one moment."""

    facts: StateFacts
    word: int  # Status word, 0 to 65535.


class LiveSession(Protocol):
    """One connection to the broker; `connection.Session`."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def inflight(self) -> tuple[int, float]:
        """Return how many messages are unacknowledged, and the oldest one's age in seconds."""

    def publish(
        self,
        *messages: Message,
        qos: int = 1,
        retain: bool = False,
        expiry_s: int = 0,
        correlation: bytes = b"",
    ) -> None:
        """Queue messages on the connection, from any thread, without waiting."""

    def subscribe(self, topic_filter: str) -> None:
        """Subscribe and wait for the SUBACK. Raises BrokerLost."""

    def pump(self, timeout_s: float, *others: Wakeup) -> None:
        """Run the network loop until there is traffic or one of `others` is set. Raises BrokerLost."""


class LiveLink:
    """Reconnects for ever and publishes verdicts, state, status word and events.

    `run` is a stage. `connect` opens a session whose Last Will is `online` = "0". `announce` is called
    every 0.5 s and whenever `changed` is set. `on_command` is called in the network thread and must
    return at once. `events` is a bounded queue that other threads fill; its content is published after
    an outage, too. `on_change` gets "" when the broker is connected and the reason when it is lost.
    """

    def __init__(
        self,
        topics: Topics,
        connect: Callable[[Callable[[Incoming], None]], LiveSession],
        *,
        deadline_ms: int,
        announce: Callable[[], Announcement],
        on_command: Callable[[Incoming, Reply], None],
        events: deque[dict[str, object]],
        changed: Wakeup,
        on_change: Callable[[str], None] = lambda _: None,
        count: Callable[[str, str], None] = lambda _topic, _outcome: None,
        backoff_first_s: float = BACKOFF_FIRST_S,
    ) -> None:
        self._topics = topics
        self._connect = connect
        self._stale_s = deadline_ms / 1000
        self._expiry_s = math.ceil(self._stale_s)  # MQTT 5 counts whole seconds.
        self._announce = announce
        self._on_command = on_command
        self._events = events
        self._changed = changed
        self._on_change = on_change
        self._count = count
        self._backoff = Backoff(backoff_first_s, BACKOFF_MAX_S)
        self._session: LiveSession | None = None
        self.trouble = "not connected yet"  # Why there is no connection; "" while there is one.

    @property
    def connected(self) -> bool:
        """Whether a verdict could be published now."""
        return self._open_session() is not None

    def publish_verdict(self, verdict: Verdict) -> bool:
        """Publish PLC line and JSON now or not at all; return whether they were published. Never waits.

        A broker whose oldest acknowledgement is overdue by more than the deadline counts as lost: what
        is queued behind it would be late. Called by one thread.
        """
        session = self._open_session()
        if session is not None:
            session.publish(
                Message(self._topics.plc_verdict, plc_line(verdict)),  # First: the PLC waits for it.
                Message(self._topics.verdict, verdict_json(verdict, history=False)),
                expiry_s=self._expiry_s,
            )
        for topic in ("verdict", "plc_verdict"):
            self._count(topic, "failed" if session is None else "sent")
        return session is not None

    def run(self, stop: threading.Event, beat: Callable[[], None] = lambda: None) -> None:
        """Stay connected until `stop`, retrying for ever; then publish `online` = "0"."""
        while not stop.is_set():
            started = time.monotonic()
            try:
                with self._connect(self._command) as session:
                    self._serve(session, stop, beat)
            except BrokerLost as trouble:
                self._set_trouble(str(trouble))
                if time.monotonic() - started > STEADY_S:
                    self._backoff.reset()
                self._wait(self._backoff.next_s(), stop, beat)

    def _serve(self, session: LiveSession, stop: threading.Event, beat: Callable[[], None]) -> None:
        self._session = session
        try:
            session.subscribe(self._topics.commands)
            session.publish(Message(self._topics.online, "1"), retain=True)
            publisher = _StatePublisher(self._topics, session)
            publisher.publish_due(self._announce())
            self._set_trouble("")
            while not stop.is_set():
                beat()
                session.pump(publisher.due_in_s(), self._changed)
                if self._changed.clear() or publisher.due_in_s() <= 0:
                    publisher.publish_due(self._announce())
                    self._send_events(session)
            last = self._announce()
            publisher.publish_due(Announcement(last.facts, last.word & ~1))
            session.publish(Message(self._topics.online, "0"), retain=True)
        finally:
            self._session = None

    def _open_session(self) -> LiveSession | None:
        """Return the session if a message published now would arrive in time; else None."""
        session = self._session
        if session is None:
            return None
        waiting, oldest_s = session.inflight()
        return session if waiting <= WINDOW_MAX - 2 and oldest_s <= self._stale_s else None

    def _send_events(self, session: LiveSession) -> None:
        # Leave room in the window for verdicts, whatever number of triggers is refused.
        while self._events and session.inflight()[0] < WINDOW_MAX // 4:
            session.publish(Message(self._topics.event, event_json(self._events.popleft())))
            self._count("event", "sent")

    def _command(self, incoming: Incoming) -> None:
        def reply(text: str) -> None:
            session = self._session
            if (
                session is None or session.inflight()[0] > WINDOW_MAX // 2
            ):  # The client will repeat its command.
                log.warning("reply_lost topic=%s reply=%s", incoming.topic, text)
                return
            default, wanted = f"{incoming.topic}/res", incoming.reply_to
            session.publish(Message(default, text), correlation=incoming.correlation)
            if wanted in ("", default):
                return
            if not self._reply_allowed(wanted):
                log.warning("response_topic_ignored topic=%r", wanted[:64])
                return
            # Elsewhere QoS 0: a PUBACK that refuses it would close the connection that carries the verdicts.
            ours = wanted.startswith(f"{self._topics.replies}/")
            session.publish(Message(wanted, text), qos=int(ours), correlation=incoming.correlation)

        self._on_command(incoming, reply)

    def _reply_allowed(self, topic: str) -> bool:
        """Whether a reply may be published there: of the station's own topics only below `B/reply/`."""
        if len(topic) > TOPIC_CHARACTERS_MAX or set(topic) & set("#+\0"):
            return False
        ours = topic.startswith(f"{self._topics.base}/")
        return not ours or topic.startswith(f"{self._topics.replies}/")

    def _set_trouble(self, trouble: str) -> None:
        if trouble == self.trouble:
            return
        self.trouble = trouble
        if trouble:
            log.warning("broker_lost reason=%r", trouble)
        else:
            log.info("broker_connected")
        self._on_change(trouble)

    @staticmethod
    def _wait(wait_s: float, stop: threading.Event, beat: Callable[[], None]) -> None:
        until = time.monotonic() + wait_s
        while (left_s := until - time.monotonic()) > 0 and not stop.wait(min(left_s, WORD_S)):
            beat()


class _StatePublisher:
    """Publishes state and status word on one session: at once when changed, and periodically."""

    def __init__(self, topics: Topics, session: LiveSession) -> None:
        self._topics = topics
        self._session = session
        self._word = -1
        self._change_key: tuple[object, ...] = ()
        self._word_due = self._state_due = 0.0

    def due_in_s(self) -> float:
        """Return the seconds until the status word is due."""
        return self._word_due - time.monotonic()

    def publish_due(self, announcement: Announcement) -> None:
        """Publish status word and state if they changed or are due."""
        now = time.monotonic()
        if announcement.word != self._word or now >= self._word_due:
            self._word, self._word_due = announcement.word, now + WORD_S
            self._session.publish(Message(self._topics.plc_word, word_text(self._word)), qos=0)
        if announcement.facts.change_key != self._change_key or now >= self._state_due:
            self._change_key, self._state_due = announcement.facts.change_key, now + STATE_S
            text = state_json(announcement.facts)
            self._session.publish(Message(self._topics.state, text), retain=True)
