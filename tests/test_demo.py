import socket
from pathlib import Path

from linewatch import demo
from linewatch.settings import HttpSettings, ModelsSettings, Settings
from tests.mosquitto import free_port


def test_the_demonstration_touches_nothing_of_a_real_station(tmp_path: Path) -> None:
    """Only where models are and the page's port come from the settings; state goes to a folder of its own."""
    mine = Settings(
        models=ModelsSettings(path=Path("mine")),
        http=HttpSettings(host="0.0.0.0", token_file=Path("t"), port=0),
    )

    settings = demo._settings(mine, tmp_path, 4711)

    assert settings.models.path == Path("mine")
    assert (settings.source.kind, settings.trigger.mode) == ("simulator", "free")
    assert (settings.mqtt.host, settings.mqtt.port, settings.mqtt.base_topic) == (
        "127.0.0.1",
        4711,
        "linewatch/demo",
    )
    assert (settings.http.host, settings.http.token_file) == ("127.0.0.1", None)
    assert settings.journal.path.parent == settings.evidence.path.parent == tmp_path


def test_a_taken_port_does_not_stop_the_demonstration() -> None:
    """The page moves to any free port, and its address is printed."""
    assert demo._port(0) == 0
    free = free_port()
    assert demo._port(free) == free

    with socket.create_server(("127.0.0.1", free)):
        assert demo._port(free) == 0
