"""The way of an engineer in a real browser: from a new product to verdicts, and back: `make teach-walk`.

With TEACH_SHOTS=FOLDER each step is saved as PNG: light and dark, on tablet and phone.
"""

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import CHROMIUM, Browser
from tests.daemon import ROOT, Daemon
from tests.mosquitto import Mosquitto

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; apt-get install chromium"),
    pytest.mark.timeout(900),
]
TOKEN = "a-long-random-token"
SHOTS = os.environ.get("TEACH_SHOTS", "")
LEARN_S = 600.0
LOOKS = {"light": (1180, 820, False), "dark": (1180, 820, True), "phone": (390, 844, False)}


@pytest.fixture
def daemon(tmp_path: Path, mosquitto: Mosquitto) -> Iterator[Daemon]:
    """Run the simulator with good parts only, recipes and models of its own."""
    (tmp_path / "token").write_text(TOKEN)
    shutil.copytree(ROOT / "models", tmp_path / "models")
    shutil.copytree(ROOT / "config/recipes", tmp_path / "recipes")
    changes = {
        "http.token_file": tmp_path / "token",
        "source.uri": "defects=0.05&seed=4",
        "source.fps": 10,
        "models.path": tmp_path / "models",
        "models.recipes": tmp_path / "recipes",
        "evidence.pass_every": 1,
    }
    with Daemon(tmp_path, mosquitto.port, changes) as daemon:
        yield daemon


class Walk:
    """A browser at the station; each step is looked at with axe, and saved where that is wanted."""

    def __init__(self, browser: Browser, daemon: Daemon) -> None:
        self.browser = browser
        self.daemon = daemon
        self.steps = 0

    def open(self, path: str) -> None:
        """Go to a page of the station."""
        self.browser.open(self.daemon.address + path)

    def fill(self, name: str, value: str) -> None:
        """Type into a field."""
        self.browser.ask(f"document.querySelector('[name={name}]').value = {json.dumps(value)}")

    def press(self, selector: str) -> None:
        """Press a button that leads to another page; folded ones are unfolded as by a first tap."""
        self.browser.ask("for (const folded of document.querySelectorAll('details')) folded.open = true")
        self.browser.submit(selector)

    def look(self, name: str, *, first_view: bool = True) -> None:
        """Check the page with axe, and save it; a first view has few bytes."""
        self.steps += 1
        assert self.browser.barriers() == [], name
        assert self.browser.bytes_loaded < 300_000 or not first_view, name
        small = self.browser.ask(
            "[...document.querySelectorAll('main button, main .button, .steps a')].filter((one) => "
            "one.offsetParent && one.getBoundingClientRect().height < 44).map((one) => one.outerHTML)"
        )
        assert small == [], f"{name}: too small for gloves"
        if SHOTS:
            for kind, (width, height, dark) in LOOKS.items():
                self.browser.look(width, height, dark=dark, phone=width < 500)
                self.browser.screenshot(Path(SHOTS) / f"{self.steps:02d}-{name}-{kind}.png")
            self.browser.look(1180, 820)

    def state(self, path: str) -> dict[str, object]:
        """Return what the API says."""
        found: dict[str, object] = json.loads(self.daemon.get(path)[1])
        return found


def test_from_a_new_product_to_verdicts_and_back(daemon: Daemon) -> None:
    """New product, region, images, learn, report, trial, threshold, activate, verdicts, roll back."""
    with Browser() as browser:
        browser.look(1180, 820)
        walk = Walk(browser, daemon)
        walk.open("/teach")
        walk.fill("token", TOKEN)
        walk.press(".sign-in button")
        walk.fill("product", "cup")
        walk.fill("index", "7")
        walk.look("product")
        walk.press("form[action='/teach'] button")

        until = time.monotonic() + 30
        while daemon.get("/teach/frame.jpg")[0] != 200:  # The camera has to deliver its first frame.
            assert time.monotonic() < until
            time.sleep(0.1)
        walk.open("/teach/cup/look")
        draw_region(walk)
        walk.open("/teach/cup/collect")
        walk.fill("count", "24")
        walk.press("button[value=start]")
        browser.wait_for("document.querySelector('progress') === null")
        walk.look("collect")
        walk.open("/teach/cup/sort")
        browser.wait_for("document.querySelectorAll('.thumbs img').length === 24")
        browser.ask("document.querySelector('.thumbs input').click()")
        walk.look("sort")
        walk.press("button[value=left_out]")

        first = learn(walk)
        curate(walk)
        walk.open("/teach/cup/judge")
        walk.look("judge")
        walk.open("/teach/cup/activate")
        walk.look("activate")
        walk.press("button[value=activate]")
        walk.open("/teach/cup/activate")
        walk.press("button[name=product]")
        assert walk.state("/api/state")["model"] == first
        wait_for_verdicts(walk, first)

        second = move_threshold(walk, first)
        wait_for_verdicts(walk, second)
        walk.open("/products/cup")
        walk.look("versions")
        walk.press("button[value=rollback]")
        assert first in str(browser.ask("document.querySelector('#used').innerText"))
        wait_for_verdicts(walk, first)

        walk.press(f"#v-{second} button[value=try]")
        wait_for_comparisons(walk)
        walk.open("/products/cup")
        walk.look("trial")
        walk.press("button[value=promote]")
        assert second in str(browser.ask("document.querySelector('#used').innerText"))
        browser.open("about:blank")
        assert browser.errors == []


