"""The pages and the API of studies, with a real journal and real files."""

import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from linewatch.people.roles import Role
from linewatch.web import create_app
from linewatch.web.texts import ENGLISH
from tests.fakes import FakeBackend
from tests.web.client import BEARER, TOKEN, error_sentence, people_with, sign_in, sign_in_as
from tests.web.study.station import PARTS, Line, a_line

FORM = {
    "product": "bottle",
    "parts": PARTS,
    "passes": "2",
    "by": "part",
    "people": "Ann, Bob",
    "miss_percent": "40",
    "alarm_percent": "40",
}


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    """Open a station with the product bottle."""
    with a_line(tmp_path) as line:
        yield line


@pytest.fixture
def client(line: Line) -> Iterator[FlaskClient]:
    """Call its page."""
    studies = line.studies()
    app = create_app(FakeBackend(), lambda: (b"", "text/plain"), TOKEN, line.folder, studies=studies)
    app.testing = True
    with app.test_client() as client:
        yield client
    studies.close()


def plan(client: FlaskClient, **changes: Any) -> str:
    """Send the form and return the address of the study."""
    answer = client.post("/study", data=FORM | changes, content_type="multipart/form-data")
    assert answer.status_code == 303, answer.text
    return answer.location


def act(client: FlaskClient, address: str, action: str) -> str:
    """Press a button of a study and return the page that follows."""
    answer = client.post(address, data={"action": action}, follow_redirects=True)
    assert answer.status_code == 200, answer.text
    return answer.text


def test_a_study_without_javascript_by_loading_the_page(client: FlaskClient, line: Line) -> None:
    """Plan, see what it can prove, start, present part after part, result, download, verify."""
    sign_in(client)
    address = plan(client)
    page = client.get(address).text
    assert "cannot prove a rate below 40" in page and 'data-page="studies"' in page

    page = act(client, address, "run")
    assert 'data-page="study"' in page and 'http-equiv="refresh"' in page
    state = client.get(f"/api{address}").get_json()
    for number in range(12):
        part = state["step"]["part"]
        assert f'<p class="part">{part}</p>' in page
        assert f"Pass {number // 6 + 1} of 2, part {number % 6 + 1} of 6" in page
        line.judge(part)
        page = client.get(address).text
        state = client.get(f"/api{address}").get_json()
    page = client.get(address).text
    assert ENGLISH.texts["study_outcome_not_proven"] in page and state["stage"] == "complete"

    download = client.get(f"{address}/result.html?download=1")
    assert download.headers["Content-Disposition"].startswith("attachment")
    assert "script-src" not in download.headers["Content-Security-Policy"]
    assert "Ann, Bob" in download.text
    for body, says in ((download.data, "study_verify_ours"), (b"<html>", "study_verify_bad")):
        answer = client.post("/study/verify", data={"page": (BytesIO(body), "study.html")})
        assert ENGLISH.texts[says].split("{")[0] in answer.text
    assert address in client.get("/study").text


def test_a_reader_sees_a_study_and_moves_nothing(client: FlaskClient, line: Line) -> None:
    """Only an engineer's looking takes verdicts up, and only an engineer presses buttons."""
    sign_in(client)
    address = plan(client)
    act(client, address, "run")
    part = client.get(f"/api{address}").get_json()["step"]["part"]
    line.judge(part)
    reader = client.application.test_client()

    page = reader.get(address).text

    assert f'<p class="part">{part}</p>' in page and 'name="action"' not in page
    assert reader.post(address, data={"action": "pause"}).status_code == 401
    assert reader.get(f"/api{address}").get_json()["judged"] == 0
    client.get(address)
    assert reader.get(f"/api{address}").get_json()["judged"] == 1


def test_an_operator_may_not_study(line: Line) -> None:
    """It needs an engineer; the page says so to a program, too."""
    people = people_with()
    operator = people.add_token("plc", Role.OPERATOR, "test")
    shown = FakeBackend(), lambda: (b"", "text/plain"), TOKEN, line.folder
    app = create_app(*shown, studies=line.studies(), people=people)
    client = sign_in_as(app.test_client(), "operator")

    assert client.post("/study", data=FORM).status_code == 403
    answer = app.test_client().post("/api/study", json={}, headers={"Authorization": f"Bearer {operator}"})
    assert answer.status_code == 403
    engineer = sign_in_as(app.test_client(), "engineer")
    assert 'value="engineer"' in engineer.get("/study").text


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"parts": "part,truth\nA,perhaps\n"}, "line 2"),
        ({"parts": "part,truth\nA,good\n"}, "at least 2 of each"),
        ({"passes": "1"}, "passes"),
        ({"miss_percent": ""}, "both rates"),
        ({"miss_percent": "x"}, "miss_percent"),
        ({"every_days": "7"}, "a name for its set"),
        ({"keep_as": "a b"}, "keep_as"),
        ({"people": "x" * 65}, "people"),
        ({"product": "cup"}, "no such product"),
    ],
)
def test_a_wrong_field_is_one_sentence_and_plans_nothing(
    client: FlaskClient, line: Line, changes: dict[str, str], says: str
) -> None:
    """It says what is wrong; no file is left."""
    sign_in(client)

    answer = client.post("/study", data=FORM | changes, content_type="multipart/form-data")

    assert answer.status_code in (400, 404, 409) and says in answer.text
    assert not (line.folder / "studies").exists()


