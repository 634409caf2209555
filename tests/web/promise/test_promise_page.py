"""The page on the promised rates, the parts drawn for re-inspection, and their calls for programs."""

from dataclasses import replace

import pytest
from flask.testing import FlaskClient

from linewatch.web import Actual
from linewatch.web.records.interface import PromisedRate, PromiseState, Standing
from tests.fakes import FakeBackend, verdict
from tests.web.client import error_sentence, sign_in

OPEN = PromisedRate(promised=0.01, known=3, parts=900, low=0.0005, high=0.02, standing=Standing.OPEN)
NOTHING = PromisedRate(promised=None, known=0, parts=0, low=0.0, high=1.0, standing=Standing.NONE)
BROKEN = PromisedRate(
    promised=0.001, known=9, parts=200, low=0.004, high=0.1, standing=Standing.BROKEN,
    broken_since_ms=1_790_000_000_000,
)  # fmt: skip
STATE = PromiseState(
    product="bottle", model="7f3a91c2", since_ms=1_789_000_000_000, false_rejects=OPEN, escapes=NOTHING,
    passed=880, failed=20, unsure=4, failed_good=3, failed_defect=9, unsure_good=1, drawn=0, waiting=0,
    escapes_elsewhere=0, if_alike=0.0057,
)  # fmt: skip


def test_the_page_says_what_is_counted_and_what_is_assumed(client: FlaskClient, backend: FakeBackend) -> None:
    """Also where nothing is promised or counted yet."""
    assert "Nothing is counted yet" in client.get("/promise").text
    backend.records.promised = [STATE]
    page = client.get("/promise").text.replace("\N{NARROW NO-BREAK SPACE}", " ")

    for said in (
        "not decided", "0.05 % to 2.00 %", "Promised: at most 1.00 %.", "Marked of the failed: 12 of 20.",
        "Failed parts marked good: 3. Parts not known to be defects: 900.",
        "the rate is 0.57 %; whether they are is not known",
        "nothing promised", "promise.escapes_max", "promise.reinspect_share",
    ):  # fmt: skip
        assert said in page, said
    backend.records.promised = [replace(STATE, escapes=replace(OPEN, promised=0.00002, low=0.000001))]
    page = client.get("/promise").text.replace("\N{NARROW NO-BREAK SPACE}", " ")
    assert "0.0001 % to 2.0000 %" in page and "at most 0.0020 %" in page, "parts per million"
    backend.records.promised = [replace(STATE, failed=12)]
    assert "whether they are" not in client.get("/promise").text, "all are marked"


def test_a_broken_promise_is_seen_on_every_page(client: FlaskClient, backend: FakeBackend) -> None:
    """On its own with the day, on the live page as a link, on the review page by its mark."""
    backend.records.promised = [replace(STATE, escapes=BROKEN, drawn=230, waiting=12, escapes_elsewhere=4)]

    page = client.get("/promise").text
    assert "More defective parts pass than promised, most clearly since 2026-09-21" in page
    assert "the re-inspected: 9 of 200. Passed parts drawn at random: 230." in page
    assert "which say nothing of the share: 4." in page and "To re-inspect: 12" in page
    assert "More than promised: bottle: Escapes" in client.get("/").text
    assert 'href="/promise"' in client.get("/review").text


def test_a_kept_promise_does_not_disturb_the_live_page(client: FlaskClient, backend: FakeBackend) -> None:
    """The note is there for the browser to fill, and hidden."""
    backend.records.promised = [STATE]
    assert '<p class="note bad" data-part="promise" hidden>' in client.get("/").text


def test_drawn_parts_lead_from_one_to_the_next(client: FlaskClient, backend: FakeBackend) -> None:
    """Without score and heatmap; a mark goes on with the queue, and its words fit a part that passed."""
    sign_in(client)
    assert "Nothing waits for re-inspection" in client.get("/reinspect").text
    assert "/reinspect" not in client.get("/review").text
    backend.records.drawn = [verdict(1, raw=1.234), verdict(5, product="screw", part="A<b>5")]

    page = client.get("/reinspect").text
    assert "Part #1" in page and "2 waiting" in page and "slipped through" in page
    assert "false reject<" not in page and "meter" not in page and "617" not in page
    assert 'href="/reinspect?after=41-1">Skip<' in page
    assert "A&lt;b&gt;5" in client.get("/reinspect?after=41-1").text
    assert 'href="/reinspect"' in client.get("/review").text
    marked = client.post("/history/41/1", data={"actual": "defect", "then": "reinspect", "product": "bottle"})
    assert marked.headers["Location"] == "/reinspect?product=bottle&done=41-1"
    assert "is defect" in client.get(marked.headers["Location"]).text
    review = backend.rows[41, 1].review
    assert review and review.actual is Actual.DEFECT


def test_programs_get_the_same(client: FlaskClient, backend: FakeBackend) -> None:
    """Every figure as a number, and the drawn parts as verdicts."""
    backend.records.promised = [STATE]
    backend.records.drawn = [verdict(1), verdict(5, product="screw"), verdict(7)]

    (state,) = client.get("/api/promises").get_json()
    assert (state["product"], state["false_rejects"]["high"], state["escapes"]["promised"]) == (
        "bottle",
        0.02,
        None,
    )

    def drawn(query: str) -> list[int]:
        return [one["seq"] for one in client.get(f"/api/reinspections?{query}").get_json()]

    assert (drawn(""), drawn("limit=1"), drawn("after=41-5"), drawn("product=screw")) == (
        [1, 5, 7],
        [1],
        [7],
        [5],
    )


@pytest.mark.parametrize("wrong", ["limit=0", "limit=x", "after=5", "product=a/b", "before=41-1"])
def test_wrong_parameters_are_errors(client: FlaskClient, wrong: str) -> None:
    """One sentence; the page ignores what it does not know, as it has others of its own."""
    answer = client.get(f"/api/reinspections?{wrong}")

    assert answer.status_code == 400
    assert error_sentence(answer)
