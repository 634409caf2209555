"""The MQTT connection against a real broker: each error is one sentence, and no message comes twice."""

import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from linewatch.errors import BrokerLost, ConfigError
from linewatch.mqtt.broker import Broker
from linewatch.mqtt.connection import LastWill, Session
from linewatch.mqtt.messages import Incoming, Message
from linewatch.runtime.wakeup import Wakeup
from linewatch.settings import MqttSettings
from tests.mosquitto import Mosquitto, Subscriber, free_port

HELLO = Message("test/hello", "1")
WILL = Message("test/online", "0")


def broker_at(port: int, client_id: str = "test", **settings: object) -> Broker:
    """Return a broker with short time-outs."""
    chosen = MqttSettings.model_validate({"port": port, **settings})
    return Broker(chosen, client_id, will=LastWill(lambda: WILL), ack_s=0.5, connect_s=1.0)


def pump_until(session: Session, done: Callable[[], bool]) -> None:
    """Run the network loop until a condition holds."""
    for _ in range(1000):
        if done():
            return
        session.pump(0.01)
    raise AssertionError("it did not happen")


@contextmanager
def server(answer: Callable[[bytes], bytes | None]) -> Iterator[int]:
    """Serve as a broker that answers each CONNECT packet with bytes and hangs up; None stays silent."""
    kept: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                reply = answer(connection.recv(1000))
                if reply is None or reply[:4] == b"\x20\x02\x00\x00":
                    kept.append(connection)
                if reply is not None:
                    connection.sendall(reply)
                if connection not in kept:
                    connection.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)
    for connection in kept:
        connection.close()


def test_a_window_arrives_whole_and_in_order(mosquitto: Mosquitto) -> None:
    """`publish_all` returns when the broker has acknowledged everything."""
    with Subscriber(mosquitto.port) as ear, broker_at(mosquitto.port).connect() as session:
        session.publish_all([Message("test/window", str(number)) for number in range(100)])

        assert session.mqtt5
        assert session.inflight() == (0, 0.0)
        ear.wait(lambda ear: len(ear.on("test/window")) == 100)
        assert ear.on("test/window") == [str(number) for number in range(100)]


def test_properties_reach_the_subscriber(mosquitto: Mosquitto) -> None:
    """Expiry, correlation and the retain flag are on the wire."""
    with Subscriber(mosquitto.port) as ear, broker_at(mosquitto.port).connect() as session:
        session.publish(HELLO, retain=True, expiry_s=60, correlation=b"x")
        session.flush(5)
        ear.wait_for(*_text(HELLO))
        assert (ear.heard[0].expiry_s, ear.heard[0].correlation) == (60, b"x")
    with Subscriber(mosquitto.port) as late:
        late.wait_for(*_text(HELLO))
        assert late.heard[0].retained


def test_goodbye_sends_no_will_and_a_bug_does(mosquitto: Mosquitto) -> None:
    """The will is sent after a crash and not after DISCONNECT."""
    with Subscriber(mosquitto.port) as ear:
        with broker_at(mosquitto.port).connect() as session:
            session.publish(HELLO)
        with pytest.raises(ZeroDivisionError), broker_at(mosquitto.port).connect():
            raise ZeroDivisionError
        ear.wait_for(*_text(WILL))

        assert [message.topic for message in ear.heard] == [HELLO.topic, WILL.topic]


def test_messages_come_with_all_that_an_answer_needs(mosquitto: Mosquitto) -> None:
    """The retain flag arrives at existing subscribers, too."""
    heard: list[Incoming] = []
    with Subscriber(mosquitto.port) as ear, broker_at(mosquitto.port).connect(heard.append) as session:
        session.subscribe("test/cmd/+")
        ear.say("test/cmd/pause", '{"rid":1}')
        ear.say("test/cmd/resume", '{"rid":2}', retain=True)
        ear.say("test/cmd/pause/res", "an answer is no command")
        pump_until(session, lambda: len(heard) == 2)

    assert heard == [
        Incoming("test/cmd/pause", b'{"rid":1}'),
        Incoming("test/cmd/resume", b'{"rid":2}', retained=True),
    ]


