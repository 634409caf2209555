"""The way of a quality engineer in a real browser: from a list of parts to a result that verifies.

With TEACH_SHOTS=FOLDER each step is saved as PNG: light and dark, on tablet and phone.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import CHROMIUM, Browser
from tests.daemon import Daemon
from tests.known_parts import SETTINGS, Hand, photograph
from tests.mosquitto import Mosquitto, Subscriber
from tests.test_daemon import is_ready
from tests.walks.test_teach import TOKEN, Walk

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; apt-get install chromium"),
    pytest.mark.timeout(300),
]
LIST = "part,truth\n" + "".join(f"G{n},good\nD{n},defect\n" for n in range(3))
ASKED = "document.querySelector('.ask .part').innerText"


@pytest.fixture
def daemon(tmp_path: Path, mosquitto: Mosquitto) -> Iterator[Daemon]:
    """Run a line that takes images of known parts."""
    (tmp_path / "token").write_text(TOKEN)
    more = {"source.uri": photograph(tmp_path / "parts"), "http.token_file": tmp_path / "token"}
    with Daemon(tmp_path, mosquitto.port, SETTINGS | more) as daemon:
        yield daemon


def test_from_a_list_of_parts_to_a_result_that_verifies(
    daemon: Daemon, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """Plan, what it can prove, present, put off, take back, pause, result, verify; then the set falls due."""
    with Subscriber(mosquitto.port) as ear, Browser() as browser:
        ear.wait(is_ready)
        hand = Hand(ear)
        browser.look(1180, 820)
        walk = Walk(browser, daemon)
        walk.open("/study")
        walk.look("study-signed-out")
        walk.fill("token", TOKEN)
        walk.press(".sign-in button")
        walk.fill("people", "A. Meier")
        walk.press("form[action='/study'] button[type=submit]")
        assert "at least 2 of each" in str(browser.ask("document.querySelector('main').innerText"))
        assert browser.ask("document.querySelector('[name=people]').value") == "A. Meier"
        walk.look("study-refused")
        walk.fill("parts", LIST)
        walk.fill("passes", "2")
        walk.fill("keep_as", "weekly")
        walk.fill("every_days", "7")
        walk.press("form[action='/study'] button[type=submit]")
        walk.look("study-can-prove")
        walk.press("button[value=run]")
        first = present(walk, hand)
        walk.press("button[value=undo]")
        assert browser.ask(ASKED) == first
        walk.press("button[value=skip]")
        assert browser.ask(ASKED) != first
        hand.trigger("stranger")
        browser.wait_for("document.querySelector('.ask .bad') !== null")
        walk.look("study-present")
        present(walk, hand)
        walk.press("button[value=pause]")
        walk.look("study-paused")
        walk.press("button[value=run]")
        for _ in range(11):
            present(walk, hand)
        browser.wait_for("document.querySelector('.figures-table') !== null")
        walk.look("study-result")
        name = str(browser.ask("location.pathname")).rpartition("/")[2]
        page = tmp_path / "study.html"
        page.write_bytes(daemon.get(f"/study/{name}/result.html")[1])
        make_due(tmp_path / "studies", name)
        walk.open("/study")
        browser.choose_file("#page", page)
        walk.press("form[action='/study/verify'] button")
        assert "As this station wrote it" in str(browser.ask("document.querySelector('main').innerText"))
        walk.look("study-overview")
        walk.press("#set-weekly button[value=repeat]")
        walk.look("study-again")
        browser.open("about:blank")
        assert [error for error in browser.errors if "409" not in error] == []


def present(walk: Walk, hand: Hand) -> str:
    """Present the part that is asked for, and wait until the page goes on; return its name."""
    part = str(walk.browser.ask(ASKED))
    before = walk.browser.ask("document.querySelector('progress').value")
    hand.present(part)
    walk.browser.wait_for(f"(document.querySelector('progress')?.value ?? 99) > {before}")
    return part


def make_due(folder: Path, name: str) -> None:
    """Date the result of a study back."""
    kept = folder / f"{name}.result.json"
    completed_ms = json.loads(kept.read_text())["completed_ms"]
    kept.write_text(re.sub(str(completed_ms), str(completed_ms - 8 * 86_400_000), kept.read_text()))
    (folder / f"{name}.html").touch()
