"""Runs of production, found by the times of images."""

import os
from pathlib import Path

import pytest

from linewatch.training.runs import describe_runs, find_runs

DAY_S = 86400


def files(folder: Path, names: list[str], times: list[float]) -> list[Path]:
    """Create empty files with these times of change."""
    paths = [folder / name for name in names]
    for path, time in zip(paths, times, strict=True):
        path.touch()
        os.utime(path, (time, time))
    return paths


def test_pauses_part_runs(tmp_path: Path) -> None:
    """Images of two days and a pause of two hours on one of them are three runs."""
    start = 1_790_000_000.0
    times = [start, start + 600, start + 8000, start + DAY_S, start + DAY_S + 60]
    runs = find_runs(files(tmp_path, [f"{n}.png" for n in range(5)], times))

    assert runs.count == 3 and not runs.named
    assert runs.numbers is not None and runs.numbers.tolist() == [0, 0, 1, 2, 2]
    assert describe_runs(runs).startswith("3 runs by the times of the files, 2026-09-21")


@pytest.mark.parametrize("pattern", ["{}T{}", "cam1_{}_{}_0007", "{}{}"])
def test_times_in_names_are_believed_first(tmp_path: Path, pattern: str) -> None:
    """Copied files keep the times in their names."""
    names = [pattern.format("20261103", clock) + ".png" for clock in ("060000", "061500", "140000")]

    runs = find_runs(files(tmp_path, names, [1e9, 1e9, 1e9]))

    assert (runs.count, runs.first, runs.last, runs.named) == (
        2,
        "2026-11-03 06:00",
        "2026-11-03 14:00",
        True,
    )


def test_one_run_is_said_to_be_one(tmp_path: Path) -> None:
    """Thresholds from a single run may not hold for the next, and the report says so."""
    runs = find_runs(files(tmp_path, ["2026-11-03_06-00-00.png", "2026-11-03_06-50-00.png"], [0, 0]))

    assert runs.count == 1 and "parts of other shifts may differ" in describe_runs(runs)


def test_files_copied_at_once_say_nothing(tmp_path: Path) -> None:
    """Times within minutes of each other prove no run; impossible times in names are none."""
    runs = find_runs(files(tmp_path, ["20261399T060000.png", "000002.png"], [1e9, 1e9 + 5]))

    assert runs.count == 0 and runs.numbers is None and "an unknown number of runs" in describe_runs(runs)
