"""The live link against a real broker: verdicts on time or never, and a true `online`."""

import json
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from linewatch.domain import Reason, Result, State, Verdict
from linewatch.errors import BrokerLost
from linewatch.mqtt.broker import Broker
from linewatch.mqtt.connection import LastWill
from linewatch.mqtt.live import Announcement, LiveLink, Reply
from linewatch.mqtt.messages import Incoming, Message, StateFacts, Topics, plc_line, verdict_json
from linewatch.runtime.wakeup import Wakeup
from linewatch.settings import MqttSettings
from tests.mosquitto import Mosquitto, Subscriber, free_port

TOPICS = Topics("linewatch/station1")
PASS = Verdict(
    station="station1",
    boot=7,
    seq=1,
    product="bottle",
    product_index=3,
    model="7f3a91c2",
    result=Result.PASS,
    reason=Reason.NONE,
    raw=0.5,
    threshold=2.0,
    captured_ms=1790000000123,
)


class Station:
    """The daemon's side of the link: what it publishes and what it received."""

    def __init__(self) -> None:
        self.facts = StateFacts(station="station1", boot=7, state=State.READY, camera=True)
        self.word = 0b11
        self.events: deque[dict[str, object]] = deque(maxlen=10)
        self.changed = Wakeup()
        self.changes: deque[str] = deque()
        self.change = threading.Condition()
        self.answer: Callable[[Incoming, Reply], None] = lambda _incoming, _reply: None

    def announce(self) -> Announcement:
        """Return the present state and status word."""
        return Announcement(self.facts, self.word)

    def on_change(self, trouble: str) -> None:
        """Note a change of the connection."""
        with self.change:
            self.changes.append(trouble)
            self.change.notify_all()

    def wait_for_change(self, wanted: Callable[[str], bool]) -> str:
        """Wait for a change and return it; earlier ones are dropped."""

        def found() -> bool:
            while self.changes and not wanted(self.changes[0]):
                self.changes.popleft()
            return bool(self.changes)

        with self.change:
            assert self.change.wait_for(found, 10)
            return self.changes.popleft()


class Rig:
    """A running live link."""

    def __init__(self, port: int) -> None:
        self.station = Station()
        self.stop = threading.Event()
        self.failure: BaseException | None = None
        broker = Broker(
            MqttSettings(port=port),
            "station1-live",
            will=LastWill(lambda: Message(TOPICS.online, "0")),
            ack_s=0.5,
            connect_s=1.0,
        )
        self.link = LiveLink(
            TOPICS,
            broker.connect,
            deadline_ms=200,
            announce=self.station.announce,
            on_command=self._on_command,
            events=self.station.events,
            changed=self.station.changed,
            on_change=self.station.on_change,
        )
        self.thread = threading.Thread(target=self._run, name="announce")

    def _on_command(self, incoming: Incoming, reply: Reply) -> None:
        self.station.answer(incoming, reply)  # Looked up when it comes: tests change it.

    def _run(self) -> None:
        try:
            self.link.run(self.stop)
        except ZeroDivisionError as error:
            self.failure = error

    def connected(self) -> None:
        """Wait until the link is up."""
        self.station.wait_for_change(lambda trouble: not trouble)

    def all_acknowledged(self) -> None:
        """Wait until the broker has acknowledged every message so far."""
        session = self.link._session
        assert session is not None
        deadline = time.monotonic() + 10
        while session.inflight()[0]:
            assert time.monotonic() < deadline, "no acknowledgement"
            time.sleep(0.002)

    def end(self) -> None:
        """Stop the link and wait for it."""
        self.stop.set()
        self.station.changed.set()  # Do not wait for the next word.
        self.thread.join(10)
        assert not self.thread.is_alive()


@contextmanager
def running(port: int) -> Iterator[Rig]:
    """Run a link for as long as the block lasts."""
    rig = Rig(port)
    rig.thread.start()
    try:
        yield rig
    finally:
        rig.end()


