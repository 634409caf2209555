"""What several commands share: options, loading settings, writing figures to files."""

import importlib.util
import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from linewatch.errors import StorageFull, UsageError
from linewatch.identifiers import NAME

if TYPE_CHECKING:
    from linewatch.settings import Settings

EXIT_FAILED, EXIT_USAGE, EXIT_CONFIG = 1, 2, 78


def show_help(context: typer.Context) -> None:
    """Print the list of commands if none was given, and exit with the status of wrong usage."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(EXIT_USAGE)


def _valid_name(product: str | None) -> str | None:
    """Return the name. Raises UsageError, before anything is loaded, if no folder could have it."""
    if product is not None and not NAME.fullmatch(product):
        raise UsageError(
            f"{product!r} is no product name; use up to 32 letters, digits, dots, dashes and underscores, "
            "a letter or digit first"
        )
    return product


Config = Annotated[
    Path | None,
    typer.Option("--config", help="Settings file; default: config/linewatch.toml if it exists."),
]
RequiredConfig = Annotated[Path, typer.Option("--config", help="Settings file.")]
Product = Annotated[str, typer.Argument(help="Name of the product.", callback=_valid_name)]
Duration = Annotated[float | None, typer.Option(min=0, help="Stop after this many seconds.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")]


def _milliseconds(text: str | None) -> int | None:
    """Return UTC milliseconds of a local time, or of one with a zone. Raises UsageError."""
    if text is None:
        return None
    try:
        return round(datetime.fromisoformat(text).timestamp() * 1000)
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError(
            f"{text!r} is no time; write 2026-11-28, 2026-11-28T14:00 or 2026-11-28T14:00+01:00"
        ) from error


Since = Annotated[
    Any,
    typer.Option("--from", "--since", metavar="TIME", parser=_milliseconds, help="At or after this time."),
]
Until = Annotated[
    Any, typer.Option("--to", "--until", metavar="TIME", parser=_milliseconds, help="Before this time.")
]
HtmlFile = Annotated[Path | None, typer.Option("--html", help="Write a report with images to this file.")]


def load_settings(config: Path | None) -> "Settings":
    """Return the settings of a command. Raises ConfigError."""
    from linewatch import settings

    return settings.load(config)


def missing_extra(extra: str, what: str) -> UsageError:
    """Return the error for `what` when the optional dependencies of `extra` are not installed."""
    return UsageError(
        f"{what} needs the extra [{extra}]; install it: pip install 'linewatch[{extra}]', "
        f"in a clone: .venv/bin/pip install -c config/constraints.txt -e '.[{extra}]'"
    )


def require_training() -> None:
    """Raise UsageError, which says what to install, without the extra [train]."""
    if importlib.util.find_spec("tensorflow") is None:
        raise missing_extra("train", "this command")


def write_json(path: Path | None, figures: object) -> None:
    """Write figures as JSON, creating the folder; None writes nothing. Raises StorageFull."""
    if path is not None:
        write_text(path, json.dumps(figures, indent=2) + "\n", "--json")


def write_html(path: Path, page: str) -> None:
    """Write an HTML page, creating the folder. Raises StorageFull."""
    write_text(path, page, "--html")


def write_text(path: Path, text: str, option: str) -> None:
    """Write the file that `option` names, creating the folder. Raises StorageFull."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", errors="replace")  # File names may not be UTF-8.
    except OSError as error:
        raise StorageFull(path, f"{error.strerror}; name another file with {option}") from error
