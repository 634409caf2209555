"""End to end: a running daemon, its page, a real browser."""

import json
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest

from linewatch.acquisition.sources.simulator.source import render
from linewatch.cli.inspect_files import inspect_files
from linewatch.settings import ModelsSettings
from tests.browser import CHROMIUM, Browser
from tests.bundles import teach
from tests.daemon import ROOT, Daemon
from tests.mosquitto import Mosquitto
from tests.multipart import upload
from tests.web.client import TOKEN

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; apt-get install chromium")

PICTURE = "document.querySelector('[data-part=picture] img')"
WORD = "document.querySelector('.tile .word').innerText.toUpperCase()"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the token, two products, and a good and a scratched part as files."""
    folder = tmp_path_factory.mktemp("station")
    (folder / "token").write_text(TOKEN)
    models = ModelsSettings(path=folder / "models", recipes=folder / "recipes")
    shutil.copytree(ROOT / "models/demo", models.path / "demo")
    shutil.copytree(ROOT / "config/recipes", models.recipes)
    teach(models, "lid", index=2)
    cv2.imwrite(str(folder / "good.png"), render(1, 1))
    cv2.imwrite(str(folder / "scratched.png"), render(1, 1, "scratch"))
    return folder


@pytest.fixture(scope="module")
def daemon(folder: Path) -> Iterator[Daemon]:
    """Run the daemon with the demo product."""
    broker = Mosquitto(folder)
    broker.start()
    changes = {
        "models.path": folder / "models",
        "models.recipes": folder / "recipes",
        "http.token_file": folder / "token",
        "source.fps": 5,
    }
    with Daemon(folder, broker.port, changes) as daemon:
        yield daemon
    broker.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start one browser for all tests."""
    with Browser() as browser:
        browser.look(1280, 800)
        yield browser


@pytest.fixture(autouse=True)
def _signed_out_and_without_errors(browser: Browser) -> Iterator[None]:
    browser.call("Network.clearBrowserCookies")
    browser.errors.clear()
    yield
    browser.open("about:blank")
    assert browser.errors == []


def sign_in(browser: Browser, address: str) -> None:
    """Sign in with the form of a page."""
    browser.open(address)
    browser.ask(f"document.querySelector('#token').value = {TOKEN!r}")
    browser.submit(".sign-in button")


def test_the_live_view_changes_with_the_line(browser: Browser, daemon: Daemon) -> None:
    """Image and verdict are updated without a reload, and the page loads less than 300 kB."""
    browser.call("Network.setCacheDisabled", cacheDisabled=True)
    browser.open(daemon.address + "/")
    browser.call("Network.setCacheDisabled", cacheDisabled=False)
    browser.wait_for(f"{PICTURE} && {PICTURE}.naturalWidth > 0")
    assert browser.bytes_loaded < 300_000
    shown = browser.ask(f"{PICTURE}.getAttribute('src')")

    browser.wait_for(f"{PICTURE}.getAttribute('src') !== {shown!r} && {PICTURE}.naturalWidth > 0")
    assert browser.ask(WORD) in ("PASS", "FAIL", "UNSURE", "ERROR")


@pytest.mark.parametrize("scripts", [True, False], ids=["with JavaScript", "without"])
@pytest.mark.parametrize(("file", "word"), [("good.png", "PASS"), ("scratched.png", "FAIL")])
def test_an_uploaded_part_gets_its_verdict_and_a_heatmap(
    browser: Browser, daemon: Daemon, file: str, word: str, scripts: bool
) -> None:
    """A good part passes; a defective one fails, and its heatmap is coloured."""
    browser.open(daemon.address + "/inspect")
    browser.call("Emulation.setScriptExecutionDisabled", value=not scripts)
    browser.choose_file("#image", daemon.folder / file)
    browser.submit("main form button[type=submit]")
    browser.call("Emulation.setScriptExecutionDisabled", value=False)

    assert browser.ask(WORD) == word
    browser.wait_for("document.querySelector('.result .heatmap img').naturalWidth > 0")
    assert (hottest(browser) > 100) == (word == "FAIL")


def hottest(browser: Browser) -> int:
    """Return the largest red minus blue in the heatmap, 0 to 255; the parts themselves are grey or blue."""
    level: int = browser.ask(
        "(() => { const img = document.querySelector('.result .heatmap img');"
        "const canvas = new OffscreenCanvas(img.naturalWidth, img.naturalHeight);"
        "const page = canvas.getContext('2d'); page.drawImage(img, 0, 0);"
        "const dots = page.getImageData(0, 0, canvas.width, canvas.height).data; let most = 0;"
        "for (let i = 0; i < dots.length; i += 4) most = Math.max(most, dots[i] - dots[i + 2]);"
        "return most; })()"
    )
    return level


def test_a_reject_is_found_in_history_and_reviewed(browser: Browser, daemon: Daemon) -> None:
    """It is found by result and product without JavaScript, and reviewed as good with a note."""
    sign_in(browser, daemon.address + "/review")
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    browser.open(daemon.address + "/history")
    browser.ask("document.querySelector('#result').value = 'FAIL'")
    browser.ask("document.querySelector('#product').value = 'demo'")
    browser.submit(".filter button")
    browser.submit(".c-part a")
    part = browser.ask("location.pathname")
    assert browser.ask("document.querySelectorAll('.compare img').length") == 3
    browser.ask("document.querySelector('#note').value = 'a reflection'")
    browser.submit("button.good")
    browser.call("Emulation.setScriptExecutionDisabled", value=False)

    assert "Marked as good" in browser.ask("document.querySelector('main').innerText")
    rows = json.loads(daemon.get("/api/verdicts?result=FAIL&product=demo&limit=1000")[1])
    (marked,) = [row for row in rows if f"/history/{row['boot']}/{row['seq']}" == part]
    assert (marked["actual"], marked["note"]) == ("good", "a reflection")


def test_the_product_is_switched_with_the_token_only(browser: Browser, daemon: Daemon) -> None:
    """Signed out there is no button and the API refuses; signed in it takes two presses."""
    browser.open(daemon.address + "/products")
    assert browser.ask("document.querySelector('.switch')") is None
    request = urllib.request.Request(daemon.address + "/api/product", b'{"product": "lid"}')
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(request)

    for product in ("lid", "demo"):
        sign_in(browser, daemon.address + "/products")
        browser.ask("document.querySelector('.switch summary').click()")
        browser.submit(f".switch button[value={product}]")
        state = json.loads(daemon.get("/api/state")[1])
        assert state["product"] == product
        browser.call("Network.clearBrowserCookies")


@pytest.mark.parametrize("file", ["good.png", "scratched.png"])
def test_the_api_scores_as_the_command_does(daemon: Daemon, file: str) -> None:
    """`POST /api/inspect` and `linewatch inspect` return the same verdict on the same file."""
    picture = daemon.folder / file
    body, content_type = upload(picture.read_bytes(), "demo")
    request = urllib.request.Request(
        daemon.address + "/api/inspect", body, headers={"Content-Type": content_type}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        from_api = json.load(answer)
    (from_command,) = inspect_files("demo", [picture], daemon.folder / "models", daemon.folder / "recipes")

    same = ("product", "model", "result", "code", "reason", "score", "raw", "threshold", "defects", "box")
    assert {key: from_api[key] for key in same} == {key: from_command[key] for key in same}
