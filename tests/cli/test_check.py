import importlib.util
import json
import re
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import pytest
from flask import Flask

from linewatch.acquisition.trigger_mode import is_triggered
from linewatch.cli.check import Finding, check_station
from linewatch.domain import Result
from linewatch.errors import ConfigError
from linewatch.plc_settings import ModbusSettings, OpcuaSettings, SparkplugSettings
from linewatch.settings import (
    EvidenceSettings,
    HttpSettings,
    JournalSettings,
    MqttSettings,
    Settings,
    SourceSettings,
    StationSettings,
    TriggerSettings,
)
from linewatch.storage.journal import Journal
from linewatch.web import WebServer, create_app
from tests.bundles import models_in, part, teach
from tests.fakes import FakeBackend, verdict
from tests.mosquitto import Mosquitto, Subscriber, free_port

CHECKED = [
    "settings",
    "trigger",
    "recipes",
    "product demo",
    "source",
    "area",
    "broker",
    "journal",
    "evidence",
    "page",
]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return the settings of a complete station with MQTT switched off."""
    models = models_in(tmp_path)
    teach(models, index=3)
    (tmp_path / "parts").mkdir()
    cv2.imwrite(str(tmp_path / "parts/1.png"), part())
    return Settings(
        station=StationSettings(product="demo"),
        source=SourceSettings(kind="folder", uri=str(tmp_path / "parts")),
        models=models,
        mqtt=MqttSettings(enabled=False),
        journal=JournalSettings(path=tmp_path / "var/journal.db"),
        evidence=EvidenceSettings(path=tmp_path / "var/evidence", free_bytes_min=0),
        http=HttpSettings(port=free_port()),
    )


def found(settings: Settings, **changes: Any) -> dict[str, Finding]:
    """Check settings with some of their tables replaced."""
    return {finding.what: finding for finding in check_station(settings.model_copy(update=changes))}


def bad(settings: Settings, **changes: Any) -> dict[str, str]:
    """Return the failed checks and their sentences."""
    return {what: finding.text for what, finding in found(settings, **changes).items() if not finding.ok}


def test_a_complete_station_passes_every_check(settings: Settings, tmp_path: Path) -> None:
    """Each check says what it found; no journal is created and no temporary file remains."""
    findings = found(settings)

    assert list(findings) == CHECKED
    assert bad(settings) == {}
    assert findings["recipes"].text == "demo (3)"
    assert "2 golden samples as recorded, threshold 2" in findings["product demo"].text
    assert findings["source"].text.endswith("parts gives 64x64 pixels")
    assert sorted(path.name for path in (tmp_path / "var").rglob("*")) == ["evidence"]
    assert findings["page"].as_dict() == {
        "what": "page",
        "ok": True,
        "text": f"127.0.0.1:{settings.http.port}, without a token: nothing can be changed",
        "warnings": (),
    }


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ("roi = [40, 0, 40, 40]", "64x64 pixels do not contain roi [40, 0, 40, 40]; correct the recipe"),
        (
            "[[region]]\nname = 'rim'\nroi = [0, 40, 40, 40]",
            "64x64 pixels do not contain region 'rim' [0, 40, 40, 40]; correct the recipe",
        ),
    ],
)
def test_a_recipe_that_does_not_fit_the_frame_is_found(settings: Settings, lines: str, sentence: str) -> None:
    """Before the shift in which each part would be ERROR 22; what fits is named."""
    recipe = settings.models.recipes / "demo.toml"
    text = recipe.read_text()
    recipe.write_text(f"{text}\n{lines}\n")
    assert list(found_bad := bad(settings)) == ["area"] and sentence in found_bad["area"]

    recipe.write_text(f"{text}\nroi = [0, 0, 64, 32]\n[[region]]\nname = 'rim'\nroi = [0, 0, 40, 32]\n")
    assert found(settings)["area"].text == "roi [0, 0, 64, 32], regions rim"


def test_the_broker_is_connected_to(settings: Settings, mosquitto: Mosquitto) -> None:
    """The finding names address and protocol version, or why it cannot connect."""
    assert found(settings, mqtt=MqttSettings(port=mosquitto.port))["broker"].text == (
        f"127.0.0.1:{mosquitto.port} speaks MQTT 5"
    )

    mosquitto.stop()
    assert bad(settings, mqtt=MqttSettings(port=mosquitto.port)) == {
        "broker": f"broker 127.0.0.1:{mosquitto.port}: refuses connections; is it running on this port?"
    }


def test_the_check_is_received_by_a_plc_on_the_documented_topic(
    settings: Settings, mosquitto: Mosquitto
) -> None:
    """An event is published, received again, and seen by whoever subscribes as docs/plc.md says."""
    mqtt = MqttSettings(port=mosquitto.port, base_topic="plant/line1")
    with Subscriber(mosquitto.port, topic="plant/line1/#") as plc:
        assert found(settings, mqtt=mqtt)["broker"].warnings == ()
        plc.wait(lambda plc: len(plc.on("plant/line1/event")) == 1)

    assert json.loads(plc.on("plant/line1/event")[0])["event"] == "check"


def test_a_broker_that_lets_nothing_through_is_found(settings: Settings, tmp_path: Path) -> None:
    """Denied publishing fails the check; denied reading is a warning, because the line does not read it."""
    acl = tmp_path / "acl"
    broker = Mosquitto(tmp_path, f"acl_file {acl}")
    mqtt = MqttSettings(port=broker.port)

    acl.write_text("topic read linewatch/station1/#\n")
    broker.start()
    assert "refuses our messages (not authorized)" in bad(settings, mqtt=mqtt)["broker"]
    broker.stop()

    acl.write_text("topic write linewatch/station1/#\n")
    broker.start()
    finding = found(settings, mqtt=mqtt)["broker"]
    broker.stop()
    assert finding.ok
    assert "a message to linewatch/station1/event did not come back" in finding.warnings[0]


def test_a_product_without_a_recipe_is_found(settings: Settings) -> None:
    """The product inspected after start is checked even without a recipe."""
    failures = bad(settings, station=StationSettings(product="screw"))

    assert list(failures) == ["product screw"]
    assert "has no recipe" in failures["product screw"]


def test_a_pinned_model_is_not_called_active(settings: Settings) -> None:
    """The finding names the version that the line will use, and that the recipe pins it."""
    pinned = teach(settings.models, index=3).version
    teach(settings.models, level=90, golden=[])
    (settings.models.recipes / "demo.toml").write_text(f'index = 3\nmodel = "{pinned}"\n')

    assert found(settings)["product demo"].text.startswith(f"model {pinned} (pinned in the recipe), ")


def test_every_product_is_checked_and_one_failure_does_not_hide_the_others(settings: Settings) -> None:
    """A tampered file and a golden sample with another score are found product by product."""
    teach(settings.models, "lid", index=4, golden=[(part(), Result.PASS, 1.7)])
    bundle = teach(settings.models, "screw", index=5, level=99, golden=[])
    bundle.graph.write_text("<net/>")

    failures = bad(settings)

    assert list(failures) == ["product lid", "product screw"]
    assert "scores golden sample golden/0.png 0.0000 instead of 1.7000" in failures["product lid"]
    assert "scorer.xml' was changed after training" in failures["product screw"]


def test_a_poorly_trained_product_is_a_warning(settings: Settings) -> None:
    """The line can run with it, so the check passes, with a warning that defects may escape."""
    teach(settings.models, "lid", index=4, recall=0.06)

    product = found(settings)["product lid"]

    assert (product.ok, "golden samples as recorded" in product.text) == (True, True)
    assert [warning.partition(";")[0] for warning in product.warnings] == [
        "only 6% of synthetic defects were found at training"
    ]


def test_two_products_with_one_number_are_found(settings: Settings) -> None:
    """The PLC could not distinguish them."""
    teach(settings.models, "lid", index=3)

    assert "both have index 3" in bad(settings)["recipes"]


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (SourceSettings(kind="folder", uri="nowhere"), "source.uri 'nowhere' does not exist"),
        (SourceSettings(kind="folder"), "source.uri is empty"),
        (SourceSettings(kind="camera", uri="/dev/video99"), "/dev/video99"),
        (SourceSettings(kind="video", uri="nowhere.mp4"), "nowhere.mp4"),
        (SourceSettings(kind="rtsp", uri=f"rtsp://127.0.0.1:{free_port()}/x"), "check cable"),
        (SourceSettings(kind="gige"), "linewatch cameras lists those that answer"),
        (SourceSettings(kind="simulator", uri="sede=1"), "did you mean seed?"),
    ],
)
def test_a_source_without_an_image_is_found(
    settings: Settings, source: SourceSettings, sentence: str
) -> None:
    """A wrong address or absent device is one sentence, and the other checks still run."""
    findings = found(settings, source=source)

    assert list(findings) == CHECKED
    assert [what for what, finding in findings.items() if not finding.ok] == ["source"]
    assert sentence in findings["source"].text


def test_an_unreadable_first_image_is_found(settings: Settings, tmp_path: Path) -> None:
    """The source opens, but its first frame has no image."""
    (tmp_path / "parts/1.png").write_bytes(b"nothing")

    assert "gives no image" in bad(settings)["source"]


def test_disks_are_written_to(settings: Settings, tmp_path: Path) -> None:
    """A file in place of a folder and too little free space are reported differently."""
    (tmp_path / "file").write_text("")
    failures = bad(settings, journal=JournalSettings(path=tmp_path / "file/journal.db"))
    assert list(failures) == ["journal"]
    assert "check permissions and room" in failures["journal"]

    short = EvidenceSettings(path=tmp_path / "var/evidence", free_bytes_min=2**62)
    assert "evidence.free_bytes_min asks for more" in bad(settings, evidence=short)["evidence"]


def test_the_days_that_the_disk_holds_are_estimated_from_the_source(settings: Settings) -> None:
    """Before the first run: from the size of a frame, the rate and the sampling; unknown without a rate."""
    source = settings.source.model_copy(update={"fps": 10.0})

    evidence = found(settings, source=source)["evidence"]
    journal = found(settings, source=source)["journal"]

    assert re.search(
        r"; holds about \d+ days at 10 parts a second and 2% rejects \(nothing recorded yet\)$", evidence.text
    )
    assert journal.text.endswith(
        "; grows by about 138.2 MB a day, to 12.4 GB in 90 days (journal.retention_days)"
    )
    for unknown in (
        {"source": source.model_copy(update={"fps": 0.0})},
        {"trigger": TriggerSettings(mode="mqtt"), "mqtt": MqttSettings(enabled=False)},
    ):
        findings = found(settings, **unknown)
        assert findings["evidence"].text.endswith("nothing recorded yet to tell for how many days")
        assert findings["journal"].text.endswith("GB free")


def test_the_days_that_the_disk_holds_follow_from_what_was_recorded(settings: Settings) -> None:
    """From yesterday's folder and the last day's verdicts; fewer days than the retention are a warning."""
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    folder = settings.evidence.path / str(yesterday) / "fail"
    folder.mkdir(parents=True)
    (folder / "1-1.frame.jpg").write_bytes(bytes(200_000))
    with Journal.open(settings.journal.path) as journal:
        for seq in range(1, 101):
            journal.append(verdict(seq, boot=journal.boot))

    evidence = settings.evidence.model_copy(update={"bytes_max": 5_000_000})
    findings = found(settings, evidence=evidence)

    assert findings["evidence"].text.endswith("; holds about 25 days at the present rate")
    assert findings["evidence"].warnings == (
        "evidence is removed after about 25 days, before evidence.retention_days = 30; "
        "keep fewer PASS images (evidence.pass_every) or use a larger disk",
    )
    assert re.search(r"; grows by about \d+\.\d MB a day, to ", findings["journal"].text)
    assert findings["journal"].warnings == ()
    forever = settings.journal.model_copy(update={"retention_days": 36_500.0})
    huge = settings.source.model_copy(update={"fps": 1000.0})
    settings.journal.path.unlink()
    assert "days of verdicts; reduce journal.retention_days" in str(
        found(settings, journal=forever, source=huge)["journal"].warnings
    )


def test_an_unusable_token_is_found(settings: Settings, tmp_path: Path) -> None:
    """The daemon would not start with it."""
    token = tmp_path / "token"
    assert "cannot be read" in bad(settings, http=HttpSettings(token_file=token))["page"]

    token.write_text("s3cret")
    token.chmod(0o640)
    page = found(settings, http=HttpSettings(host="0.0.0.0", port=0, token_file=token))["page"]
    assert page == Finding("page", True, "0.0.0.0:0, with a token for changes")


def test_a_world_readable_secret_is_a_warning(settings: Settings, mosquitto: Mosquitto) -> None:
    """World-readable token and password files pass the check, with a warning."""
    secret = settings.journal.path.parent.parent / "secret"
    secret.write_text("s3cret")
    secret.chmod(0o644)

    findings = found(
        settings,
        http=HttpSettings(port=0, token_file=secret),
        mqtt=MqttSettings(port=mosquitto.port, username="a", password_file=secret),
    )

    for what, setting in (("page", "http.token_file"), ("broker", "mqtt.password_file")):
        assert findings[what].ok
        assert findings[what].warnings == (
            f"{setting} '{secret}' can be read by every user of this machine; chmod 600 {secret}",
        )


def test_a_port_that_another_program_has_is_found(settings: Settings, tmp_path: Path) -> None:
    """The daemon could not start; but the station's own page, already running, is fine."""
    app = create_app(FakeBackend(), lambda: (b"", ""), "", tmp_path)

    with WebServer(app, "127.0.0.1", settings.http.port):
        assert bad(settings) == {}
        of_another = bad(settings, station=StationSettings(name="station2", product="demo"))
    with WebServer(Flask("another"), "127.0.0.1", settings.http.port):
        of_no_station = bad(settings)

    assert of_another == of_no_station
    assert list(of_another) == ["page"]
    assert f"cannot listen on 127.0.0.1:{settings.http.port} (Address already in use" in of_another["page"]


