import json
import re
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from linewatch.domain import Image
from linewatch.models.archive import pack
from linewatch.models.bundle import active_version, set_active
from linewatch.people.roles import Role
from linewatch.settings import ModelsSettings
from linewatch.teach.curation import SHOWN_MAX
from linewatch.teaching import Order
from linewatch.web.office_backend import OfficeBackend
from linewatch.web.teach.teach_backend import TeachBackend
from tests.bundles import part, png, teach
from tests.fakes import FakeBackend
from tests.web.client import LEFT_TO_COLLECTOR, people_with, sign_in_as, teaching_in

pytestmark = LEFT_TO_COLLECTOR


@pytest.fixture
def models(tmp_path: Path) -> ModelsSettings:
    """Return folders with a product "demo" that has a version."""
    found = ModelsSettings(path=tmp_path / "models", recipes=tmp_path / "recipes")
    teach(found)
    return found


@pytest.fixture
def teaching(tmp_path: Path, models: ModelsSettings, backend: FakeBackend) -> TeachBackend:
    """Return what teaches, with the page's list of products as it is on disk."""

    def read() -> None:
        known = OfficeBackend.__new__(OfficeBackend)
        known._models, known._known = models, {}
        backend.product_infos = list(known._read_products())

    read()
    return teaching_in(tmp_path, changed=read)


@pytest.fixture
def engineer(make_app: Callable[..., Flask], teaching: TeachBackend) -> FlaskClient:
    """Return the browser of an engineer."""
    return sign_in_as(make_app(people=people_with(), teaching=teaching).test_client(), "engineer")


def test_a_new_product_gets_its_recipe_and_number(engineer: FlaskClient, models: ModelsSettings) -> None:
    """The name leads on to its live picture; a name or number twice is refused with the reason."""
    answer = engineer.post("/teach", data={"product": "cup", "index": "7"})
    again = engineer.post("/teach", data={"product": "cup", "index": "8"})
    taken = engineer.post("/teach", data={"product": "lid", "index": "7"})

    assert (answer.status_code, answer.headers["Location"]) == (303, "/teach/cup/look")
    assert "index = 7" in (models.recipes / "cup.toml").read_text()
    assert (again.status_code, taken.status_code) == (409, 409)
    assert "exists already" in again.text and "belongs to" in taken.text
    assert not (models.recipes / "lid.toml").exists()


@pytest.mark.parametrize("name", ["../evil", "a/b", "", ".hidden", "x" * 40, "a b", "<b>"])
def test_a_name_that_is_no_product_is_refused(
    engineer: FlaskClient, models: ModelsSettings, name: str
) -> None:
    """Products become folders, files and topics."""
    before = set(models.recipes.iterdir())

    assert engineer.post("/teach", data={"product": name}).status_code == 400
    assert set(models.recipes.iterdir()) == before


def test_images_are_uploaded_sorted_out_and_deleted(engineer: FlaskClient, tmp_path: Path) -> None:
    """Under harmless names, whatever the browser calls them; only what was left out is deleted."""
    files = [(BytesIO(png(part())), "../../a b.png"), (BytesIO(png(part(9))), "a b.png")]
    answer = engineer.post("/teach/demo/collect", data={"action": "upload", "image": files})
    assert answer.status_code == 303, answer.text
    folder = tmp_path / "datasets/demo"
    assert sorted(path.name for path in (folder / "train/good").iterdir()) == ["ab-2.png", "ab.png"]

    engineer.post("/teach/demo/sort", data={"place": "train/good", "name": "ab.png", "to": "left_out"})
    engineer.post(
        "/teach/demo/sort",
        data={"place": "train/good", "name": "ab-2.png", "action": "goal", "kind": "scratch"},
    )
    assert [path.name for path in (folder / "test/scratch").iterdir()] == ["ab-2.png"]
    engineer.post("/teach/demo/sort", data={"place": "left_out", "name": "ab.png", "action": "remove"})
    assert list((folder / "left_out").iterdir()) == []


