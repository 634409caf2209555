import socket
import sys
from pathlib import Path

import pytest

from linewatch.cli import demo
from linewatch.cli.demo_broker import EmbeddedBroker
from linewatch.errors import ConfigError, UsageError
from tests.mosquitto import free_port

MINE = """
[station]
name = "press4"
[source]
kind = "camera"
[trigger]
mode = "mqtt"
[models]
path = "mine"
[mqtt]
host = "broker.plant.example"
[journal]
path = "mine/journal.db"
[http]
host = "0.0.0.0"
port = 0
token_file = "t"
[limits]
deadline_ms = 321
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a working directory with the settings of a real station."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    (tmp_path / "config/linewatch.toml").write_text(MINE)
    return tmp_path


def test_the_demonstration_leaves_a_real_station_alone(folder: Path) -> None:
    """Only models, limits and the page's port come from the file; its data goes to a temporary folder."""
    settings = demo.demo_settings(folder)

    assert (settings.models.path, settings.limits.deadline_ms) == (Path("mine"), 321)
    assert (settings.station.name, settings.source.kind) == ("demo", "simulator")
    assert settings.trigger.mode == "free"
    assert (settings.mqtt.host, settings.mqtt.base_topic) == ("127.0.0.1", "linewatch/demo")
    assert (settings.http.host, settings.http.port, settings.http.token_file) == ("127.0.0.1", 0, None)
    assert settings.journal.path.parent == settings.evidence.path.parent == folder


def test_the_environment_applies_to_the_demonstration(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables override the demo's settings, and a misspelt one is refused."""
    said = {
        "LINEWATCH_STATION__NAME": "fair",
        "LINEWATCH_SOURCE__FPS": "9",
        "LINEWATCH_HTTP__HOST": "0.0.0.0",
        "LINEWATCH_HTTP__TOKEN_FILE": "token",
        "LINEWATCH_MQTT__HOST": "broker.fair.example",
        "LINEWATCH_JOURNAL__PATH": "kept/journal.db",
    }
    for name, value in said.items():
        monkeypatch.setenv(name, value)

    settings = demo.demo_settings(folder)

    assert (settings.station.name, settings.source.kind, settings.source.fps) == ("fair", "simulator", 9.0)
    assert (settings.http.host, settings.http.token_file) == ("0.0.0.0", Path("token"))
    assert settings.journal.path == Path("kept/journal.db")
    assert (settings.mqtt.host, settings.mqtt.base_topic) == ("broker.fair.example", "linewatch/demo")
    assert demo.subscribe_command(settings.mqtt).startswith("mosquitto_sub -h broker.fair.example -p ")
    assert not isinstance(demo.broker_for(settings.mqtt), EmbeddedBroker)
    monkeypatch.setenv("LINEWATCH_HTTP__PROT", "1")
    with pytest.raises(ConfigError, match="did you mean LINEWATCH_HTTP__PORT"):
        demo.demo_settings(folder)


def test_a_taken_port_does_not_stop_the_demonstration(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page moves to any free port, and a broker that already runs there is used."""
    free = free_port()
    monkeypatch.setenv("LINEWATCH_HTTP__PORT", str(free))
    monkeypatch.setenv("LINEWATCH_MQTT__PORT", str(free))
    settings = demo.demo_settings(folder)
    assert settings.http.port == free
    assert isinstance(demo.broker_for(settings.mqtt), EmbeddedBroker)

    with socket.create_server(("127.0.0.1", free)):
        assert demo.demo_settings(folder).http.port == 0
        assert not isinstance(demo.broker_for(settings.mqtt), EmbeddedBroker)


def test_without_its_broker_the_demonstration_says_what_to_install(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A base install lacks the extra [demo]."""
    monkeypatch.setitem(sys.modules, "iotcore", None)  # Importing it now raises ImportError.

    with pytest.raises(UsageError, match=r"needs the extra \[demo\]; install it: pip install"):
        demo.run_demo(duration_s=0)
