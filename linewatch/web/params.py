"""What a request asks for: untrusted words turned into a `Query`, or refused with one sentence."""

import re
import unicodedata
from collections.abc import Mapping
from datetime import datetime
from typing import TypeVar

from flask import abort
from werkzeug.routing import BaseConverter

from linewatch.domain import Reason, Result
from linewatch.identifiers import NAME
from linewatch.web.backend import Actual, Query

LIMIT_MAX = 1000
NOTE_CHARACTERS_MAX = 500

_BEFORE = re.compile(r"([0-9]{1,10})[-/:,]([0-9]{1,10})", re.ASCII)
_MILLISECONDS = re.compile(r"[0-9]{1,13}", re.ASCII)

Words = Mapping[str, str]
T = TypeVar("T")


class Ordinal(BaseConverter):
    """A boot or sequence number in a path: at most ten digits, as on the wire."""

    regex = "[0-9]{1,10}"
    part_isolating = True

    def to_python(self, value: str) -> int:
        """Return the number."""
        return int(value)


def read_query(args: Words, texts: Words, *, limit: int) -> Query:
    """Read limit, before, result, product, reason, from and to; aborts with 400 on anything else.

    An empty word means: not given. `result` may name several, joined by commas.
    """
    return Query(
        limit=_read_limit(args.get("limit", ""), texts, limit),
        before=_read_before(args.get("before", ""), texts),
        results=_read_results(args.get("result", ""), texts),
        product=_read_product(args.get("product", ""), texts),
        reason=_read_reason(args.get("reason", ""), texts),
        since_ms=_read_time(args.get("from", ""), texts),
        until_ms=_read_time(args.get("to", ""), texts),
    )


def read_review(fields: Mapping[str, object], texts: Words) -> tuple[Actual, str]:
    """Read `actual` and `note`; aborts with 400."""
    actual, note = fields.get("actual"), fields.get("note", "")
    if actual not in list(Actual):
        abort(400, texts["error_actual"])
    if not isinstance(note, str) or len(note) > NOTE_CHARACTERS_MAX or not _is_plain(note):
        abort(400, texts["error_note"])
    return Actual(str(actual)), note.strip()


def _is_plain(text: str) -> bool:
    """Whether a text can be stored and shown: no control characters, no half of a surrogate pair."""
    return all(unicodedata.category(letter) not in ("Cc", "Cs") for letter in text)


def _read_limit(word: str, texts: Words, default: int) -> int:
    if not word:
        return default
    if not (word.isascii() and word.isdigit() and len(word) <= 4 and 1 <= int(word) <= LIMIT_MAX):
        abort(400, texts["error_limit"])
    return int(word)


def _read_before(word: str, texts: Words) -> tuple[int, int] | None:
    if not word:
        return None
    found = _BEFORE.fullmatch(word)
    if found is None:
        abort(400, texts["error_before"])
    return int(found[1]), int(found[2])


def _read_results(word: str, texts: Words) -> frozenset[Result]:
    names = {name.upper() for name in word.split(",")} if word else set()
    if not names <= set(Result):
        abort(400, texts["error_result"])
    return frozenset(Result(name) for name in names)


def _read_product(word: str, texts: Words) -> str:
    if word and not NAME.fullmatch(word):
        abort(400, texts["error_product_name"])
    return word


def _read_reason(word: str, texts: Words) -> Reason | None:
    if not word:
        return None
    if word not in {str(int(reason)) for reason in Reason}:
        abort(400, texts["error_reason"])
    return Reason(int(word))


def _read_time(word: str, texts: Words) -> int | None:
    """Read UTC milliseconds, or a date and time that is local unless it names its zone."""
    if not word:
        return None
    if _MILLISECONDS.fullmatch(word) and len(word) > 8:
        return int(word)
    try:
        return round(datetime.fromisoformat(word).timestamp() * 1000)
    except (ValueError, OverflowError, OSError):
        abort(400, texts["error_time"])
