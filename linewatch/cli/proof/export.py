"""The `linewatch export` command: verdicts and their images in files, beside the running line."""

import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from linewatch.cli.options import Config, Since, Until, load_settings
from linewatch.errors import StorageFull, UsageError
from linewatch.runtime.priority import run_when_idle

if TYPE_CHECKING:
    from linewatch.export.archive import Archive
    from linewatch.storage.export import Exported
    from linewatch.storage.journal_search import Conditions

_PLACE = re.compile(r"([0-9]{1,10})-([0-9]{1,10})", re.ASCII)


def _place(text: str | None) -> tuple[int, int] | None:
    found = _PLACE.fullmatch(text) if text is not None else None
    if text is not None and found is None:
        raise UsageError(f"--before {text!r} is no part; write boot and sequence, as in 41-1023")
    return (int(found[1]), int(found[2])) if found else None


def export(
    out: Annotated[str, typer.Option(help="File to write; - is standard output.")] = "-",
    form: Annotated[str, typer.Option("--format", help="csv or jsonl.")] = "jsonl",
    since: Since = None,
    until: Until = None,
    results: Annotated[str, typer.Option("--result", help="Such as FAIL, or FAIL,UNSURE.")] = "",
    product: Annotated[str, typer.Option(help="Only this product.")] = "",
    part: Annotated[str, typer.Option(help="What the part's name begins with.")] = "",
    reason: Annotated[int, typer.Option(help="Only this reason.")] = 0,
    region: Annotated[str, typer.Option(help="Only where this region decided.")] = "",
    model: Annotated[str, typer.Option(help="Only by this version.")] = "",
    reviewer: Annotated[str, typer.Option(help="Only parts reviewed last by this user.")] = "",
    before: Annotated[
        str | None, typer.Option(metavar="BOOT-SEQ", help="Only parts before this one.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many, the newest.")] = None,
    pictures: Annotated[Path | None, typer.Option(help="ZIP file for the kept frames and heatmaps.")] = None,
    count: Annotated[bool, typer.Option("--count", help="Print only how many of each result.")] = False,
    config: Config = None,
) -> None:
    """Write verdicts with their reviews, newest first. The line may run meanwhile, and goes first."""
    from linewatch.export.archive import Archive
    from linewatch.export.rows import Form, verdict_lines
    from linewatch.storage.audit.writing import open_audit
    from linewatch.storage.export import counts
    from linewatch.storage.export import export as find

    if form not in tuple(Form):
        raise UsageError(f"--format {form!r} is unknown; use csv or jsonl")
    wanted = _conditions(results, product, part, reason, region, model, reviewer, since, until)
    place = _place(before)
    settings = load_settings(config)
    os.nice(19)
    run_when_idle()
    try:
        with ExitStack() as opened:
            reader = opened.enter_context(open_audit(settings.journal.path))
            if count:
                typer.echo(json.dumps(counts(reader, wanted, before=place)))
                return
            rows: Iterator[Exported] = islice(find(reader, wanted, before=place), limit)
            archive = None
            if pictures is not None:
                archive = Archive(settings.evidence.path)
                rows = _with_pictures(rows, archive, opened.enter_context(pictures.open("wb")))
            file: IO[str] = sys.stdout
            if out != "-":
                file = opened.enter_context(Path(out).open("w", encoding="utf-8", newline=""))
            written = sum(1 for line in verdict_lines(rows, Form(form)) if file.write(line))
    except BrokenPipeError:  # Such as `| head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    except OSError as error:
        name = Path(str(error.filename or out))
        raise StorageFull(name, f"{error.strerror}; name another file") from error
    if out != "-":
        typer.echo(f"{written - (form == Form.CSV)} verdicts in {out}")
    if archive is not None:
        typer.echo(f"{pictures}: {archive.summary}", err=True)


def _conditions(
    results: str,
    product: str,
    part: str,
    reason: int,
    region: str,
    model: str,
    reviewer: str,
    since: int | None,
    until: int | None,
) -> "Conditions":
    from linewatch.domain import Reason, Result
    from linewatch.storage.journal_search import Conditions

    try:
        chosen = frozenset(Result(name.strip().upper()) for name in results.split(",") if name)
    except ValueError:
        raise UsageError(f"--result {results!r} is unknown; use {', '.join(Result)}") from None
    try:
        why = Reason(reason) if reason else None
    except ValueError:
        known = ", ".join(str(int(one)) for one in Reason)
        raise UsageError(f"--reason {reason} is unknown; use one of {known}") from None
    return Conditions(
        results=chosen,
        product=product,
        part=part,
        reason=why,
        region=region,
        model=model,
        reviewer=reviewer,
        since_ms=since,
        until_ms=until,
    )


def _with_pictures(rows: "Iterator[Exported]", archive: "Archive", file: IO[bytes]) -> "Iterator[Exported]":
    """Write the images of each row that passes to the archive's file."""
    for verdict, review in rows:
        file.writelines(archive.add(verdict, review))
        yield verdict, review
    file.writelines(archive.finish())
