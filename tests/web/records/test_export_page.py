"""Exports over HTTP: who may, of what, one at a time, and what becomes of them when a client goes."""

from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from waitress.channel import ClientDisconnected

from linewatch.domain import Result
from linewatch.errors import LinewatchError
from linewatch.web.backend import ExportForm, Query
from linewatch.web.records.params import ROWS_MAX
from tests.fakes import FakeBackend, FakeExport
from tests.web.client import BEARER, error_sentence, sign_in

FORMS = {
    "csv": "text/csv; charset=utf-8",
    "jsonl": "application/x-ndjson",
    "zip": "application/zip",
}


@pytest.mark.parametrize("form", FORMS)
def test_an_export_is_passed_on(client: FlaskClient, backend: FakeBackend, tmp_path: Path, form: str) -> None:
    """With every condition of the search, by page and by API, as a file with a name."""
    sign_in(client)
    asked = "result=FAIL&product=bottle&part=A&region=rim&reason=10&model=7f3a91c2&reviewer=anna&before=41-9"
    for path in ("/api/export", "/history/export"):
        backend.exports = [export := FakeExport(b"one", b"two")]

        answer = client.get(f"{path}?{asked}&format={form}", headers=BEARER, buffered=True)

        assert answer.data == b"onetwo"
        assert answer.content_type == FORMS[form]
        assert answer.headers["Content-Disposition"].startswith('attachment; filename="station1-2')
        assert answer.headers["Content-Disposition"].endswith(f'.{form}"')
        assert export.closed == 1
    query, asked_form, evidence = backend.exported[-1]
    assert (query.part, query.model, query.reviewer, query.limit) == ("A", "7f3a91c2", "anna", ROWS_MAX)
    assert query.results == {Result.FAIL} and query.before == (41, 9)
    assert (asked_form, evidence) == (ExportForm(form), (tmp_path / "evidence").resolve())


def test_an_export_needs_a_name_or_a_token(client: FlaskClient, backend: FakeBackend) -> None:
    """Whoever only reads is refused; nothing was begun."""
    assert client.get("/api/export").status_code == 401
    assert client.get("/history/export").status_code == 401
    assert backend.exported == []


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("colour=red", "no parameter 'colour'"),
        ("format=xml", "csv, jsonl, or zip"),
        ("limit=1000001", "1 to 1000000"),
        ("limit=0", "1 to 1000000"),
        ("limit=1e3", "1 to 1000000"),
        ("model=x", "8 hex digits"),
        ("reviewer=" + "x" * 65, "at most 64"),
        ("from=noon", "A time must"),
        ("before=3", "before"),
    ],
)
def test_wrong_conditions_are_one_sentence(
    client: FlaskClient, backend: FakeBackend, wrong: str, says: str
) -> None:
    """On the page, too: an export that ignored a condition would be another one."""
    sign_in(client)

    assert says in error_sentence(client.get(f"/api/export?{wrong}", headers=BEARER))
    assert client.get(f"/history/export?{wrong}").status_code == 400
    assert backend.exported == []


def test_a_second_export_has_to_wait(client: FlaskClient, backend: FakeBackend) -> None:
    """Until the first one is closed, however far it came; the answer says when to try again."""
    backend.exports = [FakeExport(b"one"), FakeExport(b"two")]
    first = client.get("/api/export", headers=BEARER)

    second = client.get("/api/export", headers=BEARER)
    first.close()
    third = client.get("/api/export", headers=BEARER, buffered=True)

    assert (second.status_code, second.headers["Retry-After"]) == (503, "60")
    assert "Another export is running" in error_sentence(second)
    assert third.data == b"two"


def test_what_is_closed_before_it_is_read_frees_its_place(client: FlaskClient, backend: FakeBackend) -> None:
    """As of a client that is gone already, and of HEAD."""
    backend.exports = [export := FakeExport(b"one"), FakeExport(b"two"), FakeExport(b"three")]

    client.head("/api/export", headers=BEARER).close()
    client.get("/api/export", headers=BEARER).close()

    assert export.closed == 1
    assert client.get("/api/export", headers=BEARER, buffered=True).data == b"three"


def test_an_export_that_cannot_begin_is_one_sentence(client: FlaskClient, backend: FakeBackend) -> None:
    """And its place is free again."""
    backend.trouble = LinewatchError("no process for it now; try again later")
    answer = client.get("/api/export", headers=BEARER)
    backend.trouble, backend.exports = None, [FakeExport(b"one")]

    assert answer.status_code == 503 and "no process for it now" in error_sentence(answer)
    assert client.get("/api/export", headers=BEARER, buffered=True).data == b"one"


def test_an_export_that_breaks_is_not_ended_as_if_it_were_whole(
    client: FlaskClient, backend: FakeBackend
) -> None:
    """The connection is cut, and the place is free."""
    backend.exports = [broken := FakeExport(b"one", trouble="the disk failed"), FakeExport(b"two")]

    with pytest.raises(ClientDisconnected):
        client.get("/api/export", headers=BEARER, buffered=True)

    assert broken.closed == 1
    assert client.get("/api/export", headers=BEARER, buffered=True).data == b"two"


def test_the_history_links_to_what_it_shows(make_app: Callable[..., Flask]) -> None:
    """With the same conditions, for those who may; others are asked to sign in."""
    client = make_app().test_client()
    address = "/history?product=bottle&model=7f3a91c2&reviewer=anna"
    assert "Sign in to export" in client.get(address).text

    page = sign_in(client).get(address).text

    for form in FORMS:
        link = f"/history/export?product=bottle&amp;model=7f3a91c2&amp;reviewer=anna&amp;format={form}"
        assert link in page
    assert "Model 7f3a91c2 · Reviewed by anna" in page


def test_counts_say_how_far_they_go(client: FlaskClient, backend: FakeBackend) -> None:
    """For programs and on the first page of the history."""
    every = client.get("/api/counts").get_json()
    assert every == {
        "counts": {"PASS": 2, "FAIL": 1, "UNSURE": 1, "ERROR": 1},
        "total": 5,
        "counted_to": "",
        "counted_to_ms": None,
    }
    assert "<b>5</b> parts:</span>" in client.get("/history").text
    assert "parts:" not in client.get("/history?before=41-3").text

    backend.rows_read_max = 2
    some = client.get("/api/counts?product=bottle").get_json()
    rest = client.get(f"/api/counts?product=bottle&before={some['counted_to']}").get_json()

    assert (some["total"], some["counted_to"]) == (1, "41-4")
    assert rest["counts"]["UNSURE"] == 1
    assert "counted back to" in client.get("/history?product=bottle").text
    assert "no parameter 'colour'" in error_sentence(client.get("/api/counts?colour=red"))


def test_the_history_is_searched_by_model_and_reviewer(client: FlaskClient, backend: FakeBackend) -> None:
    """The API takes them, too, and refuses what is no version."""
    assert client.get("/api/verdicts?model=7f3a91c2").get_json() != []
    assert client.get("/api/verdicts?model=00000000").get_json() == []
    assert client.get("/api/verdicts?reviewer=anna").get_json() == []
    assert client.get("/api/verdicts?model=x").status_code == 400
    assert backend.search(Query(limit=9, reviewer="anna")).rows == []
