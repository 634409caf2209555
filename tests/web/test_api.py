import re

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from linewatch.errors import RecipeError
from linewatch.web import Actual, Row
from tests.fakes import FakeBackend, verdict
from tests.web.client import BEARER, TOKEN, error_sentence, png, sign_in, upload


def test_verdicts_have_every_key_of_the_topic_newest_first(client: FlaskClient, backend: FakeBackend) -> None:
    """Each comes with its review, or with empty fields in its place."""
    backend.review(41, 2, Actual.GOOD, "dust")

    rows = client.get("/api/verdicts").get_json()

    assert [row["seq"] for row in rows] == [5, 4, 3, 2, 1]
    assert rows[3] | {"captured_ms": 0} == {
        "v": 1, "station": "station1", "boot": 41, "seq": 2, "trigger": 0, "part": "", "product": "bottle",
        "product_index": 3, "model": "7f3a91c2", "result": "FAIL", "code": 2, "reason": 10, "score": 1155,
        "raw": 2.31, "threshold": 2.0, "captured_ms": 0, "age_ms": 0, "latency_ms": 0, "late": 0,
        "simulated": 0, "history": 0, "defects": 1, "box": [4, 8, 6, 7], "region": "",
        "region_index": 0, "image": "2.png", "heatmap": "2.jpg",
        "actual": "good", "note": "dust",
    }  # fmt: skip
    assert list(rows[0])[:4] == ["v", "station", "boot", "seq"], "the wire's order"


def test_verdicts_can_be_filtered_and_paged(client: FlaskClient) -> None:
    """By limit, before, result and product; the header Link leads to the next page."""
    first = client.get("/api/verdicts?limit=2&product=bottle")
    link = re.fullmatch(r'<(.+)>; rel="next"', first.headers["Link"])
    assert link is not None

    assert [row["seq"] for row in first.get_json()] == [4, 3]
    assert [row["seq"] for row in client.get(link[1]).get_json()] == [2, 1]
    assert [row["seq"] for row in client.get("/api/verdicts?result=fail&before=41-3").get_json()] == [2]
    assert "Link" not in client.get("/api/verdicts").headers


def test_following_the_links_finds_every_verdict(client: FlaskClient, backend: FakeBackend) -> None:
    """A search that ran out of time has a link, too, even if it found nothing; the last one has none."""
    backend.rows_read_max = 1
    found: list[list[int]] = []
    address = "/api/verdicts?result=FAIL,PASS&part=&limit=7"

    while address:
        response = client.get(address)
        found.append([row["seq"] for row in response.get_json()])
        link = re.fullmatch(r'<(.+)>; rel="next"', response.headers.get("Link", ""))
        address = link[1] if link else ""

    assert found == [[5], [], [], [2], [1]]


def test_verdicts_are_found_by_how_their_part_begins(client: FlaskClient, backend: FakeBackend) -> None:
    """Any characters of a scanned code may stand in the prefix; a longer one than a part is refused."""
    backend.rows[41, 6] = Row(verdict(6, part="(01)\x1d&%7"))

    def seqs(prefix: str) -> list[int]:
        return [row["seq"] for row in client.get("/api/verdicts", query_string={"part": prefix}).get_json()]

    assert seqs("(01)\x1d&%") == [6]
    assert seqs("A<b") == [5]
    assert seqs("a<b") == []
    assert seqs("") == [6, 5, 4, 3, 2, 1]
    refused = client.get("/api/verdicts", query_string={"part": "x" * 129})
    assert (refused.status_code, error_sentence(refused)) == (400, "'part' has at most 128 characters.")


def test_inspect_returns_a_verdict_and_the_address_of_its_heatmap(client: FlaskClient) -> None:
    """The address cannot be guessed."""
    answer = client.post("/api/inspect", **upload(png())).get_json()

    assert (answer["result"], answer["score"], answer["boot"], answer["seq"]) == ("FAIL", 1155, 0, 0)
    assert re.fullmatch(r"/heatmap/[\w-]{32}\.jpg", answer["heatmap_url"])
    assert client.get(answer["heatmap_url"]).mimetype == "image/jpeg"


def test_only_the_last_32_heatmaps_are_kept(client: FlaskClient) -> None:
    """The oldest is dropped first."""
    urls = [client.post("/api/inspect", **upload(png())).get_json()["heatmap_url"] for _ in range(33)]

    assert client.get(urls[0]).status_code == 404
    assert client.get(urls[1]).status_code == 200


def test_review_and_product_need_the_bearer_token(client: FlaskClient, backend: FakeBackend) -> None:
    """A wrong token, another scheme and a browser session are refused with 401."""
    sign_in(client)
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}):
        refused = client.post("/api/verdicts/41/2/review", json={"actual": "good"}, headers=headers)
        assert refused.status_code == 401 and "token" in error_sentence(refused)
        assert refused.headers["WWW-Authenticate"].startswith("Bearer")
        assert client.post("/api/product", json={"product": "screw"}, headers=headers).status_code == 401
    assert backend.rows[41, 2].review is None and backend.switched == []

    reviewed = client.post(
        "/api/verdicts/41/2/review", json={"actual": "good", "note": "dust"}, headers=BEARER
    )
    switched = client.post("/api/product", json={"product": "screw"}, headers=BEARER)

    assert reviewed.get_json() == {"boot": 41, "seq": 2, "actual": "good", "note": "dust"}
    assert (switched.status_code, backend.switched) == (200, ["screw"])


def test_unknown_things_are_404_and_a_failed_changeover_409(
    client: FlaskClient, backend: FakeBackend
) -> None:
    """Each with its reason."""

    def post(path: str, body: dict[str, str]) -> TestResponse:
        return client.post(path, json=body, headers=BEARER)

    assert post("/api/verdicts/41/99/review", {"actual": "good"}).status_code == 404
    assert post("/api/product", {"product": "unknown"}).status_code == 404

    backend.trouble = RecipeError("product 'screw' has no model; train it")

    refused = post("/api/product", {"product": "screw"})
    assert (refused.status_code, error_sentence(refused)) == (409, "product 'screw' has no model; train it")
    assert client.post("/api/inspect", **upload(png(), "screw")).status_code == 409
