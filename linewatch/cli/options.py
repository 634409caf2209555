"""What several commands have in common: options, and figures written where the user wants them."""

import json
from pathlib import Path
from typing import Annotated

import typer

from linewatch.errors import StorageFull, UsageError
from linewatch.identifiers import NAME

EXIT_FAILED, EXIT_USAGE, EXIT_CONFIG = 1, 2, 78


def show_help(context: typer.Context) -> None:
    """Say which commands there are when none was given; that is wrong usage all the same."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(EXIT_USAGE)


def _known_form(product: str | None) -> str | None:
    """Return the name. Raises UsageError before anything is learnt for a name that no folder may have."""
    if product is not None and not NAME.fullmatch(product):
        raise UsageError(
            f"{product!r} is no product name; use up to 32 letters, digits, dots, dashes and underscores, "
            "a letter or digit first"
        )
    return product


Config = Annotated[
    Path | None,
    typer.Option("--config", help="Settings file; default: config/linewatch.toml if it is there."),
]
NeededConfig = Annotated[Path, typer.Option("--config", help="Settings file.")]
Product = Annotated[str, typer.Argument(help="Name of the product.", callback=_known_form)]


def missing_extra(extra: str, what: str) -> UsageError:
    """Return the error for `what` when the optional dependencies of `extra` are not installed."""
    return UsageError(
        f"{what} needs the extra [{extra}]; install it: pip install 'linewatch[{extra}]', "
        f"in a clone: .venv/bin/pip install -c config/constraints.txt -e '.[{extra}]'"
    )


def write_json(path: Path, figures: object) -> None:
    """Write figures for a program, and the folder they were named in. Raises StorageFull."""
    _write(path, json.dumps(figures, indent=2) + "\n", "--json")


def write_text(path: Path, page: str) -> None:
    """Write a page for people, and the folder it was named in. Raises StorageFull."""
    _write(path, page, "--html")


def _write(path: Path, text: str, option: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StorageFull(path, f"{error.strerror}; name another file with {option}") from error
