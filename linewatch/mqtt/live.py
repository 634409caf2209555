"""The live link: what PLC and dashboards hear now. Nothing waits here, nothing is sent again."""

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
STEADY_S = 10.0  # A connection that held this long starts the back-off anew.
BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.25, 10.0
WINDOW_MAX = 20  # Unacknowledged messages; more means that a verdict would come late.
TOPIC_CHARACTERS_MAX = 255  # Of a topic that somebody wants an answer on.
ACK_S = 2.0  # Give this to the connection: a broker slower than this is as good as gone.

Reply = Callable[[str], None]
"""Sends the answer to one command; may be called later and from any thread."""


@dataclass(frozen=True, slots=True)
class Announcement:
    """What the station says about itself at one moment."""

    facts: StateFacts
    word: int  # The PLC's status word, 0 to 65535.


class LiveSession(Protocol):
    """One connection to the broker; the MQTT adapter's Session."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def inflight(self) -> tuple[int, float]:
        """Return how many messages are unacknowledged, and the oldest one's age in seconds."""

    def publish(
        self,
        *letters: Message,
        qos: int = 1,
        retain: bool = False,
        expiry_s: int = 0,
        correlation: bytes = b"",
    ) -> None:
        """Hand messages to the connection, from any thread; never waits."""

    def subscribe(self, topic_filter: str) -> None:
        """Subscribe and wait for the answer. Raises BrokerLost."""

    def pump(self, timeout_s: float, *others: Wakeup) -> None:
        """Wait for traffic or one of `others`, and do the network's work. Raises BrokerLost."""


