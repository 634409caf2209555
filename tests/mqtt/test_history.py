"""The courier: history gets every verdict, in order, however often the broker is lost."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from linewatch.domain import Batch, Reason, Result, Verdict
from linewatch.errors import BrokerLost, StorageFull
from linewatch.mqtt import history as module
from linewatch.mqtt.broker import Broker
from linewatch.mqtt.history import Courier
from linewatch.mqtt.messages import Message
from linewatch.settings import MqttSettings
from linewatch.storage.journal import Journal
from tests.mosquitto import Mosquitto, Subscriber, free_port

TOPIC = "linewatch/station1/history"


def record(journal: Journal, *sequences: int) -> None:
    """Append and release verdicts as the record stage does."""
    for seq in sequences:
        verdict = Verdict(
            station="station1",
            boot=journal.boot,
            seq=seq,
            product="bottle",
            product_index=3,
            model="7f3a91c2",
            result=Result.PASS,
            reason=Reason.NONE,
            captured_ms=1_790_000_000_000,
        )
        journal.append(verdict)
        journal.release(journal.boot, seq)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """Open a new journal."""
    with Journal.open(tmp_path / "journal.db") as opened:
        yield opened


@contextmanager
def working(
    journal: Journal, connect: Callable[[], object], *, grace_s: float = 5.0
) -> Iterator[tuple[Courier, threading.Event]]:
    """Run a courier until the block ends or sets the event."""
    stop = threading.Event()
    with journal.reader() as reader:
        courier = Courier(reader, journal.mark_delivered, connect, TOPIC, grace_s=grace_s)  # type: ignore[arg-type]
        thread = threading.Thread(target=courier.run, args=(stop,), name="deliver")
        thread.start()
        try:
            yield courier, stop
        finally:
            stop.set()
            thread.join(20)
            assert not thread.is_alive()


def broker(port: int) -> Broker:
    """Return the history side of the broker."""
    return Broker(MqttSettings(port=port), "station1-history", ack_s=0.5, connect_s=1.0)


def sequences(ear: Subscriber) -> list[int]:
    """Return the sequence numbers received on the history topic, with repetitions."""
    return [json.loads(text)["seq"] for text in ear.on(TOPIC)]


class FlakyPublisher:
    """An in-memory broker that is lost once, at the k-th operation."""

    def __init__(self, fail_at: int) -> None:
        self.heard: list[int] = []
        self._left = fail_at

    def __enter__(self) -> Self:
        self._step()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def publish_all(self, messages: Sequence[Message]) -> None:
        """Receive the first half of a window before failing."""
        seqs = [json.loads(message.payload)["seq"] for message in messages]
        self.heard += seqs[: len(seqs) // 2]
        self._step()
        self.heard += seqs[len(seqs) // 2 :]

    def idle(self, timeout_s: float) -> None:
        """Return at once."""
        self._step()

    def _step(self) -> None:
        self._left -= 1
        if self._left == 0:
            raise BrokerLost("test", "gone")


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry without back-off."""
    monkeypatch.setattr(module, "BACKOFF_FIRST_S", 0.001)
    monkeypatch.setattr(module, "BACKOFF_MAX_S", 0.001)


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("fail_at", range(1, 12))
def test_whatever_operation_fails_nothing_is_missed(journal: Journal, fail_at: int) -> None:
    """A window that was cut is sent again as a whole: repetitions, but no gap and no wrong order."""
    record(journal, *range(1, 121))
    publisher = FlakyPublisher(fail_at)
    with working(journal, lambda: publisher):
        _wait_until(lambda: journal.undelivered_count() == 0)

    distinct = list(dict.fromkeys(publisher.heard))
    assert distinct == list(range(1, 121))


def test_history_arrives_with_its_mark(journal: Journal, mosquitto: Mosquitto) -> None:
    """The same JSON as live, with `"history":1`; new verdicts follow soon."""
    record(journal, 1)
    with Subscriber(mosquitto.port) as ear, working(journal, broker(mosquitto.port).connect) as (courier, _):
        ear.wait(lambda ear: sequences(ear) == [1])
        record(journal, 2, 3)
        ear.wait(lambda ear: sequences(ear) == [1, 2, 3])

        assert json.loads(ear.on(TOPIC)[0])["history"] == 1
        assert courier.trouble == ""


@pytest.mark.usefixtures("hurried")
def test_an_outage_is_made_good(journal: Journal, mosquitto: Mosquitto) -> None:
    """Everything from before, during and after an outage arrives, in order."""
    record(journal, *range(1, 11))
    with working(journal, broker(mosquitto.port).connect) as (courier, _):
        _wait_until(lambda: journal.undelivered_count() == 0)
        mosquitto.stop()
        record(journal, *range(11, 211))
        _wait_until(lambda: courier.trouble != "")
        mosquitto.start()
        with Subscriber(mosquitto.port) as ear:
            record(journal, *range(211, 221))
            ear.wait(lambda ear: 220 in sequences(ear))
            heard = list(dict.fromkeys(sequences(ear)))
        _wait_until(lambda: journal.undelivered_count() == 0)

    # The subscriber came after the broker did, so it may have missed the first window or two.
    assert heard == list(range(heard[0], 221))


