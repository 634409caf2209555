"""The `linewatch users` commands, as their user runs them."""

import io
import json
import sqlite3
from pathlib import Path

import pytest

from linewatch.cli import main as cli
from linewatch.people.people import People

PASSWORD = "a good long phrase"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run in a folder of its own, with default settings."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def linewatch(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: str, stdin: str = ""
) -> tuple[int, str, str]:
    """Return exit status, output and errors of a command."""
    monkeypatch.setattr("sys.argv", ["linewatch", *line.split()])
    monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
    with pytest.raises(SystemExit) as end:
        cli.main()
    shown = capsys.readouterr()
    return int(end.value.code or 0), shown.out, shown.err


def test_users_are_managed_by_commands(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Add, list, role, password, token, revoke, remove; the audit names who ran them."""
    monkeypatch.setenv("LOGNAME", "root")
    for line, stdin, said in (
        ("users add anna --role admin", PASSWORD + "\n", "anna is an admin"),
        ("users add ben", PASSWORD + "\n", "ben is an operator"),
        ("users role ben engineer", "", "ben is an engineer"),
        ("users password ben", "another long phrase\r\n", "ben has a new password"),
        ("users token mes --role operator", "", "lw_"),
        ("users list", "", "ben  engineer"),
        ("users revoke mes", "", "revoked"),
        ("users remove ben", "", "ben is removed"),
    ):
        status, out, _ = linewatch(monkeypatch, capsys, line, stdin)
        assert (status, said in out) == (0, True), (line, out)

    assert People(folder / "var/users.db").knows("anna", PASSWORD) == "anna"
    listed = json.loads(linewatch(monkeypatch, capsys, "users list --json")[1])
    assert listed == {"users": [{"name": "anna", "role": "admin", "sessions": 0}], "tokens": []}
    audit = (
        sqlite3.connect(folder / "var/journal.db").execute("SELECT who, action, facts FROM audit").fetchall()
    )
    assert [(who, action) for who, action, _ in audit] == [
        ("root", action)
        for action in (
            *("user_added", "user_added", "user_role", "user_password"),
            *("token_issued", "token_revoked", "user_removed"),
        )
    ]
    assert PASSWORD not in str(audit)


@pytest.mark.parametrize(
    ("line", "stdin", "said"),
    [
        ("users add anna --role boss", "x\n", "boss"),
        ("users add", "", "see: linewatch users add --help"),
        ("users add anna", "", "no password on standard input"),
        ("users add anna", "short\n", "too short"),
        ("users remove ghost", "", "there is no user 'ghost'"),
        ("users revoke ghost", "", "there is no token 'ghost'"),
        ("users add anna secretpassword", "", "secretpassword"),
    ],
)
def test_a_wrong_command_is_one_sentence(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    line: str,
    stdin: str,
    said: str,
) -> None:
    """With exit status 2, and nothing is changed; a password is no argument."""
    status, _, error = linewatch(monkeypatch, capsys, line, stdin)

    assert status == 2 and said in error and error.count("\n") == 1
    assert People(folder / "var/users.db").users() == []


def test_a_first_user_who_is_no_admin_gets_a_note(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It works, but only commands can manage users then."""
    status, _, note = linewatch(monkeypatch, capsys, "users add ben", PASSWORD + "\n")

    assert status == 0 and "there is no admin yet" in note