def test_a_verdict_arrives_as_json_and_as_line(mosquitto: Mosquitto) -> None:
    """Both carry the expiry, and neither is retained."""
    with Subscriber(mosquitto.port) as ear, running(mosquitto.port) as rig:
        rig.connected()

        assert rig.link.connected
        assert rig.link.publish_verdict(PASS)
        ear.wait_for(TOPICS.verdict, verdict_json(PASS, history=False))
        ear.wait_for(TOPICS.plc_verdict, plc_line(PASS))
        verdicts = [heard for heard in ear.heard if "verdict" in heard.topic]
        assert [(heard.retained, heard.expiry_s) for heard in verdicts] == [(False, 1)] * 2


def test_presence_is_retained_and_taken_back_at_the_end(mosquitto: Mosquitto) -> None:
    """A late subscriber reads `1` and the state while the station is there, `0` after it left."""
    with Subscriber(mosquitto.port) as ear, running(mosquitto.port) as rig:
        ear.wait_for(TOPICS.online, "1")
        ear.wait(lambda ear: bool(ear.on(TOPICS.state)))
        with Subscriber(mosquitto.port) as late:
            late.wait_for(TOPICS.online, "1")
            late.wait(lambda ear: bool(ear.on(TOPICS.state)))
            assert all(heard.retained for heard in late.heard if heard.topic != TOPICS.plc_word)
            assert json.loads(late.on(TOPICS.state)[0])["state"] == "READY"
            rig.station.facts = replace(rig.station.facts, state=State.STOPPED)
            rig.end()
            late.wait_for(TOPICS.online, "0")
            assert json.loads(late.on(TOPICS.state)[-1])["state"] == "STOPPED"
            assert late.on(TOPICS.plc_word)[-1] == str(0b10)  # The online bit is gone.


def test_a_change_is_announced_at_once(mosquitto: Mosquitto) -> None:
    """The status word does not wait for its 500 ms, nor the state for its 5 s."""
    with Subscriber(mosquitto.port) as ear, running(mosquitto.port) as rig:
        rig.connected()
        ear.wait_for(TOPICS.plc_word, "3")
        started = time.monotonic()
        for word in range(100, 120):
            rig.station.word = word
            rig.station.facts = replace(rig.station.facts, rebirths=word)
            rig.station.changed.set()
            ear.wait_for(TOPICS.plc_word, str(word))

        assert time.monotonic() - started < 20 * 0.5 / 2
        assert len(ear.on(TOPICS.state)) >= 20


def test_the_word_beats_by_itself(mosquitto: Mosquitto) -> None:
    """Without any change it comes again every 500 ms; the state does not."""
    with Subscriber(mosquitto.port) as ear, running(mosquitto.port) as rig:
        rig.connected()
        ear.wait(lambda ear: len(ear.on(TOPICS.plc_word)) >= 3)

        assert len(ear.on(TOPICS.state)) == 1


def test_nothing_published_in_an_outage_comes_later(mosquitto: Mosquitto) -> None:
    """A verdict without a broker is refused at once; after the outage only new ones arrive."""
    with running(mosquitto.port) as rig:
        rig.connected()
        mosquitto.stop()
        rig.station.wait_for_change(bool)
        started = time.monotonic()
        assert not any(rig.link.publish_verdict(replace(PASS, seq=seq)) for seq in range(5000))
        assert time.monotonic() - started < 1

        mosquitto.start()
        with Subscriber(mosquitto.port) as ear:
            rig.connected()
            assert rig.link.publish_verdict(replace(PASS, seq=5001))
            ear.wait(lambda ear: bool(ear.on(TOPICS.verdict)))
            assert [json.loads(text)["seq"] for text in ear.on(TOPICS.verdict)] == [5001]


def test_a_hung_broker_counts_as_gone_within_a_deadline(mosquitto: Mosquitto) -> None:
    """Verdicts are refused once the first stays unacknowledged, and go out again when it is back."""
    with running(mosquitto.port) as rig:
        rig.connected()
        mosquitto.hang()
        started = time.monotonic()
        accepted = 0
        while rig.link.publish_verdict(replace(PASS, seq=accepted + 1)):
            accepted += 1
            rig.stop.wait(0.02)
            assert time.monotonic() - started < 1
        assert 0 < accepted <= 10
        trouble = rig.station.wait_for_change(bool)
        mosquitto.go_on()
        rig.connected()

        assert "no acknowledgement" in trouble
        assert rig.link.publish_verdict(PASS)


