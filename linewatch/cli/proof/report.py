"""The `linewatch report` command: what a shift made."""

import os
import time
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from linewatch.cli.options import (
    Config,
    HtmlFile,
    JsonFile,
    Since,
    Until,
    load_settings,
    write_html,
    write_json,
)
from linewatch.errors import UsageError

if TYPE_CHECKING:
    from linewatch.reporting.calendar import Calendar, Shift

LAST = "last"
HOURS_MS = 8 * 3_600_000
WHOLE_MS_MAX = 7 * 86_400_000


def _day(text: str) -> date:
    """Return a day from YYYY-MM-DD. Raises UsageError."""
    from linewatch.reporting.calendar import DAYS

    try:
        day = date.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{text!r} is no day; write 2026-11-27") from error
    if not DAYS[0] <= day <= DAYS[1]:
        raise UsageError(f"{text!r} is no day of this century")
    return day


def report(
    shift: Annotated[
        str, typer.Option(help='A shift of the settings, or "last": the last that is complete.')
    ] = "",
    day: Annotated[
        Any, typer.Option(metavar="DAY", parser=_day, help="The day it began on; else its last time.")
    ] = None,
    since: Since = None,
    until: Until = None,
    product: Annotated[str, typer.Option(help="Only this product.")] = "",
    html: HtmlFile = None,
    json: JsonFile = None,
    language: Annotated[str, typer.Option(help="Of the page: en or de.")] = "en",
    config: Config = None,
) -> None:
    """Report what a shift made; by default the last 8 hours. The line may run meanwhile, and goes first."""
    from linewatch.reporting.calendar import Calendar
    from linewatch.reporting.report import make_report
    from linewatch.reporting.summary import summary
    from linewatch.storage.audit.writing import open_audit
    from linewatch.web.shifts.document import shift_document
    from linewatch.web.texts import languages

    if language not in languages():
        raise UsageError(f"{language!r} is no language; there are {', '.join(languages())}")
    now_ms = time.time_ns() // 1_000_000
    settings = load_settings(config)
    if shift or day is not None:
        if since is not None or until is not None:
            raise UsageError("--shift and --day name a time, and so do --from and --to; use one of them")
        asked = _shift(Calendar(settings.shifts.starts), shift, day, now_ms)
    else:
        asked = _time(since, until, now_ms)
    os.nice(19)
    with open_audit(settings.journal.path) as reader:
        made = make_report(
            reader, settings.station.name, Path(settings.evidence.path), asked, now_ms, product=product
        )
    typer.echo(summary(made.figures))
    write_json(json, made.figures.model_dump(mode="json"))
    if html is not None:
        write_html(html, shift_document(made.figures, made.pictures, language))
        typer.echo(f"{html}: open it in a browser, and print it from there")


def _shift(calendar: "Calendar", name: str, day: date | None, now_ms: int) -> "Shift":
    """Return the shift that the options name. Raises UsageError."""
    if name == LAST:
        if day is not None:
            raise UsageError("--shift last is the last complete shift of all; leave --day out")
        return calendar.last(now_ms)
    if name and name not in calendar.names:
        raise UsageError(f"{name!r} is no shift; the settings have {', '.join(calendar.names)}")
    if day is None:
        return next(shift for shift in calendar.begun(now_ms) if shift.name == name)
    found = calendar.find(day, name) if name else calendar.whole(day)
    if found is None:
        raise UsageError(f"there is no shift {name!r} on {day}: the clocks go forward over it")
    if found.since_ms > now_ms:
        raise UsageError(f"the shift {name!r} of {day} has not begun".replace("shift '' of", "day"))
    return found


def _time(since_ms: int | None, until_ms: int | None, now_ms: int) -> "Shift":
    """Return a time as a shift without a name. Raises UsageError."""
    from datetime import datetime

    from linewatch.reporting.calendar import Shift

    end_ms = until_ms if until_ms is not None else now_ms
    begin_ms = since_ms if since_ms is not None else end_ms - HOURS_MS
    if not 0 < end_ms - begin_ms <= WHOLE_MS_MAX:
        raise UsageError("a report is from --from to --to, which is later, and at most seven days")
    return Shift(datetime.fromtimestamp(begin_ms / 1000).date(), "", begin_ms, end_ms)
