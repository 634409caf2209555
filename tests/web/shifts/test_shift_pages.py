"""The list of shifts and the report of one: as page, as file, and for programs."""

from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from linewatch.errors import LinewatchError, StorageFull
from linewatch.people.roles import Role
from linewatch.web.shifts.interface import KeptReport
from tests.web.client import error_sentence, people_with, sign_in_as
from tests.web.shift_fakes import EARLY, JPEG, LATE, FakeShifts, figures, renamed

REPORT = "/shifts/2026-11-27/early"


@pytest.fixture
def shifts() -> FakeShifts:
    """Return shifts that tests may change."""
    return FakeShifts()


@pytest.fixture
def people_app(make_app: Callable[..., Flask], shifts: FakeShifts) -> Flask:
    """Return an app with a user of each role."""
    return make_app(shifts=shifts, people=people_with())


@pytest.fixture
def reader(people_app: Flask) -> FlaskClient:
    """Return a client that is not signed in."""
    people_app.testing = True
    return people_app.test_client()


def test_the_list_has_figures_and_what_is_awaited(reader: FlaskClient) -> None:
    """The page loads again until every shift has its figures."""
    page = reader.get("/shifts").text

    assert 'href="/shifts/2026-11-27/early"' in page and "Fri" in page
    assert "25.00" in page and "75.0" in page
    assert "is being worked out" in page and 'http-equiv="refresh"' in page


def test_the_report_in_both_languages(reader: FlaskClient) -> None:
    """Figures of each product, states, and how the interval is meant."""
    english = reader.get(REPORT).text
    german = reader.get(REPORT, headers={"Accept-Language": "de"}).text

    assert "early, Fri 2026-11-27" in english and "early, Fr 27.11.2026" in german
    assert "First-pass yield" in english and "Gut im ersten Durchlauf" in german
    assert "taken as independent" in english and "als unabhängig gezählt" in german
    assert "bottle" in english and "screw" in english
    assert "refresh" not in english


@pytest.mark.parametrize(
    ("role", "sees"), [(None, False), *((role, role is not Role.OPERATOR) for role in Role)]
)
def test_who_changed_what_is_for_those_who_may_read_the_audit(
    people_app: Flask, role: Role | None, sees: bool
) -> None:
    """On the page, in the file and in the API."""
    client = people_app.test_client()
    if role:
        sign_in_as(client, role.value)

    for address in (REPORT, f"{REPORT}/file"):
        page = client.get(address).text
        assert ("anna &lt;b&gt;" in page) is sees
        assert ("Who changed what is shown to the role Engineer" in page) is not sees


def test_a_machine_of_an_engineer_gets_the_changes(
    make_app: Callable[..., Flask], shifts: FakeShifts
) -> None:
    """One of an operator gets none."""
    people = people_with()
    client = make_app(shifts=shifts, people=people).test_client()

    for role, number in ((Role.OPERATOR, 0), (Role.ENGINEER, 1)):
        bearer = {"Authorization": f"Bearer {people.add_token(f'mes-{role}', role, 'test')}"}
        assert len(client.get(f"/api{REPORT}", headers=bearer).get_json()["changes"]) == number


def test_the_file_is_whole(reader: FlaskClient, shifts: FakeShifts) -> None:
    """One file without scripts or addresses, with its heatmap inside; no page of the station executes it."""
    made = figures()
    with_place = made.products[0].model_copy(update={"defects_placed": 1})
    shifts.kept[EARLY] = KeptReport(
        made.model_copy(update={"products": [with_place, made.products[1]]}), renewing=False
    )
    response = reader.get(f"{REPORT}/file")

    assert response.headers["Content-Disposition"] == "attachment; filename=cell4-2026-11-27-early.html"
    assert "data:image/jpeg;base64," in response.text
    assert "<script" not in response.text and "href=" not in response.text and 'src="/' not in response.text


