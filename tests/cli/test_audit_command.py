"""`linewatch audit`: show, filter, export and verify, as their users do."""

import csv
import json
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from linewatch.storage.audit.writing import append_audit
from tests.command import linewatch


def audit(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one command with the journal of `folder`."""
    return linewatch(folder, "audit", *arguments)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a journal of three acts."""
    path = tmp_path / "var" / "journal.db"
    append_audit(path, "anna", "model_activated", {"product": "bottle", "to": "7f3a91c2"})
    append_audit(path, "ben", "model_activated", {"product": "lid", "to": "91c27f3a"})
    append_audit(path, "=cmd()", "in_use", {"to": "lid/91c27f3a"})
    return tmp_path


def test_acts_are_shown_filtered_and_exported(folder: Path) -> None:
    """Newest first; CSV keeps a spreadsheet from running a name as a formula."""
    assert [line.split()[0] for line in audit(folder, "show").stdout.splitlines()] == ["3", "2", "1"]
    assert "91c27f3a" in audit(folder, "show", "--who", "ben", "--product", "lid").stdout
    assert audit(folder, "show", "--from", "2099-01-01").stdout == ""

    assert "2 rows in" in audit(folder, "export", "lid.csv", "--format", "csv", "--product", "lid").stdout
    rows = list(csv.DictReader((folder / "lid.csv").read_text().splitlines()))
    assert [row["who"] for row in rows] == ["'=cmd()", "ben"]
    lines = audit(folder, "export", "-").stdout.splitlines()
    assert json.loads(lines[-1])["facts"] == {"product": "bottle", "to": "7f3a91c2"}


def test_verify_names_the_first_broken_row(folder: Path) -> None:
    """Also against a head that was kept elsewhere."""
    whole = audit(folder, "verify")
    assert (whole.returncode, whole.stdout.split()[0]) == (0, "3")
    head = whole.stdout.split()[-1]
    assert audit(folder, "verify", "--head", head).returncode == 0
    assert "not the one that was noted" in audit(folder, "verify", "--head", f"1:{head[2:]}").stderr

    with closing(sqlite3.connect(folder / "var/journal.db")) as db:
        db.execute("DROP TRIGGER audit_never_changes")
        db.execute("UPDATE audit SET who = 'carl' WHERE id = 2")
        db.commit()
    broken = audit(folder, "verify")
    assert broken.returncode == 1
    assert broken.stderr.startswith("row 2 is the first that is not intact")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("verify", "--head", "57"), "--head is a row's number and its hash"),
        (("export", "x", "--format", "xml"), "use csv or jsonl"),
        (("show", "--config", "nowhere.toml"), "does not exist"),
    ],
)
def test_wrong_arguments_are_one_sentence(folder: Path, arguments: tuple[str, ...], sentence: str) -> None:
    """Without a traceback."""
    done = audit(folder, *arguments)

    assert done.returncode != 0
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_journal_there_is_nothing_to_show(tmp_path: Path) -> None:
    """A wrong folder is not an empty audit."""
    assert "there is no journal" in audit(tmp_path, "show").stderr
