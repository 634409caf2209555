"""The page's texts in each language, and the choice of the language for a request.

A language is one file, `languages/CODE.toml`; a file that is added there is offered on the page.
The reasons for this form: docs/decisions/0008-languages.md.
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from flask import g, has_request_context, request

from linewatch.domain import Reason, Result, State

FOLDER = Path(__file__).parent / "languages"
DEFAULT = "en"


@dataclass(frozen=True, slots=True)
class Language:
    """All texts in one language, and its way of writing numbers and dates."""

    code: str  # BCP 47, as in `<html lang>`.
    name: str  # As the language calls itself.
    decimal_sign: str
    thousands_sign: str
    date: str  # As of strftime.
    texts: Mapping[str, str]
    results: Mapping[Result, str]
    reasons: Mapping[Reason, str]
    states: Mapping[State, str]


@cache
def languages() -> Mapping[str, Language]:
    """Return every language by its code, English first."""
    codes = sorted((path.stem for path in FOLDER.glob("*.toml")), key=lambda code: (code != DEFAULT, code))
    return MappingProxyType({code: _read(code) for code in codes})


def _read(code: str) -> Language:
    """Read a file; what a language lacks is English."""
    found = _tables(code)
    base = _tables(DEFAULT)
    texts, results, reasons, states = (
        {**base[table], **found.get(table, {})} for table in ("texts", "results", "reasons", "states")
    )
    return Language(
        code=code,
        name=found["name"],
        decimal_sign=found["decimal_sign"],
        thousands_sign=found["thousands_sign"],
        date=found["date"],
        texts=texts,
        results={Result(name): text for name, text in results.items()},
        reasons={Reason(int(number)): text for number, text in reasons.items()},
        states={State(name): text for name, text in states.items()},
    )


@cache
def _tables(code: str) -> dict[str, Any]:
    return tomllib.loads((FOLDER / f"{code}.toml").read_text(encoding="utf-8"))


ENGLISH = languages()[DEFAULT]


class Languages:
    """Chooses the language of a request: the person's choice, else the setting, else the browser's wish."""

    def __init__(self, setting: str = "auto", cookie: str = "linewatch_language") -> None:
        self._setting = setting
        self.cookie = cookie

    @property
    def current(self) -> Language:
        """The language of the current request; outside of one that of the setting."""
        if not has_request_context():
            return languages().get(self._setting, ENGLISH)
        if "language" not in g:
            g.language = self._choose()
        chosen: Language = g.language
        return chosen

    @property
    def texts(self) -> Mapping[str, str]:
        """The texts in the language of whichever request looks one up."""
        return _CurrentTexts(self)

    def _choose(self) -> Language:
        known = languages()
        for code in (request.cookies.get(self.cookie, ""), self._setting):
            if code in known:
                return known[code]
        return known[request.accept_languages.best_match(known, DEFAULT) or DEFAULT]


class _CurrentTexts(Mapping[str, str]):
    def __init__(self, chosen: Languages) -> None:
        self._chosen = chosen

    def __getitem__(self, key: str) -> str:
        return self._chosen.current.texts[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._chosen.current.texts)

    def __len__(self) -> int:
        return len(self._chosen.current.texts)
