"""The command line: argument parsing only. Each command imports what it needs when it runs."""

import json
import logging
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer

from linewatch.cli.log_format import LogFormatter
from linewatch.cli.models import models_app
from linewatch.cli.options import (
    EXIT_CONFIG,
    EXIT_FAILED,
    EXIT_USAGE,
    Config,
    Duration,
    HtmlFile,
    JsonFile,
    Product,
    RequiredConfig,
    load_settings,
    require_training,
    show_help,
    write_html,
    write_json,
)
from linewatch.cli.people import users_app
from linewatch.cli.proof import add_commands
from linewatch.errors import ConfigError, LinewatchError, UsageError

ArgumentError: type[Exception] = typer.BadParameter.__mro__[1]
"""What typer raises for wrong arguments; it has no public name of its own."""

app = typer.Typer(
    callback=show_help,
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode=None,  # Plain text: rich's boxes show flags as if they took a value.
    pretty_exceptions_enable=False,
    help="Live camera line inspection. Every command takes --debug, which shows tracebacks.",
)
app.add_typer(models_app, name="models")
app.add_typer(users_app, name="users")
add_commands(app)

FalseReject = Annotated[
    float, typer.Option(min=0.0001, max=0.5, help="Share of good parts that may be rejected, 0 to 1.")
]


@app.command()
def run(config: RequiredConfig, duration: Duration = None) -> None:
    """Run the inspection daemon. SIGTERM or SIGINT drains and stops it, SIGHUP reloads the recipes."""
    from linewatch.runtime.signals import ignore_sighup

    ignore_sighup()  # First: the imports below take about a second.
    from linewatch import daemon

    _log_to_stdout()
    daemon.run(load_settings(config), duration_s=duration)


@app.command()
def serve(config: RequiredConfig, duration: Duration = None) -> None:
    """Serve the upload and review pages, without camera and broker."""
    from linewatch.cli.serve import serve_office

    _log_to_stdout()
    serve_office(load_settings(config), duration_s=duration)


