"""The command line: argument parsing only. Every command imports what it needs when it runs."""

import importlib.util
import json
import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from linewatch.cli.models import models_app
from linewatch.cli.options import (
    EXIT_CONFIG,
    EXIT_FAILED,
    EXIT_USAGE,
    Config,
    NeededConfig,
    Product,
    missing_extra,
    show_help,
    write_json,
    write_text,
)
from linewatch.errors import ConfigError, LinewatchError, UsageError

Misuse: type[Exception] = typer.BadParameter.__mro__[1]
"""What typer raises for wrong arguments; it has no public name of its own."""

app = typer.Typer(
    callback=show_help,
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode=None,  # Plain text: in boxes, flags seem to take a value.
    pretty_exceptions_enable=False,
    help="Live camera line inspection. Every command takes --debug, which shows tracebacks.",
)
app.add_typer(models_app, name="models")

FalseReject = Annotated[
    float, typer.Option(min=0.0001, max=0.5, help="Share of good parts that may be rejected, 0 to 1.")
]


@app.command()
def run(
    config: NeededConfig,
    duration: Annotated[float | None, typer.Option(min=0, help="Stop after this many seconds.")] = None,
) -> None:
    """Inspect the line: the daemon. SIGTERM or SIGINT drains and stops, SIGHUP reads the recipes again."""
    from linewatch.runtime.signals import ignore_sighup

    ignore_sighup()  # First: loading the rest takes a while.
    from linewatch import daemon as pipeline
    from linewatch import settings

    _log_to_stdout()
    pipeline.run(settings.load(config), duration_s=duration)


@app.command()
def serve(
    config: NeededConfig,
    duration: Annotated[float | None, typer.Option(min=0, help="Stop after this many seconds.")] = None,
) -> None:
    """Show uploads and review on the page, without camera and broker."""
    from linewatch import settings
    from linewatch.cli import serve as office

    _log_to_stdout()
    office.run(settings.load(config), duration_s=duration)


