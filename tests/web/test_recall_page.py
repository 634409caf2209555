"""The page and the address that find parts like an uploaded one."""

import csv
import io
import re
import threading

import pytest
from flask import Flask
from flask.testing import FlaskClient

from linewatch.errors import LinewatchError, RecipeError
from tests.fakes import FakeBackend
from tests.web.client import error_sentence, png, upload


def test_the_page_shows_window_parts_and_what_was_not_compared(client: FlaskClient) -> None:
    """Without JavaScript; a part's name is text, and its link leads to the part."""
    page = client.post("/recall", **upload(png())).text

    assert "1 similar parts between" in page
    assert "Similar in the look of their most unusual place. 1,000,000 parts were compared." in page
    assert "5 parts of model 00000000, 2026-11-01 to 2026-11-02:" in page
    assert '<a href="/history/41/2">A&lt;b&gt;2</a>' in page
    assert "By 7f3a91c2" not in page


def test_an_answer_can_be_saved_as_csv_and_json(client: FlaskClient) -> None:
    """The files are those of the answer that is shown; a guessed name has none."""
    page = client.post("/recall", **upload(png())).text
    sheet, document = (client.get(f"/recall/{name}") for name in re.findall(r'href="/recall/([^"]+)"', page))

    assert sheet.content_type == "text/csv; charset=utf-8"
    assert next(csv.DictReader(io.StringIO(sheet.text)))["part"] == "A<b>2"
    assert document.get_json()["windows"][0]["elsewhere"] == 3
    assert client.get("/recall/guessed.csv").status_code == 404


def test_time_and_model_are_passed_on(client: FlaskClient, backend: FakeBackend) -> None:
    """What is empty is not given; the new model's results stand beside the line's."""
    asked = upload(png())
    asked["data"] |= {"since": "2026-11-28T14:00+00:00", "until": "", "model": "0a1b2c3d"}

    page = client.post("/recall", **asked).text

    assert backend.recalled[0].since_ms == 1_795_874_400_000
    assert (backend.recalled[0].until_ms, backend.recalled[0].model) == (None, "0a1b2c3d")
    assert "By 0a1b2c3d" in page


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("since", "yesterday", "The time is wrong"),
        ("until", "99999-01-01", "The time is wrong"),
        ("model", "../../etc", "The model is wrong"),
        ("product", "nothing", "no such product"),
    ],
)
def test_a_wrong_field_is_one_sentence(client: FlaskClient, field: str, value: str, says: str) -> None:
    """Nothing is searched then."""
    asked = upload(png())
    asked["data"][field] = value

    response = client.post("/api/recall", **asked)

    assert response.status_code in (400, 404)
    assert says in error_sentence(response)


@pytest.mark.parametrize(
    ("trouble", "status"), [(RecipeError("no model"), 409), (LinewatchError("no signatures"), 503)]
)
def test_trouble_has_its_status(
    client: FlaskClient, backend: FakeBackend, trouble: LinewatchError, status: int
) -> None:
    """The sentence is the station's."""
    backend.trouble = trouble

    response = client.post("/api/recall", **upload(png()))

    assert (response.status_code, error_sentence(response)) == (status, str(trouble))


def test_one_search_runs_at_a_time(client: FlaskClient, backend: FakeBackend, make_app: object) -> None:
    """A second one is refused at once, so that searches cannot occupy the server."""
    app = client.application
    assert isinstance(app, Flask)
    begun, go_on = threading.Event(), threading.Event()
    search = backend.recall

    def slow(*asked: object) -> object:
        begun.set()
        assert go_on.wait(20)
        return search(*asked)  # type: ignore[arg-type]

    backend.recall = slow  # type: ignore[method-assign, assignment]
    statuses: list[int] = []
    first = threading.Thread(
        target=lambda: statuses.append(app.test_client().post("/api/recall", **upload(png())).status_code)
    )
    first.start()
    assert begun.wait(20)

    second = client.post("/api/recall", **upload(png()))
    go_on.set()
    first.join(20)

    assert second.status_code == 503
    assert "Another search" in error_sentence(second)
    assert statuses == [200]