@app.command()
def check(
    config: RequiredConfig,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Check everything the daemon needs. Settings, recipes, models, camera, broker, disk: one line each."""
    from linewatch.cli.check import check_station

    findings = check_station(load_settings(config))
    if as_json:
        typer.echo(json.dumps([finding.as_dict() for finding in findings]))
    else:
        for finding in findings:
            typer.echo(f"{'ok  ' if finding.ok else 'BAD '} {finding.what}: {finding.text}")
            for warning in finding.warnings:
                typer.echo(f"warn {finding.what}: {warning}")
    raise typer.Exit(0 if all(finding.ok for finding in findings) else EXIT_FAILED)


@app.command()
def health(config: RequiredConfig) -> None:
    """Ask the running daemon whether all its stages make progress. For containers; exit status 0 or 1."""
    from linewatch.cli.health import check_health

    typer.echo(f"{check_health(load_settings(config).http)} is healthy")


@app.command()
def demo(duration: Duration = None) -> None:
    """Run a simulated line with broker, metrics and page. Nothing else needs to be installed."""
    from linewatch.cli.demo import run_demo

    _log_to_stdout()
    run_demo(duration_s=duration)


@app.command()
def bench(
    config: RequiredConfig,
    json_file: JsonFile = None,
    rate: Annotated[bool, typer.Option("--rate", help="At 5, 10, 20 and 40 parts a second instead.")] = False,
    frames: Annotated[
        bool, typer.Option("--frames", help="With frames of a camera's size instead, 0.3 to 12 megapixels.")
    ] = False,
    megapixels: Annotated[
        list[float], typer.Option(min=0.1, max=50, help="For --frames: these sizes only.")
    ] = [0.3, 2, 5, 12],  # noqa: B006 - typer copies it
) -> None:
    """Measure the whole daemon against the bare engine. In one run, on this machine."""
    from linewatch.cli import bench as benchmark

    settings = load_settings(config)
    deadline_ms = settings.limits.deadline_ms
    figures: object
    if frames:
        from linewatch.cli.bench_frames import frames_table, measure_frames

        figures = rows = measure_frames(settings, config, megapixels)
        typer.echo(frames_table(rows, deadline_ms))
    elif rate:
        figures = rates = benchmark.measure_rates(settings, config)
        typer.echo(benchmark.rates_table(rates, deadline_ms))
    else:
        figures = measured = benchmark.measure(settings, config)
        typer.echo(benchmark.table(measured))
    write_json(json_file, figures)


@app.command()
def cameras() -> None:
    """List the cameras that answer. With the settings for each, and the formats that USB cameras offer."""
    from linewatch.acquisition.sources.discovery import find_cameras

    load_settings(None)  # Unused, but a misspelt LINEWATCH_* variable is an error here as everywhere.
    found, notes = find_cameras()
    for camera in found:
        typer.echo(f'kind = "{camera.kind}"  uri = "{camera.uri}"  # {camera.text}')
        for line in camera.offers:
            typer.echo(f"    {line}")
    for note in notes:
        typer.echo(note, err=True)
    if not found:
        typer.echo(
            "no camera answers; check cables and power (RTSP cameras do not announce themselves)", err=True
        )


@app.command()
def capture(
    config: RequiredConfig,
    out: Annotated[Path, typer.Option(help="Folder for the images; created if missing.")],
    count: Annotated[int, typer.Option(min=1, help="How many new images.")],
) -> None:
    """Save frames that differ, for training. Shows brightness and sharpness meanwhile."""
    from linewatch.cli.capture_dataset import describe_source, save_frames

    settings = load_settings(config)
    typer.echo(f"capturing from {describe_source(settings.source)}")
    done = save_frames(settings.source, out, count, settings.gige)
    typer.echo(f"{done.saved} new frames in {out}, {done.total} in all")
    if done.skipped:
        typer.echo(f"{done.skipped} frames were nearly the same as one of these and are not kept")
    if done.saved:
        typer.echo("look through them and take out every bad part before training")
    if done.enough:
        typer.echo("more images would add little: the variety is sufficient")


@app.command()
def train(
    product: Product,
    images: Annotated[Path, typer.Option(help="Folder of images of good parts, 30 to 300 of them.")],
    models: Annotated[Path | None, typer.Option(help="Folder of the models; default: models.path.")] = None,
    false_reject: FalseReject = 0.01,
    pixels: Annotated[
        int, typer.Option(help="Pixels of the network's input: more find finer defects.")
    ] = 65536,
    align: Annotated[str, typer.Option(help="Find the part and turn it upright: auto, on or off.")] = "auto",
    foreground: Annotated[
        str, typer.Option(help="Inspect only the part, not its background: auto, on or off.")
    ] = "auto",
    architecture: Annotated[str, typer.Option(help="feature, or pixel for comparison.")] = "feature",
    seed: Annotated[int, typer.Option(help="Random seed, for a repeatable result.")] = 0,
    config: Config = None,
) -> None:
    """Train a model from images of good parts only. The first version becomes active."""
    require_training()
    from linewatch.models.registry import record_training
    from linewatch.training.progress import progress_bar
    from linewatch.training.train import describe
    from linewatch.training.train import train as train_product

    settings = load_settings(config)
    paths, folder = settings.models, models or settings.models.path
    with progress_bar() as progress:
        bundle = train_product(
            product,
            images,
            folder,
            paths.recipes,
            false_reject=false_reject,
            pixels=pixels,
            align=align,
            foreground=foreground,
            architecture=architecture,
            seed=seed,
            progress=progress,
        )
    record_training(settings, bundle, folder)
    typer.echo(describe(bundle, folder, paths.recipes))


@app.command()
def calibrate(
    product: Product,
    false_reject: Annotated[
        float | None,
        typer.Option(min=0.0001, max=0.5, help="Share of good parts that may be rejected, 0 to 1."),
    ] = None,
    threshold: Annotated[float | None, typer.Option(help="A raw score instead, chosen by hand.")] = None,
    good: Annotated[
        Path | None, typer.Option(help="Images of good parts that were not used for training.")
    ] = None,
    bad: Annotated[
        Path | None, typer.Option(help="Images of defective parts, to measure the recall.")
    ] = None,
    last: Annotated[int, typer.Option(min=1, help="Predict the effect on this many recent parts.")] = 1000,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only predict; change nothing.")] = False,
    config: Config = None,
) -> None:
    """Set new thresholds without training again. Reviews count; a new version becomes active."""
    from linewatch.cli.running import reload_advice
    from linewatch.training.progress import progress_bar
    from linewatch.training.recalibrate import activate_proposal, describe, propose_threshold, recalibrate

    settings = load_settings(config)
    models, journal = settings.models, settings.journal.path
    if (false_reject is None) == (threshold is None):
        raise UsageError("give either --false-reject or --threshold; see: linewatch calibrate --help")
    if threshold is not None:
        proposal = propose_threshold(
            product, threshold, models.path, models.recipes, journal=journal, last=last
        )
    else:
        assert false_reject is not None
        with progress_bar() as progress:
            proposal = recalibrate(
                product,
                false_reject,
                models.path,
                models.recipes,
                good=good,
                bad=bad,
                journal=journal,
                last=last,
                threads=models.threads,
                progress=progress,
            )
    typer.echo(describe(proposal))
    if dry_run:
        typer.echo("nothing was changed; without --dry-run these thresholds become active")
        return
    bundle, pins = activate_proposal(settings, proposal)
    for line in pins:
        typer.echo(f"now a comment in the recipe: {line.strip()}")
    typer.echo(f"{product} {bundle.version} is active; back: linewatch models rollback {product}")
    if advice := reload_advice(settings, product, bundle.version):
        typer.echo(advice)


@app.command()
def marked(
    product: Product,
    out: Annotated[Path, typer.Option(help="Folder; the images go to good/ and defect/ in it.")],
    config: Config = None,
) -> None:
    """Copy the images of reviewed parts, for training. Good and defective parts in separate folders."""
    from linewatch.training.reviewed_parts import copy_reviewed_images

    settings = load_settings(config)
    copied = copy_reviewed_images(settings.journal.path, settings.evidence.path, product, out)
    typer.echo(
        f"{copied['good']} good, {copied['defect']} defect in {out}; look through them before training"
    )


@app.command()
def evaluate(
    product: Product,
    data: Annotated[
        Path, typer.Option(help="good/ and one folder for each defect; ground_truth/ beside it.")
    ],
    version: Annotated[str, typer.Option(help="Version to measure; default: the one in use.")] = "",
    json_file: JsonFile = None,
    html: HtmlFile = None,
    config: Config = None,
) -> None:
    """Measure a model on labelled images. None of them may have been used for training."""
    require_training()
    from linewatch.training.evaluate import evaluate as evaluate_model
    from linewatch.training.progress import progress_bar

    models = load_settings(config).models
    with progress_bar() as progress:
        evaluation = evaluate_model(
            product,
            data,
            models.path,
            models.recipes,
            version=version,
            threads=models.threads,
            progress=progress,
        )
    typer.echo(json.dumps(evaluation.metrics, indent=2))
    write_json(json_file, evaluation.metrics)
    if html is not None:
        write_html(html, evaluation.render_report())


@app.command()
def inspect(
    product: Product,
    images: Annotated[list[Path], typer.Argument(help="Image files.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the heatmaps.")] = None,
    config: Config = None,
) -> None:
    """Judge image files; one JSON line each. Unreadable files are named, and the others are judged."""
    from linewatch.cli.inspect_files import inspect_files

    settings = load_settings(config)
    unreadable: list[LinewatchError] = []
    for verdict in inspect_files(
        product,
        images,
        settings.models.path,
        settings.models.recipes,
        out=out,
        station=settings.station.name,
        threads=settings.models.threads,
        unreadable=unreadable.append,
    ):
        typer.echo(json.dumps(verdict, separators=(",", ":")))
    for error in unreadable:
        typer.echo(f"linewatch: {error}", err=True)
    raise typer.Exit(EXIT_FAILED if unreadable else 0)


def main() -> None:
    """Run the command line; every error a user can cause is one sentence on stderr."""
    debug = "--debug" in sys.argv
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # File names may not be UTF-8.
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        status = app(args=arguments, prog_name="linewatch", standalone_mode=False)
    except (LinewatchError, ArgumentError) as error:
        if debug:
            raise
        sentence = str(error) if isinstance(error, LinewatchError) else _usage_sentence(error)
        typer.echo(f"linewatch: {sentence}", err=True)
        sys.exit(exit_status(error))
    except typer.Abort:
        sys.exit(EXIT_FAILED)
    sys.exit(status if isinstance(status, int) else 0)


def _usage_sentence(error: Exception) -> str:
    """Return typer's message on wrong arguments as one sentence, with the command whose help to read."""
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    sentence = " ".join(message.split()).rstrip(".")
    command = getattr(getattr(error, "ctx", None), "command_path", "linewatch")
    return f"{sentence[0].lower()}{sentence[1:]}; see: {command} --help"


def exit_status(error: Exception) -> int:
    """Return the exit status for an error that a user can cause."""
    if isinstance(error, ConfigError):
        return EXIT_CONFIG
    return EXIT_USAGE if isinstance(error, UsageError | ArgumentError) else EXIT_FAILED


def _log_to_stdout() -> None:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(LogFormatter())
    # By force: a library that logged while it was imported has set up the root logger already.
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
