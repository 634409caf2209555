"""`linewatch ship` as a timer runs it, beside the journal's daemon."""

import sys
from pathlib import Path

import pytest

from linewatch.cli.proof.ship import ship
from linewatch.errors import UsageError
from linewatch.storage.journal import Journal
from tests.command import linewatch
from tests.storage.test_journal import record


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a journal of three parts of a day that is over, and an empty folder plant."""
    (tmp_path / "plant").mkdir()
    with Journal.open(tmp_path / "var/journal.db", clock_ms=lambda: 1_790_000_000_000) as journal:
        record(journal, 1, 2, 3)
    return tmp_path


def test_it_says_what_it_wrote(folder: Path) -> None:
    """Then that nothing is left to do; both with exit status 0."""
    done = linewatch(folder, "ship", "plant")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "2026-09-21 audit=0 states=0 reviews=0 verdicts=3",
        "written=1 unchanged=0 in plant/station=station1",
    ]
    assert linewatch(folder, "ship", "plant").stdout.startswith("written=0 unchanged=1 in")


def test_a_line_that_runs_is_shipped_too(folder: Path) -> None:
    """The daemon holds the journal open and locked meanwhile."""
    with Journal.open(folder / "var/journal.db"):
        done = linewatch(folder, "ship", "plant", "--today")

    assert done.returncode == 0, done.stderr
    assert "verdicts=3" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("nowhere",), "there is no folder 'nowhere'; make it, or mount the share"),
        (("plant", "--config", "no.toml"), "no.toml"),
        ((), "missing argument"),
    ],
)
def test_what_is_wrong_is_one_sentence(folder: Path, arguments: tuple[str, ...], sentence: str) -> None:
    """With an exit status that systemd shows as failed."""
    done = linewatch(folder, "ship", *arguments)

    assert done.returncode != 0
    assert sentence in done.stderr or sentence in done.stderr.lower()
    assert "Traceback" not in done.stderr


def test_without_the_extra_it_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line PC need not have Arrow."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.chdir(folder)

    with pytest.raises(UsageError, match=r"needs the extra \[fleet\]"):
        ship(Path("plant"))
    assert list(Path("plant").iterdir()) == []
