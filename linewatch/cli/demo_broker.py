"""The demo's own MQTT broker: iotcore, from the extra [demo], in a child process that listens on loopback."""

import logging
import signal
import socket
import tempfile
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from linewatch.cli.options import missing_extra
from linewatch.errors import LinewatchError

HOST = "127.0.0.1"
TRIES = 3  # Another program may take the free port before the broker binds it.

# rumqttd has one listener for each protocol version; both share their topics.
_CONFIG = """
id = 0
[router]
id = 0
max_connections = 100
max_outgoing_packet_count = 200
max_segment_size = 10485760
max_segment_count = 10
"""
_LISTENER = """
[{version}.1]
name = "{version}"
listen = "{host}:{port}"
next_connection_delay_ms = 1
[{version}.1.connections]
connection_timeout_ms = 5000
max_payload_size = 65536
max_inflight_count = 100
dynamic_filters = true
"""


class EmbeddedBroker:
    """A broker without access control that runs for the length of the `with` block.

    `port` serves MQTT 3.1.1, which every client supports; `port_v5` serves MQTT 5.
    Entering raises UsageError without the extra [demo], and LinewatchError if the broker does not start.
    """

    def __init__(self, port: int = 0) -> None:
        self.port = port  # Entering replaces 0 by a free port.
        self.port_v5 = 0
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="linewatch-broker-")))
            stack.enter_context(self._start(folder / "broker.toml"))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _start(self, config: Path) -> AbstractContextManager[object]:
        try:
            from iotcore import Broker
        except ImportError as error:
            raise missing_extra("demo", "the built-in MQTT broker") from error
        logging.getLogger("iotcore").setLevel(logging.WARNING)  # Its own lines are not event key=value.
        wanted = self.port
        problem: Exception | None = None
        for _ in range(TRIES):
            self.port, self.port_v5 = wanted or free_port(), free_port()
            listeners = (
                _LISTENER.format(version=version, host=HOST, port=port)
                for version, port in (("v4", self.port), ("v5", self.port_v5))
            )
            config.write_text(_CONFIG + "".join(listeners), encoding="utf-8")
            # Ctrl+C at the terminal reaches the child too, but the broker must outlive the last verdict.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                return Broker(config_path=str(config)).start()
            except (OSError, RuntimeError) as error:  # The port is taken, or the child has ended.
                problem = error
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        raise LinewatchError(f"the built-in MQTT broker does not start: {problem}") from problem


def free_port() -> int:
    """Return a TCP port of loopback that is free now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
