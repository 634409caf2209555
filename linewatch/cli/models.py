"""The `linewatch models` commands: each loads the settings, calls the registry and prints the outcome."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from linewatch.cli.options import (
    Config,
    HtmlFile,
    JsonFile,
    Product,
    load_settings,
    show_help,
    write_html,
    write_json,
)
from linewatch.errors import UsageError

if TYPE_CHECKING:
    from linewatch.models.registry import Activation
    from linewatch.settings import Settings

ACTIVE = "active"  # Instead of a version.

models_app = typer.Typer(
    callback=show_help,
    invoke_without_command=True,
    rich_markup_mode=None,
    help="List, try, activate and roll back a product's models.",
)

Version = Annotated[str, typer.Argument(help="8 hex digits; linewatch models list shows them.")]
Why = Annotated[str, typer.Option(help="Reason, kept in the audit log.")]


@models_app.command("list")
def list_models(
    product: Annotated[str | None, typer.Argument(help="Only this product's.")] = None, config: Config = None
) -> None:
    """List all versions; a star marks the active ones."""
    from linewatch.models import registry

    for found in registry.list_models(load_settings(config), product):
        star = "*" if found.active else " "
        typer.echo(f"{star} {found.product} {found.version}  {found.created}  {found.text}")


@models_app.command("show")
def show(product: Product, version: Version = ACTIVE, config: Config = None) -> None:
    """Print a version's manifest as JSON. Threshold, training data, hashes of the files."""
    from linewatch.models import registry

    description = registry.describe(load_settings(config), product, version)
    typer.echo(json.dumps(description, indent=2, default=str))


@models_app.command("verify")
def verify(product: Product, version: Version = ACTIVE, config: Config = None) -> None:
    """Verify the files of a version. If it is active or pinned, its golden samples too."""
    from linewatch.models import registry

    settings = load_settings(config)
    bundle = registry.verify(settings, product, version)
    typer.echo(f"{product} {bundle.version}: {len(bundle.files)} files intact")
    if version == ACTIVE:
        _print_pin(settings, product, bundle.version)


@models_app.command("activate")
def activate(product: Product, version: Version, why: Why = "", config: Config = None) -> None:
    """Make a version the active one. A running daemon loads it on SIGHUP or a product command."""
    from linewatch.models import registry

    settings = load_settings(config)
    _print_activation(settings, product, registry.activate(settings, product, version, why))


@models_app.command("rollback")
def rollback(
    product: Product,
    version: Annotated[str, typer.Argument(help="Default: the previously active version.")] = "",
    config: Config = None,
) -> None:
    """Activate the previously active version again, or the named one."""
    from linewatch.models import registry

    settings = load_settings(config)
    _print_activation(settings, product, registry.rollback(settings, product, version), "is active again")


@models_app.command("golden")
def golden(
    product: Product,
    picture: Annotated[Path, typer.Argument(help="A frame taken on the line.")],
    defect: Annotated[bool, typer.Option("--defect/--good", help="What the part is.")],
    config: Config = None,
) -> None:
    """Add an image to the golden samples. Every self-test judges it from then on."""
    from linewatch.models import registry

    settings = load_settings(config)
    version, _ = registry.add_golden_sample(settings, product, picture, defect=defect)
    typer.echo(f"{product} {version} is active; back: linewatch models rollback {product}")
    _print_pin(settings, product, version)


@models_app.command("try")
def try_version(product: Product, version: Version, why: Why = "", config: Config = None) -> None:
    """Put a version on trial. It judges the same parts beside the line and changes nothing there."""
    from linewatch.models import registry

    registry.start_trial(load_settings(config), product, version, why)
    typer.echo(f"{product}: {version} is on trial; see: linewatch models compare {product}")


@models_app.command("compare")
def compare(
    product: Product,
    version: Annotated[str | None, typer.Argument(help="Default: the version on trial.")] = None,
    last: Annotated[int, typer.Option(min=1, help="Compare only the newest parts, this many.")] = 100_000,
    json_file: JsonFile = None,
    html: HtmlFile = None,
    config: Config = None,
) -> None:
    """Compare the version on trial with the line. Counts and images of the disagreements."""
    from linewatch.models import registry
    from linewatch.teach import trial_report

    settings = load_settings(config)
    version = version or registry.version_on_trial(settings, product)
    report = trial_report.report(settings, product, version, last)
    typer.echo(trial_report.table(report))
    write_json(json_file, report.as_dict())
    if html is not None:
        write_html(html, trial_report.page(report, settings.evidence.path))


@models_app.command("promote")
def promote(product: Product, why: Why = "", config: Config = None) -> None:
    """Make the version on trial the active one."""
    from linewatch.models import registry

    settings = load_settings(config)
    _print_activation(settings, product, registry.promote_trial(settings, product, why))


@models_app.command("discard")
def discard(product: Product, why: Why = "", config: Config = None) -> None:
    """End the trial without changing the line."""
    from linewatch.models import registry

    version = registry.discard_trial(load_settings(config), product, why)
    typer.echo(f"{product}: {version} is no longer on trial")


@models_app.command("export")
def export_archive(
    product: Product,
    version_and_file: Annotated[
        list[str],
        typer.Argument(metavar="[VERSION] FILE.tar.gz", help="Default: the active version."),
    ],
    config: Config = None,
) -> None:
    """Write a version to one file, for another machine."""
    from linewatch.models import registry

    if len(version_and_file) > 2:
        raise UsageError("name one version and one file; see: linewatch models export --help")
    version, file = [ACTIVE, *version_and_file][-2:]
    bundle = registry.export_version(load_settings(config), product, version, Path(file))
    typer.echo(f"{product} {bundle.version} is in {file}; there: linewatch models import {Path(file).name}")


@models_app.command("import")
def import_archive(
    file: Annotated[Path, typer.Argument(metavar="FILE.tar.gz", help="Written by linewatch models export.")],
    config: Config = None,
) -> None:
    """Verify and add a version from an exported file. It does not become active."""
    from linewatch.models import registry

    bundle = registry.import_version(load_settings(config), file)
    typer.echo(
        f"{bundle.product} {bundle.version} is there; "
        f"to use it: linewatch models activate {bundle.product} {bundle.version}"
    )


def _print_activation(
    settings: "Settings", product: str, activation: "Activation", outcome: str = "is active"
) -> None:
    """Print which version became active, and which one the line uses if that is another."""
    typer.echo(f"{product}: {activation.version} {outcome} (before: {activation.previous or 'none'})")
    _print_pin(settings, product, activation.version)


def _print_pin(settings: "Settings", product: str, version: str) -> None:
    """Print a sentence if the recipe pins another version than the active one, or the line uses another."""
    from linewatch.cli.running import reload_advice
    from linewatch.models import registry

    if sentence := registry.pin_warning(settings, product, version):
        typer.echo(sentence)
        return
    if sentence := reload_advice(settings, product, version):
        typer.echo(sentence)
