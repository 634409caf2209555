from pathlib import Path

import pytest

from linewatch.cli.bench import (
    machine,
    measure,
    measure_rates,
    rates_table,
    run_broker,
    table,
    take_images,
)
from linewatch.errors import ConfigError, LinewatchError, RecipeError, UsageError
from linewatch.mqtt.broker import Broker
from linewatch.mqtt.messages import Message
from linewatch.settings import ModelsSettings, MqttSettings, Settings, SourceSettings


def test_figures_are_shown_one_a_line() -> None:
    """Names and values stand in columns, so that two runs can be compared at a glance."""
    assert table({"machine": "a PC", "daemon_to_engine": 0.95}).splitlines() == [
        "machine                     a PC",
        "daemon_to_engine            0.95",
    ]


def test_the_machine_is_named() -> None:
    """The figures hold for one machine only, so its processor and Python version are printed."""
    assert "cores" in machine()
    assert "Python 3." in machine()


def test_only_a_source_without_a_pace_of_its_own_is_measured(tmp_path: Path) -> None:
    """A camera limits the rate, so the daemon's own limit could not be measured."""
    for kind in ("camera", "rtsp", "video"):
        with pytest.raises(UsageError, match="a camera sets its own pace"):
            measure(Settings(source=SourceSettings(kind=kind)), tmp_path / "x.toml")


def test_parts_at_a_given_rate_are_all_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table has a line per rate, with how many parts were judged and the latency."""
    for key, value in (("DEADLINE_MS", "5000"), ("FRAME_AGE_MS_MAX", "5000")):  # Others share these cores.
        monkeypatch.setenv(f"LINEWATCH_LIMITS__{key}", value)
    settings = Settings(mqtt=MqttSettings(base_topic="linewatch/bench"))
    monkeypatch.setenv("LINEWATCH_MQTT__BASE_TOPIC", "linewatch/bench")
    (tmp_path / "bench.toml").write_text("")

    config = tmp_path / "bench.toml"
    figures = measure_rates(settings, config, rates=(5, 10), warm_up_s=0.5, measure_s=4.0)

    assert [row["parts/s"] for row in figures] == [5, 10]
    assert all(row["not judged"] == row["late"] == 0 for row in figures)
    assert all(float(row["judged/s"]) >= 1 for row in figures)
    lines = rates_table(figures, 200).splitlines()
    assert lines[0].split()[:2] == ["parts/s", "judged/s"]
    assert [line.split()[0] for line in lines[1:3]] == ["5", "10"]
    with pytest.raises(UsageError, match="a camera sets its own pace"):
        measure_rates(Settings(source=SourceSettings(kind="rtsp")), tmp_path / "bench.toml")


def test_what_is_missing_is_found_before_anything_runs(tmp_path: Path) -> None:
    """Without a recipe the benchmark raises at once."""
    with pytest.raises(RecipeError, match="has no recipe"):
        measure(Settings(models=ModelsSettings(recipes=tmp_path)), tmp_path / "x.toml")


def test_pictures_come_from_the_configured_source(tmp_path: Path) -> None:
    """The engine is measured on the same images as the daemon."""
    assert len(take_images(Settings(source=SourceSettings(uri="count=3&size=96")))) == 3
    with pytest.raises(ConfigError):
        take_images(Settings(source=SourceSettings(kind="folder", uri="nowhere")))

    (tmp_path / "1.png").write_bytes(b"nothing")
    with pytest.raises(LinewatchError, match="gives no image"):
        take_images(Settings(source=SourceSettings(kind="folder", uri=str(tmp_path))))


def test_the_benchmark_brings_its_own_broker(tmp_path: Path) -> None:
    """It publishes nothing to the station's broker."""
    with run_broker(tmp_path) as (name, port):
        assert name == "mosquitto"
        with Broker(MqttSettings(port=port), "test").connect() as session:
            session.publish_all([Message("t", "hello")])
