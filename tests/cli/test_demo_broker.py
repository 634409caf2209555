"""The demo's own broker: linewatch and other MQTT clients can use it, and it ends with its parent."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from linewatch.cli.demo_broker import EmbeddedBroker
from linewatch.errors import LinewatchError
from linewatch.mqtt.broker import Broker
from linewatch.mqtt.connection import LastWill
from linewatch.mqtt.messages import Message
from linewatch.settings import MqttSettings
from tests.mosquitto import Subscriber


def test_both_versions_share_their_topics() -> None:
    """The station uses 3.1.1 on the printed port; retained messages and the will are delivered."""
    with EmbeddedBroker() as embedded:
        old = Broker(MqttSettings(port=embedded.port), "old", will=LastWill(lambda: Message("t/online", "0")))
        new = Broker(MqttSettings(port=embedded.port_v5), "new")
        with Subscriber(embedded.port, mqtt5=False) as ear:
            with pytest.raises(ZeroDivisionError), old.connect() as session:
                assert not session.mqtt5
                session.publish(Message("t/state", "1"), retain=True)
                session.flush(5)
                raise ZeroDivisionError
            ear.wait_for("t/online", "0")
        with new.connect() as session:
            assert session.mqtt5
            session.publish_all([Message("t/window", str(number)) for number in range(300)])
        with Subscriber(embedded.port, mqtt5=False) as late:
            late.wait_for("t/state", "1")


def test_it_is_reachable_on_this_machine_only() -> None:
    """Other addresses of the machine do not answer."""
    with EmbeddedBroker() as embedded:
        for port in (embedded.port, embedded.port_v5):
            socket.create_connection(("127.0.0.1", port), 1).close()
            with pytest.raises(OSError):
                socket.create_connection(("127.0.0.2", port), 1).close()


def test_a_taken_port_is_one_sentence() -> None:
    """The error says why the broker cannot start."""
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(LinewatchError, match="the built-in MQTT broker does not start"),
        EmbeddedBroker(taken.getsockname()[1]),
    ):
        pass


PARENT = textwrap.dedent("""
    import os, signal, sys
    from linewatch.cli.demo_broker import EmbeddedBroker
    signal.signal(signal.SIGINT, lambda *_: None)  # As the daemon does: it drains first.
    with EmbeddedBroker() as embedded:
        print(embedded.port, flush=True)
        for _ in sys.stdin:
            pass
""")


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except ConnectionError:  # Reset, if it closes just now.
        return False
    return True


@pytest.mark.parametrize("end", ["stdin closed", "kill -9"])
def test_it_survives_ctrl_c_and_ends_with_its_parent(end: str) -> None:
    """Ctrl+C reaches the child too, but the last verdicts need the broker; it ends with its parent."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        start_new_session=True,
    )
    assert parent.stdin is not None
    assert parent.stdout is not None
    port = int(parent.stdout.readline())
    os.killpg(parent.pid, signal.SIGINT)
    assert _answers(port)
    if end == "kill -9":
        parent.kill()
    parent.stdin.close()
    parent.wait(10)
    parent.stdout.close()
    deadline = time.monotonic() + 10
    while _answers(port):
        assert time.monotonic() < deadline
        time.sleep(0.01)
