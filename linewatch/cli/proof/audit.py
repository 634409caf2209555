"""The `linewatch audit` commands: who changed what passes, and whether the record of it is whole."""

import json
import re
import sys
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from linewatch.cli.options import EXIT_FAILED, Config, Since, Until, load_settings, show_help
from linewatch.errors import StorageFull, UsageError

if TYPE_CHECKING:
    from linewatch.storage.audit.reading import AuditEntry
    from linewatch.storage.journal_reader import JournalReader

_HEAD = re.compile(r"([0-9]{1,18}):([0-9a-f]{64})")

audit_app = typer.Typer(
    callback=show_help,
    invoke_without_command=True,
    rich_markup_mode=None,
    help="Show, export and verify the audit of what changes verdicts.",
)

Who = Annotated[str, typer.Option(help="Only acts by this user.")]
Action = Annotated[str, typer.Option(help="Only this action, such as model_activated.")]
Product = Annotated[str, typer.Option(help="Only acts on this product.")]


@audit_app.command("show")
def show(
    since: Since = None,
    until: Until = None,
    who: Who = "",
    action: Action = "",
    product: Product = "",
    limit: Annotated[int, typer.Option(min=1, help="Show the newest acts, this many.")] = 50,
    config: Config = None,
) -> None:
    """Show acts, newest first."""
    with _reader(config) as reader:
        for entry in islice(_found(reader, since, until, who, action, product), limit):
            local = datetime.fromtimestamp(entry.at_ms / 1000).astimezone()
            said = (
                (name, json.dumps(value, ensure_ascii=False)) for name, value in entry.facts.items() if value
            )
            facts = " ".join(f"{name}={value}" for name, value in said)
            typer.echo(f"{entry.row:>6}  {local:%Y-%m-%d %H:%M:%S %Z}  {entry.who}  {entry.action}  {facts}")


@audit_app.command("verify")
def verify(
    head: Annotated[
        str,
        typer.Option(metavar="ROW:HASH", help="A row that an event, log or export named."),
    ] = "",
    config: Config = None,
) -> None:
    """Check that every row is there as it was written. Exit status 1 names the first that is not."""
    from linewatch.storage.audit.chain import Head

    found = _HEAD.fullmatch(head)
    if head and found is None:
        raise UsageError("--head is a row's number and its hash of 64 hex digits, as in 57:9f3c…")
    noted = [Head(int(found[1]), found[2])] if found else []
    with _reader(config) as reader:
        outcome = reader.verify_audit(noted)
    if outcome.intact:
        typer.echo(
            f"{outcome.head.row} rows are intact; the newest is {outcome.head.row}:{outcome.head.hash}"
        )
        return
    typer.echo(f"row {outcome.broken_row} is the first that is not intact: {outcome.trouble}", err=True)
    raise typer.Exit(EXIT_FAILED)


@audit_app.command("export")
def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File to write; - is standard output.")],
    form: Annotated[str, typer.Option("--format", help="csv or jsonl.")] = "jsonl",
    since: Since = None,
    until: Until = None,
    who: Who = "",
    action: Action = "",
    product: Product = "",
    config: Config = None,
) -> None:
    """Write acts to a file, newest first, with their hashes."""
    from linewatch.export.rows import Form, audit_lines

    if form not in tuple(Form):
        raise UsageError(f"--format {form!r} is unknown; use csv or jsonl")
    with _reader(config) as reader:
        lines = audit_lines(_found(reader, since, until, who, action, product), Form(form))
        if str(file) == "-":
            sys.stdout.writelines(lines)
            return
        try:
            with file.open("w", encoding="utf-8", newline="") as out:
                written = sum(1 for line in lines if out.write(line))
        except OSError as error:
            raise StorageFull(file, f"{error.strerror}; name another file") from error
    typer.echo(f"{written - (form == Form.CSV)} rows in {file}")


def _reader(config: Path | None) -> "JournalReader":
    from linewatch.storage.audit.writing import open_audit

    return open_audit(load_settings(config).journal.path)


def _found(
    reader: "JournalReader", since: int | None, until: int | None, who: str, action: str, product: str
) -> "Iterator[AuditEntry]":
    from linewatch.storage.audit.reading import AuditConditions

    return reader.audit_entries(
        AuditConditions(since_ms=since, until_ms=until, who=who, action=action, product=product)
    )
