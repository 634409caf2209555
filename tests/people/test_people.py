"""Users, sessions and tokens in their file."""

import hashlib
import multiprocessing
import os
import sqlite3
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pytest
from argon2 import PasswordHasher

from linewatch.errors import StorageFull
from linewatch.people import passwords
from linewatch.people.people import SESSION_H, SESSIONS_EACH, People
from linewatch.people.refusals import SENTENCES, Refused
from linewatch.people.roles import Identity, Role

PASSWORD = "a good long phrase"


class Audit(list[tuple[str, str, dict[str, object]]]):
    """Keeps what is recorded."""

    def record(self, who: str, action: str, facts: Mapping[str, object]) -> None:
        """Append one entry."""
        self.append((who, action, dict(facts)))


@pytest.fixture
def people(tmp_path: Path) -> People:
    """Return an admin and an operator, in a file."""
    people = People(tmp_path / "var" / "users.db")
    people.add_user("anna", PASSWORD, Role.ADMIN, "root")
    people.add_user("Jörg", PASSWORD, Role.OPERATOR, "anna")
    return people


def test_a_file_that_does_not_exist_has_no_users_and_reading_does_not_make_it(tmp_path: Path) -> None:
    """A station without users has no such file."""
    path = tmp_path / "users.db"
    people = People(path)

    assert (people.users(), people.tokens(), people.has_users()) == ([], [], False)
    assert people.knows("anna", PASSWORD) == "" and people.session("x", "") is None
    assert not path.exists()


def test_only_the_station_s_user_can_read_the_file(people: People, tmp_path: Path) -> None:
    """Mode 0600 from its first moment, and again after somebody opened it up."""
    path = tmp_path / "var" / "users.db"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600

    path.chmod(0o644)
    people.set_role("Jörg", Role.ENGINEER, "anna")

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_nothing_secret_is_in_the_file(people: People, tmp_path: Path) -> None:
    """Neither passwords nor sessions nor tokens: only what they can be compared with."""
    secrets = [PASSWORD, people.begin_session("anna"), people.add_token("mes", Role.OPERATOR, "anna")]
    secrets += [people.begin_session("", "the-station-token"), "the-station-token"]

    content = (tmp_path / "var" / "users.db").read_bytes()

    for secret in secrets:
        assert secret.encode() not in content
        assert hashlib.sha256(b"the-station-token").digest() not in content


@pytest.mark.parametrize("name", ["jörg", "JÖRG", " Jörg ", "Jo\u0308rg"])
def test_a_name_is_one_in_every_spelling(people: People, name: str) -> None:
    """Capital letters and composed characters make no second user, and sign in the first."""
    assert people.knows(name, PASSWORD) == "Jörg"
    with pytest.raises(Refused) as refused:
        people.add_user(name, PASSWORD, Role.OPERATOR, "anna")
    assert refused.value.key == "user_exists"


@pytest.mark.parametrize(
    "name", ["", "a b", "-a", "a\nb", "<b>", "a" * 33, "a/b", "../x", "\ud800", "_a", "a'b"]
)
def test_a_name_that_could_deceive_is_refused(people: People, name: str) -> None:
    """Nothing that breaks a log line, an address or a table."""
    with pytest.raises(Refused) as refused:
        people.add_user(name, PASSWORD, Role.OPERATOR, "anna")
    assert refused.value.key == "user_name" and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("password", "key"),
    [
        ("", "password_short"), ("short77", "password_short"), ("x" * 129, "password_long"),
        ("password1!", "password_easy"), ("Passwort2026", "password_easy"), ("12345678", "password_easy"),
        ("aaaaaaaaaa", "password_easy"), ("linewatch99", "password_easy"),
    ],
)  # fmt: skip
def test_a_password_that_is_guessed_first_is_refused(people: People, password: str, key: str) -> None:
    """When a user is added, and when the password is changed."""
    with pytest.raises(Refused) as added:
        people.add_user("ben", password, Role.OPERATOR, "anna")
    with pytest.raises(Refused) as changed:
        people.set_password("anna", password, "anna")

    assert (added.value.key, changed.value.key) == (key, key)
    assert people.knows("anna", PASSWORD) == "anna"


def test_the_name_is_no_password() -> None:
    """Not with a year behind it either."""
    for password in ("annabella", "AnnaBella", "annabella2026"):
        with pytest.raises(Refused):
            passwords.check(password, "annabella")


