"""Users, sessions and tokens: the only code that reads and changes them, for pages, API and commands."""

import hashlib
import hmac
import logging
import re
import secrets
import sqlite3
import time
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from linewatch.people import passwords
from linewatch.people.people_file import PeopleFile
from linewatch.people.refusals import Refused
from linewatch.people.roles import Identity, Role

log = logging.getLogger(__name__)

USERS_MAX = 1000
TOKENS_MAX = 100
SESSIONS_MAX = 1000
SESSIONS_EACH = 20  # Of one user; the oldest ends.
SESSION_H = 10  # A shift with its handover; then the operator signs in again.
NAME = re.compile(r"[^\W_][\w.@+-]{0,31}")
_HOUR_MS = 3_600_000

Record = Callable[[str, str, Mapping[str, object]], None]
"""Appends (who, action, facts) to the audit. Raises StorageFull."""


@dataclass(frozen=True, slots=True)
class User:
    """One person."""

    name: str
    role: Role
    added_ms: int  # UTC milliseconds since 1970.
    sessions: int = 0  # That are open now.


@dataclass(frozen=True, slots=True)
class Token:
    """A machine's token, without its secret."""

    name: str
    role: Role
    added_ms: int
    added_by: str


class People:
    """Thread-safe. Every change is in the audit before it is made; all but reading raise StorageFull."""

    def __init__(
        self,
        path: Path | None = None,
        record: Record = lambda _who, _action, _facts: None,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """Keep users in the file `path`, in memory without one."""
        self._file = PeopleFile(path)
        self._record = record
        self._clock_ms = clock_ms

    def users(self) -> list[User]:
        """Return every user, by name."""
        query = (
            "SELECT name, role, added_ms, "
            "(SELECT count(*) FROM sessions WHERE user = name AND ends_ms > ?) FROM users ORDER BY folded"
        )
        with self._file.reading() as db:
            rows = db.execute(query, (self._clock_ms(),)).fetchall()
        return [User(name, Role(role), added_ms, count) for name, role, added_ms, count in rows]

    def has_users(self) -> bool:
        """Whether there is any user; without one the station's token has all rights."""
        with self._file.reading() as db:
            return db.execute("SELECT 1 FROM users LIMIT 1").fetchone() is not None

    def add_user(self, name: str, password: str, role: Role, by: str) -> str:
        """Add a user and return the name as it is kept. Raises Refused."""
        name = unicodedata.normalize("NFC", name.strip())
        if not NAME.fullmatch(name):
            raise Refused("user_name", name=name[:40])
        passwords.check(password, name)
        hashed = passwords.hashed(password)
        with self._file.writing() as db:
            if _find(db, name):
                raise Refused("user_exists", name=name)
            if db.execute("SELECT count(*) FROM users").fetchone()[0] >= USERS_MAX:
                raise Refused("users_many", count=USERS_MAX)
            self._note(by, "user_added", user=name, role=role.value)
            db.execute(
                "INSERT INTO users VALUES (?, ?, ?, ?, ?)",
                (name, name.casefold(), role.value, hashed, self._clock_ms()),
            )
        return name

    def remove_user(self, name: str, by: str) -> None:
        """Remove a user and end their sessions. Raises Refused."""
        with self._file.writing() as db:
            name, role = _known(db, name)
            others = db.execute("SELECT count(*) FROM users WHERE name <> ?", (name,)).fetchone()[0]
            if role is Role.ADMIN and others and _admins_beside(db, name) == 0:
                raise Refused("last_admin", name=name)
            self._note(by, "user_removed", user=name)
            db.execute("DELETE FROM users WHERE name = ?", (name,))

    def set_role(self, name: str, role: Role, by: str) -> None:
        """Give a user another role, which holds for open sessions, too. Raises Refused."""
        with self._file.writing() as db:
            name, before = _known(db, name)
            if before is Role.ADMIN and role is not Role.ADMIN and _admins_beside(db, name) == 0:
                raise Refused("last_admin", name=name)
            self._note(by, "user_role", user=name, role=role.value, before=before.value)
            db.execute("UPDATE users SET role = ? WHERE name = ?", (role.value, name))

    def set_password(self, name: str, password: str, by: str, keep: str = "") -> None:
        """Set a password and end the user's sessions except `keep`. Raises Refused."""
        passwords.check(password, name)
        hashed = passwords.hashed(password)
        with self._file.writing() as db:
            name, _ = _known(db, name)
            self._note(by, "user_password", user=name)
            db.execute("UPDATE users SET hash = ? WHERE name = ?", (hashed, name))
            db.execute("DELETE FROM sessions WHERE user = ? AND hash <> ?", (name, _digest(keep)))

    def knows(self, name: str, password: str) -> str:
        """Return the user's name as it is kept if this is their password, else ""."""
        with self._file.reading() as db:
            row = db.execute(
                "SELECT name, hash FROM users WHERE folded = ?", (_folded(name),)
            ).fetchone() or ("", "")
        known, stored = str(row[0]), str(row[1])
        if not passwords.matches(stored, password):
            return ""
        if passwords.is_outdated(stored):
            hashed = passwords.hashed(password)
            with self._file.writing() as db:
                db.execute("UPDATE users SET hash = ? WHERE (name, hash) = (?, ?)", (hashed, known, stored))
        return known

    def begin_session(self, user: str, station_token: str = "") -> str:
        """Begin a session of a user, or with `user` "" of the station's token; return its secret."""
        secret = secrets.token_urlsafe(32)
        now_ms = self._clock_ms()
        row = (
            _digest(secret),
            user or None,
            _mark(secret, station_token),
            now_ms,
            now_ms + SESSION_H * _HOUR_MS,
        )
        with self._file.writing() as db:
            db.execute("DELETE FROM sessions WHERE ends_ms <= ?", (now_ms,))
            newest = "SELECT hash FROM sessions WHERE user IS ? ORDER BY begun_ms DESC, rowid DESC LIMIT ?"
            db.execute(
                f"DELETE FROM sessions WHERE user IS ? AND hash NOT IN ({newest})",
                (user or None, user or None, SESSIONS_EACH - 1 if user else SESSIONS_MAX // 2),
            )
            db.execute(
                "DELETE FROM sessions WHERE hash IN "
                "(SELECT hash FROM sessions ORDER BY begun_ms DESC LIMIT -1 OFFSET ?)",
                (SESSIONS_MAX - 1,),
            )
            db.execute("INSERT INTO sessions VALUES (?, ?, ?, ?, ?)", row)
        return secret

    def end_session(self, secret: str) -> None:
        """End a session; a copy of its cookie becomes invalid, too."""
        with self._file.writing() as db:
            db.execute("DELETE FROM sessions WHERE hash = ?", (_digest(secret),))

    def session(self, secret: str, station_token: str) -> Identity | None:
        """Return who has this session; None if it ended or never was.

        One of the station's token holds while the token is the same and there are no users.
        """
        query = (
            "SELECT user, token_mark, role, (SELECT count(*) FROM users) FROM sessions "
            "LEFT JOIN users ON user = name WHERE sessions.hash = ? AND begun_ms - ? <= ? AND ? < ends_ms"
        )
        now_ms = self._clock_ms()
        with self._file.reading() as db:
            row = db.execute(query, (_digest(secret), _HOUR_MS, now_ms, now_ms)).fetchone()
        if row is None:
            return None
        user, mark, role, users = row
        if user is not None:
            return Identity(user, Role(role), user)
        valid = station_token and hmac.compare_digest(mark, _mark(secret, station_token))
        return Identity("page", Role.ENGINEER) if valid and users == 0 else None

    def tokens(self) -> list[Token]:
        """Return every named token, by name."""
        with self._file.reading() as db:
            rows = db.execute("SELECT name, role, added_ms, added_by FROM tokens ORDER BY name").fetchall()
        return [Token(name, Role(role), added_ms, added_by) for name, role, added_ms, added_by in rows]

    def add_token(self, name: str, role: Role, by: str) -> str:
        """Issue a token for a machine and return its secret, which is not kept. Raises Refused."""
        name = unicodedata.normalize("NFC", name.strip())
        if not NAME.fullmatch(name):
            raise Refused("user_name", name=name[:40])
        secret = f"lw_{secrets.token_urlsafe(32)}"
        with self._file.writing() as db:
            if db.execute("SELECT 1 FROM tokens WHERE name = ?", (name,)).fetchone():
                raise Refused("token_exists", name=name)
            if db.execute("SELECT count(*) FROM tokens").fetchone()[0] >= TOKENS_MAX:
                raise Refused("tokens_many", count=TOKENS_MAX)
            self._note(by, "token_issued", token=name, role=role.value)
            row = (name, role.value, _digest(secret), self._clock_ms(), by)
            db.execute("INSERT INTO tokens VALUES (?, ?, ?, ?, ?)", row)
        return secret

    def remove_token(self, name: str, by: str) -> None:
        """Revoke a token. Raises Refused."""
        with self._file.writing() as db:
            if db.execute("SELECT 1 FROM tokens WHERE name = ?", (name,)).fetchone() is None:
                raise Refused("token_unknown", name=name)
            self._note(by, "token_revoked", token=name)
            db.execute("DELETE FROM tokens WHERE name = ?", (name,))

    def token(self, secret: str) -> Identity | None:
        """Return the machine that has this named token."""
        with self._file.reading() as db:
            row = db.execute("SELECT name, role FROM tokens WHERE hash = ?", (_digest(secret),)).fetchone()
        return Identity(f"token:{row[0]}", Role(row[1])) if row else None

    def _note(self, by: str, action: str, **facts: object) -> None:
        self._record(by, action, facts)
        log.info("%s by=%r %s", action, by, " ".join(f"{key}={value!r}" for key, value in facts.items()))


def _find(db: sqlite3.Connection, name: str) -> tuple[str, Role] | None:
    row = db.execute("SELECT name, role FROM users WHERE folded = ?", (_folded(name),)).fetchone()
    return (row[0], Role(row[1])) if row else None


def _known(db: sqlite3.Connection, name: str) -> tuple[str, Role]:
    found = _find(db, name)
    if found is None:
        raise Refused("user_unknown", name=name[:40])
    return found


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name.strip()).casefold()


def _admins_beside(db: sqlite3.Connection, name: str) -> int:
    query = "SELECT count(*) FROM users WHERE role = ? AND name <> ?"
    return int(db.execute(query, (Role.ADMIN.value, name)).fetchone()[0])


def _digest(secret: str) -> bytes:
    """Return what is stored of a secret of 256 random bits: nothing slower is needed to hide it."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()


def _mark(session: str, station_token: str) -> str:
    """Return a mark that changes with the station's token and does not tell it."""
    return (
        hmac.new(session.encode("utf-8", "replace"), station_token.encode(), "sha256").hexdigest()
        if station_token
        else ""
    )
