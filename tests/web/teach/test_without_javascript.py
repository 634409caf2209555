"""The whole way of an engineer and an admin in a browser without scripts; skipped where there is none."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest

from linewatch.models.bundle import active_version, trial_version, versions
from linewatch.models.recipe_file import regions_of
from linewatch.people.people import People
from linewatch.web import WebServer, create_app
from linewatch.web.backend import ProductInfo
from linewatch.web.teach.teach_backend import TeachBackend
from tests.browser import CHROMIUM, Browser
from tests.fakes import FakeBackend
from tests.web.client import PASSWORD, TOKEN, people_with
from tests.web.teach.taught_station import lay_out, picture

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; apt-get install chromium"),
    pytest.mark.timeout(180),
]


class Plain:
    """A browser without scripts: it fills in fields, unfolds, and presses buttons."""

    def __init__(self, browser: Browser, address: str) -> None:
        self.browser, self.address = browser, address

    def open(self, path: str) -> None:
        """Go to a page."""
        self.browser.open(self.address + path)

    def fill(self, **fields: object) -> None:
        """Type into fields, by their id or name."""
        for name, value in fields.items():
            found = f"(document.querySelector('#{name}') ?? document.querySelector('[name={name}]'))"
            self.browser.ask(f"{found}.value = {json.dumps(str(value))}")

    def press(self, selector: str) -> str:
        """Press a button that can be seen once its fold is open, and return what the page then says."""
        self.browser.ask("for (const folded of document.querySelectorAll('details')) folded.open = true")
        seen = self.browser.ask(f"document.querySelector({selector!r})?.offsetParent != null")
        assert seen, f"{selector} cannot be pressed on {self.browser.ask('location.pathname')}"
        self.browser.submit(selector)
        return self.text

    @property
    def text(self) -> str:
        """What the page says."""
        return str(self.browser.ask("document.querySelector('main').innerText"))

    @property
    def path(self) -> str:
        """The address of the page."""
        return str(self.browser.ask("location.pathname"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start a browser."""
    with Browser() as browser:
        yield browser


@pytest.fixture
def people() -> People:
    """One user for each role."""
    return people_with()


@pytest.fixture
def teaching(tmp_path: Path, backend: FakeBackend) -> TeachBackend:
    """Return what teaches at a station whose list of products has the new one already."""
    found = lay_out(tmp_path, backend)
    backend.product_infos = [*backend.product_infos, ProductInfo("mug", 9, "", 0.0, 0.0)]
    return found


@pytest.fixture
def plain(
    browser: Browser, backend: FakeBackend, teaching: TeachBackend, people: People, tmp_path: Path
) -> Iterator[Plain]:
    """Serve the station to a browser without scripts."""
    browser.look(1180, 820)
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    shown = backend, lambda: (b"", "text/plain"), TOKEN, tmp_path / "evidence"
    with WebServer(create_app(*shown, teaching=teaching, people=people), "127.0.0.1", 0) as server:
        yield Plain(browser, server.address.rstrip("/"))
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
        browser.open("about:blank")
    browser.call("Network.clearBrowserCookies")


def sign_in(plain: Plain, user: str, then: str) -> None:
    """Sign in with the form."""
    plain.open(f"/sign-in?then={then}")
    plain.fill(user=user, password=PASSWORD)
    plain.press(".sign-in button")
    assert plain.path == then


def test_a_product_is_begun_and_its_pictures_are_collected(
    plain: Plain, teaching: TeachBackend, tmp_path: Path
) -> None:
    """Name, area and regions by numbers, frames, uploads, reviewed parts."""
    cv2.imwrite(str(tmp_path / "photo.png"), picture(5, (240, 320)))
    sign_in(plain, "engineer", "/teach")
    plain.fill(product="mug", index=9)
    plain.press("form[action='/teach'] button")
    assert plain.path == "/teach/mug/look"
    plain.fill(x=100, y=50, width=1000, height=800)
    assert "saved in the recipe" in plain.press(".area button.big")
    plain.browser.ask("document.querySelector('.regions').scrollIntoView()")
    for name, value in {
        "name": "Rand",
        "x": 120,
        "y": 80,
        "width": 200,
        "height": 100,
        "percent": 70,
    }.items():
        plain.browser.ask(f"document.querySelector('.regions [name={name}]').value = '{value}'")
    assert "regions are saved" in plain.press(".regions button.big")
    assert [(one.name, one.roi, one.factor) for one in regions_of(tmp_path / "recipes", "mug")] == [
        ("Rand", (120, 80, 200, 100), 0.7)
    ]
    plain.open("/teach/mug/collect")
    assert "The image is kept" in plain.press("button[value=one]")
    plain.fill(count=3)
    assert "Collecting: 0 of 3" in plain.press("button[value=start]")
    assert plain.browser.ask("document.querySelector('meta[http-equiv=refresh]') !== null")
    plain.press("button[value=stop]")
    plain.browser.choose_file("#image", tmp_path / "photo.png")
    assert "pictures are added" in plain.press("form[enctype] button[type=submit]")
    assert "are added" in plain.press("button[value=reviewed]")
    assert teaching.places("mug")["train/good"] == 2


