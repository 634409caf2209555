"""Findings of a trial, and the tables that show them."""

from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

BROKEN, SLOW = 1, 2
"""Exit statuses: a guarantee was broken; or all held, and a figure was missed."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One requirement, the observation, and whether it held.

    A guarantee holds on any machine. A `figure` is a time or a share that a busy machine may miss.
    """

    trial: str
    requirement: str
    observed: str
    held: bool
    figure: bool = False


def show(findings: Iterable[Finding]) -> int:
    """Print guarantees, then figures; return the exit status."""
    collected = list(findings)
    for title, figures in (("guarantees", False), ("figures of this machine", True)):
        table = Table("trial", "requirement", "observed", "held", title=title)
        for finding in collected:
            if finding.figure is figures:
                table.add_row(
                    finding.trial, finding.requirement, finding.observed, "yes" if finding.held else "NO"
                )
        if table.row_count:
            Console(width=140).print(table)
    missed = [finding for finding in collected if not finding.held]
    if any(not finding.figure for finding in missed):
        return BROKEN
    return SLOW if missed else 0