def test_a_bug_in_a_callback_surfaces(mosquitto: Mosquitto) -> None:
    """The caller of `pump` gets the exception of a callback."""

    def bug(_: Incoming) -> None:
        raise ZeroDivisionError

    with (
        Subscriber(mosquitto.port) as ear,
        pytest.raises(ZeroDivisionError),
        broker_at(mosquitto.port).connect(bug) as session,
    ):
        session.subscribe("test/cmd/+")
        ear.say("test/cmd/pause", "{}")
        pump_until(session, lambda: False)


def test_a_lost_broker_takes_what_was_in_flight_with_it(mosquitto: Mosquitto) -> None:
    """What was published around the loss is never sent after the reconnect."""
    broker = broker_at(mosquitto.port)
    lost = pytest.raises(BrokerLost, match=f"broker 127.0.0.1:{mosquitto.port}: connection lost")
    with lost, broker.connect() as session:
        mosquitto.stop()
        session.publish(Message("test/old", "1"))
        pump_until(session, lambda: False)
    session.publish(Message("test/old", "2"))  # A thread that had not heard yet.

    mosquitto.start()
    with Subscriber(mosquitto.port) as ear, broker.connect() as session:
        session.publish_all([HELLO])
        ear.wait_for(*_text(HELLO))
        assert not ear.on("test/old")


def test_a_hung_broker_is_noticed(mosquitto: Mosquitto) -> None:
    """Without an acknowledgement the session ends, long before the keepalive would notice."""
    noticed = pytest.raises(BrokerLost, match="no acknowledgement for")
    with noticed, broker_at(mosquitto.port).connect() as session:
        mosquitto.hang()
        session.publish(HELLO)
        pump_until(session, lambda: False)


def test_a_twin_with_our_client_id_is_named(mosquitto: Mosquitto) -> None:
    """A client id in use twice is named as the cause."""
    lost = pytest.raises(BrokerLost, match=r"second station with the same station\.name")
    first, second = broker_at(mosquitto.port, "twin"), broker_at(mosquitto.port, "twin")
    with first.connect() as session, second.connect(), lost:
        pump_until(session, lambda: False)


@pytest.mark.parametrize("refusal", [b"\x20\x02\x00\x01", b""], ids=["answers", "hangs up"])
def test_old_brokers_get_mqtt_3(refusal: bytes) -> None:
    """A broker that does not know MQTT 5 is asked with 3.1.1, at once and first from then on."""
    versions = []

    def answer(packet: bytes) -> bytes:
        versions.append(packet[packet.index(b"MQTT") + 4])
        return b"\x20\x02\x00\x00" if versions[-1] == 4 else refusal

    with server(answer) as port:
        broker = broker_at(port)
        for _ in range(2):
            session = broker.connect()
            assert not session.mqtt5
            session.abort()

    assert versions == [5, 4, 4]


def test_mqtt_3_subscribers_get_the_same(mosquitto: Mosquitto) -> None:
    """Expiry and correlation are extras that an old client does not see."""
    with Subscriber(mosquitto.port, mqtt5=False) as ear, broker_at(mosquitto.port).connect() as session:
        session.publish(HELLO, expiry_s=1, correlation=b"x")
        pump_until(session, lambda: HELLO.payload in ear.on(HELLO.topic))


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (None, r"does not answer; is it an MQTT broker\? within 1\.0 s"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "closed the connection without an answer|what is not MQTT"),
        (b"\x20\x03\x00\x86\x00", r"refuses us \(bad user name or password\)"),
        (b"\x20\x03\x00\x88\x00", r"refuses us \(server unavailable\)"),
        (b"\x20\x05\x00\x00\x02\x24\x00", r"does not take QoS 1"),
        (b"\x20\x05\x00\x00\x02\x25\x00", r"does not keep retained messages"),
        (b"\x20\x03\x00\x00\x00\xe0\x01\x8e", r"another client took over .* same station\.name"),
        (b"\x20\x03\x00\x00\x00\xe0\x01\x95", r"disconnected us \(packet too large\)"),
        (b"\x20\x08\x00\x00\x05\x27\x00\x00\x02\x00", r"takes packets of at most 512 bytes"),
    ],
)
def test_unfit_brokers_are_refused_in_one_sentence(answer: bytes | None, sentence: str) -> None:
    """Whatever answers on the port, the error says what is wrong."""
    with server(lambda _: answer) as port, pytest.raises(BrokerLost, match=sentence) as caught:
        pump_until(broker_at(port).connect(), lambda: False)
    assert "\n" not in str(caught.value)


