import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from linewatch.domain import State
from linewatch.errors import ConfigError
from linewatch.line.commands import Commands
from linewatch.line.links import build_courier, build_live_link
from linewatch.line.metrics import Metrics
from linewatch.line.station import Station
from linewatch.line.status import Announcer
from linewatch.mqtt.disabled import DisabledLink
from linewatch.mqtt.live import LiveLink
from linewatch.runtime.stages import StageAborted
from linewatch.settings import LimitsSettings, MqttSettings, Settings, StationSettings
from linewatch.storage.journal import Journal
from tests.fakes import verdict
from tests.mosquitto import Mosquitto, Subscriber

WAIT_S = 10.0


class NoChangeover:
    """For stations that are not asked to change."""

    awaited_due = False

    def change(self, product: str, who: str, claim: Callable[[], None]) -> None:
        """Refuse."""
        raise AssertionError(product)

    def test(self, who: str) -> None:
        """Pass."""

    def reload(self, who: str) -> None:
        """Pass."""

    def take_up_awaited(self) -> None:
        """Pass."""


class Watched(Station):
    """A station that a test can wait for."""

    def __init__(self, metrics: Metrics) -> None:
        super().__init__("press-7", 7, "demo", metrics)
        self.edges: list[str] = []
        self._edge = threading.Condition()

    def impaired(self, part: str, why: str) -> None:
        """Keep the edge."""
        super().impaired(part, why)
        self._note(f"{part} away")

    def restored(self, part: str) -> None:
        """Keep the edge."""
        super().restored(part)
        self._note(f"{part} back")

    def wait_for(self, *edges: str) -> None:
        """Wait until exactly these edges were seen; the same one again in a row does not count."""
        with self._edge:
            assert self._edge.wait_for(lambda: self.edges == list(edges), WAIT_S), self.edges

    def _note(self, edge: str) -> None:
        with self._edge:
            if self.edges[-1:] != [edge]:
                self.edges.append(edge)
            self._edge.notify_all()


class Plant:
    """One READY station that wants its links."""

    def __init__(self, mqtt: MqttSettings) -> None:
        self.settings = Settings(
            station=StationSettings(name="press-7"), mqtt=mqtt, limits=LimitsSettings(grace_s=1)
        )
        self.metrics = Metrics("press-7")
        self.station = Watched(self.metrics)
        self.station.camera_back(0)
        self.station.intend(State.READY)
        self.failed = threading.Event()

    def live_link(self) -> LiveLink | DisabledLink:
        """Build the live link as the pipeline does."""
        return build_live_link(
            self.settings,
            self.station,
            Commands(self.station, NoChangeover(), dict, None, self.metrics),
            Announcer(self.station.snapshot, outbox=lambda: 0, beats=lambda: 1, busy=lambda: False),
            self.metrics,
            self.failed,
        )

    def value(self, name: str, **labels: str) -> float | None:
        """Return a metric's value."""
        return self.metrics.registry.get_sample_value(f"linewatch_{name}", {"station": "press-7", **labels})


@contextmanager
def running(run: Callable[[threading.Event], None]) -> Iterator[list[BaseException]]:
    """Run a service in its thread; stop it in the end. Gives what it raised."""
    stop = threading.Event()
    raised: list[BaseException] = []

    def guard() -> None:
        try:
            run(stop)
        except StageAborted as error:
            raised.append(error)

    thread = threading.Thread(target=guard)
    thread.start()
    try:
        yield raised
    finally:
        stop.set()
        thread.join(WAIT_S)
        assert not thread.is_alive()


def mqtt_on(port: int) -> MqttSettings:
    """Return settings for the test's broker."""
    return MqttSettings(port=port, base_topic="t")


def test_the_live_link_says_what_the_station_is(mosquitto: Mosquitto) -> None:
    """Online, state, verdicts and events go to the station's topics; the metrics count them."""
    plant = Plant(mqtt_on(mosquitto.port))
    link = plant.live_link()
    with Subscriber(mosquitto.port) as ear, running(lambda stop: link.run(stop, lambda: None)):
        plant.station.wait_for("broker back")
        assert plant.value("mqtt_connected") == 1
        assert link.publish_verdict(verdict(5))
        plant.station.event("drift", psi=0.3)
        ear.wait(lambda ear: bool(ear.on("t/verdict") and ear.on("t/event")))

    ear_state = json.loads(ear.on("t/state")[0])
    assert (ear_state["station"], ear_state["boot"], ear_state["state"]) == ("press-7", 7, "READY")
    assert json.loads(ear.on("t/verdict")[0])["seq"] == 5
    assert json.loads(ear.on("t/event")[0])["event"] == "drift"
    assert not link.publish_verdict(verdict(6))  # It has gone.
    assert plant.value("mqtt_messages_total", topic="event", outcome="sent") == 1
    for topic in ("verdict", "plc_verdict"):
        for outcome in ("sent", "failed"):
            assert plant.value("mqtt_messages_total", topic=topic, outcome=outcome) == 1