@app.command()
def check(
    config: NeededConfig,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Try everything the daemon will need. Settings, recipes, models, camera, broker, disk: a line each."""
    from linewatch import settings
    from linewatch.cli import check as checks

    findings = checks.check(settings.load(config))
    if as_json:
        typer.echo(json.dumps([finding.as_dict() for finding in findings]))
    else:
        for finding in findings:
            typer.echo(f"{'ok  ' if finding.ok else 'BAD '} {finding.what}: {finding.text}")
            for warning in finding.warnings:
                typer.echo(f"warn {finding.what}: {warning}")
    raise typer.Exit(0 if all(finding.ok for finding in findings) else EXIT_FAILED)


@app.command()
def demo(
    duration: Annotated[float | None, typer.Option(min=0, help="Stop after this many seconds.")] = None,
) -> None:
    """Show a simulated line with everything built in. Parts, verdicts over MQTT, metrics, the page."""
    from linewatch.cli import demo as demonstration

    _log_to_stdout()
    demonstration.run(duration_s=duration)


@app.command()
def bench(
    config: NeededConfig,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here too.")] = None,
    rate: Annotated[bool, typer.Option("--rate", help="At 5, 10, 20 and 40 parts a second instead.")] = False,
    frames: Annotated[
        bool, typer.Option("--frames", help="With a camera's frames instead, 0.3 to 12 megapixels.")
    ] = False,
    megapixels: Annotated[
        list[float], typer.Option(min=0.1, max=50, help="For --frames: these sizes only.")
    ] = [0.3, 2, 5, 12],  # noqa: B006 - typer copies it
) -> None:
    """Measure the whole daemon against the bare engine. In one run, on this machine."""
    from linewatch import settings
    from linewatch.cli import bench as benchmark

    chosen = settings.load(config)
    figures: object
    if frames:
        from linewatch.cli.bench_frames import frames_table, measure_frames

        figures = rows = measure_frames(chosen, config, tuple(megapixels))
        typer.echo(frames_table(rows, chosen.limits.deadline_ms))
    elif rate:
        figures = paces = benchmark.pace(chosen, config)
        typer.echo(benchmark.pace_table(paces, chosen.limits.deadline_ms))
    else:
        figures = measured = benchmark.measure(chosen, config)
        typer.echo(benchmark.table(measured))
    if json_file is not None:
        write_json(json_file, figures)


@app.command()
def cameras() -> None:
    """List the cameras that answer, with what to set for each."""
    from linewatch import settings
    from linewatch.acquisition.sources.discovery import cameras as find

    settings.load(None)  # It needs none, but a misspelt variable is found here as everywhere.
    found, notes = find()
    for camera in found:
        typer.echo(f'kind = "{camera.kind}"  uri = "{camera.uri}"  # {camera.text}')
    for note in notes:
        typer.echo(note, err=True)
    if not found:
        typer.echo(
            "no camera answers; check cables and power (RTSP cameras do not announce themselves)", err=True
        )


@app.command()
def capture(
    config: NeededConfig,
    out: Annotated[Path, typer.Option(help="Folder for the pictures; made if it is not there.")],
    count: Annotated[int, typer.Option(min=1, help="How many new ones.")],
) -> None:
    """Save unlike frames of the configured source, to train with. Shows light and sharpness meanwhile."""
    from linewatch import settings
    from linewatch.cli.capture_dataset import save_frames, where_from

    chosen = settings.load(config)
    typer.echo(f"capturing from {where_from(chosen.source)}")
    done = save_frames(chosen.source, out, count, chosen.gige)
    typer.echo(f"{done.saved} new frames in {out}, {done.total} in all")
    if done.skipped:
        typer.echo(f"{done.skipped} frames were nearly the same as one of these and are not kept")
    if done.saved:
        typer.echo("look through them and take out every bad part before training")
    if done.enough:
        typer.echo("more pictures would add little: enough variety is in")


@app.command()
def train(
    product: Product,
    images: Annotated[Path, typer.Option(help="Folder of good pictures, 30 to 300 of them.")],
    models: Annotated[Path | None, typer.Option(help="Where models are kept; default: models.path.")] = None,
    false_reject: FalseReject = 0.01,
    pixels: Annotated[
        int, typer.Option(help="Size of the scorer's picture: more sees finer defects.")
    ] = 65536,
    align: Annotated[str, typer.Option(help="Find the part and turn it first: auto, on or off.")] = "auto",
    architecture: Annotated[str, typer.Option(help="feature, or pixel to compare with.")] = "feature",
    seed: Annotated[int, typer.Option(help="For a repeatable result.")] = 0,
    config: Config = None,
) -> None:
    """Learn a product from good pictures only. The first version becomes active."""
    _require_training()
    from linewatch import settings
    from linewatch.training.progress import bar
    from linewatch.training.train import describe
    from linewatch.training.train import train as learn

    place = settings.load(config).models
    kept = models or place.path
    with bar() as progress:
        bundle = learn(
            product,
            images,
            kept,
            place.recipes,
            false_reject=false_reject,
            pixels=pixels,
            align=align,
            architecture=architecture,
            seed=seed,
            progress=progress,
        )
    typer.echo(describe(bundle, kept, place.recipes))


@app.command()
def calibrate(
    product: Product,
    false_reject: FalseReject,
    good: Annotated[
        Path | None, typer.Option(help="Good pictures that the model has not learnt from.")
    ] = None,
    bad: Annotated[Path | None, typer.Option(help="Defective ones, to see what is found.")] = None,
    last: Annotated[int, typer.Option(min=1, help="Foresee what changes for this many parts.")] = 1000,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only foresee; change nothing.")] = False,
    config: Config = None,
) -> None:
    """Set new thresholds without learning again. Marked parts count; a new version becomes active."""
    from linewatch import settings
    from linewatch.training.progress import bar
    from linewatch.training.recalibrate import adopt, describe, recalibrate

    chosen = settings.load(config)
    with bar() as progress:
        proposal = recalibrate(
            product,
            false_reject,
            chosen.models.path,
            chosen.models.recipes,
            good=good,
            bad=bad,
            journal=chosen.journal.path,
            last=last,
            threads=chosen.models.threads,
            progress=progress,
        )
    typer.echo(describe(proposal))
    if dry_run:
        typer.echo("nothing was changed; without --dry-run these thresholds become active")
        return
    bundle, pins = adopt(chosen, proposal)
    for line in pins:
        typer.echo(f"now a comment in the recipe: {line.strip()}")
    typer.echo(f"{product} {bundle.version} is active; back: linewatch models rollback {product}")


@app.command()
def marked(
    product: Product,
    out: Annotated[Path, typer.Option(help="Folder; the pictures go into good/ and defect/ in it.")],
    config: Config = None,
) -> None:
    """Copy the pictures of marked parts, to train or evaluate with. Good and defective ones apart."""
    from linewatch import settings
    from linewatch.training.reviewed_parts import copy_marked

    chosen = settings.load(config)
    copied = copy_marked(chosen.journal.path, chosen.evidence.path, product, out)
    typer.echo(
        f"{copied['good']} good, {copied['defect']} defect in {out}; look through them before training"
    )


@app.command()
def evaluate(
    product: Product,
    data: Annotated[
        Path, typer.Option(help="good/ and one folder for each defect; ground_truth/ beside it.")
    ],
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a report to look at here.")] = None,
    config: Config = None,
) -> None:
    """Measure a model on labelled pictures that it has never seen."""
    _require_training()
    from linewatch import settings
    from linewatch.training.evaluate import evaluate as measure
    from linewatch.training.progress import bar

    place = settings.load(config).models
    with bar() as progress:
        measured = measure(product, data, place.path, place.recipes, threads=place.threads, progress=progress)
    typer.echo(json.dumps(measured.figures, indent=2))
    if json_file is not None:
        write_json(json_file, measured.figures)
    if html is not None:
        write_text(html, measured.page())


@app.command()
def inspect(
    product: Product,
    images: Annotated[list[Path], typer.Argument(help="Picture files.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the heatmaps.")] = None,
    config: Config = None,
) -> None:
    """Judge picture files; one JSON line each. What is no picture is named, and the others are judged."""
    from linewatch import settings
    from linewatch.cli.inspect_files import inspect_files

    chosen = settings.load(config)
    place = chosen.models
    refused: list[LinewatchError] = []
    for verdict in inspect_files(
        product,
        images,
        place.path,
        place.recipes,
        out=out,
        station=chosen.station.name,
        threads=place.threads,
        refuse=refused.append,
    ):
        typer.echo(json.dumps(verdict, separators=(",", ":")))
    for trouble in refused:
        typer.echo(f"linewatch: {trouble}", err=True)
    raise typer.Exit(EXIT_FAILED if refused else 0)


def main() -> None:
    """Run the command line; every error a user can cause is one sentence on stderr."""
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        status = app(args=arguments, prog_name="linewatch", standalone_mode=False)
    except (LinewatchError, Misuse) as error:
        if debug:
            raise
        sentence = str(error) if isinstance(error, LinewatchError) else _advice(error)
        typer.echo(f"linewatch: {sentence}", err=True)
        sys.exit(_exit_status(error))
    except typer.Abort:
        sys.exit(EXIT_FAILED)
    sys.exit(status if isinstance(status, int) else 0)


def _require_training() -> None:
    """Raise UsageError, which says what to install, without the extra [train]."""
    if importlib.util.find_spec("tensorflow") is None:
        raise missing_extra("train", "this command")


def _advice(error: Exception) -> str:
    """Return what is wrong with the arguments, and where to read on."""
    told = error.format_message() if hasattr(error, "format_message") else str(error)
    said = " ".join(told.split()).rstrip(".")
    command = getattr(getattr(error, "ctx", None), "command_path", "linewatch")
    return f"{said[0].lower()}{said[1:]}; see: {command} --help"


def _exit_status(error: Exception) -> int:
    if isinstance(error, ConfigError):
        return EXIT_CONFIG
    return EXIT_USAGE if isinstance(error, UsageError | Misuse) else EXIT_FAILED


def _log_to_stdout() -> None:
    logging.basicConfig(
        stream=sys.stdout,
        level=logging.INFO,
        format="%(asctime)s.%(msecs)03d %(levelname)s %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
    )
