"""A form that is refused comes back with the reason and with what was typed."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from linewatch.settings import ModelsSettings
from linewatch.teach.collector import Collector
from linewatch.teach.datasets import Datasets
from linewatch.teach.thumbnails import Thumbnails
from linewatch.teach_settings import TeachSettings
from linewatch.web.backend import ProductInfo
from tests.bundles import part, teach
from tests.fakes import FakeBackend, frame
from tests.web.client import LEFT_TO_COLLECTOR, OPENED, people_with, sign_in_as, teaching_in

pytestmark = LEFT_TO_COLLECTOR

REGION = {"name": "Gewinde", "x": "60", "y": "0", "width": "40", "height": "40", "smallest": "3"}
REFUSED: tuple[tuple[str, dict[str, str], int, str, list[str]], ...] = (
    # Address, form, status, a sentence of why, what is still in the page.
    ("/teach", {"product": "demo", "index": "12"}, 409, "exists already", ['value="demo"', 'value="12"']),
    ("/teach", {"product": "a b", "index": "12"}, 400, "product", ['value="a b"', 'value="12"']),
    (
        "/teach/demo/look",
        {"x": "61", "y": "0", "width": "40", "height": "40", "strokes": "3 1 1"},
        409,
        "does not lie in the frame",
        ['value="61"', 'value="3 1 1"'],
    ),
    (
        "/teach/demo/regions",
        REGION | {"percent": "80,5", "threshold": ""},
        409,
        "does not lie in the frame",
        ['value="Gewinde"', 'value="60"', 'value="80,5"', 'value="3"'],
    ),
    (
        "/teach/demo/regions",
        REGION | {"percent": "much", "threshold": ""},
        400,
        "percent",
        ['value="Gewinde"', 'value="much"'],
    ),
    (
        "/teach/demo/collect",
        {"action": "start", "count": "5000", "kind": "dent"},
        400,
        "count",
        ['value="5000"', 'value="dent"'],
    ),
    (
        "/teach/demo/collect",
        {"action": "one", "kind": "a/b", "count": "7"},
        409,
        "no place in a data set",
        ['value="7"', 'value="a/b"'],
    ),
    ("/teach/demo/sort", {"to": "left_out"}, 400, "No image is chosen", []),
    (
        "/teach/demo/learn",
        {"action": "learn", "percent": "99", "detail": "fine"},
        400,
        "false_reject",
        ['value="99"', 'value="fine" selected'],
    ),
    (
        "/teach/demo/learn",
        {"action": "learn", "percent": "3", "detail": "coarse"},
        409,
        "10 are the least",
        ['value="3"', 'value="coarse" selected'],
    ),
    ("/products/demo", {"action": "rollback"}, 409, "no earlier active model", ["Who did what"]),
    ("/products/demo/threshold", {"threshold": "2,9x"}, 400, "threshold", ['value="2,9x"']),
    ("/products/demo/threshold", {"threshold": "99"}, 409, "must fail but scores", ['value="99"']),
    (
        "/people/users",
        {"user": "ben", "password": "short", "role": "engineer"},
        400,
        "8",
        ['value="ben"', 'value="engineer" selected', '<details class="person-row" open>'],
    ),
    (
        "/people/tokens",
        {"token": "-", "role": "engineer"},
        400,
        "name",
        ['value="-"', '<details class="person-row" open>'],
    ),
)


@pytest.fixture
def admin(make_app: Callable[..., Flask], tmp_path: Path, backend: FakeBackend) -> FlaskClient:
    """Return the browser of an admin, beside a line with frames of 64x64 and a product "demo"."""
    teach(ModelsSettings(path=tmp_path / "models", recipes=tmp_path / "recipes"))
    backend.product_infos = [ProductInfo("demo", 1, "1a2b3c4d", 0.0, 0.0)]
    datasets = Datasets(TeachSettings(path=tmp_path / "datasets"))
    thumbnails = Thumbnails(datasets)
    OPENED.append(thumbnails)
    collector = Collector(datasets, thumbnails)
    collector.offer(frame(image=part()))
    app = make_app(people=people_with(), teaching=teaching_in(tmp_path, collector=collector))
    return sign_in_as(app.test_client(), "admin")


@pytest.mark.parametrize(
    ("address", "form", "status", "sentence", "kept"),
    REFUSED,
    ids=[f"{row[0]} {row[3]}" for row in REFUSED],
)
def test_what_was_typed_stays(
    admin: FlaskClient, address: str, form: dict[str, str], status: int, sentence: str, kept: list[str]
) -> None:
    """On the page that the form is on, with one sentence; the browser's own page for it is the same."""
    answer = admin.post(address, data=form)

    assert answer.status_code == status, answer.text
    alert = answer.text.partition('role="alert">')[2].partition('<p class="note bad" role="alert">')[2]
    assert sentence in alert.partition("</p>")[0], alert[:300]
    missing = [word for word in kept if word not in answer.text]
    assert missing == []
    assert "<form" in answer.text.partition("<main")[2]


@pytest.mark.parametrize("address", sorted({row[0] for row in REFUSED} - {"/people/users", "/people/tokens"}))
def test_loading_a_refused_page_again_shows_it_without_the_refusal(admin: FlaskClient, address: str) -> None:
    """Its address leads to the page that the form is on, also after another language was chosen."""
    answer = admin.get(address, follow_redirects=True)

    assert answer.status_code == 200 and 'class="note bad" role="alert"' not in answer.text


def test_an_upload_that_is_too_large_leaves_the_page(admin: FlaskClient) -> None:
    """With the sentence on it; what else was typed was in the same body and is not read."""
    data = {"action": "upload", "kind": "dent", "image": (BytesIO(bytes(21_000_000)), "big.png")}

    answer = admin.post("/teach/demo/collect", data=data)

    assert answer.status_code == 413
    assert "The upload is too large" in answer.text and 'name="image"' in answer.text


def test_a_threshold_that_cannot_be_read_is_shown_again(admin: FlaskClient) -> None:
    """Beside the effect of the one in use."""
    answer = admin.get("/products/demo/threshold?threshold=1.5.5")

    assert answer.status_code == 400
    assert 'value="1.5.5"' in answer.text and "Effect" in answer.text
