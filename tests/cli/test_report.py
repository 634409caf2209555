"""`linewatch report`: a shift by its name, its figures and its page."""

import json
from datetime import datetime
from pathlib import Path

import pytest

from linewatch.storage.journal import Journal
from tests.command import linewatch
from tests.shift_journal import fill, produce

CONFIG = ("--config", "line.toml")


def at(hour: int, day: int = 27) -> int:
    """Return UTC milliseconds of a local hour of November 2025."""
    return round(datetime(2025, 11, day, hour).timestamp() * 1000)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with settings of three shifts, and a journal of 300 parts of an early one."""
    (tmp_path / "line.toml").write_text('[shifts]\nearly = "06:00"\nlate = "14:00"\nnight = "22:00"\n')
    fill(tmp_path / "var/journal.db", produce(at(6), at(14), 300))
    with Journal.open(tmp_path / "var/journal.db", clock_ms=lambda: at(9)) as journal:
        journal.audit("anna", "model_activated", {"product": "bottle", "from": "b/1", "to": "b/2"})
    return tmp_path


def test_a_shift_is_reported_by_its_name(folder: Path) -> None:
    """In the terminal, as JSON, and as a page without scripts in the language that is asked for."""
    asked = ("--shift", "early", "--day", "2025-11-27", "--language", "de")
    done = linewatch(folder, "report", *CONFIG, *asked, "--html", "shift.html", "--json", "shift.json")

    page = (folder / "shift.html").read_text()
    figures = json.loads((folder / "shift.json").read_text())
    assert done.returncode == 0, done.stderr
    assert "early 2025-11-27 06:00" in done.stdout and "300 inspections" in done.stdout
    assert (figures["shift"], figures["inspections"], figures["complete"]) == ("early", 300, True)
    assert '<html lang="de">' in page and "Schichtbericht: early, Do 27.11.2025" in page
    assert "model_activated" in page and "anna" in page
    assert "<script" not in page and "http" not in page


def test_a_day_is_all_its_shifts(folder: Path) -> None:
    """And without shifts in the settings, from midnight to midnight."""
    with_shifts = linewatch(folder, "report", *CONFIG, "--day", "2025-11-27")
    without = linewatch(folder, "report", "--day", "2025-11-27")

    assert "2025-11-27 06:00" in with_shifts.stdout and "2025-11-28 06:00" in with_shifts.stdout
    assert "2025-11-27 00:00" in without.stdout and "2025-11-28 00:00" in without.stdout
    assert "300 inspections" in with_shifts.stdout and "300 inspections" in without.stdout


def test_the_last_complete_shift_and_the_last_hours_of_now(folder: Path) -> None:
    """Nothing was made in them; the last late shift may still run, which is said."""
    last = linewatch(folder, "report", *CONFIG, "--shift", "last")
    late = linewatch(folder, "report", *CONFIG, "--shift", "late")
    hours = linewatch(folder, "report", *CONFIG)

    assert last.returncode == late.returncode == hours.returncode == 0
    assert "no part was inspected" in last.stdout and "so far" not in last.stdout
    assert "late" in late.stdout


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (("--shift", "noon"), "'noon' is no shift; the settings have early, late, night"),
        (("--shift", "last", "--day", "2025-11-27"), "leave --day out"),
        (("--shift", "early", "--from", "2025-11-27"), "use one of them"),
        (("--day", "27.11.2025"), "'27.11.2025' is no day; write 2026-11-27"),
        (("--day", "1999-11-27"), "is no day of this century"),
        (("--day", "2099-11-27"), "has not begun"),
        (("--shift", "early", "--day", "2099-11-27"), "the shift 'early' of 2099-11-27 has not begun"),
        (("--from", "2025-11-27", "--to", "2025-11-26"), "a report is from --from to --to"),
        (("--language", "fr"), "'fr' is no language; there are en, de"),
    ],
)
def test_a_mistake_is_one_sentence(folder: Path, asked: tuple[str, ...], sentence: str) -> None:
    """Exit status 2, and nothing is read."""
    refused = linewatch(folder, "report", *CONFIG, *asked)

    assert refused.returncode == 2
    assert sentence in refused.stderr and "Traceback" not in refused.stderr
