"""The station's links: MQTT with live verdicts and history, and the adapters of other protocols."""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from threading import Event

from linewatch.acquisition.trigger_mode import is_triggered
from linewatch.domain import Verdict
from linewatch.line.commands import Commands
from linewatch.line.metrics import Metrics
from linewatch.line.station import Station
from linewatch.line.status import Announcer
from linewatch.models.recipe_file import products
from linewatch.mqtt.broker import Broker
from linewatch.mqtt.connection import LastWill
from linewatch.mqtt.disabled import DisabledLink
from linewatch.mqtt.history import Courier, Publisher
from linewatch.mqtt.live import ACK_S, Announcement, LiveLink
from linewatch.mqtt.messages import Message, Topics
from linewatch.plc.adapter import Adapter, SignIn, keep_serving
from linewatch.plc.modbus.server import Meters, ModbusServer
from linewatch.plc.opcua import server as opcua
from linewatch.plc.sparkplug import edge_node
from linewatch.runtime.stages import Stage, StageAborted
from linewatch.settings import Settings
from linewatch.storage.journal import Journal

Run = Callable[[Stage], None]
"""The work of a stage."""


@dataclass(frozen=True)
class Links:
    """All links that carry live verdicts: MQTT first, then the adapters, which never block and never fail."""

    live: LiveLink | DisabledLink
    adapters: tuple[Adapter, ...]
    failed: Event  # A stage of the process ended by an exception.
    impair: Callable[[str, str], None]  # With an adapter's name and its trouble, or "".

    def publish_verdict(self, verdict: Verdict) -> bool:
        """Publish on every link; return whether MQTT published it."""
        published = self.live.publish_verdict(verdict)
        for adapter in self.adapters:
            adapter.publish_verdict(verdict)
        return published

    def stages(self, drained: Event) -> Iterator[tuple[str, Run, float | None]]:
        """Yield name, work and stall limit of each link's stage; they end once `drained` is set.

        An adapter that hangs does not end the process, so its limit is infinite.
        """

        def ended() -> bool:
            return drained.is_set() or self.failed.is_set()

        yield "announce", lambda stage: self.live.run(drained, stage.beat), None
        for adapter in self.adapters:
            yield adapter.name, partial(self._serve, adapter, ended), math.inf

    def _serve(self, adapter: Adapter, ended: Callable[[], bool], stage: Stage) -> None:
        keep_serving(adapter, ended, stage.beat, partial(self.impair, adapter.name))


def build_links(
    settings: Settings,
    station: Station,
    commands: Commands,
    announcer: Announcer,
    metrics: Metrics,
    failed: Event,
    sign_in: SignIn,
) -> Links:
    """Return MQTT's live link and the adapters that are enabled. Raises ConfigError for unusable settings.

    `sign_in` knows the users of those protocols that have any.
    """
    live = build_live_link(settings, station, commands, announcer, metrics, failed)
    adapters: list[Adapter] = []
    if settings.modbus.enabled:
        adapters.append(build_modbus(settings, station, commands, announcer, metrics))
    if settings.opcua.enabled:
        adapters.append(build_opcua(settings, station, commands, announcer, metrics, sign_in))
    if settings.sparkplug.enabled:
        adapters.append(build_sparkplug(settings, station, commands, announcer, metrics))
    return Links(live, tuple(adapters), failed, station.set_impairment)


def build_modbus(
    settings: Settings, station: Station, commands: Commands, announcer: Announcer, metrics: Metrics
) -> ModbusServer:
    """Return the Modbus TCP server. Raises ConfigError without its extra."""
    meters = Meters(
        request=lambda outcome: metrics.modbus_requests.labels(metrics.station, outcome).inc(),
        connection=lambda outcome: metrics.modbus_connections.labels(metrics.station, outcome).inc(),
        clients=metrics.modbus_clients.set,
    )
    return ModbusServer(
        settings.modbus,
        announcer.announce,
        commands.submit,
        meters,
        on_change=partial(station.set_impairment, "modbus"),
        client_changed=partial(station.set_impairment, "plc"),
    )


def build_opcua(
    settings: Settings,
    station: Station,
    commands: Commands,
    announcer: Announcer,
    metrics: Metrics,
    sign_in: SignIn,
) -> opcua.OpcuaServer:
    """Return the OPC UA server. Raises ConfigError without its extra."""
    meters = opcua.Meters(
        connection=lambda outcome: metrics.opcua_connections.labels(metrics.station, outcome).inc(),
        clients=metrics.opcua_clients.set,
    )
    return opcua.OpcuaServer(
        settings.opcua,
        settings.opcua_folder,
        announcer.announce,
        commands.submit,
        meters,
        sign_in,
        station=settings.station.name,
        products=partial(products, settings.models.recipes),
        triggered=is_triggered(settings),
        on_change=partial(station.set_impairment, "opcua"),
    )


def build_sparkplug(
    settings: Settings, station: Station, commands: Commands, announcer: Announcer, metrics: Metrics
) -> edge_node.EdgeNode:
    """Return the Sparkplug edge node. Raises ConfigError without its extra."""
    meters = edge_node.Meters(
        verdict=lambda outcome: metrics.sparkplug_verdicts.labels(metrics.station, outcome).inc(),
        command=lambda outcome: metrics.sparkplug_commands.labels(metrics.station, outcome).inc(),
        connected=metrics.sparkplug_connected.set,
    )
    return edge_node.EdgeNode(
        settings.sparkplug,
        settings.station.name,
        settings.sparkplug_file,
        announcer.announce,
        commands.submit,
        meters,
        live_s=settings.limits.deadline_ms / 1000,
        on_change=partial(station.set_impairment, "sparkplug"),
    )


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
    broker = Broker(settings.mqtt, client_id, will=LastWill(lambda: Message(topics.online, "0")), ack_s=ACK_S)

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
