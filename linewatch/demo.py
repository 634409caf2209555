"""The demonstration: a simulated line with broker, page and metrics in one command."""

import socket
import tempfile
from pathlib import Path

import typer

from linewatch import pipeline
from linewatch.broker import EmbeddedBroker
from linewatch.messages import Topics
from linewatch.settings import (
    EvidenceSettings,
    HttpSettings,
    JournalSettings,
    MqttSettings,
    Settings,
    SourceSettings,
    StationSettings,
    load,
)
from linewatch.web.server import WebServer

DEFECT_SHARE = 0.2
FPS = 4.0  # Slow enough to watch.


def run(duration_s: float | None = None) -> None:
    """Run a simulated line until Ctrl+C or for `duration_s`; leaves nothing behind."""
    configured = load(None)  # For LINEWATCH_MODELS__PATH, LINEWATCH_HTTP__PORT and the like.
    with tempfile.TemporaryDirectory(prefix="linewatch-demo-") as folder, EmbeddedBroker() as broker:
        settings = _settings(configured, Path(folder), broker.port)

        def started(page: WebServer) -> None:
            typer.echo(f"The operator's page: {page.address}")
            typer.echo(f"Metrics for Prometheus: {page.address}metrics")
            typer.echo(
                f"Verdicts: mosquitto_sub -p {broker.port} -v -t '{Topics(settings.mqtt.base_topic).base}/#'"
            )
            typer.echo("Stop with Ctrl+C." if duration_s is None else f"Stops after {duration_s:g} s.")

        pipeline.run(settings, duration_s=duration_s, started=started)


def _settings(configured: Settings, folder: Path, broker_port: int) -> Settings:
    return configured.model_copy(
        update={
            "station": StationSettings(name="demo", product="demo"),
            "source": SourceSettings(kind="simulator", uri=f"defects={DEFECT_SHARE}", fps=FPS),
            "mqtt": MqttSettings(port=broker_port, base_topic="linewatch/demo"),
            "journal": JournalSettings(path=folder / "journal.db"),
            "evidence": EvidenceSettings(path=folder / "evidence", pass_every=5, free_bytes_min=0),
            "http": HttpSettings(port=_port(configured.http.port)),
        }
    )


def _port(wanted: int) -> int:
    """Return the wanted port if it is free, else 0 for any."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            return 0
    return wanted