def test_the_effect_of_leaving_images_out_is_predicted(
    engineer: FlaskClient, models: ModelsSettings, tmp_path: Path
) -> None:
    """Without moving any; the chosen ones stay chosen, and the product's page leads there."""
    version = active_version(models.path, "demo")
    for number in range(1, 13):
        engineer.post(
            "/teach/demo/collect",
            data={"action": "upload", "image": (BytesIO(png(part(number))), f"{number}.png")},
        )
    scores = [
        {"name": f"{number}.png", "score": 9.0 if number == 7 else 1.0, "group": number}
        for number in range(1, 13)
    ]
    (models.path / "demo" / version / "good_images.json").write_text(json.dumps(scores))

    page = engineer.get("/teach/demo/sort").text
    form = {"place": "train/good", "version": "", "order": "score", "page": "1", "name": "7.png"}
    answer = engineer.post("/teach/demo/sort", data=form | {"action": "predict"})

    assert page.index('value="7.png"') < page.index('value="1.png"')
    assert answer.status_code == 200 and "Left out: 1. The limit is then about" in answer.text
    assert re.findall(r'value="([^"]+)" checked', answer.text) == ["7.png"]
    assert (tmp_path / "datasets/demo/train/good/7.png").exists()
    assert f"version={version}" in engineer.get("/products/demo").text
    left = engineer.post("/teach/demo/sort", data=form | {"to": "left_out"})
    assert left.headers["Location"] == "/teach/demo/sort?order=score"


def test_every_image_of_a_page_can_be_chosen_at_once(engineer: FlaskClient) -> None:
    """Also those with the longest names."""
    names = [f"{'x' * 90}{number}.png" for number in range(SHOWN_MAX[Order.ALIKE])]

    answer = engineer.post("/teach/demo/sort", data={"place": "train/good", "name": names, "to": "left_out"})

    assert answer.status_code == 409 and "there is no image" in answer.text


@pytest.mark.parametrize("query", ["version=x", "order=size", "page=0", "page=a", "version=" + "0" * 8])
def test_a_view_that_does_not_exist_is_refused(engineer: FlaskClient, query: str) -> None:
    """With a sentence, on the page and in the API."""
    for path in ("/teach/demo/sort", "/api/teach/demo/pictures"):
        assert engineer.get(f"{path}?{query}").status_code in (400, 409)


@pytest.mark.parametrize(
    ("data", "name", "status"),
    [(b"#!/bin/sh", "run.sh", 409), (b"", "empty.png", 409), (b"x" * 20_200_000, "large.png", 413)],
)
def test_what_is_no_image_is_refused(
    engineer: FlaskClient, tmp_path: Path, data: bytes, name: str, status: int
) -> None:
    """And nothing is stored of it."""
    files = {"action": "upload", "image": (BytesIO(data), name)}

    assert engineer.post("/teach/demo/collect", data=files).status_code == status
    assert not list((tmp_path / "datasets").rglob("*.*"))


def test_a_bomb_among_the_images_harms_nothing(engineer: FlaskClient, tmp_path: Path) -> None:
    """It is stored undecoded; the page lists it as soon as the other process has refused it."""
    bomb = png(part())[:20] + b"\xff\xff\xff\x7f" + png(part())[24:]
    engineer.post("/teach/demo/collect", data={"action": "upload", "image": (BytesIO(bomb), "bomb.png")})

    assert engineer.get("/teach/demo/sort").status_code == 200
    assert engineer.get("/teach/demo/thumbnail?place=train/good&name=bomb.png").status_code == 404


@pytest.mark.parametrize("place", ["../../etc", "train/good/../../..", "models", "test/"])
def test_no_address_leads_out_of_the_data_sets(engineer: FlaskClient, place: str) -> None:
    """Neither an image nor a thumbnail."""
    for kind in ("image", "thumbnail"):
        for name in ("passwd", "../journal.db", "1.png"):
            answer = engineer.get(f"/teach/demo/{kind}", query_string={"place": place, "name": name})
            assert answer.status_code == 404


