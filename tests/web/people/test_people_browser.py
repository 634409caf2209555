"""Signing in and managing users in a real browser; skipped where there is none."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from linewatch.people.people import People
from linewatch.people.roles import Role
from linewatch.web import WebServer, create_app
from tests.browser import CHROMIUM, Browser
from tests.fakes import FakeBackend
from tests.web.client import PASSWORD, TOKEN, people_with

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; apt-get install chromium")

IMAGE = cv2.imencode(".png", np.zeros((64, 64, 3), np.uint8))[1].tobytes()
UNFOLD = "for (const folded of document.querySelectorAll('details')) folded.open = true"
SMALL = (
    "[...document.querySelectorAll("
    "'button, .button, nav a, .person, summary, input:not([type=hidden]), select')]"
    ".filter((e) => e.offsetParent && e.getBoundingClientRect().height < 44).map((e) => e.outerHTML)"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start one browser for all tests."""
    with Browser() as browser:
        yield browser


@pytest.fixture
def people() -> People:
    """One user for each role, and a machine."""
    people = people_with()
    people.add_user("christiane.oberhuber-lang@werk2", PASSWORD, Role.OPERATOR, "admin")
    people.add_token("mes-halle-3", Role.OPERATOR, "admin")
    return people


@pytest.fixture
def address(browser: Browser, backend: FakeBackend, people: People, tmp_path: Path) -> Iterator[str]:
    """Serve the page, with the images that its parts name, and return its address."""
    for row in backend.rows.values():
        for name in (row.verdict.image, row.verdict.heatmap):
            if name:
                (tmp_path / name).write_bytes(IMAGE)
    browser.errors.clear()
    browser.look(1280, 800)
    app = create_app(backend, lambda: (b"", "text/plain"), TOKEN, tmp_path, people=people)
    with WebServer(app, "127.0.0.1", 0) as server:
        yield server.address.rstrip("/")
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
        browser.open("about:blank")
    browser.call("Network.clearBrowserCookies")


def sign_in(browser: Browser, address: str, user: str) -> None:
    """Sign in on the page for it."""
    browser.open(address + "/sign-in?then=/account")
    browser.ask(f"document.querySelector('#user').value = {user!r}")
    browser.ask(f"document.querySelector('#password').value = {PASSWORD!r}")
    browser.submit(".sign-in button")


@pytest.mark.parametrize("language", ["en", "de"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_pages_fit_a_phone_and_a_glove_and_are_accessible(
    browser: Browser, address: str, dark: bool, language: str
) -> None:
    """At 360 and at 1280 pixels: nothing is cut off, every control is large, and axe finds nothing."""
    sign_in(browser, address, "admin")
    for width in (360, 1280):
        browser.look(width, 740, dark=dark, phone=width == 360)
        for page in ("/account", "/people", "/sign-in", "/history/41/2", "/review", "/"):
            browser.open(address + page)
            browser.submit(f".foot [value={language}]")
            browser.ask(UNFOLD)
            assert browser.ask("document.documentElement.lang") == language
            assert browser.ask("document.documentElement.scrollWidth") <= width, page
            assert browser.ask(SMALL) == [], page
            assert browser.barriers() == [], page
    assert browser.errors == []


def test_an_admin_manages_people_without_javascript(browser: Browser, address: str, people: People) -> None:
    """Signing in, a wrong password, adding a user, issuing a token, signing out."""
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    sign_in(browser, address, "admin")
    browser.submit("main a.button[href$='/people']")
    browser.ask(UNFOLD)
    browser.ask("document.querySelector('#user').value = 'ben'")
    browser.ask(f"document.querySelector('#password').value = {PASSWORD!r}")
    browser.submit("form[action='/people/users'] button")

    assert people.knows("ben", PASSWORD) == "ben"
    assert "Done." in browser.ask("document.body.innerText")
    browser.ask("document.querySelector('#token').value = 'plc-7'")
    browser.submit("form[action='/people/tokens'] button")
    secret = browser.ask("document.querySelector('.secret').textContent")
    assert people.token(secret) is not None

    browser.open(address + "/account")
    browser.submit("form[action='/sign-out'] button")
    assert browser.ask("document.querySelector('.person').textContent.trim()") == "Sign in"


def test_after_a_wrong_password_the_form_is_there_again(browser: Browser, address: str) -> None:
    """One sentence, and the page that was asked for is not lost."""
    browser.open(address + "/sign-in?then=/products")
    for password in ("wrong password", PASSWORD):
        browser.ask("document.querySelector('#user').value = 'operator'")
        browser.ask(f"document.querySelector('#password').value = {password!r}")
        browser.submit(".sign-in button")
        if password != PASSWORD:
            assert "Name or password is wrong" in browser.ask("document.body.innerText")

    assert browser.ask("location.pathname") == "/products"
