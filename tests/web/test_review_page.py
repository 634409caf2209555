import re
from datetime import datetime

from flask.testing import FlaskClient

from linewatch.domain import Reason, Result
from linewatch.web import Actual, Row
from tests.fakes import FakeBackend, verdict
from tests.web.client import sign_in


def test_the_review_queue_leads_from_reject_to_reject(client: FlaskClient, backend: FakeBackend) -> None:
    """A reviewed part leaves the queue, a skipped one stays, and an empty queue says so."""
    sign_in(client)
    assert "Part #3" in client.get("/review").text
    assert "Part #2" in client.get("/review?before=41-3").text, "skipped"

    marked = client.post(
        "/history/41/3", data={"actual": "good", "note": " reflection ", "then": "review", "before": ""}
    )
    next_one = client.get(marked.headers["Location"]).text
    client.post("/history/41/2", data={"actual": "defect", "note": "", "then": "part"})

    assert marked.status_code == 303
    assert "Saved: part #3 is good." in next_one and "Part #2" in next_one
    assert "Nothing waits for review" in client.get("/review").text
    reviews = [backend.rows[41, seq].review for seq in (3, 2)]
    assert [(r.actual, r.note) for r in reviews if r] == [(Actual.GOOD, "reflection"), (Actual.DEFECT, "")]


def test_the_review_queue_says_how_far_it_was_searched(client: FlaskClient, backend: FakeBackend) -> None:
    """An empty queue is only said to be empty when nothing older is left."""
    backend.rows_read_max = 3
    sign_in(client)

    page = client.get("/review").text
    assert "Part #3" in page and "1+ waiting" in page
    assert 'href="/review?before=41-3">Skip<' in page
    backend.review(41, 3, Actual.GOOD, "")
    page = client.get("/review?product=bottle").text
    assert "Nothing waits" not in page and "No parts match back to 20" in page
    assert 'href="/review?product=bottle&amp;before=41-3">Search further back<' in page
    page = client.get("/review?product=bottle&before=41-3").text
    assert "Part #2" in page and "1 waiting" in page


def test_the_review_queue_keeps_its_filter(client: FlaskClient, backend: FakeBackend) -> None:
    """Skipping and reviewing keep product, reason and time."""
    backend.rows[41, 6] = Row(verdict(6, Result.FAIL, product="screw"))
    backend.rows[41, 7] = Row(verdict(7, Result.FAIL, reason=Reason.WRONG_PRODUCT))
    sign_in(client)

    assert "Part #7" in client.get("/review").text
    page = client.get("/review?product=bottle&reason=10").text
    assert "Part #2" in page and "1 waiting" in page
    page = client.get("/review?product=bottle").text
    assert 'href="/review?product=bottle&amp;before=41-7"' in page, "skip"
    marked = client.post(
        "/history/41/7", data={"actual": "good", "then": "review", "product": "bottle", "before": ""}
    )
    assert marked.headers["Location"] == "/review?product=bottle&done=41-7"
    assert "Part #3" in client.get(marked.headers["Location"]).text


def test_the_review_queue_offers_only_reasons_of_fail_and_unsure(client: FlaskClient) -> None:
    """History offers every reason, and shows the conditions that are set."""

    def offered(page: str) -> list[str]:
        return re.findall(r'<option value="(\d+)"', page[page.index('id="reason"') :])

    assert offered(client.get("/review").text) == ["10", "11", "23", "24"]
    assert offered(client.get("/history").text) == [str(int(reason)) for reason in Reason]
    page = client.get("/history?result=FAIL,UNSURE&product=bottle&reason=10&from=2026-10-01T00:00").text
    zone = f"{datetime(2026, 10, 1).astimezone():%Z}"
    assert f"From 2026-10-01 00:00:00 {zone} · bottle · Fail · Unsure · Score above the limit</b>" in page


def test_enter_in_the_note_sends_no_review(client: FlaskClient) -> None:
    """Enter presses the first button of a form, which is a disabled one here."""
    page = sign_in(client).get("/review").text
    form = page[page.index('class="answers"') :]

    assert re.findall(r"<button ([^>]+)>", form)[0] == "disabled hidden"
    assert form.index('name="note"') < form.index('value="good"') < form.index('value="defect"')


def test_a_review_needs_a_session(client: FlaskClient, backend: FakeBackend) -> None:
    """Without one nothing is stored and the page shows the sign-in form."""
    assert 'name="actual"' not in client.get("/review").text

    refused = client.post("/history/41/3", data={"actual": "good"})

    assert refused.status_code == 401 and 'action="/sign-in"' in refused.text
    assert 'name="then" value="/history/41/3"' in refused.text
    assert backend.rows[41, 3].review is None
