"""Every page of Teach, Product and people in a real browser, in every state; skipped where there is none.

With TEACH_SHOTS=FOLDER each of them is saved as PNG.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from linewatch.people.people import People
from linewatch.teaching import Collecting, LearningStage, LearningState
from linewatch.web import WebServer, create_app
from linewatch.web.people.rights import RIGHTS
from linewatch.web.teach.teach_backend import TeachBackend
from tests.browser import CHROMIUM, Browser
from tests.fakes import FakeBackend
from tests.web.client import PASSWORD, TOKEN, people_with
from tests.web.teach.taught_station import lay_out, learning_is

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; apt-get install chromium"),
    pytest.mark.timeout(300),
]
SHOTS = os.environ.get("TEACH_SHOTS", "")
BYTES_MAX = 300_000
HIGH_PX = 44
UNFOLD = "for (const folded of document.querySelectorAll('details')) folded.open = true"
SMALL = (
    "[...document.querySelectorAll('button, .button, nav a, .person, summary, select, .steps a, .whole, "
    "input:not([type=hidden]):not([type=checkbox]):not([type=range]), .pick')]"
    ".filter((e) => e.offsetParent && e.getBoundingClientRect().height < 44).map((e) => e.outerHTML)"
)
# Words that do not fit, controls beside the screen, figures broken into single digits.
CUT = (
    "[...document.querySelectorAll('main :is(button, .button, h1, h2, h3, dt, dd, p, summary, label, .tag), "
    ".effect :is(td, th), nav a, .top > *')]"
    ".filter((e) => e.offsetParent !== null || getComputedStyle(e).position === 'fixed')"
    ".filter((e) => !e.matches('.hidden') && getComputedStyle(e).display !== 'inline')"
    ".filter((e) => e.scrollWidth > e.clientWidth + 1 || e.getBoundingClientRect().right > innerWidth + 1 || "
    "(e.closest('.effect') && e.getBoundingClientRect().right > "
    "e.closest('.table').getBoundingClientRect().right + 1) || "
    "(e.matches('dd') && e.innerText.length < 12 && (() => { const words = document.createRange(); "
    "words.selectNodeContents(e); return words.getBoundingClientRect().height > "
    "1.5 * parseFloat(getComputedStyle(e).lineHeight); })()))"
    ".map((e) => e.outerHTML.slice(0, 200))"
)
# Without what the page fetches again and again later: the live picture, and what changed.
FIRST_VIEW = (
    "[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]"
    ".filter((e) => e.initiatorType !== 'fetch' && !e.name.includes('?at='))"
    ".reduce((sum, e) => sum + e.transferSize, 0)"
)
SEEN = (
    "[...document.images].every((e) => e.complete ? e.naturalWidth > 0 : "
    "e.loading === 'lazy' && e.getBoundingClientRect().top > innerHeight)"
)
STEPS = ("look", "collect", "sort", "learn", "judge", "activate")
PAGES = {
    # Rule of the route -> addresses of it.
    "/teach": ["/teach"],
    "/teach/archive": ["/teach/archive"],
    **{f"/teach/<product>/{step}": [f"/teach/demo/{step}", f"/teach/cup/{step}"] for step in STEPS},
    "/teach/<product>/regions": ["/teach/demo/regions"],
    "/products/<product>": ["/products/demo", "/products/cup"],
    "/products/<product>/threshold": [
        "/products/demo/threshold",
        "/products/demo/threshold?threshold=1.1",
        "/products/demo/threshold?threshold=x",
        "/products/cup/threshold",
    ],
    "/people": ["/people"],
    "/account": ["/account"],
    "/sign-in": ["/sign-in?then=/teach"],
}
PAGES["/teach/<product>/sort"] += [
    "/teach/demo/sort?order=alike",
    "/teach/demo/sort?place=left_out",
    "/teach/demo/sort?place=test/Kratzer",
]
DOCUMENTS = ("/products/<product>/trial", "/products/<product>/<version>/measured")
"""Reports: files to keep, with their images in them, made of a version and the same in every language."""

IMAGES = ("/teach/frame.jpg", "/teach/<product>/thumbnail", "/teach/<product>/image", "/teach/<product>/map")
LOOKS = {
    "light phone German": (390, 844, False, "de"),
    "dark tablet English": (1180, 820, True, "en"),
    "light tablet German": (1180, 820, False, "de"),
    "dark phone English": (390, 844, True, "en"),
}


class Station:
    """The pages of a station in a browser."""

    def __init__(self, browser: Browser, address: str, teaching: TeachBackend, folder: Path) -> None:
        self.browser, self.address, self.teaching, self.folder = browser, address, teaching, folder
        self.shots = 0

    def look(self, name: str) -> None:
        """Choose size, colours and language."""
        width, height, dark, language = LOOKS[name]
        self.browser.look(width, height, dark=dark, phone=width < 500)
        self.browser.call("Network.setExtraHTTPHeaders", headers={"Accept-Language": language})

    def sign_in(self, user: str = "admin") -> None:
        """Sign in on the page for it."""
        self.browser.open(self.address + "/sign-in?then=/account")
        self.browser.ask(f"document.querySelector('#user').value = {user!r}")
        self.browser.ask(f"document.querySelector('#password').value = {PASSWORD!r}")
        self.browser.submit(".sign-in button")

    def open(self, path: str) -> None:
        """Go to a page and wait until what is visible is there."""
        self.browser.open(self.address + path)
        self.browser.wait_for(SEEN)

    def faults(self, name: str, *, axe: bool = True) -> list[str]:
        """Return what is wrong with the page that is open."""
        browser = self.browser
        browser.ask(UNFOLD)
        if SHOTS:
            self.shots += 1
            browser.screenshot(
                Path(SHOTS) / f"{self.shots:02d} {name.replace('/', ' ')}.png", whole_page=True
            )
        found = browser.barriers() if axe else []
        found += [f"lower than {HIGH_PX} px: {one}" for one in browser.ask(SMALL)]
        found += [f"cut off: {one}" for one in browser.ask(CUT)]
        wide, room = browser.ask("[document.documentElement.scrollWidth, innerWidth]")
        found += [f"{wide} px wide"] if wide > room else []
        # A 4xx is an entry of its own in the browser's log, and no fault of the page.
        found += [one for one in browser.errors if "status of 4" not in one]
        browser.errors.clear()
        return found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start one browser for all tests."""
    with Browser() as browser:
        yield browser


