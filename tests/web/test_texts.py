import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from string import Formatter
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from pydantic import ValidationError

import linewatch.web
from linewatch.domain import Reason, Result, State
from linewatch.settings import HttpSettings
from linewatch.web.texts import ENGLISH, FOLDER

WEB = Path(linewatch.web.__file__).parent
CODE = {str(path.relative_to(WEB)): path.read_text() for path in WEB.rglob("*.py")}
TEMPLATES = {str(path.relative_to(WEB)): path.read_text() for path in WEB.rglob("*.html")}
SCRIPTS = {path.name: path.read_text() for path in WEB.rglob("*.js")}
CSS = (WEB / "static" / "page.css").read_text()
FILES = {path.stem: path for path in FOLDER.glob("*.toml")}
OTHERS = sorted(FILES.keys() - {"en"})
SHOWN = "aria-label|aria-description|title|alt|placeholder|content|label"
"""Attributes whose values a person sees or hears."""


def tables(code: str) -> dict[str, Any]:
    """Return a language's file."""
    return tomllib.loads(FILES[code].read_text(encoding="utf-8"))


def placeholders(text: str) -> set[str]:
    """Return the names in braces."""
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def test_reasons_states_and_results_have_texts() -> None:
    """Every result, reason and state has a text."""
    assert set(ENGLISH.reasons) == set(Reason)
    assert set(ENGLISH.states) == set(State)
    assert set(ENGLISH.results) == set(Result)


@pytest.mark.parametrize("code", OTHERS)
def test_a_language_has_every_text_and_no_other(code: str) -> None:
    """The keys are those of English, table by table and in its order, so that two files compare easily."""
    english, other = tables("en"), tables(code)

    assert other.keys() == english.keys()
    for table in ("texts", "results", "states", "reasons"):
        assert other[table].keys() == english[table].keys(), table
        assert list(other[table]) == list(english[table]), table


@pytest.mark.parametrize("code", OTHERS)
def test_a_translation_takes_the_same_values(code: str) -> None:
    """A text that lacks {count} would hide it, one with a misspelt {cuont} would fail on the page."""
    english, other = tables("en")["texts"], tables(code)["texts"]

    assert {key: placeholders(text) for key, text in other.items()} == {
        key: placeholders(text) for key, text in english.items()
    }


@pytest.mark.parametrize("code", OTHERS)
def test_a_translation_is_not_the_english_text(code: str) -> None:
    """Sentences are translated; single words and names may be the same."""
    english, other = tables("en")["texts"], tables(code)["texts"]

    same = [key for key, text in other.items() if text == english[key] and text.count(" ") > 1]
    assert same == []


def test_a_missing_text_is_detected() -> None:
    """The test above would fail on a file that lacks a key."""
    english = tables("en")["texts"]

    assert english.keys() != (english.keys() - {"skip"})
    assert placeholders("{count} of {total}") == {"count", "total"}


def test_every_text_is_used_and_every_used_text_exists() -> None:
    """No text is unused, and no page refers to a missing one."""
    sources = "".join([*CODE.values(), *TEMPLATES.values()])
    named = set(re.findall(r"\bt\.(\w+)", sources)) | set(re.findall(r'(?:texts|_t)\["(\w+)"\]', sources))
    families = (  # Looked up by a computed name.
        *("nav_", "actual_", "role_", "refused_", "error_4", "error_5"),
        *("teach_step_", "teach_lead_", "teach_stage_", "teach_order_", "teach_detail_", "teach_roi_"),
        *("product_done_", "threshold_", "recall_in_", "history_export_"),
        *("promise_standing_", "promise_none_", "promise_broken_", "promise_false_", "promise_escapes"),
        *("study_stage_", "study_outcome_", "study_prospect_", "study_figure_", "study_how_", "study_is_"),
        *("study_with_", "study_truth_"),
    )

    assert named - set(ENGLISH.texts) - {"texts"} == set()
    unused = {key for key in set(ENGLISH.texts) - named if not key.startswith(families)}
    assert unused == set()


def literals(template: str) -> list[str]:
    """Return the words of a template that no language can change, in its text and in shown attributes."""
    source = re.sub(r"{% block (page|here) %}[\w/]+{% endblock %}", "", template)  # A name, not a word.
    source = re.sub(r'<(meta|link)\b(?:[^>"]|"[^"]*")*>', " ", source)
    source = re.sub(r"{%.*?%}|{{.*?}}|{#.*?#}|<!--.*?-->", " ", source, flags=re.DOTALL)
    shown = " ".join(re.findall(rf'\b(?:{SHOWN})="([^"]*)"', source))
    return re.findall(r"[A-Za-zÀ-ÿ]{2,}", re.sub(r"<[^>]*>", " ", source) + " " + shown)


@pytest.mark.parametrize("name", TEMPLATES)
def test_templates_contain_no_words(name: str) -> None:
    """All words come from the texts, so that another language needs no change of templates."""
    assert literals(TEMPLATES[name]) == []


