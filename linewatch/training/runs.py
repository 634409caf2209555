"""From which runs of production images come: thresholds from a single one may not hold for the next."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

PAUSE_S = 3600.0  # A longer pause between two images begins another run.
_COPIED_S = 600.0  # Files whose times lie closer together may have been copied at once.
_TIME = re.compile(r"(20\d\d)[-_]?([01]\d)[-_]?([0-3]\d)[-_T ]?([0-2]\d)[-_:.]?([0-5]\d)[-_:.]?([0-5]\d)")


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """The runs of production that images come from."""

    count: int  # 0: unknown.
    first: str  # Time of the first and the last image, to the minute.
    last: str
    named: bool  # The times stand in the images' names; otherwise they are those of the files.
    numbers: NDArray[np.int_] | None = None  # (n,): the run of each image, from 0. None: unknown.


def find_runs(paths: Sequence[Path]) -> Runs:
    """Return the runs of images by their times.

    A name holds its time as in 20261128T143000 or 2026-11-28_14-30-00. If one has none, all times are those
    when the files were written; the runs are unknown if these may stem from copying.
    """
    named = [time for path in paths if (time := _time_in(path.stem)) is not None]
    by_name = len(named) == len(paths)
    seconds = np.array(
        [time.timestamp() for time in named] if by_name else [path.stat().st_mtime for path in paths]
    )
    order = np.argsort(seconds, kind="stable")
    pauses = np.diff(seconds[order]) > PAUSE_S
    numbers = np.empty(len(paths), np.int_)
    numbers[order] = np.concatenate([[0], np.cumsum(pauses)])
    first, last = (
        datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M")
        for time in (seconds.min(), seconds.max())
    )
    if not by_name and np.ptp(seconds) < _COPIED_S:
        return Runs(0, first, last, by_name)
    return Runs(int(numbers.max()) + 1, first, last, by_name, numbers)


def describe_runs(runs: Runs) -> str:
    """Return what `find_runs` found, with what it means for the thresholds."""
    if not runs.count:
        return (
            "an unknown number of runs: the files were written within minutes, perhaps by copying; "
            "thresholds hold for parts like these, so include several shifts"
        )
    source = "the times in their names" if runs.named else "the times of the files"
    if runs.count == 1:
        return (
            f"one run by {source}, {runs.first} to {runs.last}: parts of other shifts may differ; "
            "add pictures of several, or recalibrate on site"
        )
    return f"{runs.count} runs by {source}, {runs.first} to {runs.last}"


def _time_in(name: str) -> datetime | None:
    """Return the time in a file's name, None if there is none."""
    found = _TIME.search(name)
    if found is None:
        return None
    try:
        return datetime(*map(int, found.groups()), tzinfo=UTC)  # type: ignore[misc, arg-type]
    except ValueError:
        return None