def test_a_full_window_counts_as_gone(mosquitto: Mosquitto) -> None:
    """A burst cannot pile up messages in memory."""
    with running(mosquitto.port) as rig:
        rig.connected()
        rig.all_acknowledged()
        mosquitto.hang()
        accepted = [rig.link.publish_verdict(replace(PASS, seq=seq)) for seq in range(1, 1000)]
        mosquitto.go_on()

        assert 5 < sum(accepted) <= 10
        assert accepted == sorted(accepted, reverse=True)


def test_commands_are_answered_where_asked(mosquitto: Mosquitto) -> None:
    """The reply goes below the command and to the response topic, with its correlation."""

    def answer(incoming: Incoming, reply: Reply) -> None:
        threading.Thread(target=reply, args=(incoming.payload.decode(),)).start()

    with Subscriber(mosquitto.port) as ear, running(mosquitto.port) as rig:
        rig.station.answer = answer
        rig.connected()
        ear.ask(f"{TOPICS.base}/cmd/pause", "1", reply_to="plc/answers", correlation=b"x")
        ear.wait_for(f"{TOPICS.base}/cmd/pause/res", "1")
        ear.wait_for("plc/answers", "1")
        assert [heard.correlation for heard in ear.heard if heard.topic == "plc/answers"] == [b"x"]


def test_commands_are_answered_below_our_own_reply_topic(mosquitto: Mosquitto) -> None:
    """A reply below `B/reply/` is published at QoS 1."""
    with Subscriber(mosquitto.port) as ear, running(mosquitto.port) as rig:
        rig.station.answer = lambda _incoming, reply: reply("done")
        rig.connected()
        ear.ask(f"{TOPICS.base}/cmd/pause", "1", reply_to=f"{TOPICS.replies}/plc1", correlation=b"x")
        ear.wait_for(f"{TOPICS.replies}/plc1", "done")

    answers = [(heard.topic, heard.correlation) for heard in ear.heard if heard.payload == "done"]
    assert answers == [(f"{TOPICS.base}/cmd/pause/res", b"x"), (f"{TOPICS.replies}/plc1", b"x")]


def test_an_answer_that_is_wanted_on_the_usual_topic_comes_once(mosquitto: Mosquitto) -> None:
    """An MQTT 5 client that names it finds its correlation there."""
    usual = f"{TOPICS.base}/cmd/pause/res"
    with Subscriber(mosquitto.port) as ear, running(mosquitto.port) as rig:
        rig.station.answer = lambda _incoming, reply: reply("done")
        rig.connected()
        ear.ask(f"{TOPICS.base}/cmd/pause", "1", reply_to=usual, correlation=b"x")
        ear.wait_for(usual, "done")
        ear.ask(f"{TOPICS.base}/cmd/resume", "1", reply_to="elsewhere")
        ear.wait_for("elsewhere", "done")

    assert [heard.correlation for heard in ear.heard if heard.topic == usual] == [b"x"]


@pytest.mark.parametrize("reply_to", [TOPICS.plc_verdict, TOPICS.online, "x" * 300])
def test_no_reply_goes_to_the_stations_own_topics(mosquitto: Mosquitto, reply_to: str) -> None:
    """A response topic must not forge a verdict or a state."""
    with Subscriber(mosquitto.port) as ear, running(mosquitto.port) as rig:
        rig.station.answer = lambda _incoming, reply: reply("forged")
        rig.connected()
        ear.ask(f"{TOPICS.base}/cmd/pause", "1", reply_to=reply_to)
        ear.wait_for(f"{TOPICS.base}/cmd/pause/res", "forged")
        ear.ask(f"{TOPICS.base}/cmd/pause", "2", reply_to="elsewhere")
        ear.wait_for("elsewhere", "forged")

        assert "forged" not in ear.on(reply_to)