def test_commands_reach_the_station(mosquitto: Mosquitto) -> None:
    """What is sent below cmd/ is answered below it."""
    plant = Plant(mqtt_on(mosquitto.port))
    link = plant.live_link()
    with Subscriber(mosquitto.port) as ear, running(lambda stop: link.run(stop, lambda: None)):
        ear.wait_for("t/online", "1")
        ear.say("t/cmd/trigger", '{"rid":17}')
        ear.wait(lambda ear: bool(ear.on("t/cmd/trigger/res")))

    assert json.loads(ear.on("t/cmd/trigger/res")[0])["code"] == 1


def test_a_broker_that_goes_degrades_the_station_until_it_is_back(mosquitto: Mosquitto) -> None:
    """The PLC is deaf, but parts are judged; page and metrics say why."""
    plant = Plant(mqtt_on(mosquitto.port))
    link = plant.live_link()
    with running(lambda stop: link.run(stop, lambda: None)):
        plant.station.wait_for("broker back")
        mosquitto.stop()
        plant.station.wait_for("broker back", "broker away")
        assert plant.station.snapshot().state is State.DEGRADED
        assert f"127.0.0.1:{mosquitto.port}" in plant.station.snapshot().reasons[0]
        assert plant.value("mqtt_connected") == 0

        mosquitto.start()
        plant.station.wait_for("broker back", "broker away", "broker back")
        assert plant.station.snapshot().state is State.READY
        assert plant.value("mqtt_connected") == 1


def test_after_a_failure_the_link_leaves_without_goodbye(mosquitto: Mosquitto) -> None:
    """After a bug in a stage the broker publishes the will, because no DISCONNECT is sent."""
    plant = Plant(mqtt_on(mosquitto.port))
    link = plant.live_link()
    with Subscriber(mosquitto.port) as ear, running(lambda stop: link.run(stop, lambda: None)) as raised:
        ear.wait_for("t/online", "1")
        plant.failed.set()
        plant.station.changed.set()
        ear.wait_for("t/online", "0")
        states = ear.on("t/state")

    assert [type(error) for error in raised] == [StageAborted]
    assert "STOPPED" not in "".join(states)


def test_unusable_certificates_are_found_before_anything_starts(tmp_path: Path) -> None:
    """A file that is none is a mistake in the settings and not a lost broker."""
    mqtt = MqttSettings(tls_ca=tmp_path / "ca.pem")
    (tmp_path / "ca.pem").write_text("no certificate")

    with pytest.raises(ConfigError, match=r"mqtt\.tls_ca"):
        Plant(mqtt).live_link()


def test_the_courier_empties_the_journal_into_the_history(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """Every row arrives once the broker is there, is counted, and is pending no more."""
    plant = Plant(mqtt_on(mosquitto.port))
    with Journal.open(tmp_path / "journal.db") as journal, Subscriber(mosquitto.port) as ear:
        for seq in (1, 2, 3):
            journal.append(verdict(seq, boot=journal.boot))
        journal.release(journal.boot, 3)
        with running(build_courier(plant.settings, journal, plant.station, plant.metrics).run):
            ear.wait(lambda ear: len(ear.on("t/history")) == 3)
        assert journal.undelivered_count() == 0

    assert [json.loads(text)["seq"] for text in ear.on("t/history")] == [1, 2, 3]
    assert plant.value("mqtt_messages_total", topic="history", outcome="sent") == 3


def test_without_mqtt_nothing_is_sent_and_nothing_is_owed(tmp_path: Path) -> None:
    """A station that only keeps a journal: no outbox grows, no message is counted, the stages beat."""
    plant = Plant(MqttSettings(enabled=False))
    link = plant.live_link()
    beats = threading.Event()
    with Journal.open(tmp_path / "journal.db") as journal:
        journal.append(verdict(1, boot=journal.boot))
        journal.release(journal.boot, 1)
        with (
            running(build_courier(plant.settings, journal, plant.station, plant.metrics).run),
            running(lambda stop: link.run(stop, beats.set)),
        ):
            assert beats.wait(WAIT_S)
        assert journal.undelivered_count() == 0

    assert not link.publish_verdict(verdict(1))
    for topic in ("history", "verdict", "plc_verdict"):
        for outcome in ("sent", "failed"):
            assert plant.value("mqtt_messages_total", topic=topic, outcome=outcome) == 0
    assert plant.value("mqtt_connected") == 0
    assert plant.station.snapshot().state is State.READY
