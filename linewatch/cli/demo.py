"""The demonstration: a simulated line with broker, page and metrics in one command."""

import tempfile
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import typer

from linewatch import daemon as pipeline
from linewatch.cli.demo_broker import HOST, EmbeddedBroker, free_port
from linewatch.errors import ConfigError
from linewatch.mqtt.messages import Topics
from linewatch.settings import MqttSettings, Settings, load
from linewatch.web.server import WebServer, listen

DEFECT_SHARE = 0.2
FPS = 4.0  # Slow enough to watch.


def run(duration_s: float | None = None) -> None:
    """Run a simulated line until Ctrl+C or for `duration_s`; leaves nothing behind."""
    with tempfile.TemporaryDirectory(prefix="linewatch-demo-") as folder:
        settings = _settings(Path(folder))

        def started(page: WebServer) -> None:
            typer.echo(f"The operator's page: {page.address}")
            typer.echo(f"Metrics for Prometheus: {page.address}metrics")
            if settings.mqtt.enabled:
                typer.echo(f"Verdicts: {_how_to_listen(settings.mqtt)}")
            typer.echo("Stop with Ctrl+C." if duration_s is None else f"Stops after {duration_s:g} s.")

        with _broker(settings.mqtt):
            pipeline.run(settings, duration_s=duration_s, started=started)


def _settings(folder: Path) -> Settings:
    """Return settings that touch nothing of a real station, unless the environment says so.

    Of the settings file only models, limits and the page's port count.
    """
    port = load(None).http.port
    settings = load(
        None,
        {
            "station": {"name": "demo", "product": "demo"},
            "source": {"kind": "simulator", "uri": f"defects={DEFECT_SHARE}", "fps": FPS},
            "trigger": {},
            "gige": {},
            "mqtt": {"host": HOST, "port": free_port(), "base_topic": "linewatch/demo"},
            "journal": {"path": folder / "journal.db"},
            "evidence": {"path": folder / "evidence", "pass_every": 5, "free_bytes_min": 0},
            "http": {"port": port},
        },
    )
    http = settings.http
    return settings.model_copy(update={"http": http.model_copy(update={"port": _port(http.host, http.port)})})


def _port(host: str, wanted: int) -> int:
    """Return the wanted port if it is free, else 0 for any."""
    try:
        listen(host, wanted).close()
    except ConfigError:
        return 0
    return wanted


def _broker(mqtt: MqttSettings) -> AbstractContextManager[object]:
    """Return a broker of our own, unless the environment names one that is there."""
    ours = mqtt.enabled and mqtt.host == HOST and _port(HOST, mqtt.port)
    return EmbeddedBroker(mqtt.port) if ours else nullcontext()


def _how_to_listen(mqtt: MqttSettings) -> str:
    host = "" if mqtt.host == HOST else f"-h {mqtt.host} "
    return f"mosquitto_sub {host}-p {mqtt.port} -v -t '{Topics(mqtt.base_topic).base}/#'"