def test_events_of_an_outage_are_published_after_it(mosquitto: Mosquitto) -> None:
    """Events wait in their queue while the broker is away, in order."""
    with running(mosquitto.port) as rig:
        rig.connected()
        mosquitto.stop()
        rig.station.wait_for_change(bool)
        rig.station.events.extend({"event": name} for name in ("camera_lost", "camera_back"))
        mosquitto.start()
        with Subscriber(mosquitto.port) as ear:
            rig.connected()
            rig.station.events.append({"event": "drift"})
            rig.station.changed.set()
            ear.wait(lambda ear: len(ear.on(TOPICS.event)) == 3)
            names = [json.loads(text)["event"] for text in ear.on(TOPICS.event)]
            assert names == ["camera_lost", "camera_back", "drift"]


def test_a_bug_in_a_command_ends_the_stage_and_the_will_is_sent(mosquitto: Mosquitto) -> None:
    """A bug ends the process, and the will tells the PLC."""

    def bug(_incoming: Incoming, _reply: Reply) -> None:
        raise ZeroDivisionError

    with Subscriber(mosquitto.port) as ear, running(mosquitto.port) as rig:
        rig.station.answer = bug
        rig.connected()
        ear.say(f"{TOPICS.base}/cmd/pause", "{}")
        rig.thread.join(10)
        ear.wait_for(TOPICS.online, "0")

        assert isinstance(rig.failure, ZeroDivisionError)
        assert not rig.link.publish_verdict(PASS)


def test_an_absent_broker_is_reported_once_and_a_stop_is_quick() -> None:
    """The link retries in the background; a stop does not wait for its back-off."""
    with running(free_port()) as rig:
        trouble = rig.station.wait_for_change(bool)
        started = time.monotonic()
        rig.end()

        assert "refuses connections" in trouble
        assert not rig.station.changes
        assert time.monotonic() - started < 1


def test_back_off_grows_and_is_not_reset_by_short_lives() -> None:
    """A broker that closes every connection at once is retried ever more slowly."""
    tries = 0
    waits: list[float] = []
    stop = threading.Event()

    def connect(_: Callable[[Incoming], None]) -> None:
        nonlocal tries
        tries += 1
        if tries == 4:
            stop.set()
        raise BrokerLost("test", "thrown out")

    class Impatient(LiveLink):
        """Notes the waiting time and does not wait."""

        @staticmethod
        def _wait(wait_s: float, stop: threading.Event, beat: Callable[[], None]) -> None:
            waits.append(wait_s)

    station = Station()
    link = Impatient(
        TOPICS,
        connect,  # type: ignore[arg-type]  # It never returns.
        deadline_ms=200,
        announce=station.announce,
        on_command=lambda _incoming, _reply: None,
        events=station.events,
        changed=station.changed,
        backoff_first_s=0.02,
    )
    link.run(stop)

    assert waits[0] >= 0.015
    assert waits[2] > 2 * waits[0]


def test_publishing_costs_the_record_stage_next_to_nothing(mosquitto: Mosquitto) -> None:
    """Both messages are handed over in well under a millisecond and arrive a moment later."""
    with Subscriber(mosquitto.port) as ear, running(mosquitto.port) as rig:
        rig.connected()
        handed, arrived = [], []
        for seq in range(1, 51):
            verdict = replace(PASS, seq=seq)
            started = time.perf_counter()
            assert rig.link.publish_verdict(verdict)
            handed.append(time.perf_counter() - started)
            ear.wait_for(TOPICS.plc_verdict, plc_line(verdict))
            arrived.append(time.perf_counter() - started)
            ear.wait_for(TOPICS.verdict, verdict_json(verdict, history=False))
        print(f"median ms: {1e3 * statistics.median(handed):.2f}, {1e3 * statistics.median(arrived):.2f}")

        assert statistics.median(handed) < 0.002
        assert statistics.median(arrived) < 0.05
