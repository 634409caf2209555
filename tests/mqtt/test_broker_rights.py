"""The broker as config/mosquitto configures it: who may connect, publish and subscribe."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from linewatch.errors import BrokerLost
from linewatch.mqtt.broker import Broker
from linewatch.settings import MqttSettings
from tests.certificates import Authority
from tests.daemon import ROOT, Daemon
from tests.mosquitto import WAIT_S, Mosquitto

SHIPPED = ROOT / "config/mosquitto"
PEOPLE = ("station1", "station2", "plc-station1", "collector")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the certificates of a plant, and some that must be refused."""
    folder = tmp_path_factory.mktemp("certificates")
    plant, stranger = Authority(folder / "plant"), Authority(folder / "stranger")
    for name in ("server", *PEOPLE):
        plant.issue(name)
    plant.issue("elsewhere", address="DNS:elsewhere.example")
    plant.issue("expired", days=-1)
    stranger.issue("station1")
    return folder


def broker_with(folder: Path, certificates: Path, server: str = "server") -> Mosquitto:
    """Return the broker that is shipped, on a free port of this machine and with files of the test."""
    lines = (SHIPPED / "mosquitto.conf").read_text().splitlines()
    (folder / "acl").write_text((SHIPPED / "acl").read_text())
    (folder / "acl").chmod(0o600)
    places = {
        "/etc/mosquitto/linewatch/ca.pem": f"{certificates}/plant/ca.pem",
        "/etc/mosquitto/linewatch/server.": f"{certificates}/plant/{server}.",
        "/etc/mosquitto/linewatch/acl": f"{folder}/acl",
        "/var/lib/mosquitto/": f"{folder}/",
    }
    for shipped, here in places.items():
        assert any(shipped in line for line in lines), shipped
        lines = [line.replace(shipped, here) for line in lines]
    ours = [line for line in lines if not line.startswith(("#", "listener ", "allow_anonymous "))]
    return Mosquitto(folder, *ours, anonymous=False)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory, certificates: Path) -> Iterator[Mosquitto]:
    """Run it."""
    running = broker_with(tmp_path_factory.mktemp("broker"), certificates)
    running.start()
    yield running
    running.stop()


def settings_of(name: str, certificates: Path, authority: str = "plant") -> dict[str, object]:
    """Return a station's `mqtt` settings with its certificate."""
    return {
        "base_topic": f"linewatch/{name}",
        "tls_ca": f"{certificates}/plant/ca.pem",
        "tls_cert": f"{certificates}/{authority}/{name}.pem",
        "tls_key": f"{certificates}/{authority}/{name}.key",
    }