@pytest.fixture
def serve(browser: Browser, backend: FakeBackend, tmp_path: Path) -> Iterator[Callable[..., Station]]:
    """Return a function that serves a station with a product that was taught."""
    servers: list[WebServer] = []

    def start(people: People | None = None) -> Station:
        teaching = lay_out(tmp_path, backend)
        app = create_app(
            backend,
            lambda: (b"", "text/plain"),
            TOKEN,
            tmp_path / "evidence",
            teaching=teaching,
            people=people or people_with(),
        )
        servers.append(WebServer(app, "127.0.0.1", 0).__enter__())
        return Station(browser, servers[0].address.rstrip("/"), teaching, tmp_path)

    browser.errors.clear()
    yield start
    browser.call("Network.setExtraHTTPHeaders", headers={})
    browser.open("about:blank")
    browser.call("Network.clearBrowserCookies")
    for server in servers:
        server.__exit__(None, None, None)


def test_every_page_is_in_the_list() -> None:
    """A page that is added has to be looked at, too."""
    ours = {
        rule
        for method, rule in RIGHTS
        if method == "GET" and rule.startswith(("/teach", "/products/", "/people", "/account", "/sign-in"))
    }
    of_other_pages = {"/products/<product>/<version>/report", "/products/<product>/<version>/good.png"}

    assert ours == {*PAGES, *DOCUMENTS, *IMAGES, *of_other_pages}


@pytest.mark.parametrize(("look", "axe"), list(zip(LOOKS, (True, True, False, False), strict=True)))
def test_every_page_is_accessible_and_fits(serve: Callable[..., Station], look: str, axe: bool) -> None:
    """Axe finds nothing, nothing is cut off, controls are large, and the console has no error."""
    station = serve()
    station.look(look)
    station.sign_in()
    found = {}
    for address in [one for addresses in PAGES.values() for one in addresses]:
        station.open(address)
        found[address] = station.faults(f"{address} {look}", axe=axe)
    station.browser.call("Network.clearBrowserCookies")
    for address in ("/teach", "/teach/demo/collect", "/teach/demo/sort", "/products/demo", "/sign-in"):
        station.open(address)
        found[f"{address} signed out"] = station.faults(f"{address} signed out {look}", axe=axe)

    assert {address: faults for address, faults in found.items() if faults} == {}


