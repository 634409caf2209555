import re
from pathlib import Path

import pytest

import linewatch.web
from linewatch.domain import Reason, Result, State
from linewatch.web.texts import ENGLISH

WEB = Path(linewatch.web.__file__).parent
SOURCES = {path.name: path.read_text() for path in [*WEB.glob("*.py"), *WEB.glob("templates/*.html")]}
CSS = (WEB / "static" / "page.css").read_text()


def test_reasons_states_and_results_have_texts() -> None:
    """Every result, reason and state has a text."""
    assert set(ENGLISH.reasons) == set(Reason)
    assert set(ENGLISH.states) == set(State)
    assert set(ENGLISH.results) == set(Result)


def test_every_text_is_used_and_every_used_text_exists() -> None:
    """No text is unused, and no page refers to a missing one."""
    sources = "".join(text for name, text in SOURCES.items() if name != "texts.py")
    named = set(re.findall(r"\bt\.(\w+)", sources)) | set(re.findall(r'(?:texts|_t)\["(\w+)"\]', sources))
    families = ("nav_", "actual_", "error_4", "error_5")  # Looked up by a computed name.

    assert named - set(ENGLISH.texts) - {"texts"} == set()
    unused = {key for key in set(ENGLISH.texts) - named if not key.startswith(families)}
    assert unused == set()


def test_templates_contain_no_words() -> None:
    """All words come from the texts, so that another language needs no change of templates."""
    for name, text in SOURCES.items():
        if name.endswith(".html"):
            source = re.sub(r"{% block page %}\w+{% endblock %}", "", text)  # A name, not a word.
            without_code = re.sub(r"{%.*?%}|{{.*?}}|{#.*?#}|<!--.*?-->|<[^>]*>", " ", source, flags=re.DOTALL)
            assert re.findall(r"[A-Za-z]{2,}", without_code) == [], name


def colours(block: str) -> dict[str, str]:
    """Return the colours among the custom properties of a CSS rule."""
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))


LIGHT = colours(CSS[: CSS.index("@media")])
DARK = LIGHT | colours(CSS[CSS.index("@media") : CSS.index("*, ::before")])


def luminance(colour: str) -> float:
    """Return the relative luminance of #rrggbb as defined by WCAG 2, 0 to 1."""
    levels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (level / 12.92 if level <= 0.04045 else ((level + 0.055) / 1.055) ** 2.4 for level in levels)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio as defined by WCAG 2, 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_every_pair_of_colours_meets_wcag_aa(theme: dict[str, str]) -> None:
    """Text has a contrast of 4.5 to 1 on every background, edges of controls 3 to 1."""
    words = ["ink", "dim", "blue", "pass-ink", "fail-ink", "unsure-ink", "error-ink", "idle-ink"]
    text = [(word, ground) for word in words for ground in ("card", "ground")]
    text += [("blue", "blue-tint"), ("ink", "blue-tint"), ("fail-ink", "over"), ("on-blue", "blue")]
    text += [("card", "fault")]

    for word, ground in text:
        assert contrast(theme[word], theme[ground]) >= 4.5, (word, ground)
    for fill in ("pass", "fail", "error", "idle"):
        assert contrast("#ffffff", theme[fill]) >= 4.5, fill
    assert contrast("#1d1400", theme["unsure"]) >= 4.5
    assert contrast(theme["field"], theme["card"]) >= 3