def test_an_unusable_certificate_is_found(settings: Settings, tmp_path: Path) -> None:
    """A wrong path in the settings is reported like a broker that does not answer."""
    assert "mqtt.tls_ca" in bad(settings, mqtt=MqttSettings(tls_ca=tmp_path / "ca.pem"))["broker"]


def test_a_trigger_that_cannot_come_is_found(settings: Settings) -> None:
    """What `linewatch run` refuses fails the check."""
    part_enters = TriggerSettings(mode="part", background=Path("no-such-folder"))
    by_mqtt = TriggerSettings(mode="mqtt")

    assert (
        "trigger.background 'no-such-folder' does not exist" in bad(settings, trigger=part_enters)["trigger"]
    )
    assert (
        "needs mqtt.enabled = true, modbus.enabled = true or opcua"
        in bad(settings, trigger=by_mqtt)["trigger"]
    )
    with pytest.raises(ConfigError):
        is_triggered(settings.model_copy(update={"trigger": by_mqtt}))
    assert is_triggered(settings.model_copy(update={"trigger": by_mqtt, "mqtt": MqttSettings()}))
    assert not is_triggered(settings)
    over_modbus = {"trigger": by_mqtt, "modbus": ModbusSettings(enabled=True, port=free_port())}
    assert found(settings, **over_modbus)["trigger"].text == "by Modbus"


