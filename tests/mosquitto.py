"""A mosquitto broker for tests, and a subscriber independent of linewatch."""

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

WAIT_S = 10.0


def free_port() -> int:
    """Return a free TCP port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Mosquitto:
    """One mosquitto on a fixed port of this machine; `config` adds lines to its settings."""

    def __init__(self, folder: Path, *config: str, anonymous: bool = True) -> None:
        program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
        assert program, "mosquitto is not installed; `make test` does that, or: apt-get install mosquitto"
        self._program = program
        self.port = free_port()
        self._file = folder / f"mosquitto-{self.port}.conf"
        lines = (f"listener {self.port} 127.0.0.1", f"allow_anonymous {str(anonymous).lower()}", *config)
        # As root mosquitto becomes another user, who cannot read the test's files.
        self._file.write_text("\n".join(("user root", *lines)) + "\n")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start and wait until it accepts connections."""
        self._process = subprocess.Popen([self._program, "-c", self._file], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            assert self._process.poll() is None, f"mosquitto ended with {self._process.returncode}"
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except ConnectionRefusedError:
                time.sleep(0.005)
            else:
                return
        raise AssertionError("mosquitto does not accept connections")

    def stop(self) -> None:
        """Kill it; sessions and retained messages are gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = None

    def hang(self) -> None:
        """Suspend the process; the kernel still accepts bytes for it."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        os.waitpid(self._process.pid, os.WUNTRACED)  # Until it is stopped.

    def go_on(self) -> None:
        """End `hang`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """One received message."""

    topic: str
    payload: str
    retained: bool
    expiry_s: int | None
    correlation: bytes
    at_s: float  # Monotonic.


class Subscriber:
    """A subscriber to everything, independent of linewatch's own MQTT code."""

    def __init__(self, port: int, *, mqtt5: bool = True, topic: str = "#") -> None:
        version = MQTTProtocolVersion.MQTTv5 if mqtt5 else MQTTProtocolVersion.MQTTv311
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=version)
        self._port = port
        self._topic = topic
        self._changed = threading.Condition()
        self._ready = False
        self.heard: list[ReceivedMessage] = []
        self._client.on_socket_open = lambda _client, _userdata, sock: _no_delay(sock)
        self._client.on_connect = lambda client, *_: client.subscribe(self._topic, qos=1)
        self._client.on_subscribe = lambda *_: self._subscribed()
        self._client.on_message = lambda _c, _u, message: self._hear(message)
        self._client.reconnect_delay_set(1, 1)

    def __enter__(self) -> Self:
        self._client.connect("127.0.0.1", self._port)
        self._client.loop_start()
        with self._changed:
            assert self._changed.wait_for(lambda: self._ready, WAIT_S), "no subscription"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def say(self, topic: str, payload: str | bytes, *, retain: bool = False) -> None:
        """Publish one message and wait until the broker has it."""
        self._client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(WAIT_S)

    def ask(self, topic: str, payload: str, *, reply_to: str, correlation: bytes = b"") -> None:
        """Publish a request with a response topic (MQTT 5)."""
        wanted = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # Paho's omission.
        wanted.ResponseTopic = reply_to
        if correlation:
            wanted.CorrelationData = correlation
        self._client.publish(topic, payload, qos=1, properties=wanted).wait_for_publish(WAIT_S)

    def on(self, topic: str) -> list[str]:
        """Return the payloads received on one topic so far."""
        with self._changed:
            return [message.payload for message in self.heard if message.topic == topic]

    def wait(self, done: Callable[["Subscriber"], bool], what: str = "what was expected") -> None:
        """Wait until the received messages meet a condition."""
        with self._changed:
            assert self._changed.wait_for(lambda: done(self), WAIT_S), (
                f"not received: {what}: {self.heard[-9:]}"
            )

    def wait_for(self, topic: str, payload: str) -> None:
        """Wait for one message."""
        self.wait(lambda ear: payload in ear.on(topic), f"{payload} on {topic}")

    def _subscribed(self) -> None:
        with self._changed:
            self._ready = True
            self._changed.notify_all()

    def _hear(self, message: MQTTMessage) -> None:
        with self._changed:
            self.heard.append(
                ReceivedMessage(
                    message.topic,
                    message.payload.decode(errors="replace"),
                    message.retain,
                    getattr(message.properties, "MessageExpiryInterval", None),
                    getattr(message.properties, "CorrelationData", b""),
                    time.monotonic(),
                )
            )
            self._changed.notify_all()


def _no_delay(sock: object) -> None:
    """Disable Nagle's algorithm."""
    assert isinstance(sock, socket.socket)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
