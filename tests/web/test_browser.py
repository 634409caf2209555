"""The page in a real browser; skipped where there is none."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from linewatch.domain import Reason, Result, State
from linewatch.web import Actual, InspectResult, LiveImage, Row, WebServer, create_app
from linewatch.web.shifts.interface import KeptReport
from tests.browser import CHROMIUM, Browser
from tests.fakes import FakeBackend, verdict
from tests.web.client import TOKEN
from tests.web.promise.test_promise_page import BROKEN, STATE
from tests.web.shift_fakes import LATE, FakeShifts, figures

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; apt-get install chromium")

UNFOLD = "for (const folded of document.querySelectorAll('details')) folded.open = true"
REPORT = "/shifts/2026-11-27/early"
PAGES = (
    *("/", "/inspect", "/recall", "/history", "/history/41/2", "/review", "/reinspect", "/promise"),
    *("/products", "/nowhere"),
    *("/shifts", REPORT, "/shifts/2026-11-27/late"),
)


def jpeg(level: int) -> bytes:
    """Return a plain image as JPEG."""
    return cv2.imencode(".jpg", np.full((240, 320, 3), level, np.uint8))[1].tobytes()


class ImageBackend(FakeBackend):
    """Answers uploads with a heatmap that a browser can show."""

    def inspect(self, product: str, data: bytes) -> InspectResult:
        """Return FAIL for every image."""
        return InspectResult(verdict(0, Result.FAIL, boot=0), jpeg(200), jpeg(60))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start one browser for all tests."""
    with Browser() as browser:
        yield browser


@pytest.fixture
def backend(tmp_path: Path) -> FakeBackend:
    """Ten parts, the newest with an image."""
    results = [Result.PASS, Result.FAIL, Result.UNSURE, Result.ERROR]
    backend = ImageBackend(
        *(Row(verdict(i, results[(i - 1) % 4], image="a.png", heatmap="a.jpg")) for i in range(1, 11))
    )
    backend.live = LiveImage(jpeg(10), verdict(10, Result.FAIL))
    backend.records.drawn = [verdict(5, image="a.png"), verdict(9, image="a.png")]
    backend.records.promised = [replace(STATE, escapes=BROKEN, drawn=230, waiting=2, escapes_elsewhere=4)]
    (tmp_path / "a.png").write_bytes(cv2.imencode(".png", np.zeros((64, 64, 3), np.uint8))[1].tobytes())
    (tmp_path / "a.jpg").write_bytes(jpeg(90))
    return backend


@pytest.fixture
def shifts() -> FakeShifts:
    """Return an early shift that is complete, and a late one that is awaited."""
    return FakeShifts()


@pytest.fixture
def address(browser: Browser, backend: FakeBackend, shifts: FakeShifts, tmp_path: Path) -> Iterator[str]:
    """Serve the page and return its address."""
    browser.errors.clear()
    browser.look(1280, 800)
    app = create_app(backend, lambda: (b"", "text/plain"), TOKEN, tmp_path, shifts=shifts)
    with WebServer(app, "127.0.0.1", 0) as server:
        yield server.address.rstrip("/")
        browser.open("about:blank")  # No more polling while the server stops.
    browser.call("Network.clearBrowserCookies")


def test_the_live_view_follows_the_line(browser: Browser, address: str, backend: FakeBackend) -> None:
    """Tile, image, strip and state are updated without a reload."""
    browser.open(address + "/")
    browser.ask("window.stays = true")

    backend.live = LiveImage(jpeg(60), verdict(11))
    backend.rows[41, 11] = Row(verdict(11))
    browser.wait_for("document.querySelector('.tile').dataset.result === 'PASS'")
    browser.wait_for("document.querySelector('.screen img').getAttribute('src').endsWith('41-11')")
    assert browser.ask("document.querySelector('.screen img').naturalWidth") == 320
    assert "#11" in browser.ask("document.querySelector('.strip li').innerText")

    backend.current["state"], backend.reasons = State.FAULT, ["camera lost; check the cable"]
    browser.wait_for("document.querySelector('.tile').dataset.state === 'FAULT'")
    assert "heck the cable" in browser.ask("document.querySelector('.tile').innerText")
    assert browser.ask("document.querySelector('.pill').innerText.trim()") == "Fault"
    assert browser.ask("window.stays") is True
    assert browser.errors == []


def test_a_part_under_the_keyboard_s_focus_does_not_move_away(
    browser: Browser, address: str, backend: FakeBackend
) -> None:
    """An element with keyboard focus is not replaced by the next update."""
    browser.open(address + "/")
    browser.ask("document.querySelector('.strip a').focus()")

    backend.rows[41, 11], backend.live = Row(verdict(11)), LiveImage(jpeg(60), verdict(11))
    browser.wait_for("document.querySelector('.tile').innerText.includes('#11')")

    assert browser.ask("document.activeElement.innerText.includes('#10')")