def test_an_archive_is_added_and_not_activated(
    engineer: FlaskClient, models: ModelsSettings, tmp_path: Path
) -> None:
    """The same verification as the command: a second time, and a damaged one, are refused by name."""
    other = ModelsSettings(path=tmp_path / "other", recipes=tmp_path / "recipes2")
    bundle = teach(other, "lid", index=5)
    pack(bundle, tmp_path / "lid.tar.gz")
    data = (tmp_path / "lid.tar.gz").read_bytes()

    def send(content: bytes) -> tuple[int, str]:
        files = {"archive": (BytesIO(content), "lid.tar.gz")}
        answer = engineer.post("/teach/archive", data=files, follow_redirects=False)
        return answer.status_code, answer.text

    assert send(data)[0] == 303
    assert (models.path / "lid" / bundle.version / "manifest.json").exists()
    assert not (models.path / "lid" / "active").exists()
    assert send(data)[0] == 409
    status, sentence = send(data[: len(data) // 2])
    assert status == 409 and "damaged" in sentence and "lid.tar.gz" in sentence
    assert not list((tmp_path / "datasets").glob("_upload*"))


def test_versions_are_activated_and_rolled_back(engineer: FlaskClient, models: ModelsSettings) -> None:
    """With the engineer's name in the audit, which the page shows."""
    first = active_version(models.path, "demo")
    second = teach(models, created="2026-11-23T10:00:00+00:00", scores=(0.5, 0.8)).version
    set_active(models.path, "demo", first)

    assert engineer.post("/products/demo", data={"action": "activate", "version": second}).status_code == 303
    assert active_version(models.path, "demo") == second
    assert engineer.post("/products/demo", data={"action": "rollback"}).status_code == 303
    assert active_version(models.path, "demo") == first
    page = engineer.get("/products/demo").text
    assert page.count("model_activated") == 2 and "<td>engineer</td>" in page


def test_a_damaged_version_is_refused_and_the_active_one_stays(
    engineer: FlaskClient, models: ModelsSettings
) -> None:
    """The page says why."""
    first = active_version(models.path, "demo")
    second = teach(models, created="2026-11-23T10:00:00+00:00", scores=(0.5, 0.8))
    set_active(models.path, "demo", first)
    second.graph.write_text("broken")

    answer = engineer.post("/products/demo", data={"action": "activate", "version": second.version})

    assert answer.status_code == 409
    assert active_version(models.path, "demo") == first


def test_a_threshold_is_tried_saved_and_rolled_back(engineer: FlaskClient, models: ModelsSettings) -> None:
    """Trying changes nothing; saving writes a version of its own; one that passes a challenge is refused."""
    first = active_version(models.path, "demo")
    page = engineer.get("/products/demo/threshold").text
    now = re.search(r'name="threshold" type="text"[^>]*value="([^"]+)"', page)
    assert now is not None
    threshold = float(now[1])

    assert engineer.get(f"/products/demo/threshold?threshold={threshold * 1.05}").status_code == 200
    assert active_version(models.path, "demo") == first
    lenient = engineer.post("/products/demo/threshold", data={"threshold": str(threshold * 100)})
    assert lenient.status_code == 409 and active_version(models.path, "demo") == first
    saved = engineer.post("/products/demo/threshold", data={"threshold": f"{threshold * 1.05:.3f}"})
    assert saved.status_code == 303, saved.text
    assert active_version(models.path, "demo") != first
    engineer.post("/products/demo", data={"action": "rollback"})
    assert active_version(models.path, "demo") == first


@pytest.mark.parametrize("threshold", ["", "abc", "-1", "0", "nan", "inf", "1e400"])
def test_what_is_no_threshold_is_refused(engineer: FlaskClient, threshold: str) -> None:
    """One sentence, not a fault."""
    assert engineer.post("/products/demo/threshold", data={"threshold": threshold}).status_code == 400


@pytest.mark.parametrize("role", [None, Role.OPERATOR])
def test_who_is_no_engineer_sees_no_button(
    make_app: Callable[..., Flask], teaching: TeachBackend, role: Role | None
) -> None:
    """The pages show, and offer nothing that would be refused."""
    client = make_app(people=people_with(), teaching=teaching).test_client()
    if role:
        sign_in_as(client, role.value)

    for step in ("look", "collect", "sort", "learn", "judge", "activate"):
        page = client.get(f"/teach/demo/{step}")
        assert page.status_code == 200
        assert 'action="/teach/demo' not in page.text and 'action="/products/demo"' not in page.text


class LineBackend:
    """A collector with a frame of 64x64, for the region."""

    latest: Image | None = part()


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"x": "40", "y": "0", "width": "40", "height": "40"}, "does not lie in the frame"),
        ({"x": "0", "y": "0", "width": "5", "height": "40"}, "does not lie in the frame"),
        ({"x": "-1", "y": "0", "width": "40", "height": "40"}, "roi"),
        ({"x": "a", "y": "0", "width": "40", "height": "40"}, "roi"),
        ({"x": "1", "y": "", "width": "40", "height": "40"}, "roi"),
        ({"strokes": "5 70 10"}, "leaves the frame"),
        ({"strokes": "5 10 10 20"}, "cannot be read"),
        ({"strokes": "100 32 32 40 40"}, "almost everything is painted out"),
        ({"strokes": "5 1 1;" * 2500}, ""),
        ({"strokes": "99999 1 1"}, "cannot be read"),
    ],
)
def test_a_region_outside_the_frame_is_refused(
    make_app: Callable[..., Flask],
    teaching: TeachBackend,
    models: ModelsSettings,
    fields: dict[str, str],
    sentence: str,
) -> None:
    """The recipe stays as it was."""
    teaching._collector = LineBackend()  # type: ignore[assignment]
    engineer = sign_in_as(make_app(people=people_with(), teaching=teaching).test_client(), "engineer")
    before = (models.recipes / "demo.toml").read_text()

    answer = engineer.post("/teach/demo/look", data=fields)

    assert answer.status_code in (400, 409, 413) and sentence in answer.text
    assert (models.recipes / "demo.toml").read_text() == before
    assert not list(models.recipes.glob("*.png"))


