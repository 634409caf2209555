"""The report of a shift as one HTML file without scripts: to keep, to send, and to print from a browser."""

import base64
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from linewatch.domain import Result
from linewatch.reporting.figures import ShiftFigures
from linewatch.web.formatting import Formatter
from linewatch.web.texts import Language, Languages, languages

FOLDER = Path(__file__).parent.parent


def shift_document(
    figures: ShiftFigures, pictures: Sequence[bytes], language: str, *, with_changes: bool = True
) -> str:
    """Return the file; `pictures` has the heatmap of each product as JPEG or b"", `language` is a code."""
    chosen = languages()[language]
    html: str = _template(language).render(
        t=chosen.texts,
        language=chosen,
        results=list(Result),
        report=figures,
        pictures=[_data_address(jpeg) for jpeg in pictures],
        with_changes=with_changes,
        styles=Markup("").join(Markup(_style(name)) for name in ("page.css", "report.css")),
    )
    return html


@cache
def _template(language: str) -> Template:
    environment = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    Formatter(_Only(languages()[language])).register(environment)
    return environment.get_template("shifts/file.html")


class _Only(Languages):
    """One language, whatever a request prefers."""

    def __init__(self, language: Language) -> None:
        super().__init__(language.code)
        self._language = language

    @property
    def current(self) -> Language:
        return self._language


@cache
def _style(name: str) -> str:
    return (FOLDER / "static" / name).read_text(encoding="utf-8")


def _data_address(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}" if jpeg else ""