def test_an_unreachable_broker_is_one_sentence() -> None:
    """A closed port and an unknown name get different sentences."""
    with pytest.raises(BrokerLost, match="refuses connections; is it running on this port"):
        broker_at(free_port()).connect()
    with pytest.raises(BrokerLost, match=r"'no\.such\.host\.invalid' cannot be resolved"):
        broker_at(1, host="no.such.host.invalid").connect()


def test_credentials_are_checked(tmp_path: Path) -> None:
    """A wrong password is refused with a sentence, the right one works."""
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, "station1", "secret"], check=True)
    broker = Mosquitto(tmp_path, f"password_file {passwords}", anonymous=False)
    broker.start()
    try:
        with pytest.raises(BrokerLost, match=r"refuses us \(not authorized\); check mqtt.username"):
            broker_at(broker.port, username="station1", password="guess").connect()
        with broker_at(broker.port, username="station1", password="secret").connect() as session:
            session.publish_all([HELLO])
    finally:
        broker.stop()


def test_a_forbidden_topic_ends_the_session(tmp_path: Path) -> None:
    """Paho counts a negative acknowledgement as published; a PLC would wait for ever."""
    rules = tmp_path / "acl"
    rules.write_text("topic readwrite allowed/#\n")
    broker = Mosquitto(tmp_path, f"acl_file {rules}")
    broker.start()
    try:
        refused = pytest.raises(BrokerLost, match=r"refuses our messages \(not authorized\)")
        with refused, broker_at(broker.port).connect() as session:
            session.publish_all([HELLO])
    finally:
        broker.stop()


def test_a_small_window_of_the_broker_is_kept(tmp_path: Path) -> None:
    """A broker that takes three messages at a time is never given a fourth."""
    broker = Mosquitto(tmp_path, "max_inflight_messages 3")
    broker.start()
    try:
        with broker_at(broker.port).connect() as session:
            assert session.receive_max == 3
            session.publish_all([HELLO] * 50)
    finally:
        broker.stop()