class LiveLink:
    """Keeps one fresh connection after the other alive and publishes on the present one.

    `run` is a stage of its own. `connect` opens a session whose Last Will is `online` = "0".
    `announce` is asked every 0.5 s and whenever `changed` is set. `on_command` is called in the
    network's thread and must return at once. `events` is a bounded queue that others fill; what
    waits in it is sent after an outage too. `on_edge` hears "" when the broker is there and the
    reason when it is not.
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
        on_edge: Callable[[str], None] = lambda _: None,
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
        self._on_edge = on_edge
        self._count = count
        self._backoff = Backoff(backoff_first_s, BACKOFF_MAX_S)
        self._session: LiveSession | None = None
        self.trouble = "not connected yet"  # Why there is no connection, "" while there is one.

    @property
    def connected(self) -> bool:
        """Whether a verdict could go out now."""
        return self._open_session() is not None

    def publish_verdict(self, verdict: Verdict) -> bool:
        """Send and count JSON and PLC line, now or not at all; return whether they went out. Never waits.

        A broker that has not acknowledged for a deadline's time counts as gone: what is queued
        behind would come late. Called by one thread.
        """
        session = self._open_session()
        if session is not None:
            session.publish(
                Message(self._topics.plc_verdict, plc_line(verdict)),  # First: the PLC is the one in a hurry.
                Message(self._topics.verdict, verdict_json(verdict, history=False)),
                expiry_s=self._expiry_s,
            )
        for topic in ("verdict", "plc_verdict"):
            self._count(topic, "failed" if session is None else "sent")
        return session is not None

    def run(self, stop: threading.Event, beat: Callable[[], None] = lambda: None) -> None:
        """Be connected until `stop`, trying for ever; then say goodbye with `online` = "0"."""
        while not stop.is_set():
            started = time.monotonic()
            try:
                with self._connect(self._command) as session:
                    self._serve(session, stop, beat)
            except BrokerLost as trouble:
                self._edge(str(trouble))
                if time.monotonic() - started > STEADY_S:
                    self._backoff.reset()
                self._wait(self._backoff.next_s(), stop, beat)

    def _serve(self, session: LiveSession, stop: threading.Event, beat: Callable[[], None]) -> None:
        self._session = session
        try:
            session.subscribe(self._topics.commands)
            session.publish(Message(self._topics.online, "1"), retain=True)
            speaker = _Speaker(self._topics, session)
            speaker.say(self._announce())
            self._edge("")
            while not stop.is_set():
                beat()
                session.pump(speaker.quiet_s(), self._changed)
                if self._changed.clear() or speaker.quiet_s() <= 0:
                    speaker.say(self._announce())
                    self._send_events(session)
            last = self._announce()
            speaker.say(Announcement(last.facts, last.word & ~1))
            session.publish(Message(self._topics.online, "0"), retain=True)
        finally:
            self._session = None

    def _open_session(self) -> LiveSession | None:
        """Return the session if a message published now would be on time."""
        session = self._session
        if session is None:
            return None
        waiting, oldest_s = session.inflight()
        return session if waiting <= WINDOW_MAX - 2 and oldest_s <= self._stale_s else None

    def _send_events(self, session: LiveSession) -> None:
        # A flood of refused triggers must not take the verdicts' room in the window.
        while self._events and session.inflight()[0] < WINDOW_MAX // 4:
            session.publish(Message(self._topics.event, event_json(self._events.popleft())))
            self._count("event", "sent")

    def _command(self, incoming: Incoming) -> None:
        def reply(text: str) -> None:
            session = self._session
            if session is None or session.inflight()[0] > WINDOW_MAX // 2:  # It will ask again.
                log.warning("reply_lost topic=%s reply=%s", incoming.topic, text)
                return
            usual, wanted = f"{incoming.topic}/res", incoming.reply_to
            session.publish(Message(usual, text), correlation=incoming.correlation)
            if wanted in ("", usual):
                return
            if not self._takes_answers(wanted):
                log.warning("response_topic_ignored topic=%r", wanted[:64])
                return
            # Elsewhere QoS 0: where the access list forbids it, a refusal would end the verdicts' connection.
            ours = wanted.startswith(f"{self._topics.replies}/")
            session.publish(Message(wanted, text), qos=int(ours), correlation=incoming.correlation)

        self._on_command(incoming, reply)

    def _takes_answers(self, topic: str) -> bool:
        """Whether an answer may go there: nobody makes us write into our own topics but `B/reply/`."""
        if len(topic) > TOPIC_CHARACTERS_MAX or set(topic) & set("#+\0"):
            return False
        ours = topic.startswith(f"{self._topics.base}/")
        return not ours or topic.startswith(f"{self._topics.replies}/")

    def _edge(self, trouble: str) -> None:
        if trouble == self.trouble:
            return
        self.trouble = trouble
        if trouble:
            log.warning("broker_lost reason=%r", trouble)
        else:
            log.info("broker_connected")
        self._on_edge(trouble)

    @staticmethod
    def _wait(wait_s: float, stop: threading.Event, beat: Callable[[], None]) -> None:
        until = time.monotonic() + wait_s
        while (left_s := until - time.monotonic()) > 0 and not stop.wait(min(left_s, WORD_S)):
            beat()


class _Speaker:
    """Says what changed at once and everything now and then, on one session."""

    def __init__(self, topics: Topics, session: LiveSession) -> None:
        self._topics = topics
        self._session = session
        self._word = -1
        self._edge: tuple[object, ...] = ()
        self._word_due = self._state_due = 0.0

    def quiet_s(self) -> float:
        """Return for how long nothing need be said."""
        return self._word_due - time.monotonic()

    def say(self, announcement: Announcement) -> None:
        """Publish word and state if they changed or are due."""
        now = time.monotonic()
        if announcement.word != self._word or now >= self._word_due:
            self._word, self._word_due = announcement.word, now + WORD_S
            self._session.publish(Message(self._topics.plc_word, word_text(self._word)), qos=0)
        if announcement.facts.edge != self._edge or now >= self._state_due:
            self._edge, self._state_due = announcement.facts.edge, now + STATE_S
            text = state_json(announcement.facts)
            self._session.publish(Message(self._topics.state, text), retain=True)
