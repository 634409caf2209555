"""MQTT connection: one new paho client per connection, run by the thread that connected.

Paho's own network thread, queue and reconnect are not used: after a lost connection it would resend
old verdicts, and an exception in a callback would end its thread silently. Here an exception in a
callback is raised by `pump`, and messages in flight are dropped with the connection.
"""

import select
import socket
import ssl
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from paho.mqtt import MQTTException
from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage, MQTTMessageInfo
from paho.mqtt.enums import MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from linewatch.broker_settings import BrokerSettings
from linewatch.errors import BrokerLost
from linewatch.mqtt.messages import Incoming, Message, Outgoing
from linewatch.mqtt.tls import connect_problem, missing_feature, resolve
from linewatch.runtime.wakeup import Wakeup

CONNECT_S = 3.0  # For each of: name lookup, TCP and TLS, CONNACK.
DISCONNECT_S = 1.0
INFLIGHT_MAX = 20
WINDOW_S = 10.0  # For one window of history to be acknowledged.
PACKET_BYTES_MAX = 2**20  # A broker drops larger ones, and nothing answers them.
UNSUPPORTED_VERSION, CLIENT_ID_REFUSED, TAKEN_OVER = 0x84, 0x85, 0x8E
DISCONNECT_WITH_WILL = 0x04


def _nothing() -> None:
    """Do nothing."""


@dataclass(frozen=True, slots=True)
class LastWill:
    """What the broker publishes when a connection ends without DISCONNECT.

    `message` is called for each connection. `opened` is called once its socket is open, before CONNECT
    registers the will. With `on_leave` a DISCONNECT asks for it as well, if the broker has MQTT 5.
    """

    message: Callable[[], Outgoing]
    retain: bool = True
    on_leave: bool = False
    opened: Callable[[], None] = _nothing