def test_pump_wakes_for_others(mosquitto: Mosquitto) -> None:
    """A Wakeup set by another thread ends `pump` at once."""
    with broker_at(mosquitto.port).connect() as session:
        wake = Wakeup()
        threading.Timer(0.05, wake.set).start()
        session.pump(5, wake)
        while not wake.clear():
            session.pump(5, wake)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a CA, a server's certificate for 127.0.0.1, a client's, and another CA."""
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
    for name in ("ca", "other"):
        openssl("req", "-x509", *key, "-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}")
    for name in ("server", "client"):
        openssl("req", *key[:-2], "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
        signer = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names")
        openssl("x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", *signer)
    return folder


@pytest.fixture
def tls_broker(tmp_path: Path, certificates: Path) -> Iterator[Mosquitto]:
    """Run a broker that wants a client certificate."""
    broker = Mosquitto(
        tmp_path,
        f"cafile {certificates}/ca.pem",
        f"certfile {certificates}/server.pem",
        f"keyfile {certificates}/server.key",
        "require_certificate true",
    )
    broker.start()
    yield broker
    broker.stop()


def test_tls_with_client_certificates(tls_broker: Mosquitto, certificates: Path) -> None:
    """Both sides prove who they are, and messages flow."""
    files: dict[str, object] = {f"tls_{key}": certificates / name for key, name in _TLS_FILES.items()}
    with Broker(MqttSettings.model_validate({"port": tls_broker.port, **files}), "test").connect() as session:
        session.publish_all([Message("test/tls", "x" * 400)] * 100)
        assert isinstance(session._sock, ssl.SSLSocket)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"tls_ca": "other.pem"}, "its certificate is not accepted .*; check mqtt.tls_ca and mqtt.host"),
        (
            {"host": "localhost"},
            "its certificate is not accepted .*mismatch.*; check mqtt.tls_ca and mqtt.host",
        ),
        ({"tls_cert": None, "tls_key": None}, "closed the connection without an answer; .* TLS settings"),
        ({"tls_ca": None, "tls_cert": None, "tls_key": None}, "closed the connection without an answer"),
    ],
    ids=["wrong CA", "wrong host", "no client certificate", "no TLS"],
)
def test_wrong_tls_is_one_sentence(
    tls_broker: Mosquitto, certificates: Path, change: dict[str, str | None], sentence: str
) -> None:
    """Each mistake with certificates names the setting to check."""
    files = {f"tls_{key}": name for key, name in _TLS_FILES.items()} | change
    settings = {
        key: str(certificates / value) if value and key.startswith("tls") else value
        for key, value in files.items()
        if value is not None
    }
    with pytest.raises(BrokerLost, match=sentence) as caught:
        broker_at(tls_broker.port, **settings).connect()
    assert "\n" not in str(caught.value)


def test_unusable_files_are_settings_errors(tmp_path: Path, certificates: Path) -> None:
    """A wrong certificate file is an error at start, before any connection."""
    with pytest.raises(ConfigError, match=r"mqtt\.tls_cert .* with its key"):
        broker_at(1, tls_ca=certificates / "ca.pem", tls_cert=certificates / "client.csr")
    with pytest.raises(ConfigError, match=r"need mqtt\.tls_ca"):
        broker_at(1, tls_cert=certificates / "client.pem")
    with pytest.raises(ConfigError, match=r"mqtt\.password_file"):
        broker_at(1, password_file=tmp_path)


@pytest.mark.parametrize("missing", ["tls_ca", "tls_key", "password_file"])
def test_files_that_are_not_there_yet_are_awaited(missing: str, tmp_path: Path, certificates: Path) -> None:
    """A share or a credential may come after the start; until then every attempt names the file."""
    (tmp_path / "password").write_text("secret")
    files: dict[str, Any] = {f"tls_{name}": certificates / file for name, file in _TLS_FILES.items()}
    files |= {"password_file": tmp_path / "password", missing: tmp_path / "late"}
    broker = broker_at(free_port(), **files)

    with pytest.raises(BrokerLost, match=rf"mqtt\.{missing} '.*late' cannot be read: no such file"):
        broker.connect()
    there = certificates / "client.key" if missing == "tls_key" else certificates / "ca.pem"
    (tmp_path / "late").write_bytes(there.read_bytes())
    with pytest.raises(BrokerLost, match="refuses connections"):
        broker.connect()


_TLS_FILES = {"ca": "ca.pem", "cert": "client.pem", "key": "client.key"}


def _text(message: Message) -> tuple[str, str]:
    return message.topic, message.payload


def test_a_broker_that_wants_a_short_client_id_gets_one() -> None:
    """MQTT 3.1.1 guarantees 23 letters and digits only; the same station always gets the same short id."""
    ids: list[bytes] = []

    def answer(connect: bytes) -> bytes:
        if connect[8] == 5:  # The protocol version.
            return b"\x20\x03\x00\x84\x00"  # Unsupported.
        length = int.from_bytes(connect[12:14], "big")
        ids.append(connect[14 : 14 + length])
        return b"\x20\x02\x00\x00" if ids[-1].isalnum() and length <= 23 else b"\x20\x02\x00\x02"

    long = "linewatch-packaging-line-7-live"
    with server(answer) as port:
        broker_at(port, long).connect().abort()
        broker_at(port, long).connect().abort()

    assert ids == [long.encode(), ids[1]] * 2
    assert len(ids[1]) == 23


def test_a_broker_that_refuses_every_client_id_is_named() -> None:
    """A refusal of the short id, too, is one sentence."""
    refuse = b"\x20\x02\x00\x02"
    with (
        server(lambda connect: b"\x20\x03\x00\x84\x00" if connect[8] == 5 else refuse) as port,
        pytest.raises(BrokerLost, match="client identifier not valid"),
    ):
        broker_at(port, "linewatch-packaging-line-7-live").connect()
