"""What a trial reports, and how it is shown."""

from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

BROKEN, SLOW = 1, 2
"""Exit statuses: a guarantee was broken; or all held, and a figure was missed."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One promise, what was seen, and whether it held.

    A guarantee holds on any machine. A `figure` is a time or a share that a busy machine may miss.
    """

    trial: str
    promise: str
    seen: str
    held: bool
    figure: bool = False


def show(findings: Iterable[Finding]) -> int:
    """Print guarantees, then figures; return the exit status."""
    seen = list(findings)
    for title, wanted in (("guarantees", False), ("figures of this machine", True)):
        table = Table("trial", "promise", "seen", "held", title=title)
        for finding in seen:
            if finding.figure is wanted:
                table.add_row(finding.trial, finding.promise, finding.seen, "yes" if finding.held else "NO")
        if table.row_count:
            Console(width=140).print(table)
    missed = [finding for finding in seen if not finding.held]
    if any(not finding.figure for finding in missed):
        return BROKEN
    return SLOW if missed else 0
