"""Progress of long-running commands, on stderr."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

ProgressCallback = Callable[[str, float], None]
"""Called with the current step, and the completed share of all work, 0 to 1."""

LINE_EVERY = 0.1  # Share of all work after which the current step is printed again, where there is no bar.


def no_progress(doing: str, done: float) -> None:
    """Ignore progress."""


@contextmanager
def progress_bar(console: Console | None = None) -> Iterator[ProgressCallback]:
    """Yield a callback that shows progress on stderr while the block runs.

    A bar on a terminal; in a log or a pipe one line for each step.
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


def _lines(console: Console) -> ProgressCallback:
    started_s = time.monotonic()
    printed = ("", 0.0)

    def report(doing: str, done: float) -> None:
        nonlocal printed
        if doing == printed[0] and done < printed[1] + LINE_EVERY:
            return
        printed = (doing, done)
        console.print(f"{time.monotonic() - started_s:4.0f} s {done:4.0%}  {doing}", highlight=False)

    return report