def draw_region(walk: Walk) -> None:
    """Draw a region and a stroke with the pointer, as a finger does."""
    browser = walk.browser
    browser.wait_for("document.querySelector('.canvas canvas')?.hidden === false")
    browser.ask(
        """(() => {
          const canvas = document.querySelector(".canvas canvas");
          const box = canvas.getBoundingClientRect();
          canvas.setPointerCapture = () => {};
          const send = (kind, x, y) => canvas.dispatchEvent(new PointerEvent(kind, { pointerId: 1,
            clientX: box.left + x * box.width, clientY: box.top + y * box.height }));
          send("pointerdown", 0.1, 0.1); send("pointermove", 0.9, 0.9); send("pointerup", 0.9, 0.9);
          document.querySelector("[data-tool=paint]").click();
          send("pointerdown", 0.1, 0.15); send("pointermove", 0.2, 0.15); send("pointerup", 0.2, 0.15);
        })()"""
    )
    walk.look("look")
    walk.press("form.area button.big")
    recipe = (walk.daemon.folder / "recipes/cup.toml").read_text()
    assert "roi = [" in recipe and "cup.mask.png" in recipe


def curate(walk: Walk) -> None:
    """Look at the good pictures by score, with their heatmaps, and what leaving one out would change."""
    browser = walk.browser
    walk.open("/teach/cup/sort")
    browser.wait_for("document.querySelectorAll('.thumbs .missing').length === 0")
    assert browser.ask("document.querySelectorAll('.thumbs img').length") == 2 * 23
    scores = browser.ask(
        "[...document.querySelectorAll('.thumbs .tag')].map((one) => Number(one.innerText.replace(',', '')))"
    )
    assert scores == sorted(scores, reverse=True)
    browser.ask("document.querySelector('.thumbs input').click()")
    browser.wait_for("document.querySelector('.prediction b')?.innerText.includes('%')")
    walk.open("/teach/cup/sort")
    walk.look("curate")


def learn(walk: Walk) -> str:
    """Learn with the quickest setting and return the version; the page is closed and opened meanwhile."""
    walk.open("/teach/cup/learn")
    walk.browser.ask("document.querySelector('[name=detail]').value = 'coarse'")
    walk.press("button[value=learn]")
    walk.browser.wait_for("document.querySelector('progress') !== null")
    walk.look("learn")
    walk.open("/")
    until = time.monotonic() + LEARN_S
    while True:
        learning = walk.state("/api/teach/cup")["learning"]
        assert isinstance(learning, dict)
        if learning["stage"] != "running":
            break
        assert time.monotonic() < until, learning
        time.sleep(0.5)
    assert learning["stage"] == "done", learning
    walk.open("/teach/cup/learn")
    walk.look("learnt")
    return str(learning["version"])


def move_threshold(walk: Walk, first: str) -> str:
    """Move the slider, save, and return the version that judges then."""
    browser = walk.browser
    walk.open("/products/cup/threshold")
    assert browser.bytes_loaded < 300_000
    before = browser.ask("document.querySelector('[data-live=effect]').innerText")
    browser.ask(
        "(() => { const slider = document.querySelector('[type=range]');"
        "slider.value = 0.6 * Number(slider.value); slider.dispatchEvent(new Event('input')); })()"
    )
    browser.wait_for(f"document.querySelector('[data-live=effect]').innerText !== {json.dumps(before)}")
    browser.wait_for(
        "[...document.querySelectorAll('.mapped .shots')].some((one) => one.children[1]?.tagName === 'IMG')"
    )
    walk.look("threshold", first_view=False)
    browser.ask(
        "(() => { const slider = document.querySelector('[type=range]'); slider.value = "
        "1.02 / 0.6 * Number(slider.value); slider.dispatchEvent(new Event('input')); })()"
    )
    browser.wait_for(
        "Math.abs(document.querySelector('[data-live=effect] [name=threshold]').value - "
        "document.querySelector('form.slider [name=threshold]').value) < 0.001"
    )
    walk.press("[data-live=effect] .switch form button")
    version = str(walk.state("/api/state")["model"])
    assert version != first
    return version


def wait_for_verdicts(walk: Walk, version: str) -> None:
    """Wait until a part was judged with a version."""
    until = time.monotonic() + 20
    while not any(row["model"] == version for row in walk.daemon.rows()[-5:]):
        assert time.monotonic() < until, version
        time.sleep(0.1)


def wait_for_comparisons(walk: Walk) -> None:
    """Wait until the trial has judged a part."""
    until = time.monotonic() + 60
    while True:
        trial = walk.state("/api/products/cup")["trial"]
        assert isinstance(trial, dict)
        if trial["parts"]:
            return
        assert time.monotonic() < until
        time.sleep(0.2)