def test_the_heatmap_has_an_address(reader: FlaskClient) -> None:
    """There is none for a product without defects."""
    assert reader.get(f"{REPORT}/0.jpg").data == JPEG
    assert reader.get(f"{REPORT}/1.jpg").status_code == 404
    assert reader.get(f"{REPORT}/99999999999999999999.jpg").status_code == 404


def test_an_awaited_report_says_so_and_loads_again(reader: FlaskClient) -> None:
    """The page, the file, and the API with the time to wait."""
    for address in ("/shifts/2026-11-27/late", "/shifts/2026-11-27/late/file"):
        response = reader.get(address)
        assert (response.status_code, response.headers["Retry-After"]) == (202, "3")
        assert 'http-equiv="refresh"' in response.text and "is being worked out" in response.text
    api = reader.get("/api/shifts/2026-11-27/late")
    assert (api.status_code, list(api.get_json())) == (202, ["awaited"])


def test_a_running_shift_says_up_to_when(reader: FlaskClient, shifts: FakeShifts) -> None:
    """And that newer figures come."""
    so_far = figures(LATE, complete=False, made_ms=LATE.since_ms + 1)
    shifts.kept[LATE] = KeptReport(so_far, renewing=True)

    page = reader.get("/shifts/2026-11-27/late").text

    assert "The shift is not over: figures up to" in page
    assert "Newer figures are being worked out" in page and 'http-equiv="refresh"' in page


@pytest.mark.parametrize(
    "address",
    ["2026-11-27/noon", "2026-11-28/early", "20261127/early", "2026-W48-5/early", "2026-02-30/early",
     "9999-12-31/early", "0001-01-01/early", "٢٠٢٦-11-27/early", "x/early", "2026-11-27/%00"],
)  # fmt: skip
def test_what_is_no_shift_is_404(reader: FlaskClient, address: str) -> None:
    """With one sentence."""
    assert reader.get(f"/shifts/{address}").status_code == 404
    assert "no such shift" in error_sentence(reader.get(f"/api/shifts/{address}"))


def test_a_name_of_any_letters(reader: FlaskClient, shifts: FakeShifts) -> None:
    """In addresses and as the name of the file."""
    shifts.kept = {renamed("früh & spät"): KeptReport(figures(renamed("früh & spät")), renewing=False)}

    assert "früh &amp; spät" in reader.get("/shifts/2026-11-27/fr%C3%BCh%20&%20sp%C3%A4t").text
    assert 'href="/shifts/2026-11-27/fr%C3%BCh%20&amp;%20sp%C3%A4t"' in reader.get("/shifts").text
    assert reader.get("/shifts/2026-11-27/fr%C3%BCh%20&%20sp%C3%A4t/file").status_code == 200


def test_without_settings_the_shift_is_the_day(reader: FlaskClient, shifts: FakeShifts) -> None:
    """Under its name in the language of the page; in addresses it stays day."""
    shifts.kept = {renamed("day"): KeptReport(figures(renamed("day")), renewing=False)}

    german = reader.get("/shifts/2026-11-27/day", headers={"Accept-Language": "de"}).text
    assert (
        "Tag, Fr 27.11.2026" in german and "day, Fri 2026-11-27" in reader.get("/shifts/2026-11-27/day").text
    )


def test_trouble_is_one_sentence(reader: FlaskClient, shifts: FakeShifts) -> None:
    """503: it may pass."""
    shifts.trouble = LinewatchError("it ended")
    assert reader.get(REPORT).status_code == 503
    assert "could not be worked out" in error_sentence(reader.get(f"/api{REPORT}"))

    shifts.trouble = StorageFull(Path("journal.db"), "it is damaged")
    assert "damaged" in error_sentence(reader.get(f"/api{REPORT}"))


def test_the_history_leads_to_the_shifts(reader: FlaskClient, make_app: Callable[..., Flask]) -> None:
    """Where there are reports."""
    assert 'href="/shifts"' in reader.get("/history").text
    assert 'href="/shifts"' not in make_app(shifts=None).test_client().get("/history").text
