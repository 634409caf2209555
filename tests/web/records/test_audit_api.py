"""The audit for programs: rows page by page, and whether it is whole."""

from flask.testing import FlaskClient

from linewatch.people.roles import Role
from linewatch.web.people.rights import right_of
from linewatch.web.records.interface import AuditState
from tests.fakes import FakeBackend
from tests.web.client import BEARER, error_sentence
from tests.web.records.test_audit_page import act


def test_rows_come_page_by_page(client: FlaskClient, backend: FakeBackend) -> None:
    """Newest first; the header says where to go on, with the same conditions."""
    backend.records.rows = [act(row, why="sharper") for row in (5, 4, 3, 2, 1)]

    first = client.get("/api/audit?who=anna&limit=2", headers=BEARER)
    link = first.headers["Link"].partition(">")[0].lstrip("<")
    last = client.get("/api/audit?limit=3&before=4", headers=BEARER)

    assert [row["row"] for row in first.get_json()] == [5, 4]
    assert link == "/api/audit?who=anna&limit=2&before=4"
    assert [row["row"] for row in last.get_json()] == [3, 2, 1]
    assert "Link" not in last.headers
    assert first.get_json()[0] == {
        "row": 5,
        "time": "2026-09-21T14:13:20.005+00:00",
        "who": "anna",
        "action": "model_activated",
        "product": "bottle",
        "facts": {"why": "sharper"},
        "hash": f"{5:064x}",
    }


def test_programs_learn_whether_it_is_whole(client: FlaskClient, backend: FakeBackend) -> None:
    """And whether it still has a row that was noted elsewhere."""
    backend.records.state = AuditState(57, "ab" * 32)
    noted = f"41:{'cd' * 32}"
    whole = client.get(f"/api/audit/verify?head={noted}", headers=BEARER).get_json()
    assert backend.records.known == (41, "cd" * 32)

    backend.records.state = AuditState(11, "ab" * 32, 12, "row 12 was changed")
    broken = client.get("/api/audit/verify", headers=BEARER).get_json()

    assert whole == {"intact": True, "head": f"57:{'ab' * 32}", "broken_row": 0, "trouble": ""}
    assert broken["broken_row"] == 12 and not broken["intact"]


def test_roles_and_parameters_are_checked(client: FlaskClient) -> None:
    """Without a token nothing is shown; what is wrong is named."""
    for path in ("/api/audit", "/api/audit/verify"):
        assert client.get(path).status_code == 401
        assert "'colour'" in error_sentence(client.get(f"{path}?colour=red", headers=BEARER))
    for wrong in ("limit=0", "limit=1001", "before=x", "from=noon", "who=" + "x" * 129):
        assert client.get(f"/api/audit?{wrong}", headers=BEARER).status_code == 400
    for wrong in ("57", "57:ab", "x:" + "ab" * 32, "57:" + "AB" * 32):
        answer = client.get(f"/api/audit/verify?head={wrong}", headers=BEARER)
        assert answer.status_code == 400 and "57:9f3c" in error_sentence(answer)


def test_an_operators_token_is_not_enough() -> None:
    """The table of rights asks for an engineer."""
    assert right_of("GET", "/api/audit") is right_of("GET", "/api/audit/verify") is Role.ENGINEER