def test_region_and_mask_are_written_into_the_recipe(
    make_app: Callable[..., Flask], teaching: TeachBackend, models: ModelsSettings
) -> None:
    """Beside what stands there; painted strokes come back for the next change, and can be removed."""
    teaching._collector = LineBackend()  # type: ignore[assignment]
    engineer = sign_in_as(make_app(people=people_with(), teaching=teaching).test_client(), "engineer")
    region = {"x": "4", "y": "8", "width": "40", "height": "48", "strokes": "3 10 10 20 20"}

    assert engineer.post("/teach/demo/look", data=region).status_code == 303

    recipe = (models.recipes / "demo.toml").read_text()
    assert "roi = [4, 8, 40, 48]" in recipe and "demo.mask.png" in recipe and "index = " in recipe
    assert teaching.area("demo").strokes == "3 10 10 20 20"
    engineer.post("/teach/demo/look", data=region | {"strokes": ""})
    assert "mask.png" not in re.sub("(?m)^#.*$", "", (models.recipes / "demo.toml").read_text())


def test_a_product_without_a_model_shows_every_page(engineer: FlaskClient) -> None:
    """A product that was just begun has nothing to judge, activate or compare."""
    engineer.post("/teach", data={"product": "cup"})

    for path in ("teach/cup/judge", "teach/cup/activate", "products/cup", "products/cup/threshold"):
        assert engineer.get(f"/{path}").status_code == 200, path