def test_the_sparkplug_broker_is_tried_if_it_is_enabled(
    settings: Settings, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker, the primary host, the extra; nothing is published, so a running node is not disturbed."""
    sparkplug = SparkplugSettings(enabled=True, port=mosquitto.port, group="plant")
    waiting = sparkplug.model_copy(update={"primary_host": "scada"})
    node = f"127.0.0.1:{mosquitto.port} speaks MQTT 5, node plant/station1"
    assert "sparkplug" not in found(settings)
    with Subscriber(mosquitto.port, topic="spBv1.0/#") as ear:
        assert found(settings, sparkplug=sparkplug)["sparkplug"].text == node
        (warning,) = found(settings, sparkplug=waiting)["sparkplug"].warnings
        assert warning.startswith("the primary host 'scada' is offline")
        ear.say("spBv1.0/STATE/scada", '{"online":true,"timestamp":5}', retain=True)
        assert found(settings, sparkplug=waiting)["sparkplug"].warnings == ()
        ear.wait(lambda ear: bool(ear.heard))
        assert [message.topic for message in ear.heard] == ["spBv1.0/STATE/scada"]

    mosquitto.stop()
    assert "refuses connections" in bad(settings, sparkplug=sparkplug)["sparkplug"]
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert "needs the extra [sparkplug]" in bad(settings, sparkplug=sparkplug)["sparkplug"]


def test_the_modbus_server_is_tried_if_it_is_enabled(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its address is bound and its extra found; both have their sentence."""
    modbus = ModbusSettings(enabled=True, port=free_port(), clients=("127.0.0.0/8",))
    assert "modbus" not in found(settings)
    assert found(settings, modbus=modbus)["modbus"].text == f"127.0.0.1:{modbus.port}, for 127.0.0.0/8"

    with socket.create_server(("127.0.0.1", modbus.port)):
        assert "cannot listen on" in bad(settings, modbus=modbus)["modbus"]
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    assert "needs the extra [modbus]" in bad(settings, modbus=modbus)["modbus"]


def test_the_opcua_server_is_tried_if_it_is_enabled(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Extra, certificate and address are found, and what clients on other machines still lack is said."""
    port = free_port()
    local = OpcuaSettings(enabled=True, endpoint=f"opc.tcp://127.0.0.1:{port}/linewatch")
    remote = OpcuaSettings(enabled=True, endpoint=f"opc.tcp://0.0.0.0:{port}/linewatch", folder=tmp_path)
    damaged = OpcuaSettings(certificate=tmp_path / "no.der", private_key=tmp_path / "no.pem", enabled=True)

    assert found(settings, opcua=local)["opcua"].text == (
        f"opc.tcp://127.0.0.1:{port}/linewatch, its certificate is made at the first start; for programs "
        "on this machine, also without a certificate"
    )
    over_opcua = {"trigger": TriggerSettings(mode="mqtt"), "opcua": local}
    assert found(settings, **over_opcua)["trigger"].text == "by OPC UA"
    trusted, users = found(settings, opcua=remote)["opcua"].warnings
    assert f"put its certificate (DER or PEM) into {tmp_path}/trusted" in trusted
    assert "no client can sign in yet" in users
    assert "opcua.certificate" in bad(settings, opcua=damaged)["opcua"]
    with socket.create_server(("127.0.0.1", port)):
        assert "cannot listen on" in bad(settings, opcua=local)["opcua"]
    assert not (tmp_path / "own").exists()
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    assert "needs the extra [opcua]" in bad(settings, opcua=local)["opcua"]


def test_a_bug_is_no_finding(settings: Settings) -> None:
    """Only expected errors are listed; an unexpected one is raised."""
    impossible = settings.model_copy(update={"http": None})

    with pytest.raises(AttributeError):
        check_station(impossible)