def test_pictures_are_sorted_out_learnt_and_a_version_is_used(
    plain: Plain, teaching: TeachBackend, tmp_path: Path
) -> None:
    """Left out, predicted, taken back, deleted; learning begun and cancelled; every change of a version."""
    sign_in(plain, "engineer", "/teach/demo/sort")
    first = plain.browser.ask("document.querySelector('.thumbs input').value")
    choose = "document.querySelector('.thumbs input').checked = true"
    plain.browser.ask(choose)
    assert "%" in plain.press("button[value=predict]") and "Left out: 1" in plain.text
    assert plain.browser.ask("document.querySelector('.thumbs input:checked').value") == first
    plain.press("button[name=to][value=left_out]")
    assert first in teaching._datasets.names("demo", "left_out")
    plain.open("/teach/demo/sort?place=left_out")
    plain.browser.ask(choose)
    plain.press("button[name=to][value='train/good']")
    plain.browser.ask(choose)
    plain.press("button[value=remove]")
    assert teaching._datasets.names("demo", "left_out") == []

    plain.open("/teach/demo/learn")
    plain.fill(percent=2, detail="coarse")
    plain.press("button[value=learn]")
    assert teaching.learning().running
    assert plain.browser.ask("document.querySelector('meta[http-equiv=refresh]') !== null")
    assert "Cancelled" in plain.press("button[value=cancel]")

    models = tmp_path / "models"
    used, tried = active_version(models, "demo"), trial_version(models, "demo")
    plain.open("/teach/demo/judge")
    assert tried in plain.text
    plain.open("/teach/demo/activate")
    assert "The version is active" in plain.press("button[value=activate]")
    assert active_version(models, "demo") == tried
    plain.press("button[value=rollback]")
    assert active_version(models, "demo") == used
    if not trial_version(models, "demo"):
        plain.press(f"#v-{tried} button[value=try]")
    assert "The trial has ended" in plain.press("button[value=discard]")
    plain.press(f"#v-{tried} button[value=try]")
    assert trial_version(models, "demo") == tried
    plain.press("button[value=promote]")
    assert active_version(models, "demo") == tried and trial_version(models, "demo") == ""

    plain.open("/products/demo/threshold")
    plain.fill(threshold="1,1")
    assert "change sides" in plain.press("form.slider button")
    plain.press(".switch form button")
    assert len(versions(models, "demo")) == 4
    assert "saved as a version of its own" in plain.text


def test_people_the_own_password_and_the_language(plain: Plain, people: People) -> None:
    """Added, changed and removed; tokens issued and revoked; German; signed out."""
    sign_in(plain, "admin", "/people")
    plain.fill(user="ben", password=PASSWORD)
    plain.press("form[action='/people/users'] button")
    assert people.knows("ben", PASSWORD) == "ben"
    plain.browser.ask(
        "document.querySelector(\"form[action='/people/users/ben/role'] select\").value = 'engineer'"
    )
    plain.press("form[action='/people/users/ben/role'] button")
    assert ("ben", "engineer") in [(user.name, user.role) for user in people.users()]
    plain.browser.ask(
        "document.querySelector(\"form[action='/people/users/ben/password'] [type=password]\").value"
        " = 'another long phrase'"
    )
    plain.press("form[action='/people/users/ben/password'] button")
    assert people.knows("ben", "another long phrase")
    plain.press("form[action='/people/users/ben/remove'] button")
    assert "ben" not in [user.name for user in people.users()]
    plain.fill(token="mes")
    text = plain.press("form[action='/people/tokens'] button")
    secret = re.search(r"[\w-]{30,}", text)
    assert secret is not None and people.token(secret[0]) is not None
    plain.press("form[action='/people/tokens/mes/remove'] button")
    assert people.token(secret[0]) is None

    plain.open("/account")
    plain.fill(present=PASSWORD, password="a third long phrase")
    plain.press("form[action='/account/password'] button")
    assert people.knows("admin", "a third long phrase")
    plain.press(".foot [value=de]")
    assert plain.browser.ask("document.documentElement.lang") == "de" and plain.path == "/account"
    plain.press("main form[action='/sign-out'] button")
    assert plain.browser.ask("document.querySelector('.person').textContent.trim()") == "Anmelden"


def test_what_needs_a_script_is_not_offered(plain: Plain) -> None:
    """Drawing and the slider; their fields are there."""
    sign_in(plain, "engineer", "/teach/demo/look")
    hidden = ["canvas", ".tools", ".brush", "[data-region=add]"]
    assert [
        one for one in hidden if plain.browser.ask(f"document.querySelector('{one}').offsetParent != null")
    ] == []
    assert plain.browser.ask("document.querySelector('#x').offsetParent != null")
    plain.open("/products/demo/threshold")
    assert plain.browser.ask("document.querySelector('[type=range]').offsetParent") is None
    assert plain.browser.ask("document.querySelector('#threshold').offsetParent != null")