def test_a_broker_killed_in_a_window_costs_repetitions_only(journal: Journal, mosquitto: Mosquitto) -> None:
    """What was published without an acknowledgement is published again."""
    record(journal, *range(1, 31))
    heard: list[int] = []

    class Killing:
        """Kills the broker after the first window was published."""

        def __init__(self) -> None:
            self.session = broker(mosquitto.port).connect()

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *failure: object) -> None:
            self.session.abort()

        def publish_all(self, messages: Sequence[Message]) -> None:
            heard.extend(json.loads(message.payload)["seq"] for message in messages)
            self.session.publish(*messages)
            mosquitto.stop()
            self.session.flush(5)

        def idle(self, timeout_s: float) -> None:
            self.session.idle(timeout_s)

    with journal.reader() as reader:
        stop = threading.Event()
        stop.set()
        Courier(reader, journal.mark_delivered, Killing, TOPIC, grace_s=5).run(stop)
    assert heard == list(range(1, 31))
    assert journal.undelivered_count() == 30


def test_catching_up_is_limited(journal: Journal) -> None:
    """After a long outage the line's own messages are not crowded out: at most 500 a second."""
    record(journal, *range(1, 151))
    rests: list[float] = []

    class Measured(FlakyPublisher):
        """Records the pauses."""

        def idle(self, timeout_s: float) -> None:
            rests.append(timeout_s)
            time.sleep(max(0, timeout_s))

    started = time.monotonic()
    publisher = Measured(-1)
    with working(journal, lambda: publisher):
        _wait_until(lambda: journal.undelivered_count() == 0)
    assert time.monotonic() - started >= 2 * 50 / 500
    assert rests[0] > 0.05


def test_a_stop_delivers_what_is_left(journal: Journal, mosquitto: Mosquitto) -> None:
    """Within the grace the courier waits for the record stage to drain, and ends when all is out."""
    stop, drained = threading.Event(), threading.Event()
    with Subscriber(mosquitto.port) as ear, journal.reader() as reader:
        courier = Courier(reader, journal.mark_delivered, broker(mosquitto.port).connect, TOPIC, grace_s=20)
        thread = threading.Thread(target=courier.run, args=(stop, drained))
        thread.start()
        record(journal, 1)
        stop.set()
        ear.wait(lambda ear: sequences(ear) == [1])
        record(journal, 2, 3)
        drained.set()
        thread.join(5)
        assert not thread.is_alive()
        ear.wait(lambda ear: sequences(ear) == [1, 2, 3])


def test_a_stop_has_its_limit(journal: Journal, mosquitto: Mosquitto) -> None:
    """A record stage that never drains cannot hold the courier longer than its grace."""
    stop = threading.Event()
    stop.set()
    with journal.reader() as reader:
        courier = Courier(reader, journal.mark_delivered, broker(mosquitto.port).connect, TOPIC, grace_s=0.05)
        started = time.monotonic()
        courier.run(stop, drained=threading.Event())

    assert time.monotonic() - started < 2


def test_without_a_broker_a_stop_is_quick_and_the_rest_waits_on_disk(journal: Journal) -> None:
    """A stop without a broker does not wait for the grace; the reason is logged."""
    record(journal, 1)
    started = time.monotonic()
    with working(journal, broker(free_port()).connect) as (courier, _):
        _wait_until(lambda: "refuses connections" in courier.trouble)

    assert time.monotonic() - started < 2
    assert journal.undelivered_count() == 1


@pytest.mark.usefixtures("hurried")
def test_a_mark_that_cannot_be_kept_means_sending_again(journal: Journal) -> None:
    """A full disk does not end the courier: a window is published twice, the trouble reported once."""
    record(journal, 1, 2)
    publisher = FlakyPublisher(-1)
    refusals = iter([StorageFull("journal", "full")] * 2)
    edges: list[str] = []

    def delivered(batch: Batch) -> None:
        for refusal in refusals:
            raise refusal
        journal.mark_delivered(batch)

    stop = threading.Event()
    with journal.reader() as reader:
        courier = Courier(reader, delivered, lambda: publisher, TOPIC, grace_s=5, on_change=edges.append)
        thread = threading.Thread(target=courier.run, args=(stop,))
        thread.start()
        _wait_until(lambda: journal.undelivered_count() == 0)
        stop.set()
        thread.join(5)

    assert publisher.heard == [1, 2] * 3
    assert edges == [str(StorageFull("journal", "full")), ""]


def _wait_until(done: Callable[[], bool]) -> None:
    """Poll until the condition holds."""
    deadline = time.monotonic() + 10
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.005)
