"""Hashing and rules of passwords: Argon2id (RFC 9106), one at a time."""

import threading
import unicodedata
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from linewatch.people.refusals import Refused

CHARACTERS_MIN = 8  # NIST SP 800-63B
CHARACTERS_MAX = 128
# OWASP's smallest parameters for Argon2id (19 MiB, 2 passes, 1 lane): about 30 ms of one of the line's cores.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
_ONE_AT_A_TIME = threading.Lock()
_EASY = frozenset({"password", "passwort", "12345678", "123456789", "1234567890", "qwertzui", "qwertyui"})
_EASY_BEGINNINGS = ("password", "passwort", "linewatch")


def check(password: str, name: str) -> None:
    """Raise Refused for a password that is too short, too long or easily guessed."""
    word = _normal(password)
    if len(word) < CHARACTERS_MIN:
        raise Refused("password_short", count=CHARACTERS_MIN)
    if len(word) > CHARACTERS_MAX:
        raise Refused("password_long", count=CHARACTERS_MAX)
    plain = word.casefold().rstrip("0123456789!.-_")
    easy = word.casefold() in _EASY or plain in _EASY_BEGINNINGS or len(set(word)) == 1
    if easy or plain == name.casefold() or word.casefold() == name.casefold():
        raise Refused("password_easy")


def hashed(password: str) -> str:
    """Return the hash to store, with its salt and parameters."""
    with _ONE_AT_A_TIME:
        return _HASHER.hash(_normal(password))


def matches(stored: str, password: str) -> bool:
    """Whether a password has this hash; an unknown user's `stored` is "", which takes as long to refuse."""
    word = _normal(password)[: CHARACTERS_MAX + 1]
    with _ONE_AT_A_TIME:
        try:
            return _HASHER.verify(stored or _no_ones(), word) and bool(stored)
        except (VerificationError, InvalidHashError):
            return False


def is_outdated(stored: str) -> bool:
    """Whether a hash was made with other parameters than those in use."""
    return _HASHER.check_needs_rehash(stored)


def _normal(password: str) -> str:
    """Return one form for characters that keyboards compose differently; undecodable input becomes "?"."""
    return unicodedata.normalize("NFKC", password).encode("utf-8", "replace").decode()


@cache
def _no_ones() -> str:
    return _HASHER.hash("of no user")
