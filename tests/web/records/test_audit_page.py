"""The audit's page: for engineers, filtered, whole or not, and exported."""

from flask.testing import FlaskClient

from linewatch.web.records.interface import Act, AuditState
from linewatch.web.records.pages import ACTS_SHOWN
from tests.fakes import FakeBackend
from tests.web.client import sign_in


def act(row: int, who: str = "anna", **facts: object) -> Act:
    """Return one row."""
    return Act(row, 1_790_000_000_000 + row, who, "model_activated", "bottle", facts, f"{row:064x}")


def test_acts_are_shown_to_engineers_only(client: FlaskClient, backend: FakeBackend) -> None:
    """With who, what and the change; what a name holds is text, never markup."""
    backend.records.rows = [act(2, "<b>ben</b>", **{"from": "7f3a91c2", "to": "91c27f3a", "why": "sharper"})]

    assert client.get("/audit").status_code == 401
    page = sign_in(client).get("/audit").text
    assert "7f3a91c2 → 91c27f3a" in page
    assert "sharper" in page
    assert "<b>ben" not in page


def test_a_broken_row_is_an_alert(client: FlaskClient, backend: FakeBackend) -> None:
    """And a whole audit says up to which hash."""
    sign_in(client)
    backend.records.state = AuditState(57, "ab" * 32)
    assert "57:abab" in client.get("/audit").text

    backend.records.state = AuditState(11, "ab" * 32, 12, "row 12 was changed")
    page = client.get("/audit").text
    assert 'role="alert">Row 12' in page


def test_older_acts_are_one_link_away(client: FlaskClient, backend: FakeBackend) -> None:
    """The link keeps the filter."""
    sign_in(client)
    backend.records.rows = [act(row) for row in range(ACTS_SHOWN + 5, 0, -1)]

    assert "/audit?who=anna&amp;before=6" in client.get("/audit?who=anna").text
    assert client.get("/audit?who=anna&before=6").text.count("<tr>") == 1 + 5


def test_unknown_parameters_are_errors(client: FlaskClient) -> None:
    """So are times that are none; the sentence names which."""
    sign_in(client)
    assert "whom" in client.get("/audit?whom=anna").text
    for wrong in ("whom=anna", "from=yesterday", "before=x"):
        assert client.get(f"/audit?{wrong}").status_code == 400
        assert client.get(f"/audit/export?{wrong}").status_code == 400


def test_the_export_has_the_filter_and_the_form(client: FlaskClient, backend: FakeBackend) -> None:
    """As linewatch audit export writes it; the page has a link for each form."""
    backend.records.rows = [act(2), act(1, "ben")]
    sign_in(client)

    assert "/audit/export?who=ben&amp;format=csv" in client.get("/audit?who=ben").text
    answer = client.get("/audit/export?who=ben&format=csv", buffered=True)

    assert answer.text == f"csv 1 {1:064x}\n"
    assert answer.mimetype == "text/csv"
    assert 'filename="audit-' in answer.headers["Content-Disposition"]
    assert client.get("/audit/export?format=zip").status_code == 400
    assert client.get("/audit/export", buffered=True).text.startswith("jsonl 2")
