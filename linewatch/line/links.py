"""The station's two connections to the broker: live verdicts for the PLC, and the history."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from threading import Event

from linewatch.line.commands import Commands
from linewatch.line.metrics import Metrics
from linewatch.line.station import Station
from linewatch.line.status import Announcer
from linewatch.mqtt.connection import Broker
from linewatch.mqtt.disabled import DisabledLink
from linewatch.mqtt.history import Courier, Publisher
from linewatch.mqtt.live import ACK_S, Announcement, LiveLink
from linewatch.mqtt.messages import Message, Topics
from linewatch.runtime.stages import StageAborted
from linewatch.settings import Settings
from linewatch.storage.journal import Journal


def build_live_link(
    settings: Settings,
    station: Station,
    commands: Commands,
    announcer: Announcer,
    metrics: Metrics,
    failed: Event,
) -> LiveLink | DisabledLink:
    """Return the link that publishes verdicts, state and events and receives commands.

    Once a stage has `failed`, the link ends without DISCONNECT, so that the broker publishes the will.
    Raises ConfigError for unusable TLS or password files.
    """
    if not settings.mqtt.enabled:
        return DisabledLink()
    topics = Topics(settings.mqtt.base_topic)
    client_id = f"linewatch-{settings.station.name}-live"
    broker = Broker(settings.mqtt, client_id, will=Message(topics.online, "0"), ack_s=ACK_S)

    def announce() -> Announcement:
        if failed.is_set():
            raise StageAborted
        return announcer.announce()

    def on_change(trouble: str) -> None:
        metrics.mqtt_connected.set(not trouble)
        station.set_impairment("broker", trouble)

    return LiveLink(
        topics,
        broker.connect,
        deadline_ms=settings.limits.deadline_ms,
        announce=announce,
        on_command=commands.receive,
        events=station.events,
        changed=station.changed,
        on_change=on_change,
        count=lambda topic, outcome: metrics.mqtt_messages.labels(metrics.station, topic, outcome).inc(),
    )


def build_courier(settings: Settings, journal: Journal, station: Station, metrics: Metrics) -> Courier:
    """Return the courier that publishes journaled verdicts on the history topic."""
    count = partial(metrics.mqtt_messages.labels, metrics.station, "history")

    def on_change(trouble: str) -> None:
        if trouble:
            count("failed").inc()
        station.set_impairment("history", trouble)

    connect: Callable[[], AbstractContextManager[Publisher]] = DisabledLink
    sent: Callable[[int], None] = _ignore
    if settings.mqtt.enabled:
        connect = Broker(settings.mqtt, f"linewatch-{settings.station.name}-history").connect
        sent = count("sent").inc
    return Courier(
        journal.reader(),
        journal.mark_delivered,
        connect,
        Topics(settings.mqtt.base_topic).history,
        grace_s=settings.limits.grace_s,
        sent=sent,
        on_change=on_change,
    )


def _ignore(_accepted: int) -> None:
    """Count nothing: without a broker no message was sent."""
