"""The demo: a simulated line with broker, page and metrics in one command."""

import tempfile
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import typer

from linewatch import daemon
from linewatch.cli.demo_broker import HOST, EmbeddedBroker, free_port
from linewatch.errors import ConfigError
from linewatch.mqtt.messages import Topics
from linewatch.settings import MqttSettings, Settings, load
from linewatch.web.server import WebServer, listen

DEFECT_SHARE = 0.2
FPS = 4.0  # Slow enough to watch.


def run_demo(duration_s: float | None = None) -> None:
    """Run a simulated line until Ctrl+C or for `duration_s`; its files are deleted at the end.

    Raises UsageError if it needs its own broker and the extra [demo] is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="linewatch-demo-") as folder:
        settings = demo_settings(Path(folder))

        def started(server: WebServer) -> None:
            typer.echo(f"The operator's page: {server.address}")
            typer.echo(f"Metrics for Prometheus: {server.address}metrics")
            if settings.mqtt.enabled:
                typer.echo(f"Verdicts: {subscribe_command(settings.mqtt)}")
            typer.echo("Stop with Ctrl+C." if duration_s is None else f"Stops after {duration_s:g} s.")

        with broker_for(settings.mqtt):
            daemon.run(settings, duration_s=duration_s, started=started)


def demo_settings(folder: Path) -> Settings:
    """Return settings whose journal and evidence are in `folder`; LINEWATCH_* variables override them.

    Only models, limits and the page's port are taken from the settings file, so a demo on a line PC
    leaves the station's own data alone.
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
    return settings.model_copy(
        update={"http": http.model_copy(update={"port": _port_if_free(http.host, http.port)})}
    )


def _port_if_free(host: str, wanted: int) -> int:
    """Return the wanted port if it is free, else 0, which means any free port."""
    try:
        listen(host, wanted).close()
    except ConfigError:
        return 0
    return wanted


def broker_for(mqtt: MqttSettings) -> AbstractContextManager[object]:
    """Return the embedded broker, not started yet, or nothing if the settings name a running one."""
    embedded = mqtt.enabled and mqtt.host == HOST and _port_if_free(HOST, mqtt.port)
    return EmbeddedBroker(mqtt.port) if embedded else nullcontext()


def subscribe_command(mqtt: MqttSettings) -> str:
    """Return the shell command that prints everything the demo publishes."""
    host = "" if mqtt.host == HOST else f"-h {mqtt.host} "
    return f"mosquitto_sub {host}-p {mqtt.port} -v -t '{Topics(mqtt.base_topic).base}/#'"