class Session:
    """One connection; `Broker.connect` opens it, its `with` block ends it.

    Only the thread that connected may call `pump` and `publish_all`; any thread may call `publish`.
    Without an exception the block ends with DISCONNECT, so that the broker sends no will; with one,
    the connection is reset at once and unsent bytes are dropped.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        client: Client,
        *,
        on_message: Callable[[Incoming], None],
        will: LastWill | None,
        ack_s: float,
        connect_s: float,
    ) -> None:
        self._settings = settings
        self._address = settings.address
        self._client = client
        self._will = will
        self._on_message = on_message
        self._ack_s = ack_s
        self._connect_s = connect_s
        self._wake = Wakeup()
        self._sock: socket.socket | None = None
        self._connected = False
        self._connack: Properties | None = None
        self._subscribed = False
        self._trouble = ""  # Why this connection has ended or cannot be used.
        self.version_refused = False
        self.client_id_refused = False
        self._inflight: deque[tuple[float, MQTTMessageInfo]] = deque()
        self._lock = threading.Lock()  # Never held while calling paho, which has its own locks.
        client.on_connect = self._connected_or_refused
        client.on_disconnect = self._disconnected
        client.on_subscribe = self._subscription_answered
        client.on_message = self._received
        client.on_publish = self._acknowledged
        client.on_socket_open = self._opened
        client.on_socket_register_write = _write_in_pump_only

    @property
    def mqtt5(self) -> bool:
        """Whether this connection uses MQTT 5."""
        return self._client.protocol == MQTTProtocolVersion.MQTTv5

    @property
    def receive_max(self) -> int:
        """Return how many unacknowledged messages the broker accepts (Receive Maximum)."""
        return int(getattr(self._connack, "ReceiveMaximum", 65_535))

    @property
    def blocked(self) -> bool:
        """Whether bytes wait for the network, so that a message published now would wait behind them."""
        return bool(self._client.want_write())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and not self._trouble:
            self._disconnect()
        self.abort()

    def open(self) -> None:
        """Connect and wait for the CONNACK. Raises BrokerLost."""
        settings = self._settings
        resolve(settings, self._connect_s)
        v5 = _properties(PacketTypes.CONNECT, MaximumPacketSize=PACKET_BYTES_MAX) if self.mqtt5 else None
        try:
            self._client.connect(
                settings.host,
                settings.port,
                settings.keepalive_s,
                clean_start=True if self.mqtt5 else 3,
                properties=v5,
            )
        except OSError as error:
            problem = connect_problem(error, settings.section, self._connect_s)
            raise BrokerLost(self._address, problem) from error
        self._pump_until(lambda: self._connected, self._connect_s, "does not answer; is it an MQTT broker?")
        self._trouble = missing_feature(self._connack)
        self._raise_trouble()

    def inflight(self) -> tuple[int, float]:
        """Return how many messages are unacknowledged, and the oldest one's age in seconds."""
        with self._lock:
            while self._inflight and self._inflight[0][1].is_published():
                self._inflight.popleft()
            if not self._inflight:
                return 0, 0.0
            return len(self._inflight), time.monotonic() - self._inflight[0][0]

    def publish(
        self,
        *messages: Outgoing,
        qos: int = 1,
        retain: bool = False,
        expiry_s: int = 0,
        correlation: bytes = b"",
    ) -> None:
        """Queue messages without waiting. Expiry and correlation need MQTT 5.

        `inflight` counts them until they are acknowledged; a refusal ends the session.
        """
        properties = self._publish_properties(expiry_s, correlation)
        for message in messages:
            info = self._client.publish(message.topic, message.data, qos, retain, properties)
            if qos and info.rc == MQTTErrorCode.MQTT_ERR_SUCCESS:
                with self._lock:
                    self._inflight.append((time.monotonic(), info))
        self._wake.set()  # Once, after all: the network thread competes with this one for the GIL.

    def publish_all(self, messages: Sequence[Message]) -> None:
        """Publish messages and wait until the broker has acknowledged all of them. Raises BrokerLost."""
        self.publish(*messages)
        self.flush(WINDOW_S)

    def flush(self, timeout_s: float) -> None:
        """Wait until no message is in flight. Raises BrokerLost."""
        self._pump_until(lambda: not self.inflight()[0], timeout_s, "does not acknowledge messages")

    def idle(self, timeout_s: float) -> None:
        """Keep the connection alive for `timeout_s` without publishing. Raises BrokerLost."""
        until = time.monotonic() + timeout_s
        while (left := until - time.monotonic()) > 0:
            self.pump(left)

    def subscribe(self, topic_filter: str) -> None:
        """Subscribe at QoS 1 and wait for the SUBACK. Raises BrokerLost."""
        self._subscribed = False
        if self.mqtt5:  # Keeps the retain flag, so that retained commands can be refused.
            self._client.subscribe(topic_filter, options=SubscribeOptions(qos=1, retainAsPublished=True))
        else:
            self._client.subscribe(topic_filter, qos=1)
        self._pump_until(
            lambda: self._subscribed, self._connect_s, f"does not answer the subscription {topic_filter}"
        )

    def pump(self, timeout_s: float, *others: Wakeup) -> None:
        """Run the network loop once: wait up to `timeout_s` for traffic, a publish or one of `others`.

        Raises BrokerLost when the connection has ended, and any exception of a message callback.
        """
        self._raise_trouble()
        sock = self._sock
        assert sock is not None, "pump before open"
        # select does not see bytes that TLS has already decrypted.
        buffered = isinstance(sock, ssl.SSLSocket) and sock.pending() > 0
        writers = [sock] if self._client.want_write() else []
        sources: list[socket.socket | Wakeup] = [sock, self._wake, *others]
        readable, _, _ = select.select(sources, writers, [], 0 if buffered else max(timeout_s, 0))
        self._wake.clear()
        try:
            if buffered or sock in readable:
                self._client.loop_read()
            if self._client.want_write():
                self._client.loop_write()
            self._client.loop_misc()
        except MQTTException as error:
            raise BrokerLost(
                self._address, f"sends what is not MQTT ({error}); check {self._settings.section}.port"
            ) from error
        _, oldest_s = self.inflight()
        if oldest_s > self._ack_s and not self._trouble:
            self._trouble = f"no acknowledgement for {oldest_s:.1f} s; is it or the network overloaded?"
        self._raise_trouble()

    def abort(self) -> None:
        """Reset the connection: unsent bytes are dropped, and the broker sends the will."""
        if self._sock is not None and self._sock.fileno() >= 0:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._sock.close()
        self._trouble = self._trouble or "connection closed"
        # Break the reference cycle with paho's client, so that both are freed at once.
        for name in ("connect", "disconnect", "subscribe", "message", "publish"):
            setattr(self._client, f"on_{name}", None)

    def _disconnect(self) -> None:
        try:
            self.flush(DISCONNECT_S)
            asks_for_will = self.mqtt5 and self._will is not None and self._will.on_leave
            code = ReasonCode(PacketTypes.DISCONNECT, identifier=DISCONNECT_WITH_WILL)
            self._client.disconnect(code if asks_for_will else None)
            self._wake.set()
            self._pump_until(lambda: False, DISCONNECT_S, "does not close the connection")
        except BrokerLost:
            pass  # The connection has ended anyway.

    def _pump_until(self, done: Callable[[], bool], timeout_s: float, otherwise: str) -> None:
        deadline = time.monotonic() + timeout_s
        while not done():
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise BrokerLost(self._address, f"{otherwise} within {timeout_s:.1f} s")
            self.pump(left_s)

    def _raise_trouble(self) -> None:
        if self._trouble:
            raise BrokerLost(self._address, self._trouble)

    def _publish_properties(self, expiry_s: int, correlation: bytes) -> Properties | None:
        if not self.mqtt5 or not (expiry_s or correlation):
            return None
        wanted = {"MessageExpiryInterval": expiry_s, "CorrelationData": correlation}
        return _properties(PacketTypes.PUBLISH, **{name: value for name, value in wanted.items() if value})

    def _opened(self, _c: Client, _u: object, sock: object) -> None:
        assert isinstance(sock, socket.socket)
        sock.setsockopt(
            socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
        )  # Send verdicts at once, without Nagle's delay.
        self._sock = sock
        if self._will is not None:
            self._will.opened()

    def _connected_or_refused(
        self, _c: Client, _u: object, _f: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self.version_refused = reason.value == UNSUPPORTED_VERSION
            self.client_id_refused = reason.value == CLIENT_ID_REFUSED
            self._trouble = (
                f"refuses us ({_words(reason)}); check {self._settings.section}.username, its password "
                "and the broker's log"
            )
        else:
            self._connack = properties
            self._connected = True

    def _disconnected(
        self, _c: Client, _u: object, flags: DisconnectFlags, reason: ReasonCode, _p: Properties | None
    ) -> None:
        if self._trouble:
            return
        if flags.is_disconnect_packet_from_server and reason.value == TAKEN_OVER:
            self._trouble = (
                "another client took over our client id; "
                "is a second station with the same station.name running?"
            )
        elif flags.is_disconnect_packet_from_server:
            self._trouble = f"disconnected us ({_words(reason)}); see the broker's log"
        elif self._connected:
            self._trouble = (
                f"connection lost ({_words(reason)}); "
                "if this repeats, look for a second station with the same station.name"
            )
        else:
            self.version_refused = True  # Some brokers close the connection on an unknown version.
            self._trouble = (
                f"closed the connection without an answer; check {self._settings.section}.port, credentials "
                "and TLS settings"
            )

    def _subscription_answered(
        self, _c: Client, _u: object, _m: int, reasons: list[ReasonCode], _p: Properties | None
    ) -> None:
        refusal = next((reason for reason in reasons if reason.is_failure), None)
        if refusal is not None:
            self._trouble = (
                f"refuses our subscription ({_words(refusal)}); allow it in the broker's access list"
            )
        self._subscribed = True

    def _acknowledged(
        self, _c: Client, _u: object, _m: int, reason: ReasonCode, _p: Properties | None
    ) -> None:
        if reason.is_failure:  # Paho counts it as published.
            self._trouble = f"refuses our messages ({_words(reason)}); allow them in the broker's access list"

    def _received(self, _c: Client, _u: object, message: MQTTMessage) -> None:
        self._on_message(
            Incoming(
                message.topic,
                bytes(message.payload),
                bool(message.retain),
                getattr(message.properties, "ResponseTopic", ""),
                getattr(message.properties, "CorrelationData", b""),
            )
        )


def _words(reason: ReasonCode) -> str:
    words = str(reason).lower()
    return "no reason given" if words == "unspecified error" else words


def _properties(packet: int, **values: object) -> Properties:
    properties = Properties(packet)  # type: ignore[no-untyped-call]  # Paho has no annotations here.
    for name, value in values.items():
        setattr(properties, name, value)
    return properties


def _write_in_pump_only(_client: Client, _userdata: object, _sock: object) -> None:
    """Replace paho's write in the publishing thread, where two writers could interleave bytes."""