def test_a_literal_word_is_detected() -> None:
    """In text, in a label for screen readers, and beside a value."""
    assert literals("<p>Last {{ count }} parts</p>") == ["Last", "parts"]
    assert literals('<nav aria-label="Pages">{{ t.skip }}</nav>') == ["Pages"]
    assert literals('<p class="note" id="x">{{ t.skip }}</p>') == []


def test_code_and_scripts_contain_no_sentences() -> None:
    """What code refuses with, and what a script shows, comes from the texts or from the station."""
    for name, source in CODE.items():
        assert re.findall(r'\babort\(\d+, f?"[^"]*"', source) == [], name
    for name, source in SCRIPTS.items():
        without_comments = re.sub(r"//.*", "", source)
        assert re.findall(r"""["'`][A-Z][a-z]+ [a-z]+[^"'`]*["'`]""", without_comments) == [], name


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ("", "en"), ("de", "de"), ("de-AT,de;q=0.9,en;q=0.8", "de"), ("fr,de;q=0.5,en;q=0.4", "de"),
        ("fr", "en"), ("en-GB", "en"), ("*", "en"), (";;q=x,,\u00e9", "en"),
    ],
)  # fmt: skip
def test_the_browser_chooses_the_language(client: FlaskClient, asked: str, shown: str) -> None:
    """By its Accept-Language; English where nothing fits."""
    page = client.get("/history", headers={"Accept-Language": asked}).text

    assert f'<html lang="{shown}">' in page
    assert {"en": "Older parts", "de": "Verlauf"}[shown] in page or shown == "en"


def test_a_person_s_choice_outlives_the_browser_s_wish(client: FlaskClient) -> None:
    """The switch at the end of every page sets a cookie and returns to the page."""
    chosen = client.post(
        "/language", data={"language": "de", "then": "/history?result=FAIL&from=2026-11-22T14%3A30"}
    )

    assert (chosen.status_code, chosen.headers["Location"]) == (
        303,
        "/history?result=FAIL&from=2026-11-22T14%3A30",
    )
    assert all(word in chosen.headers["Set-Cookie"] for word in ("HttpOnly", "SameSite=Lax", "Max-Age="))
    assert '<html lang="de">' in client.get("/history", headers={"Accept-Language": "en"}).text


@pytest.mark.parametrize("code", ["xx", "../de", "", "de\r\nX: y"])
def test_an_unknown_language_changes_nothing(client: FlaskClient, code: str) -> None:
    """Neither as a choice nor in a cookie."""
    chosen = client.post("/language", data={"language": code})
    assert chosen.status_code == 303 and "Set-Cookie" not in chosen.headers

    client.set_cookie("linewatch_language", code.strip())
    assert '<html lang="en">' in client.get("/history").text


def test_the_setting_chooses_for_browsers_without_a_choice(make_app: Callable[..., Flask]) -> None:
    """http.language comes before the browser's wish and after the person's choice."""
    client = make_app(http=HttpSettings(language="de")).test_client()

    assert '<html lang="de">' in client.get("/", headers={"Accept-Language": "en"}).text
    client.post("/language", data={"language": "en"})
    assert '<html lang="en">' in client.get("/").text


def test_an_unknown_language_in_the_settings_is_refused() -> None:
    """In one sentence that names those there are."""
    with pytest.raises(ValidationError, match="'fr' is not a language of the page; there are auto, de, en"):
        HttpSettings(language="fr")


def test_each_language_has_its_own_live_view(client: FlaskClient) -> None:
    """It is cached for all readers of one language, not across languages."""
    pages = [client.get("/", headers={"Accept-Language": code}).text for code in ("en", "de", "en", "de")]

    assert pages[0] != pages[1] and pages[0] == pages[2] and pages[1] == pages[3]
    assert "Last parts" in pages[0] and "Letzte Teile" in pages[1]


def test_numbers_and_dates_follow_the_language(client: FlaskClient) -> None:
    """A decimal comma, a dot between thousands, and the day first."""
    pages = ("/history/41/1", "/history/41/2")
    german = "".join(client.get(page, headers={"Accept-Language": "de"}).text for page in pages)
    english = "".join(client.get(page).text for page in pages)

    assert "21.09.2026" in german and "2026-09-21" in english
    assert "1.155" in german and "1,155" in english
    assert "2,310" in german and "2.310" in english


def test_errors_of_the_api_follow_the_language(client: FlaskClient) -> None:
    """Programs, which state no language, get English."""
    german = client.get("/api/verdicts?limit=x", headers={"Accept-Language": "de"}).get_json()
    english = client.get("/api/verdicts?limit=x").get_json()

    assert "ganze Zahl" in german["error"] and "whole number" in english["error"]


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


def test_numbers_follow_the_language_of_each_reader(client: FlaskClient) -> None:
    """Score and limit have the thousands sign of the page, also after one in another language."""
    pages = [client.get("/", headers={"Accept-Language": code}).text for code in ("en", "de", "en")]

    assert ["limit 1,000" in page for page in pages] == [True, False, True]
    assert ["Grenzwert 1.000" in page for page in pages] == [False, True, False]
