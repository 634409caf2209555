"""The `linewatch ship` command: the journal as Parquet files by day, for questions over many stations."""

import importlib.util
import os
import time
from pathlib import Path
from typing import Annotated

import typer

from linewatch.cli.options import Config, load_settings, missing_extra
from linewatch.runtime.priority import give_way


def ship(
    target: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of all stations, such as a share.")],
    today: Annotated[bool, typer.Option("--today", help="Also write the UTC day that is not over.")] = False,
    config: Config = None,
) -> None:
    """Write whole days of the journal as Parquet files.

    Every UTC day that is over, unless its files are up to date: verdicts, latest reviews, states and audit,
    below DIR/station=NAME/day=YYYY-MM-DD. The line may run meanwhile, and goes first.
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise missing_extra("fleet", "this command")
    give_way(19)  # Before Arrow is imported, whose threads inherit it.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # Its own keeps freed memory.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from linewatch.storage.audit.writing import open_audit
    from linewatch.storage.shipping.ship import ship as ship_days

    settings = load_settings(config)
    station = settings.station.name
    written = unchanged = 0
    with open_audit(settings.journal.path) as reader:
        for shipped in ship_days(reader, station, target, time.time_ns() // 1_000_000, today=today):
            if not shipped.written:
                unchanged += 1
                continue
            written += 1
            typer.echo(
                f"{shipped.day} " + " ".join(f"{table}={rows}" for table, rows in shipped.written.items())
            )
    typer.echo(f"written={written} unchanged={unchanged} in {target / f'station={station}'}")