def test_a_station_that_does_not_answer_is_shown_as_such(
    browser: Browser, address: str, backend: FakeBackend
) -> None:
    """When the server stops answering, the page says so and turns grey."""
    browser.open(address + "/")
    assert browser.ask("getComputedStyle(document.querySelector('.stale')).display") == "none"

    browser.call(
        "Network.emulateNetworkConditions",
        offline=True,
        latency=0,
        downloadThroughput=-1,
        uploadThroughput=-1,
    )
    browser.wait_for("document.documentElement.hasAttribute('data-stale')")
    shown = browser.ask("getComputedStyle(document.querySelector('.stale')).display")
    browser.call(
        "Network.emulateNetworkConditions",
        offline=False,
        latency=0,
        downloadThroughput=-1,
        uploadThroughput=-1,
    )

    assert shown == "block"
    browser.wait_for("!document.documentElement.hasAttribute('data-stale')")


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (1024, 768), (390, 844)])
def test_nothing_moves_and_no_word_is_cut_when_the_result_changes(
    browser: Browser, address: str, backend: FakeBackend, width: int, height: int
) -> None:
    """Tile, image and strip keep position and height for every result, and no text is cut off."""
    verdicts = [
        verdict(11),
        verdict(12, Result.FAIL, part="broken_large/2026-11-24T10-00-00_station4_000123.png"),
        verdict(13, Result.UNSURE, raw=0.0, reason=Reason.NOT_REGISTERED),
        verdict(14, Result.ERROR, reason=Reason.BAD_PICTURE),
        verdict(15, Result.ERROR, raw=0.8, threshold=2.0, late=True, reason=Reason.LATE),
    ]
    browser.look(width, height, phone=width < 400)
    browser.open(address + "/")
    places = set()
    for one in verdicts:
        backend.rows[41, one.seq] = Row(one)
        backend.live = LiveImage(jpeg(one.seq), one)
        browser.wait_for(
            f"document.querySelector('.screen img').getAttribute('src').endsWith('41-{one.seq}')"
        )
        browser.wait_for(f"document.querySelector('.strip a').href.endsWith('/{one.seq}')")
        assert browser.ask("document.querySelector('.tile').dataset.result") == one.result
        shown = "[...document.querySelectorAll('.tile, .screen, .last')]"
        places.add(str(browser.ask(f"{shown}.map((e) => [e.offsetTop, e.offsetHeight])")))
        cut = (
            "[...document.querySelectorAll('.tile .word, .tile .why, figcaption span, .tally li')]"
            ".filter((e) => e.scrollWidth > e.clientWidth + 1).map((e) => e.innerText)"
        )
        assert browser.ask(cut) == []
    assert len(places) == 1, places


@pytest.mark.parametrize("scripts", [True, False], ids=["with JavaScript", "without"])
def test_an_upload_gets_verdict_and_heatmap(
    browser: Browser, address: str, tmp_path: Path, scripts: bool
) -> None:
    """Choosing a file and pressing the button is enough, with scripts or without."""
    browser.open(address + "/inspect")
    browser.call("Emulation.setScriptExecutionDisabled", value=not scripts)
    browser.choose_file("#image", tmp_path / "a.png")
    browser.call("Emulation.setScriptExecutionDisabled", value=False)
    assert browser.ask("document.querySelector('output').innerText") == ("a.png" if scripts else "")
    browser.call("Emulation.setScriptExecutionDisabled", value=not scripts)
    browser.submit("button[type=submit]")
    browser.call("Emulation.setScriptExecutionDisabled", value=False)

    assert browser.ask("document.querySelector('.tile .word').innerText").upper() == "FAIL"
    assert browser.ask("[...document.querySelectorAll('.compare img')].map((e) => e.naturalWidth)") == [
        320,
        320,
    ]
    assert "a.png" in browser.ask("document.querySelector('.tile').innerText")
    assert browser.errors == []


def test_an_operator_signs_in_marks_a_reject_and_changes_over(
    browser: Browser, address: str, backend: FakeBackend
) -> None:
    """After one sign-in a review takes one press and a changeover two."""
    browser.open(address + "/review")
    browser.ask(f"document.querySelector('#token').value = {TOKEN!r}")
    browser.submit(".sign-in button")
    browser.ask("document.querySelector('#note').value = 'reflection'")
    browser.submit("button.good")

    assert "Saved: part #10 is good." in browser.ask("document.body.innerText")
    review = backend.rows[41, 10].review
    assert review is not None and (review.actual, review.note) == (Actual.GOOD, "reflection")

    browser.open(address + "/products")
    browser.ask("document.querySelector('.switch summary').click()")
    browser.submit(".switch button")
    assert backend.switched == ["screw"]
    assert browser.errors == []


