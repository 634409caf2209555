"""Regions on the Teach page: drawn, named, limited and removed; by pointer, by keyboard, by numbers alone."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient

from linewatch.domain import Answer, ReplyCode, Result
from linewatch.models.bundle import active_version
from linewatch.models.recipe_file import regions_of, write_regions
from linewatch.mqtt.messages import Command
from linewatch.settings import ModelsSettings
from linewatch.teach.collector import Collector
from linewatch.teach.datasets import Datasets
from linewatch.teach.thumbnails import Thumbnails
from linewatch.teach_settings import TeachSettings
from linewatch.vision.recipe import Region
from linewatch.web import WebServer
from linewatch.web.backend import ProductInfo
from linewatch.web.teach.teach_backend import TeachBackend
from tests.browser import CHROMIUM, Browser
from tests.bundles import teach
from tests.fakes import FakeBackend, frame
from tests.web.client import BEARER, LEFT_TO_COLLECTOR, OPENED, TOKEN, people_with, sign_in_as, teaching_in

pytestmark = LEFT_TO_COLLECTOR

SIDE_PX = 320
FIELDS = ("name", "x", "y", "width", "height", "percent", "threshold", "smallest")
API = "/api/teach/demo/regions"


@pytest.fixture
def models(tmp_path: Path) -> ModelsSettings:
    """Return folders with a product "demo" that has a version, whose map has cells of 40 x 40 pixels."""
    found = ModelsSettings(path=tmp_path / "models", recipes=tmp_path / "recipes")
    teach(found)
    return found


@pytest.fixture
def teaching(tmp_path: Path, models: ModelsSettings, backend: FakeBackend) -> TeachBackend:
    """Return what teaches beside a line that has delivered a frame."""
    datasets = Datasets(TeachSettings(path=tmp_path / "datasets"))
    thumbnails = Thumbnails(datasets)
    OPENED.append(thumbnails)
    collector = Collector(datasets, thumbnails)
    image = np.full((SIDE_PX, SIDE_PX, 3), 150, np.uint8)
    cv2.circle(image, (160, 160), 110, (210, 210, 210), -1)
    collector.offer(replace(frame(), image=image))
    backend.product_infos = [ProductInfo("demo", 1, "", 0.0, 0.0)]
    return teaching_in(tmp_path, collector=collector)


@pytest.fixture
def engineer(make_app: Callable[..., Flask], teaching: TeachBackend) -> FlaskClient:
    """Return the browser of an engineer."""
    return sign_in_as(make_app(people=people_with(), teaching=teaching).test_client(), "engineer")


@pytest.fixture
def program(make_app: Callable[..., Flask], teaching: TeachBackend) -> Callable[[object], Any]:
    """Return how a program sends regions; it gets status and body."""
    client = make_app(teaching=teaching).test_client()

    def send(regions: object) -> Any:
        answer = client.post(API, json={"regions": regions}, headers=BEARER)
        return answer.status_code, answer.get_json()

    return send


def _form(*rows: tuple[str, ...]) -> dict[str, list[str]]:
    return {name: [row[place] for row in rows] for place, name in enumerate(FIELDS)}


def _region(**facts: Any) -> dict[str, Any]:
    return {"name": "rim", "roi": [0, 0, 64, 64]} | facts


def test_regions_are_given_by_numbers_without_a_script(engineer: FlaskClient, models: ModelsSettings) -> None:
    """Several at once; an empty one is left out, and a raw score of the recipe stays until replaced."""
    write_regions(models.recipes, "demo", [Region("old", (0, 0, 64, 64), threshold=1.25)])
    page = engineer.get("/teach/demo/look").text
    assert page.count('<fieldset class="region">') == 2, "one more than there are, to fill in"
    assert "Raw score 1.250 in the recipe; a percentage replaces it." in page
    rows = (
        ("old", "0", "0", "64", "64", "", "1.25", ""),
        (" Gewinde ", "100", "0", "64", "80", "80,5", "", "12"),
        ("", "", "", "", "", "100", "", ""),
    )

    answer = engineer.post("/teach/demo/regions", data=_form(*rows))

    assert (answer.status_code, answer.location) == (303, "/teach/demo/look?done=regions")
    assert regions_of(models.recipes, "demo") == (
        Region("old", (0, 0, 64, 64), threshold=1.25),
        Region("Gewinde", (100, 0, 64, 80), factor=0.805, min_defect_px=12),
    )
    page = engineer.get(answer.location).text
    assert "The regions are saved in the recipe." in page and 'value="80.5"' in page
    engineer.post("/teach/demo/regions", data=_form(("old", "0", "0", "64", "64", "50", "1.25", "")))
    assert regions_of(models.recipes, "demo") == (Region("old", (0, 0, 64, 64), factor=0.5),)
    engineer.post("/teach/demo/regions", data=_form(("", "", "", "", "", "", "", "")))
    assert regions_of(models.recipes, "demo") == ()


def test_the_line_takes_them_over_at_once(engineer: FlaskClient, teaching: TeachBackend) -> None:
    """It loads the recipe again if it judges this product, and the page says so if that fails."""
    asked: list[str] = []

    class Line:
        answer = Answer(ReplyCode.DONE)

        def request(self, command: Command, done: Callable[[Answer], None]) -> None:
            asked.append(command.name)
            done(self.answer)

    teaching._commands, teaching._on_line = Line(), lambda: ("demo", "7f3a91c2")  # type: ignore[assignment]
    row = _form(("a", "0", "0", "64", "64", "100", "", ""))
    assert engineer.post("/teach/demo/regions", data=row).status_code == 303
    Line.answer = Answer(ReplyCode.SELFTEST_FAILED, "golden sample differs")
    refused = engineer.post("/teach/demo/regions", data=row)
    assert (refused.status_code, asked) == (409, ["reload", "reload"])
    assert "the changed recipe is active but not loaded: golden sample differs" in refused.text
    teaching._on_line = lambda: ("other", "7f3a91c2")
    assert engineer.post("/teach/demo/regions", data=row).status_code == 303
    assert len(asked) == 2


def test_a_program_sets_and_reads_regions(program: Callable[[object], Any], models: ModelsSettings) -> None:
    """With the keys of a recipe; what it read can be sent back."""
    other = _region(name="b", roi=[70, 0, 64, 64], threshold=1.5)
    wanted = [_region(threshold_factor=0.5, min_defect_px=4), other]

    status, state = program(wanted)

    known = [{key: value for key, value in one.items() if value is not None} for one in state["regions"]]
    assert (status, known) == (200, wanted)
    assert program(state["regions"])[1]["regions"] == state["regions"]


@pytest.mark.parametrize(
    ("regions", "sentence"),
    [
        ([_region(roi=[300, 0, 64, 64])], "does not lie in the frame of 320x320 pixels; draw it again"),
        (
            [_region(roi=[0, 0, 39, 64])],
            "smaller than what the model tells apart, 40x40 pixels",
        ),
        ([_region(), _region(name="b", roi=[60, 60, 64, 64])], "regions 'rim' and 'b' overlap"),
        ([_region(), _region(roi=[70, 0, 64, 64])], "two regions have the name 'rim'"),
        ([_region(name="a\nb")], "has no usable name"),
        ([_region(min_defect_px=4096)], "has no room for a defect"),
        ([_region(threshold_factor=0)], "regions"),
        ([_region(name=f"r{n}", roi=[n, 0, 8, 8]) for n in range(17)], "regions"),
        ([_region(roi=[-1, 0, 64, 64])], "regions"),
        ([{"name": "a"}], "regions"),
        ("all", "regions"),
    ],
)
def test_what_is_no_region_is_refused(
    program: Callable[[object], Any], models: ModelsSettings, regions: object, sentence: str
) -> None:
    """In one sentence; the recipe stays as it was."""
    before = (models.recipes / "demo.toml").read_bytes()

    status, body = program(regions)

    assert status in (400, 409) and sentence in body["error"], body
    assert (models.recipes / "demo.toml").read_bytes() == before


@pytest.mark.parametrize(
    ("form", "sentence"),
    [
        (_form(("a", "x", "0", "64", "64", "100", "", "")), "roi"),
        (_form(("", "0", "0", "64", "64", "100", "", "")), "name"),
        (_form(("a", "", "", "", "", "100", "", "")), "roi"),
        (_form(("a", "0", "0", "64", "64", "much", "", "")), "percent"),
        (_form(("a", "0", "0", "64", "64", "0.5", "", "")), "threshold_factor"),
        (_form(("a", "0", "0", "64", "64", "100", "", "-1")), "min_defect_px"),
        (_form(("a", "0", "0", "64", "64", "100", "", "")) | {"x": ["0", "0"]}, "regions"),
    ],
)
def test_a_wrong_field_is_named(
    engineer: FlaskClient, models: ModelsSettings, form: dict[str, list[str]], sentence: str
) -> None:
    """The page says which one; the recipe stays as it was."""
    before = (models.recipes / "demo.toml").read_bytes()

    answer = engineer.post("/teach/demo/regions", data=form)

    assert answer.status_code == 400 and f"'{sentence}'" in answer.text.replace("&#39;", "'"), answer.text
    assert (models.recipes / "demo.toml").read_bytes() == before


def test_what_was_drawn_is_shown_again_if_it_is_refused(
    engineer: FlaskClient, models: ModelsSettings
) -> None:
    """With the sentence; nothing that took a while to draw is lost, and a reload leads back to the page."""
    rows = (
        ("rim", "0", "0", "100", "100", "80", "", ""),
        ("<b>", "50", "50", "100", "100", "100", "", "7"),
    )

    refused = engineer.post("/teach/demo/regions", data=_form(*rows))

    assert refused.status_code == 409 and "overlap; move or shrink one of them" in refused.text
    assert refused.text.count('<fieldset class="region">') == 3
    assert 'name="name" maxlength="32" autocomplete="off" value="&lt;b&gt;"' in refused.text
    assert regions_of(models.recipes, "demo") == ()
    assert engineer.get("/teach/demo/regions").location == "/teach/demo/look"


def test_an_area_that_leaves_a_region_outside_is_refused(
    engineer: FlaskClient, models: ModelsSettings
) -> None:
    """Neither roi nor mask changes: nothing would be inspected in the region."""
    write_regions(models.recipes, "demo", [Region("rim", (200, 0, 64, 64))])
    before = (models.recipes / "demo.toml").read_bytes()
    area = {"x": "0", "y": "0", "width": "100", "height": "100", "strokes": "3 10 10 20 20"}

    answer = engineer.post("/teach/demo/look", data=area)

    assert answer.status_code == 409 and "rim" in answer.text
    assert (models.recipes / "demo.toml").read_bytes() == before
    assert not list(models.recipes.glob("*.png"))


def test_the_slider_counts_with_the_regions_of_now(
    teaching: TeachBackend, models: ModelsSettings, tmp_path: Path
) -> None:
    """Images measured with other factors are weighed again; what a removed region held counts as the rest."""
    version = active_version(models.path, "demo")
    images = [["test/scratch", "1.png", 1.5], ["test/scratch", "2.png", 1.5], ["test/scratch", "3.png", 1.5]]
    decided = {"test/scratch/1.png": ["rim", 1.0], "test/scratch/2.png": ["gone", 2.0]}
    file = tmp_path / "datasets/_measured/demo" / f"{version}.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"metrics": {}, "images": images, "decided": decided}))
    write_regions(models.recipes, "demo", [Region("rim", (0, 0, 64, 64), factor=0.5)])

    effect = teaching.effect("demo", 4.0, 100)

    assert effect.labelled == 3
    assert [(one.name, one.raw, one.was, one.becomes) for one in effect.changes] == [
        ("1.png", 3.0, Result.FAIL, Result.PASS),
        ("2.png", 3.0, Result.FAIL, Result.PASS),
    ]


@pytest.fixture
def browser() -> Iterator[Browser]:
    """Start a browser."""
    with Browser() as browser:
        yield browser


def _drag(browser: Browser, start: tuple[int, int], end: tuple[int, int]) -> None:
    """Drag with the mouse of the browser between two places of the frame, in its pixels."""
    box = browser.ask(
        "(() => { const c = document.querySelector('.canvas canvas'); c.scrollIntoView({ block: 'center' });"
        " const b = c.getBoundingClientRect(); return [b.left, b.top, b.width]; })()"
    )
    left, top, width = box
    scale = width / SIDE_PX
    for kind, (x, y) in (("mousePressed", start), ("mouseMoved", end), ("mouseReleased", end)):
        browser.call(
            "Input.dispatchMouseEvent",
            type=kind,
            x=left + x * scale,
            y=top + y * scale,
            button="left",
            buttons=1,
            clickCount=1,
        )


def _fill(browser: Browser, row: int, **fields: str) -> None:
    """Write into fields of a region's row."""
    for name, value in fields.items():
        found = f"document.querySelectorAll('fieldset.region')[{row}].querySelector('[name={name}]')"
        told = "dispatchEvent(new Event('input', { bubbles: true }))"
        browser.ask(f"{found}.value = {value!r}; {found}.{told}")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; apt-get install chromium")
