from pathlib import Path

import pytest

from linewatch.bench import _broker, _pictures, machine, measure, table
from linewatch.errors import ConfigError, LinewatchError, RecipeError, UsageError
from linewatch.messages import Letter
from linewatch.mqtt import Broker
from linewatch.settings import ModelsSettings, MqttSettings, Settings, SourceSettings


def test_figures_are_shown_one_a_line() -> None:
    """Names stand in one column, so that two runs can be compared at a glance."""
    assert table({"machine": "a PC", "daemon_to_engine": 0.95}).splitlines() == [
        "machine                     a PC",
        "daemon_to_engine            0.95",
    ]


def test_the_machine_is_named() -> None:
    """A figure without its machine says nothing."""
    assert "cores" in machine()
    assert "Python 3." in machine()


def test_only_a_source_that_can_hurry_is_measured(tmp_path: Path) -> None:
    """A camera sets its own pace, so nothing about the daemon would be learnt."""
    for kind in ("camera", "rtsp", "video"):
        with pytest.raises(UsageError, match="a camera sets its own pace"):
            measure(Settings(source=SourceSettings(kind=kind)), tmp_path / "x.toml")


def test_what_is_missing_is_found_before_anything_runs(tmp_path: Path) -> None:
    """No model: one sentence at once."""
    with pytest.raises(RecipeError, match="has no recipe"):
        measure(Settings(models=ModelsSettings(recipes=tmp_path)), tmp_path / "x.toml")


def test_pictures_come_from_the_configured_source(tmp_path: Path) -> None:
    """The engine is measured on what the daemon sees."""
    assert len(_pictures(Settings(source=SourceSettings(uri="count=3&size=96")))) == 3
    with pytest.raises(ConfigError):
        _pictures(Settings(source=SourceSettings(kind="folder", uri="nowhere")))

    (tmp_path / "1.png").write_bytes(b"nothing")
    with pytest.raises(LinewatchError, match="gives no picture"):
        _pictures(Settings(source=SourceSettings(kind="folder", uri=str(tmp_path))))


def test_the_benchmark_brings_its_own_broker(tmp_path: Path) -> None:
    """Nobody's station hears of it."""
    with _broker(tmp_path) as (name, port):
        assert name == "mosquitto"
        with Broker(MqttSettings(port=port), "test").connect() as session:
            session.publish_all([Letter("t", "hello")])
