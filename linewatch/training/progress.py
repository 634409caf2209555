"""How far work is that a person waits for."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

Report = Callable[[str, float], None]
"""Takes what is being done, and the share of the whole that is done, 0 to 1."""

LINE_EVERY = 0.1  # Of the whole: so long a step gets another line where no bar can be shown.


def silent(doing: str, done: float) -> None:
    """Report nothing."""


@contextmanager
def bar(console: Console | None = None) -> Iterator[Report]:
    """Show on stderr how far the block is; yields what to report to.

    On a terminal it is a bar. In a log or a pipe, where a bar cannot move, each step is a line.
    """
    console = console or Console(stderr=True)
    if not console.is_interactive:
        yield _lines(console)
        return
    columns = (TextColumn("{task.description:<28}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        task = progress.add_task("starting", total=1.0)

        def report(doing: str, done: float) -> None:
            progress.update(task, description=doing, completed=done)

        yield report


def _lines(console: Console) -> Report:
    begun_s = time.monotonic()
    told = ("", 0.0)

    def report(doing: str, done: float) -> None:
        nonlocal told
        if doing == told[0] and done < told[1] + LINE_EVERY:
            return
        told = (doing, done)
        console.print(f"{time.monotonic() - begun_s:4.0f} s {done:4.0%}  {doing}", highlight=False)

    return report