def test_a_password_is_the_same_on_every_keyboard(people: People) -> None:
    """Whether it composes an umlaut from two characters or not."""
    people.set_password("anna", "Schlüssel für Halle 3", "anna")

    assert people.knows("anna", "Schlu\u0308ssel fu\u0308r Halle 3") == "anna"


class CountedHasher(PasswordHasher):
    """Counts the hashes that it checks."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.checked = 0

    def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:  # noqa: A002 - as inherited
        """Count, then check."""
        self.checked += 1
        return super().verify(hash, password)


def test_a_wrong_password_and_an_unknown_name_look_alike(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are refused after one check of a hash."""
    counted = CountedHasher()
    monkeypatch.setattr(passwords, "_HASHER", counted)

    assert people.knows("anna", "wrong") == "" and counted.checked == 1
    assert people.knows("nobody", "wrong") == "" and counted.checked == 2
    assert people.knows("nobody", "of no user") == "" and counted.checked == 3


def test_a_hash_with_old_parameters_is_renewed_when_its_user_signs_in(
    people: People, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """So they can be raised without setting every password again."""
    monkeypatch.setattr(passwords, "_HASHER", CountedHasher())

    assert people.knows("anna", PASSWORD) == "anna"

    rows = sqlite3.connect(tmp_path / "var" / "users.db").execute("SELECT name, hash FROM users").fetchall()
    assert {name: "m=8,t=1" in stored for name, stored in rows} == {"anna": True, "Jörg": False}
    assert people.knows("anna", PASSWORD) == "anna"


def test_a_session_outlives_the_process_and_ends_after_a_shift(tmp_path: Path) -> None:
    """It is in the file; only time, its user and signing out end it."""
    now_ms = 1_790_000_000_000
    path = tmp_path / "users.db"
    first = People(path, clock_ms=lambda: now_ms)
    first.add_user("anna", PASSWORD, Role.ENGINEER, "root")
    secret = first.begin_session("anna")
    end_ms = now_ms + SESSION_H * 3_600_000

    assert People(path, clock_ms=lambda: end_ms - 1).session(secret, "") == Identity(
        "anna", Role.ENGINEER, "anna"
    )
    assert People(path, clock_ms=lambda: end_ms).session(secret, "") is None
    assert People(path, clock_ms=lambda: now_ms - 7_200_000).session(secret, "") is None, "a clock set back"


@pytest.mark.parametrize("forged", ["", "x", "é\ud800", "a" * 5000, "' OR 1=1 --"])
def test_a_forged_session_is_no_session(people: People, forged: str) -> None:
    """Whatever a cookie holds."""
    people.begin_session("anna")

    assert people.session(forged, "token") is None
    assert people.token(forged) is None


def test_removing_a_user_ends_their_sessions(people: People) -> None:
    """At once; a user of the same name that is added later does not get them."""
    secret = people.begin_session("Jörg")

    people.remove_user("jörg", "anna")
    assert people.session(secret, "") is None
    people.add_user("Jörg", PASSWORD, Role.ADMIN, "anna")

    assert people.session(secret, "") is None


def test_a_new_role_holds_for_open_sessions(people: People) -> None:
    """With their next request."""
    secret = people.begin_session("Jörg")

    people.set_role("Jörg", Role.ENGINEER, "anna")

    assert people.session(secret, "") == Identity("Jörg", Role.ENGINEER, "Jörg")


def test_a_new_password_ends_sessions(people: People) -> None:
    """Whoever knew the old one is out."""
    secret = people.begin_session("Jörg")
    other = people.begin_session("anna")

    people.set_password("Jörg", "another long phrase", "anna")

    assert people.session(secret, "") is None and people.session(other, "") is not None
    assert people.knows("Jörg", PASSWORD) == "" and people.knows("Jörg", "another long phrase") == "Jörg"


def test_a_user_s_oldest_session_makes_room(people: People) -> None:
    """No user fills the file, and none ends another's session."""
    other = people.begin_session("anna")
    secrets = [people.begin_session("Jörg") for _ in range(SESSIONS_EACH + 5)]

    alive = [people.session(secret, "") is not None for secret in secrets]

    assert sum(alive) == SESSIONS_EACH and alive[-1]
    assert people.session(other, "") is not None


def test_the_last_admin_stays(people: People) -> None:
    """Else nobody could manage users on the page; alone, the last user may go, and all is as before users."""
    with pytest.raises(Refused, match="last admin"):
        people.remove_user("anna", "x")
    with pytest.raises(Refused, match="last admin"):
        people.set_role("anna", Role.OPERATOR, "x")

    people.remove_user("Jörg", "anna")
    people.remove_user("anna", "root")
    assert not people.has_users()


def test_a_session_of_the_station_s_token_ends_with_the_token_and_with_the_first_user() -> None:
    """People have names then."""
    people = People()
    secret = people.begin_session("", "token-1")

    assert people.session(secret, "token-1") == Identity("page", Role.ENGINEER)
    assert people.session(secret, "token-2") is None and people.session(secret, "") is None
    people.add_user("anna", PASSWORD, Role.ADMIN, "root")
    assert people.session(secret, "token-1") is None


def test_a_token_is_a_machine_with_a_role_until_it_is_revoked(people: People) -> None:
    """By its secret alone."""
    secret = people.add_token("mes", Role.OPERATOR, "anna")

    assert people.token(secret) == Identity("token:mes", Role.OPERATOR)
    assert people.token(secret[:-1]) is None
    with pytest.raises(Refused):
        people.add_token("mes", Role.ADMIN, "anna")
    people.remove_token("mes", "anna")
    assert people.token(secret) is None


def test_every_change_is_in_the_audit_with_who_made_it_and_without_secrets() -> None:
    """One entry each; a refused change has none."""
    audit = Audit()
    people = People(record=audit.record)

    people.add_user("anna", PASSWORD, Role.ADMIN, "root")
    people.add_user("ben", PASSWORD, Role.OPERATOR, "anna")
    people.set_role("ben", Role.ENGINEER, "anna")
    people.set_password("ben", "another long phrase", "ben")
    secret = people.add_token("mes", Role.OPERATOR, "anna")
    people.remove_token("mes", "anna")
    with pytest.raises(Refused):
        people.remove_user("anna", "anna")
    people.remove_user("ben", "anna")

    assert [(who, action) for who, action, _ in audit] == [
        ("root", "user_added"), ("anna", "user_added"), ("anna", "user_role"), ("ben", "user_password"),
        ("anna", "token_issued"), ("anna", "token_revoked"), ("anna", "user_removed"),
    ]  # fmt: skip
    assert audit[2][2] == {"user": "ben", "role": "engineer", "before": "operator"}
    assert all(word not in str(audit) for word in (PASSWORD, "another long phrase", secret))


def test_a_change_that_the_audit_cannot_hold_is_not_made(tmp_path: Path) -> None:
    """No user appears whom nobody added."""

    def full(who: str, action: str, facts: Mapping[str, object]) -> None:
        raise StorageFull("journal", "the disk is full; free some room")

    people = People(tmp_path / "users.db", full)

    with pytest.raises(StorageFull):
        people.add_user("anna", PASSWORD, Role.ADMIN, "root")
    assert people.users() == []


def test_a_damaged_file_lets_nobody_in(tmp_path: Path) -> None:
    """It is one sentence, and not a station without users, whose token has all rights."""
    path = tmp_path / "users.db"
    path.write_bytes(b"not a database, but long enough to look like one" * 100)
    people = People(path)

    for ask in (
        people.users,
        people.has_users,
        lambda: people.session("x", ""),
        lambda: people.knows("a", "b"),
    ):
        with pytest.raises(StorageFull, match=r"users\.db"):
            ask()


def test_two_processes_change_the_file_at_once(tmp_path: Path) -> None:
    """A command beside the daemon: every change is there."""
    path = tmp_path / "users.db"
    People(path).add_user("admin", PASSWORD, Role.ADMIN, "root")
    spawn = multiprocessing.get_context("spawn")
    others = [spawn.Process(target=issue, args=(path, n)) for n in range(2)]

    for other in others:
        other.start()
    for other in others:
        other.join(60)

    assert [other.exitcode for other in others] == [0, 0]
    assert len(People(path).tokens()) == 20
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)


def issue(path: Path, process: int) -> None:
    """Issue ten tokens."""
    people = People(path)
    for n in range(10):
        people.add_token(f"p{process}-{n}", Role.OPERATOR, f"pid{os.getpid()}")


def test_every_role_may_do_what_those_below_it_may() -> None:
    """Operator, engineer, admin."""
    assert [[role.covers(needed) for needed in Role] for role in Role] == [
        [True, False, False],
        [True, True, False],
        [True, True, True],
    ]


def test_every_refusal_is_a_sentence() -> None:
    """With its next step, and without a capital letter, as every error of a command."""
    for key, sentence in SENTENCES.items():
        assert ";" in sentence and not sentence.endswith("."), key
        assert not sentence[0].isupper(), key