class Person:
    """A client with a certificate, independent of linewatch's own MQTT code, subscribed to everything."""

    def __init__(self, name: str, port: int, certificates: Path) -> None:
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        mine = certificates / "plant" / name
        self._client.tls_set(str(mine.parent / "ca.pem"), f"{mine}.pem", f"{mine}.key")
        self._port = port
        self._changed = threading.Condition()
        self._answers: dict[int, bool] = {}
        self.heard: set[str] = set()
        self._client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self._client.on_subscribe = lambda _c, _u, number, *_: self._note(number, True)
        self._client.on_publish = lambda _c, _u, number, reason, _p: self._note(number, not reason.is_failure)
        self._client.on_message = lambda _c, _u, message: self._hear(message.topic)

    def __enter__(self) -> Self:
        self._client.connect("127.0.0.1", self._port)
        self._client.loop_start()
        self._wait(lambda: bool(self._answers))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def may_say(self, topic: str) -> bool:
        """Publish to a topic and return whether the broker accepted it."""
        number = self._client.publish(topic, "x", qos=1).mid
        self._wait(lambda: number in self._answers)
        return self._answers[number]

    def ask(self, topic: str, payload: str, reply_to: str) -> None:
        """Publish a request with a response topic."""
        wanted = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # Paho's omission.
        wanted.ResponseTopic = reply_to
        self._client.publish(topic, payload, qos=1, properties=wanted)

    def wait_for(self, topic: str) -> None:
        """Wait until a message was received on a topic."""
        self._wait(lambda: topic in self.heard)

    def _note(self, number: int, allowed: bool) -> None:
        with self._changed:
            self._answers[number] = allowed
            self._changed.notify_all()

    def _hear(self, topic: str) -> None:
        with self._changed:
            self.heard.add(topic)
            self._changed.notify_all()

    def _wait(self, done: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(done, WAIT_S), "the broker did not answer"


STATION_SAYS = ("online", "state", "verdict", "history", "event", "plc/verdict", "plc/word", "cmd/reset/res")


def test_each_client_publishes_and_receives_only_what_its_rights_allow(
    broker: Mosquitto, certificates: Path
) -> None:
    """The access list as a table: a station below its own base, a PLC only commands, a collector nothing."""
    one, two = "linewatch/station1", "linewatch/station2"
    with (
        Person("station1", broker.port, certificates) as station1,
        Person("station2", broker.port, certificates) as station2,
        Person("plc-station1", broker.port, certificates) as plc,
        Person("collector", broker.port, certificates) as collector,
    ):
        for topic in STATION_SAYS:
            assert station1.may_say(f"{one}/{topic}")
            assert not station1.may_say(f"{two}/{topic}")
            assert not plc.may_say(f"{one}/{topic}")
            assert not collector.may_say(f"{one}/{topic}")
            assert station2.may_say(f"{two}/{topic}")
        for name, allowed in ((station1, False), (station2, False), (plc, True), (collector, False)):
            assert name.may_say(f"{one}/cmd/reset") is allowed
        assert not plc.may_say(f"{two}/cmd/reset")
        for name in (station1, plc):
            assert not name.may_say("elsewhere")
            assert not name.may_say("$SYS/broker/version")
        for listener, last in ((station1, "cmd/reset"), (plc, "cmd/reset"), (collector, "cmd/reset")):
            listener.wait_for(f"{one}/{last}")
        collector.wait_for(f"{two}/cmd/reset/res")

    assert station1.heard == {f"{one}/cmd/reset"}
    assert station2.heard == set()
    assert plc.heard == {f"{one}/{topic}" for topic in (*STATION_SAYS, "cmd/reset")}
    assert collector.heard == plc.heard | {f"{two}/{topic}" for topic in STATION_SAYS}


@pytest.mark.parametrize(
    ("server", "change", "sentence"),
    [
        ("server", {"tls_ca": "stranger/ca.pem"}, "its certificate is not accepted .*mqtt.tls_ca"),
        ("expired", {}, "its certificate is not accepted .*expired.*"),
        ("elsewhere", {}, "its certificate is not accepted .*mismatch.*mqtt.host"),
        ("server", {"tls_cert": "", "tls_key": ""}, "TLS settings"),
        ("server", {"tls_cert": "stranger/station1.pem", "tls_key": "stranger/station1.key"}, "TLS settings"),
        ("server", {"tls_cert": "plant/expired.pem", "tls_key": "plant/expired.key"}, "TLS settings"),
        ("server", {"tls_ca": "", "tls_cert": "", "tls_key": ""}, "TLS settings"),
    ],
    ids=["wrong CA", "expired", "wrong name", "no certificate", "foreign one", "expired one", "no TLS"],
)
def test_a_wrong_certificate_is_refused_in_one_sentence(
    tmp_path: Path, certificates: Path, broker: Mosquitto, server: str, change: dict[str, str], sentence: str
) -> None:
    """A wrong certificate on either side prevents the connection and names the setting to check."""
    other = broker_with(tmp_path, certificates, server) if server != "server" else broker
    if other is not broker:
        other.start()
    files = {key: f"{certificates}/{path}" if path else "" for key, path in change.items()}
    settings = settings_of("station1", certificates) | files | {"port": other.port}
    try:
        with pytest.raises(BrokerLost, match=sentence) as caught:
            Broker(MqttSettings.model_validate(settings), "test").connect()
    finally:
        if other is not broker:
            other.stop()
    assert "\n" not in str(caught.value)


def test_a_station_does_all_its_work_with_the_rights_it_has(
    tmp_path: Path, certificates: Path, broker: Mosquitto
) -> None:
    """No message of the daemon is refused, and its connection stays open.

    Not even a PLC that wants the answer where the station may not write.
    """
    base = "linewatch/station1"
    changes = {f"mqtt.{key}": value for key, value in settings_of("station1", certificates).items()}
    with (
        Person("plc-station1", broker.port, certificates) as plc,
        Daemon(tmp_path, broker.port, changes | {"station.name": "station1"}) as daemon,
    ):
        for topic in ("online", "state", "verdict", "history", "plc/verdict", "plc/word"):
            plc.wait_for(f"{base}/{topic}")
        plc.ask(f"{base}/cmd/rebirth", '{"rid":1}', reply_to="plc/inbox")
        plc.wait_for(f"{base}/cmd/rebirth/res")
        plc.heard.clear()
        plc.wait_for(f"{base}/verdict")
        assert daemon.stop() == 0
        log = daemon.log

    assert "broker_connected" in log
    assert "broker_lost" not in log
    assert "refuses" not in log


def test_the_example_plc_speaks_tls_with_its_certificate(
    tmp_path: Path, broker: Mosquitto, certificates: Path
) -> None:
    """docs/examples/plc.py works with the broker as it is shipped, and says why it may not connect."""
    changes = {f"mqtt.{key}": value for key, value in settings_of("station1", certificates).items()}
    changes |= {"station.name": "station1", "trigger.mode": "mqtt", "source.uri": "defects=0"}
    mine = f"{certificates}/plant/plc-station1"
    command = [
        *(sys.executable, "docs/examples/plc.py", "--port", str(broker.port), "--parts", "1"),
        *("--window-ms", "8000", "--tls-ca", f"{certificates}/plant/ca.pem"),
    ]
    with Person("plc-station1", broker.port, certificates) as plc, Daemon(tmp_path, broker.port, changes):
        plc.wait_for("linewatch/station1/state")
        time.sleep(1)  # Until the first frame.
        done = subprocess.run(
            [*command, "--tls-cert", f"{mine}.pem", "--tls-key", f"{mine}.key"],
            cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
    without = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    missing = subprocess.run(
        [*command, "--tls-cert", "nowhere.pem"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout.split()) == (0, ["part", "P1:", "PASS"]), done
    assert without.returncode == 1 and without.stderr.startswith("plc.py: ")
    assert missing.returncode == 1 and missing.stderr.startswith("plc.py: a file cannot be used")
