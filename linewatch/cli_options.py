"""What several commands have in common: options, and figures written where the user wants them."""

import json
from pathlib import Path
from typing import Annotated

import typer

from linewatch.errors import StorageFull

Config = Annotated[
    Path | None,
    typer.Option("--config", help="Settings file; default: config/linewatch.toml if it is there."),
]
NeededConfig = Annotated[Path, typer.Option("--config", help="Settings file.")]
Product = Annotated[str, typer.Argument(help="Name of the product.")]


def write_json(path: Path, figures: object) -> None:
    """Write figures for a program. Raises StorageFull."""
    write_text(path, json.dumps(figures, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file that was named with --json or --html. Raises StorageFull."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        option = "--html" if path.suffix == ".html" else "--json"
        raise StorageFull(path, f"{error.strerror}; name another file with {option}") from error
