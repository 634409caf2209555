"""The commands that prove what the station found."""

import typer

from linewatch.cli.proof.audit import audit_app
from linewatch.cli.proof.export import export
from linewatch.cli.proof.msa import msa_app
from linewatch.cli.proof.recall import recall
from linewatch.cli.proof.report import report
from linewatch.cli.proof.ship import ship


def add_commands(app: typer.Typer) -> None:
    """Add them to the command line."""
    app.command()(recall)
    app.command()(export)
    app.command()(report)
    app.command()(ship)
    app.add_typer(msa_app, name="msa")
    app.add_typer(audit_app, name="audit")
