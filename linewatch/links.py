"""The station's two lives on the broker: live verdicts for the PLC, and history for the record."""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self

from linewatch.domain import Verdict
from linewatch.line.commands import Commands
from linewatch.line.metrics import Metrics
from linewatch.line.station import Station
from linewatch.line.status import Announcer
from linewatch.mqtt.connection import Broker
from linewatch.mqtt.history import Courier, Publisher
from linewatch.mqtt.live import ACK_S, Announcement, LiveLink
from linewatch.mqtt.messages import Message, Topics
from linewatch.runtime.stages import StageAborted
from linewatch.settings import Settings
from linewatch.storage.journal import Journal


class DisabledLink:
    """Stands for both links with `mqtt.enabled = false`: nothing is sent, and history owes nothing."""

    def publish_verdict(self, _verdict: Verdict) -> bool:
        """Send nothing; nobody wanted it, so nothing is counted as failed."""
        return False

    def publish_all(self, messages: Sequence[Message]) -> None:
        """Take a window of history as delivered: nobody waits for it."""

    def idle(self, timeout_s: float) -> None:
        """Wait."""
        time.sleep(max(timeout_s, 0))

    def run(self, stop: threading.Event, beat: Callable[[], None]) -> None:
        """Say nothing until `stop`."""
        while not stop.wait(0.5):
            beat()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


def live_link(
    settings: Settings,
    station: Station,
    commands: Commands,
    announcer: Announcer,
    metrics: Metrics,
    *,
    failed: Callable[[], bool],
) -> LiveLink | DisabledLink:
    """Return what carries verdicts to the PLC. Raises ConfigError for unusable TLS or password files.

    Once a stage has `failed`, the link leaves without a goodbye, so that the broker sends the will.
    """
    if not settings.mqtt.enabled:
        return DisabledLink()
    topics = Topics(settings.mqtt.base_topic)
    client_id = f"linewatch-{settings.station.name}-live"
    broker = Broker(settings.mqtt, client_id, will=Message(topics.online, "0"), ack_s=ACK_S)

    def announce() -> Announcement:
        if failed():
            raise StageAborted
        return announcer.announce()

    def edge(trouble: str) -> None:
        metrics.mqtt_connected.set(not trouble)
        if trouble:
            station.impaired("broker", trouble)
        else:
            station.restored("broker")

    return LiveLink(
        topics,
        broker.connect,
        deadline_ms=settings.limits.deadline_ms,
        announce=announce,
        on_command=commands.receive,
        events=station.events,
        changed=station.changed,
        on_change=edge,
        count=lambda topic, outcome: metrics.mqtt_messages.labels(metrics.station, topic, outcome).inc(),
    )


def courier(settings: Settings, journal: Journal, station: Station, metrics: Metrics) -> Courier:
    """Return what carries the journal to the history topic."""

    def edge(trouble: str) -> None:
        if trouble:
            metrics.mqtt_messages.labels(metrics.station, "history", "failed").inc()
            station.impaired("history", trouble)
        else:
            station.restored("history")

    connect: Callable[[], AbstractContextManager[Publisher]] = DisabledLink
    sent: Callable[[int], None] = _uncounted
    if settings.mqtt.enabled:
        connect = Broker(settings.mqtt, f"linewatch-{settings.station.name}-history").connect
        sent = metrics.mqtt_messages.labels(metrics.station, "history", "sent").inc
    return Courier(
        journal.reader(),
        journal.mark_delivered,
        connect,
        Topics(settings.mqtt.base_topic).history,
        grace_s=settings.limits.grace_s,
        sent=sent,
        on_change=edge,
    )


def _uncounted(_taken: int) -> None:
    """Silence takes messages; none of them was sent."""
