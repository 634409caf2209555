"""The `linewatch report` command: what a shift made."""

import importlib.util
import os
import time
from pathlib import Path
from typing import Annotated

import typer

from linewatch.cli.options import Config, HtmlFile, Since, Until, load_settings, missing_extra, write_html
from linewatch.errors import UsageError

SHIFT_MS = 8 * 3_600_000
WHOLE_MS_MAX = 7 * 86_400_000


def report(
    since: Since = None,
    until: Until = None,
    product: Annotated[str, typer.Option(help="Only this product.")] = "",
    html: HtmlFile = None,
    config: Config = None,
) -> None:
    """Report what a shift made; by default the last 8 hours. The line may run meanwhile, and goes first."""
    from linewatch.cli.proof.shift_report import ShiftReport, total
    from linewatch.storage.audit.reading import AuditConditions
    from linewatch.storage.audit.writing import open_audit
    from linewatch.storage.export import export
    from linewatch.storage.journal_search import Conditions
    from linewatch.storage.states import spans

    if importlib.util.find_spec("scipy") is None:
        raise missing_extra("study", "this command")
    until_ms = until if until is not None else time.time_ns() // 1_000_000
    since_ms = since if since is not None else until_ms - SHIFT_MS
    if not 0 < until_ms - since_ms <= WHOLE_MS_MAX:
        raise UsageError("a report is from --from to --to, which is later, and at most seven days")
    settings = load_settings(config)
    os.nice(19)
    wanted = Conditions(product=product, since_ms=since_ms, until_ms=until_ms)
    acts = AuditConditions(product=product, since_ms=since_ms, until_ms=until_ms)
    with open_audit(settings.journal.path) as reader:
        done = ShiftReport(
            station=settings.station.name,
            since_ms=since_ms,
            until_ms=until_ms,
            products=total(verdict for verdict, _ in export(reader, wanted)),
            states=spans(reader.read, since_ms, until_ms),
            changes=list(reader.audit_entries(acts)),
            head=reader.audit_head(),
            evidence=Path(settings.evidence.path),
        )
    typer.echo(done.text())
    if html is not None:
        write_html(html, done.html())
        typer.echo(f"{html}: open it in a browser, and print it from there")
