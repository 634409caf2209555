"""`linewatch models`: argument parsing only."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from linewatch.cli.options import Config, Product, show_help, write_json, write_text
from linewatch.errors import UsageError

if TYPE_CHECKING:
    from linewatch.settings import Settings

models_app = typer.Typer(
    callback=show_help,
    invoke_without_command=True,
    rich_markup_mode=None,
    help="List, try, activate and roll back a product's models.",
)

Version = Annotated[str, typer.Argument(help="8 hex digits; linewatch models list shows them.")]


@models_app.command("list")
def models_list(
    product: Annotated[str | None, typer.Argument(help="Only this product's.")] = None, config: Config = None
) -> None:
    """Show every version; the active ones with a star."""
    from linewatch import settings
    from linewatch.models import registry

    for found in registry.list_models(settings.load(config), product):
        star = "*" if found.active else " "
        typer.echo(f"{star} {found.product} {found.version}  {found.created}  {found.text}")


@models_app.command("show")
def models_show(product: Product, version: Version = "active", config: Config = None) -> None:
    """Print what is known of one version as JSON."""
    from linewatch import settings
    from linewatch.models import registry

    known = registry.describe(settings.load(config), product, version)
    typer.echo(json.dumps(known, indent=2, default=str))


@models_app.command("verify")
def models_verify(product: Product, version: Version = "active", config: Config = None) -> None:
    """Prove the files of a version. Of the active or pinned one its golden samples, too."""
    from linewatch import settings
    from linewatch.models import registry

    chosen = settings.load(config)
    bundle = registry.verify(chosen, product, version)
    typer.echo(f"{product} {bundle.version}: {len(bundle.files)} files intact")
    if version == "active":
        _tell_pin(chosen, product, bundle.version)


@models_app.command("activate")
def models_activate(
    product: Product,
    version: Version,
    why: Annotated[str, typer.Option(help="Kept in the audit.")] = "",
    config: Config = None,
) -> None:
    """Make a version the active one. A running daemon takes it up on SIGHUP or a product command."""
    from linewatch import settings
    from linewatch.models import registry

    chosen = settings.load(config)
    _, before = registry.activate(chosen, product, version, why)
    typer.echo(f"{product}: {version} is active (before: {before or 'none'})")
    _tell_pin(chosen, product, version)


@models_app.command("rollback")
def models_rollback(
    product: Product,
    version: Annotated[str, typer.Argument(help="Default: the one that was active before.")] = "",
    config: Config = None,
) -> None:
    """Make the version active again that was so before."""
    from linewatch import settings
    from linewatch.models import registry

    chosen = settings.load(config)
    now, before = registry.rollback(chosen, product, version)
    typer.echo(f"{product}: {now} is active again (before: {before or 'none'})")
    _tell_pin(chosen, product, now)


@models_app.command("golden")
def models_golden(
    product: Product,
    picture: Annotated[Path, typer.Argument(help="A frame that the line took.")],
    defect: Annotated[bool, typer.Option("--defect/--good", help="What the part is.")],
    config: Config = None,
) -> None:
    """Add a picture to the golden samples. From now on every self-test judges it, too."""
    from linewatch import settings
    from linewatch.models import registry

    chosen = settings.load(config)
    version, _ = registry.add_golden_sample(chosen, product, picture, defect=defect)
    typer.echo(f"{product} {version} is active; back: linewatch models rollback {product}")
    _tell_pin(chosen, product, version)


@models_app.command("try")
def models_try(
    product: Product,
    version: Version,
    why: Annotated[str, typer.Option(help="Kept in the audit.")] = "",
    config: Config = None,
) -> None:
    """Let a version judge the same parts beside the line. It changes nothing there."""
    from linewatch import settings
    from linewatch.models import registry

    registry.start_trial(settings.load(config), product, version, why)
    typer.echo(f"{product}: {version} is on trial; see: linewatch models compare {product}")


@models_app.command("compare")
def models_compare(
    product: Product,
    version: Annotated[str | None, typer.Argument(help="Default: the one on trial.")] = None,
    last: Annotated[int, typer.Option(min=1, help="Only this many parts, the newest.")] = 100_000,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a report with pictures here.")] = None,
    config: Config = None,
) -> None:
    """Say what the version on trial would have done otherwise."""
    from linewatch import settings
    from linewatch.cli import trial_report as comparison
    from linewatch.models import registry

    chosen = settings.load(config)
    report = comparison.report(chosen, product, version or registry.version_on_trial(chosen, product), last)
    typer.echo(comparison.table(report))
    if json_file is not None:
        write_json(json_file, report.as_dict())
    if html is not None:
        write_text(html, comparison.page(report, chosen.evidence.path))


@models_app.command("promote")
def models_promote(
    product: Product,
    why: Annotated[str, typer.Option(help="Kept in the audit.")] = "",
    config: Config = None,
) -> None:
    """Make the version on trial the active one."""
    from linewatch import settings
    from linewatch.models import registry

    chosen = settings.load(config)
    now, before = registry.promote_trial(chosen, product, why)
    typer.echo(f"{product}: {now} is active (before: {before or 'none'})")
    _tell_pin(chosen, product, now)


@models_app.command("discard")
def models_discard(
    product: Product,
    why: Annotated[str, typer.Option(help="Kept in the audit.")] = "",
    config: Config = None,
) -> None:
    """End the trial; the line stays as it is."""
    from linewatch import settings
    from linewatch.models import registry

    version = registry.discard_trial(settings.load(config), product, why)
    typer.echo(f"{product}: {version} is no longer on trial")


@models_app.command("export")
def models_export(
    product: Product,
    version_and_file: Annotated[
        list[str],
        typer.Argument(metavar="[VERSION] FILE.tar.gz", help="Default: the active version."),
    ],
    config: Config = None,
) -> None:
    """Write a version into one file, for another machine."""
    from linewatch import settings
    from linewatch.models import registry

    if len(version_and_file) > 2:
        raise UsageError("name one version and one file; see: linewatch models export --help")
    version, file = ["active", *version_and_file][-2:]
    bundle = registry.export_version(settings.load(config), product, version, Path(file))
    typer.echo(f"{product} {bundle.version} is in {file}; there: linewatch models import {Path(file).name}")


@models_app.command("import")
def models_import(
    file: Annotated[Path, typer.Argument(metavar="FILE.tar.gz", help="What linewatch models export wrote.")],
    config: Config = None,
) -> None:
    """Bring a version in from such a file. It is proven, and does not become active."""
    from linewatch import settings
    from linewatch.models import registry

    bundle = registry.import_version(settings.load(config), file)
    typer.echo(
        f"{bundle.product} {bundle.version} is there; "
        f"to use it: linewatch models activate {bundle.product} {bundle.version}"
    )


def _tell_pin(settings: "Settings", product: str, version: str) -> None:
    """Say that the active version is not what the line uses, if that is so."""
    from linewatch.models.registry import pin_warning

    if sentence := pin_warning(settings, product, version):
        typer.echo(sentence)