def test_reviewing_on_a_phone_needs_no_scrolling(browser: Browser, address: str) -> None:
    """The heatmap comes first, all images are fully visible, and both buttons are at the thumb."""
    browser.look(390, 844, phone=True)
    browser.open(address + "/review")
    browser.ask(f"document.querySelector('#token').value = {TOKEN!r}")
    browser.submit(".sign-in button")

    def edge(selector: str, name: str) -> float:
        return float(browser.ask(f"document.querySelector({selector!r}).getBoundingClientRect().{name}"))

    assert edge("figure.heatmap", "top") < edge("figure.picture", "top") <= edge("figure.good", "top")
    assert all(edge(f"figure.{kind}", "right") <= 390 for kind in ("heatmap", "picture", "good"))
    assert edge(".choice button.good", "bottom") <= edge("nav", "top")
    assert edge("figure.heatmap img", "top") < 320
    browser.ask("window.scrollTo(0, 200)")
    assert edge(".choice button.good", "bottom") <= edge("nav", "top")


@pytest.mark.parametrize("page", PAGES)
def test_every_page_fits_a_phone_and_a_thumb(browser: Browser, address: str, page: str) -> None:
    """Nothing is cut off at 360 pixels, and every control is at least 44 pixels high."""
    browser.look(360, 740, dark=True, phone=True)
    browser.open(address + page)
    browser.ask(UNFOLD)

    assert browser.ask("document.documentElement.scrollWidth") <= 360
    small = browser.ask(
        "[...document.querySelectorAll('button, .button, nav a, input:not([type=hidden]), select, .strip a')]"
        ".filter((e) => e.offsetParent && e.getBoundingClientRect().height < 44).map((e) => e.outerHTML)"
    )
    assert small == []
    if page != "/nowhere":  # A 404 is an entry of its own in the browser's log.
        assert browser.errors == []


@pytest.mark.parametrize("signed_in", [False, True], ids=["signed out", "signed in"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_page_is_accessible(
    browser: Browser, address: str, backend: FakeBackend, dark: bool, signed_in: bool
) -> None:
    """Axe finds no violation on any page, in any state of the station."""
    browser.look(1280, 800, dark=dark)
    if signed_in:
        browser.look(390, 844, dark=dark, phone=True)
        browser.open(address + "/products")
        browser.ask(f"document.querySelector('#token').value = {TOKEN!r}")
        browser.submit(".sign-in button")
    found = {}
    for page in (*PAGES, "/review?product=bottle"):
        browser.open(address + page)
        browser.ask(UNFOLD)
        found[page] = browser.barriers()
    for state in (State.FAULT, State.DEGRADED, State.CHANGEOVER):
        backend.current |= {"state": state, "reason": "camera lost; check the cable"}
        backend.reasons = [] if state.judging else ["camera lost; check the cable"]
        browser.open(address + "/")
        browser.wait_for(f"document.querySelector('.pill').dataset.state === '{state}'")
        found[state] = browser.barriers()

    assert {page: faults for page, faults in found.items() if faults} == {}
    browser.open("about:blank")
    assert browser.barriers(), "a page without title and language has some"


def test_an_awaited_report_comes_by_itself(browser: Browser, address: str, shifts: FakeShifts) -> None:
    """On its page, and on the list, without a reload."""
    for page in ("/shifts/2026-11-27/late", "/shifts"):
        shifts.kept[LATE] = None
        browser.open(address + page)
        browser.ask("window.same = true")
        assert "is being worked out" in browser.ask("document.body.innerText")
        shifts.kept[LATE] = KeptReport(figures(LATE), renewing=False)
        browser.wait_for("!document.querySelector('[data-awaits]')")
        assert "is being worked out" not in browser.ask("document.body.innerText")
        assert browser.ask("window.same")


def test_a_shift_report_is_printed_on_white_without_the_page_around_it(
    browser: Browser, address: str
) -> None:
    """Also from a dark page, and nothing is cut off beside A4."""
    browser.look(1280, 900, dark=True)
    browser.open(address + REPORT)
    browser.call(
        "Emulation.setEmulatedMedia",
        media="print",
        features=[{"name": "prefers-color-scheme", "value": "dark"}],
    )

    shown = "[...document.querySelectorAll('.top, nav, .foot, .back, .button')].filter((e) => e.offsetParent)"
    style = "getComputedStyle(document.querySelector('.card'))"
    assert browser.ask(f"{shown}.length") == 0
    assert browser.ask(f"{style}.backgroundColor") == "rgb(255, 255, 255)"
    assert browser.ask(f"{style}.color") == "rgb(0, 0, 0)"
    browser.look(688, 900)  # The width of A4 without its margins, at 96 dpi.
    browser.call("Emulation.setEmulatedMedia", media="print")
    assert browser.ask("document.documentElement.scrollWidth") <= 688
    browser.call("Emulation.setEmulatedMedia", media="")


def test_the_first_view_is_small(browser: Browser, address: str) -> None:
    """Without the camera's image everything together is under 60 kB."""
    browser.call("Network.setCacheDisabled", cacheDisabled=True)
    browser.open(address + "/")
    browser.call("Network.setCacheDisabled", cacheDisabled=False)

    assert 5_000 < browser.bytes_loaded < 60_000