def test_parts_come_from_a_file_or_are_numbered(client: FlaskClient) -> None:
    """A file goes before the text field; without either, numbers do."""
    sign_in(client)
    address = plan(client, list=(BytesIO(b"part;truth\nA;good\nB;good\nX;defect\nY;defect\n"), "parts.csv"))
    assert client.get(f"/api{address}").get_json()["good"] == 2

    address = plan(client, parts="", good="4", defective="3", miss_percent="", alarm_percent="")
    state = client.get(f"/api{address}").get_json()
    assert (state["good"], state["defective"], state["rates"]) == (4, 3, None)


def test_every_action_of_the_page_is_a_call_of_the_api(client: FlaskClient, line: Line) -> None:
    """Plan with a set, run, poll, put off, take back, pause, result, schedule, repeat, discard, remove."""

    def call(path: str, body: dict[str, Any] | None = None, method: str = "post") -> Any:
        answer = getattr(client, method)(f"/api/study{path}", json=body, headers=BEARER)
        assert answer.status_code == 200, answer.text
        return answer.get_json()

    parts = [
        {"part": f"{letter}{n}", "truth": truth}
        for letter, truth in (("G", "good"), ("D", "defect"))
        for n in (1, 2)
    ]
    body = {"product": "bottle", "parts": parts, "passes": 2, "keep_as": "weekly", "every_days": 7}
    name = call("", body)["name"]
    assert [one["truth"] for one in call(f"/{name}/prospects", method="get")] == ["defect", "good"]
    first = call(f"/{name}/run")["step"]["part"]
    assert call(f"/{name}/skip")["step"]["part"] != first
    for _ in range(8):
        line.judge(call(f"/{name}/next")["step"]["part"])
        if _ == 0:
            assert call(f"/{name}/next")["judged"] == 1
            assert call(f"/{name}/undo")["judged"] == 0
            assert call(f"/{name}/pause")["stage"] == "paused"
            line.judge(call(f"/{name}/run")["step"]["part"])
    done = call(f"/{name}/next")
    assert (done["stage"], done["withdrawn"], done["outcome"], len(done["figures"])) == ("complete", 1, "", 5)
    assert call("/sets/weekly", {"every_days": 30})["sets"][0]["every_days"] == 30
    again = call("/sets/weekly/plan", {"people": ["Bob"]})
    assert (again["stage"], again["reference"], again["people"]) == ("planned", "weekly", ["Bob"])
    assert call(f"/{again['name']}", method="delete")["studies"][0]["name"] == name
    assert call("/sets/weekly", method="delete")["sets"] == []
    page = client.get(f"/study/{name}/result.html").data
    answer = client.post("/api/study/verify", data={"page": (BytesIO(page), "a.html")}, headers=BEARER)
    assert answer.get_json()["ours"] is True


def test_what_is_refused_is_one_sentence(client: FlaskClient) -> None:
    """Unknown studies and sets, and acts at the wrong time."""
    for path, status in (("/nothing/run", 404), ("/sets/nothing/plan", 409), ("/nothing", 405)):
        answer = client.post(f"/api/study{path}", json={}, headers=BEARER)
        assert answer.status_code == status
        assert error_sentence(answer)
    sign_in(client)
    address = plan(client)
    answer = client.post(address, data={"action": "pause"})
    assert answer.status_code == 409 and "not running" in answer.text
    assert client.post(address, data={"action": "explode"}).status_code == 400
    assert client.get("/study/nothing").status_code == 404
    assert client.get(f"{address}/result.html").status_code == 404


def test_the_live_page_says_when_a_study_is_due(
    client: FlaskClient, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And does not before."""
    monkeypatch.setattr("linewatch.web.pages.LIVE_FRESH_S", 0.0)
    sign_in(client)
    plan(client, keep_as="weekly", every_days="7")
    sentence = ENGLISH.texts["study_overdue_live"].split("{")[0]
    assert sentence not in client.get("/").text
    path = line.folder / "studies/sets/weekly.json"
    path.write_text(re.sub(r'"created_ms": \d+', '"created_ms": 1000', path.read_text()))
    client.post("/study/sets/weekly", data={"action": "schedule", "every_days": "7"})

    assert sentence in client.get("/").text
    assert "weekly" in client.get("/").text