def test_two_regions_are_drawn_with_a_pointer_and_one_is_removed(
    browser: Browser, make_app: Callable[..., Flask], teaching: TeachBackend, models: ModelsSettings
) -> None:
    """Each with name and limits, on a tablet; what was drawn comes back, and axe finds no barrier."""
    browser.look(1180, 820)
    with WebServer(make_app(teaching=teaching), "127.0.0.1", 0) as server:
        look = server.address.rstrip("/") + "/teach/demo/look"
        browser.open(look)
        browser.ask(f"document.querySelector('#token').value = {TOKEN!r}")
        browser.submit(".sign-in button")
        browser.open(look)
        browser.wait_for("document.querySelector('.canvas canvas')?.hidden === false")

        browser.ask("document.querySelector('[data-region=draw]').click()")
        _drag(browser, (20, 30), (120, 130))
        _fill(browser, 0, name="thread", percent="80")
        browser.ask("document.querySelector('[data-region=add]').click()")
        _drag(browser, (300, 290), (180, 200))
        _fill(browser, 1, name="rim", smallest="40")
        assert browser.ask("document.querySelector('form.area [name=width]').value") == ""
        assert browser.barriers() == []
        browser.submit("form.regions button.big")

        thread, rim = regions_of(models.recipes, "demo")
        assert (thread.name, thread.factor, thread.min_defect_px) == ("thread", 0.8, None)
        assert (rim.name, rim.factor, rim.min_defect_px) == ("rim", 1.0, 40)
        np.testing.assert_allclose(thread.roi, (20, 30, 100, 100), atol=1)
        np.testing.assert_allclose(rim.roi, (180, 200, 120, 90), atol=1)
        browser.wait_for("document.querySelectorAll('fieldset.region').length === 2")
        browser.ask("document.querySelector('[data-region=remove]').click()")
        assert browser.ask("document.activeElement.value") == "rim", "the keyboard goes on from there"
        browser.submit("form.regions button.big")
        assert [one.name for one in regions_of(models.recipes, "demo")] == ["rim"]
        browser.open("about:blank")
    assert browser.errors == []
