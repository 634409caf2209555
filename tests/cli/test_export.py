"""`linewatch export`: rows, counts and images of what was asked for, and one sentence for what is wrong."""

import csv
import json
import subprocess
import zipfile
from pathlib import Path

import pytest

from linewatch.domain import Reason, Result
from linewatch.storage import export as module
from linewatch.storage.journal import Journal
from linewatch.storage.journal_search import ANY
from tests.command import linewatch
from tests.storage.test_journal import record

FRAME, HEATMAP = "2026-11-27/fail/1-4.frame.jpg", "2026-11-27/fail/1-4.jpg"


def export(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one command with the journal of `folder`."""
    return linewatch(folder, "export", *arguments)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with five parts, of which one failed and was reviewed, and one image is gone."""
    (tmp_path / "var/evidence" / FRAME).parent.mkdir(parents=True)
    (tmp_path / "var/evidence" / FRAME).write_bytes(b"frame")
    with Journal.open(tmp_path / "var/journal.db") as journal:
        record(journal, 1, 2, 3)
        failed = {"result": Result.FAIL, "reason": Reason.ABOVE_THRESHOLD, "raw": 2.5}
        record(journal, 4, part="=B4", image=FRAME, heatmap=HEATMAP, **failed)
        record(journal, 5, model="91c27f3a")
        journal.review(journal.boot, 4, "defect", "scratch", "anna")
    return tmp_path


def test_rows_are_exported_newest_first(folder: Path) -> None:
    """As JSON lines and as CSV, with the latest review."""
    rows = [json.loads(line) for line in export(folder).stdout.splitlines()]
    assert [row["seq"] for row in rows] == [5, 4, 3, 2, 1]
    assert (rows[1]["actual"], rows[1]["reviewer"]) == ("defect", "anna")

    assert "5 verdicts in all.csv" in export(folder, "--format", "csv", "--out", "all.csv").stdout
    table = list(csv.DictReader((folder / "all.csv").read_text().splitlines()))
    assert [row["part"] for row in table] == ["A5", "'=B4", "A3", "A2", "A1"]


@pytest.mark.parametrize(
    ("conditions", "found"),
    [
        (("--result", "fail,unsure"), [4]),
        (("--part", "A"), [5, 3, 2, 1]),
        (("--reason", "10"), [4]),
        (("--model", "91c27f3a"), [5]),
        (("--reviewer", "anna"), [4]),
        (("--reviewer", "ben"), []),
        (("--product", "lid"), []),
        (("--to", "2020-01-01"), []),
        (("--before", "1-3"), [2, 1]),
        (("--limit", "2"), [5, 4]),
    ],
)
def test_conditions_choose_the_rows(folder: Path, conditions: tuple[str, ...], found: list[int]) -> None:
    """All of them must hold."""
    lines = export(folder, *conditions).stdout.splitlines()

    assert [json.loads(line)["seq"] for line in lines] == found


def test_counts_are_those_of_the_rows(folder: Path) -> None:
    """Of every result, also of those that there are none of."""
    assert json.loads(export(folder, "--count").stdout) == {"PASS": 4, "FAIL": 1, "UNSURE": 0, "ERROR": 0}
    assert json.loads(export(folder, "--count", "--reviewer", "ben").stdout) == dict.fromkeys(Result, 0)


def test_pictures_are_in_the_archive(folder: Path) -> None:
    """An image that retention removed is left out and counted."""
    done = export(folder, "--pictures", "all.zip", "--out", "all.jsonl")

    assert "all.zip: 1 images of 1 parts; 1 images were not kept" in done.stderr
    with zipfile.ZipFile(folder / "all.zip") as archive:
        assert archive.namelist() == [FRAME, "parts-0001.csv", "export.txt"]
        assert archive.read(FRAME) == b"frame"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--result", "GOOD"), "--result 'GOOD' is unknown"),
        (("--reason", "99"), "--reason 99 is unknown"),
        (("--format", "xml"), "use csv or jsonl"),
        (("--colour", "red"), "no such option"),
        (("--before", "3"), "--before '3' is no part"),
        (("--out", "missing/x.csv"), "name another file"),
    ],
)
def test_wrong_arguments_are_one_sentence(folder: Path, arguments: tuple[str, ...], sentence: str) -> None:
    """Unknown options are errors, too."""
    done = export(folder, *arguments)

    assert done.returncode != 0
    assert sentence in done.stderr.lower() or sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_steps_are_short_and_rests_lie_between(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every row comes once, whatever the size of a step."""
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 2)
    rests: list[float] = []
    with Journal.open(folder / "var/journal.db") as journal, journal.reader() as reader:
        rows = [verdict.seq for verdict, _ in module.export(reader, ANY, rest=rests.append)]

    assert rows == [5, 4, 3, 2, 1]
    assert len(rests) == 2
