"""The `linewatch recall` command: which parts look like this one, and since when."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from linewatch.cli.options import Config, Since, Until, load_settings, write_text

LIMIT, LIMIT_MAX = 50, 1000


def recall(
    like: Annotated[Path, typer.Option(help="Image of the part, as the camera took it.")],
    product: Annotated[str, typer.Option(help="Default: station.product.")] = "",
    model: Annotated[str, typer.Option(help="Version that judges the found parts again.")] = "",
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option(min=1, max=LIMIT_MAX, help="Parts to list.")] = LIMIT,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    csv: Annotated[Path | None, typer.Option(help="Write the parts to this CSV file.")] = None,
    config: Config = None,
) -> None:
    """Find the parts that look like one, and when they were made. The line may run meanwhile."""
    # Before NumPy is imported: its threads would take both cores from the line, and more time than one.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from linewatch.recall.recall import Question
    from linewatch.recall.recall import recall as find_similar
    from linewatch.vision.image_io import read_image

    settings = load_settings(config)
    os.nice(19)  # A line on this machine goes first.
    question = Question(product or settings.station.product, since, until, limit, model)
    answer = find_similar(settings, read_image(like), question)
    if csv is not None:
        write_text(csv, answer.csv(), "--csv")
    typer.echo(json.dumps(answer.as_dict(), indent=1) if as_json else answer.text())
