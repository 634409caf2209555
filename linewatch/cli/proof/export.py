"""The `linewatch export` command: verdicts and their images in files, beside the running line."""

import csv
import json
import os
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from linewatch.cli.options import Config, Since, Until, load_settings
from linewatch.errors import StorageFull, UsageError

_WHOLE = ("part", "product", "region", "model", "image", "heatmap")  # Not shortened as on the wire.

if TYPE_CHECKING:
    from linewatch.domain import Result
    from linewatch.storage.export import Exported
    from linewatch.storage.journal_search import Conditions


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
    pictures: Annotated[Path | None, typer.Option(help="ZIP file for the kept frames and heatmaps.")] = None,
    count: Annotated[bool, typer.Option("--count", help="Print only how many of each result.")] = False,
    config: Config = None,
) -> None:
    """Write verdicts with their reviews, newest first. The line may run meanwhile, and goes first."""
    from linewatch.domain import Result
    from linewatch.storage.audit.writing import open_audit
    from linewatch.storage.export import export as find

    if form not in ("csv", "jsonl"):
        raise UsageError(f"--format {form!r} is unknown; use csv or jsonl")
    wanted = _conditions(results, product, part, reason, region, since, until)
    settings = load_settings(config)
    os.nice(19)
    counts: Counter[Result] = Counter()
    try:
        with ExitStack() as opened:
            reader = opened.enter_context(open_audit(settings.journal.path))
            rows = find(reader, wanted, model=model, reviewer=reviewer)
            if count:
                counts.update(verdict.result for verdict, _ in rows)
                typer.echo(json.dumps({result: counts[result] for result in Result}))
                return
            archive = None if pictures is None else opened.enter_context(zipfile.ZipFile(pictures, "w"))
            file: IO[str] = sys.stdout
            if out != "-":
                file = opened.enter_context(Path(out).open("w", encoding="utf-8", newline=""))
            _write(file, form, _with_pictures(rows, archive, settings.evidence.path), counts)
    except BrokenPipeError:  # Such as `| head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        name = Path(str(error.filename or out))
        raise StorageFull(name, f"{error.strerror}; name another file") from error
    if out != "-":
        typer.echo(f"{counts.total()} verdicts in {out}")


def _conditions(
    results: str, product: str, part: str, reason: int, region: str, since: int | None, until: int | None
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
        since_ms=since,
        until_ms=until,
    )


def _with_pictures(
    rows: "Iterator[Exported]", archive: zipfile.ZipFile | None, folder: Path
) -> "Iterator[Exported]":
    """Add the images of each row to the archive, as they are; those that are gone are left out."""
    for verdict, review in rows:
        for name in filter(None, (verdict.image, verdict.heatmap) if archive is not None else ()):
            with suppress(FileNotFoundError):
                assert archive is not None
                archive.write(folder / name, name)  # Stored: JPEG and PNG do not get smaller.
        yield verdict, review


def _write(file: IO[str], form: str, rows: "Iterator[Exported]", counts: "Counter[Result]") -> None:
    from linewatch.mqtt.messages import verdict_payload

    table: Any = None
    for verdict, review in rows:
        counts[verdict.result] += 1
        captured = datetime.fromtimestamp(verdict.captured_ms / 1000, UTC).isoformat(timespec="milliseconds")
        reviewed = (review.actual, review.note, review.who) if review else ("", "", "")
        row = {"captured": captured} | verdict_payload(verdict, history=True)
        row |= {name: getattr(verdict, name) for name in _WHOLE}
        row |= dict(zip(("actual", "note", "reviewer"), reviewed, strict=True))
        if form == "jsonl":
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            continue
        if table is None:
            table = csv.DictWriter(file, row)
            table.writeheader()
        table.writerow({name: _cell(value) for name, value in row.items()})


def _cell(value: object) -> object:
    """Return a value for CSV: a spreadsheet would run a text that begins like a formula."""
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
