"""A progress bar for work that a person waits for."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

Report = Callable[[str, float], None]
"""Takes what is being done, and the share of the whole that is done, 0 to 1."""


def silent(doing: str, done: float) -> None:
    """Report nothing."""


@contextmanager
def bar() -> Iterator[Report]:
    """Show a bar on stderr while the block runs; yields what to report to."""
    columns = (TextColumn("{task.description:<28}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task("starting", total=1.0)

        def report(doing: str, done: float) -> None:
            progress.update(task, description=doing, completed=done)

        yield report