@pytest.mark.parametrize("look", list(LOOKS)[:2])
def test_pages_are_accessible_while_something_runs_and_after_it_failed(
    serve: Callable[..., Station], monkeypatch: pytest.MonkeyPatch, look: str
) -> None:
    """Collecting and learning at work, of this product and another one, ended in every way; no extra."""
    station = serve()
    station.look(look)
    station.sign_in("engineer")
    collector, learning = station.teaching._collector, station.teaching._learning
    assert collector is not None
    found = {}

    def check(page: str, state: str) -> None:
        station.open(page)
        found[f"{page} {state}"] = station.faults(f"{page} {state} {look}")

    for state, collecting in {
        "running": Collecting("demo", "train/good", 40, 12, 31, enough=True, running=True),
        "of another": Collecting("cup", "train/good", 40, 12, running=True),
        "failed": Collecting("demo", "train/good", 40, 12, trouble="the disk is full; make room"),
    }.items():
        collector._state = collecting
        check("/teach/demo/collect", state)
    for stage in ("done", "failed", "cancelled", "interrupted"):
        learning_is(station.folder, outcome=stage, sentence="So it is.", version="0a1b2c3d")
        check("/teach/demo/learn", stage)
    states = LearningState(LearningStage.RUNNING, "demo", "extracting features", 0.4, log=("  3 s  step",))
    monkeypatch.setattr(learning, "state", lambda: states)
    for page in ("/teach", "/teach/demo/learn", "/teach/cup/learn"):
        check(page, "while learning")
    monkeypatch.setattr(learning, "unavailable", lambda: "Learning needs the extra [train]")
    check("/teach/demo/learn", "without the extra")
    collector._latest = None
    station.teaching._frame._cached = None
    check("/teach/demo/look", "without a frame")

    assert {address: faults for address, faults in found.items() if faults} == {}


REFUSED: tuple[tuple[str, dict[str, str], str], ...] = (
    # Page, what is typed (selector -> value), the button.
    ("/teach", {"#product": "demo", "#index": "2"}, "form[action='/teach'] button"),
    ("/teach/demo/look", {"#x": "1270", "#y": "0", "#width": "300", "#height": "300"}, ".area button.big"),
    ("/teach/demo/look", {"fieldset [name=x]": "1270"}, ".regions button.big"),
    ("/teach/demo/collect", {"#where-kind": "a/b"}, "button[value=start]"),
    ("/teach/demo/sort", {}, "button[value=left_out]"),
    ("/teach/cup/learn", {"#percent": "2"}, "button[value=learn]"),
    ("/products/demo/threshold?threshold=3.9", {}, ".switch form button"),
    ("/people", {"#user": "ben", "#password": "ben"}, "form[action='/people/users'] button"),
    ("/account", {"#present": "no", "#password": "another long phrase"}, ".person-form button"),
)


@pytest.mark.parametrize("look", list(LOOKS)[:2])
def test_refused_forms_are_accessible(serve: Callable[..., Station], look: str) -> None:
    """Each with its sentence in an alert on its own page."""
    station = serve()
    station.look(look)
    station.sign_in()
    found = {}
    for page, fields, button in REFUSED:
        station.open(page)
        station.browser.ask(UNFOLD)
        station.browser.ask("for (const form of document.forms) form.noValidate = true")
        for selector, value in fields.items():
            station.browser.ask(f"document.querySelector({selector!r}).value = {value!r}")
        station.browser.submit(button)
        assert station.browser.ask("document.querySelector('main .note.bad[role=alert]') !== null"), page
        found[f"{page} {button}"] = station.faults(f"{page} refused {button[:8]} {look}")

    assert {address: faults for address, faults in found.items() if faults} == {}


def test_every_first_view_is_small(serve: Callable[..., Station]) -> None:
    """With frames of 1.2 megapixels and evidence of 1 MB each; nothing in the browser's cache."""
    station = serve()
    station.look("dark tablet English")
    station.sign_in()
    station.browser.call("Network.setCacheDisabled", cacheDisabled=True)
    moved = "/products/demo/threshold?threshold=1.1"
    for page in (moved, "/teach/demo/sort", "/teach/demo/sort?order=alike"):  # Once their images are made.
        station.open(page)
        station.browser.wait_for("document.querySelectorAll('.shots img, .thumbs img').length > 20")
    loaded = {}
    for address in [one for addresses in PAGES.values() for one in addresses]:
        station.open(address)
        loaded[address] = station.browser.ask(FIRST_VIEW)
    station.browser.call("Network.setCacheDisabled", cacheDisabled=False)

    print(loaded)
    assert station.browser.ask("1") == 1
    assert {address: size for address, size in loaded.items() if not 5_000 < size < BYTES_MAX} == {}
