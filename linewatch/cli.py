"""The command line: argument parsing only. Every command imports what it needs when it runs."""

import json
import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from linewatch.errors import ConfigError, LinewatchError, UsageError

EXIT_FAILED, EXIT_USAGE, EXIT_CONFIG = 1, 2, 78

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Live camera line inspection. Every command takes --debug, which shows tracebacks.",
)
models_app = typer.Typer(no_args_is_help=True, help="The life of a product's models.")
app.add_typer(models_app, name="models")

Config = Annotated[
    Path | None,
    typer.Option("--config", help="Settings file; default: config/linewatch.toml if it is there."),
]
NeededConfig = Annotated[Path, typer.Option("--config", help="Settings file.")]
Product = Annotated[str, typer.Argument(help="Name of the product.")]
FalseReject = Annotated[
    float, typer.Option(min=0.0001, max=0.5, help="Share of good parts that may be rejected, 0 to 1.")
]


@app.command()
def run(
    config: NeededConfig,
    duration: Annotated[float | None, typer.Option(min=0, help="Stop after this many seconds.")] = None,
) -> None:
    """Inspect: the daemon. SIGTERM or SIGINT drains and stops, SIGHUP reads the recipes again."""
    from linewatch import pipeline, settings

    _log_to_stdout()
    pipeline.run(settings.load(config), duration_s=duration)


@app.command()
def check(
    config: NeededConfig,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Try everything the daemon will need: settings, recipes, models, camera, broker, disk."""
    from linewatch import check as checks
    from linewatch import settings

    findings = checks.check(settings.load(config))
    if as_json:
        typer.echo(json.dumps([finding.as_dict() for finding in findings]))
    else:
        for finding in findings:
            typer.echo(f"{'ok  ' if finding.ok else 'BAD '} {finding.what}: {finding.text}")
    raise typer.Exit(0 if all(finding.ok for finding in findings) else EXIT_FAILED)


@app.command()
def demo(
    duration: Annotated[float | None, typer.Option(min=0, help="Stop after this many seconds.")] = None,
) -> None:
    """Show a simulated line with everything built in: parts, verdicts over MQTT, metrics, the page."""
    from linewatch import demo as demonstration

    _log_to_stdout()
    demonstration.run(duration_s=duration)


@app.command()
def bench(
    config: NeededConfig,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here too.")] = None,
) -> None:
    """Measure the whole daemon against the bare engine, in one run on this machine."""
    from linewatch import bench as benchmark
    from linewatch import settings

    figures = benchmark.measure(settings.load(config), config)
    typer.echo(benchmark.table(figures))
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


@app.command()
def capture(
    config: NeededConfig,
    out: Annotated[Path, typer.Option(help="Folder for the pictures; made if it is not there.")],
    count: Annotated[int, typer.Option(min=1, help="How many.")],
) -> None:
    """Save frames of the configured source, to train with."""
    from linewatch import settings
    from linewatch.commission import save_frames

    saved = save_frames(settings.load(config).source, out, count)
    typer.echo(f"{saved} frames in {out}; look through them and take out every bad part before training")


def main() -> None:
    """Run the command line; every error a user can cause is one sentence on stderr."""
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        app(args=arguments, prog_name="linewatch")
    except LinewatchError as error:
        if debug:
            raise
        typer.echo(f"linewatch: {error}", err=True)
        sys.exit(_exit_status(error))


def _exit_status(error: LinewatchError) -> int:
    if isinstance(error, ConfigError):
        return EXIT_CONFIG
    return EXIT_USAGE if isinstance(error, UsageError) else EXIT_FAILED


def _log_to_stdout() -> None:
    logging.basicConfig(
        stream=sys.stdout,
        level=logging.INFO,
        format="%(asctime)s.%(msecs)03d %(levelname)s %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
    )
