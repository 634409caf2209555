import re
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from werkzeug.test import TestResponse

from linewatch.domain import Reason, Result, State, Verdict
from linewatch.errors import RecipeError
from linewatch.web import Actual, Hour, LiveImage, ModelInfo, ProductInfo, Row, create_app
from tests.fakes import FakeBackend, verdict

TOKEN = "a-long-random-token"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


def png(height: int = 64, width: int = 64) -> bytes:
    """Return a grey picture as PNG."""
    return cv2.imencode(".png", np.full((height, width, 3), 90, np.uint8))[1].tobytes()


def upload(data: bytes, product: str = "bottle", name: str = "part.png") -> dict[str, Any]:
    """Return the form that browsers and programs send."""
    return {"data": {"image": (BytesIO(data), name), "product": product}}


@pytest.fixture
def backend() -> FakeBackend:
    """Five parts: 1 PASS, 2 FAIL, 3 UNSURE, 4 ERROR, 5 PASS of another product."""
    return FakeBackend(
        Row(verdict(1, captured_ms=1_790_000_001_000)),
        Row(verdict(2, Result.FAIL, image="2.png", heatmap="2.jpg", defects=1, box=(4, 8, 6, 7))),
        Row(verdict(3, Result.UNSURE)),
        Row(verdict(4, Result.ERROR)),
        Row(verdict(5, product="screw", part="A<b>5")),
    )


@pytest.fixture
def make_app(backend: FakeBackend, tmp_path: Path) -> Callable[..., Flask]:
    """Build the app over `backend`, with evidence in tmp_path/evidence."""
    registry = CollectorRegistry()
    Counter("parts", "Parts", registry=registry).inc(3)
    (tmp_path / "evidence").mkdir()

    def make(token: str = TOKEN) -> Flask:
        metrics = lambda: (generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4)  # noqa: E731
        return create_app(backend, metrics, token, tmp_path / "evidence")

    return make


@pytest.fixture
def client(make_app: Callable[..., Flask]) -> Iterator[FlaskClient]:
    """Ask the app without a network; bugs surface as exceptions."""
    app = make_app()
    app.testing = True
    with app.test_client() as client:
        yield client


def signed_in(client: FlaskClient) -> FlaskClient:
    """Sign in by the form, as a browser does."""
    assert client.post("/sign-in", data={"token": TOKEN, "then": "/review"}).status_code == 303
    return client


def error(response: TestResponse) -> str:
    """Return the one sentence of an API error."""
    body = response.get_json()
    assert list(body) == ["error"], body
    return str(body["error"])


# Pages


@pytest.mark.parametrize("page", ["/", "/inspect", "/history", "/history/41/2", "/review", "/products"])
def test_every_page_has_its_own_scripts_and_styles_only(client: FlaskClient, page: str) -> None:
    """A page needs nothing from elsewhere and nothing inline, so the policy can forbid both."""
    response = client.get(page)

    assert response.status_code == 200
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Cache-Control"] == "no-store"
    assert "http://" not in response.text.replace("http://www.w3.org", "") and "https://" not in response.text
    assert not re.search(r"\sstyle=|\son[a-z]+=|<style|<script>|javascript:", response.text)


def test_live_view_says_the_last_verdict_in_word_and_shape(client: FlaskClient, backend: FakeBackend) -> None:
    """The newest part is the tile, the last ones are the strip, the day's figures add up."""
    backend.rows[41, 6] = Row(verdict(6, Result.FAIL))
    midnight = datetime.now().astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
    counts = {Result.PASS: 1190, Result.FAIL: 12, Result.UNSURE: 8, Result.ERROR: 3}
    backend.hour_counts = [Hour(int(midnight.timestamp() * 1000), counts)]

    page = client.get("/").text

    tile = page[page.index('data-part="verdict"') : page.index('data-part="figures"')]
    assert 'data-result="FAIL"' in tile and "Fail" in tile and "Score 1,155, limit 1,000" in tile
    assert "1,213" in page, "parts today"
    assert "1.0\N{NARROW NO-BREAK SPACE}%" in page, "12 of 1210 judged parts"
    assert "of judged parts, without errors" in page
    assert re.findall(r"<b>([\d,]+)</b> (\w+)</li>", page) == [
        *(("1,190", "Pass"), ("12", "Fail"), ("8", "Unsure"), ("3", "Error"))
    ]
    assert page.count('<li><a href="/history/41/') == 6
    assert "A&lt;b&gt;5" in page and "A<b>5" not in page


@pytest.mark.parametrize("state", [state for state in State if not state.judging])
def test_a_station_that_does_not_judge_shows_no_old_pass(
    client: FlaskClient, backend: FakeBackend, state: State
) -> None:
    """In FAULT the tile tells the fault and its reason, never the last PASS."""
    backend.current["state"] = state
    backend.reasons = ["camera 'x': no frame for 4.2 s; check cable, power and address"]

    page = client.get("/").text

    tile = page[page.index('data-part="verdict"') : page.index('data-part="figures"')]
    assert "data-result" not in tile and f'data-state="{state}"' in tile
    assert "no frame for 4.2 s" in tile


def test_a_part_without_a_score_shows_its_reason(client: FlaskClient, backend: FakeBackend) -> None:
    """A part that was not found in the picture has no score, rather than a perfect one of 0."""
    lost = verdict(6, Result.UNSURE, raw=0.0, reason=Reason.NOT_REGISTERED)
    backend.rows[41, 6] = Row(lost)

    for page in (client.get("/").text, client.get("/review").text):
        assert "Part not found in the picture" in page and "Score 0" not in page


def test_a_late_part_shows_why_although_it_has_a_score(client: FlaskClient, backend: FakeBackend) -> None:
    """An ERROR says its reason in the tile: the score of a late part may well be a good one."""
    backend.rows[41, 6] = Row(
        verdict(6, Result.ERROR, raw=0.8, threshold=2.0, late=True, reason=Reason.LATE, latency_ms=350)
    )

    page = client.get("/").text

    tile = page[page.index('data-part="verdict"') : page.index('data-part="figures"')]
    assert "Judged after the deadline" in tile and "Score 400, limit 1,000" in tile


def test_an_impaired_station_says_why(client: FlaskClient, backend: FakeBackend) -> None:
    """DEGRADED goes on judging and names its trouble."""
    backend.current |= {"state": State.DEGRADED, "reason": "storage 'var': no room"}

    assert "storage &#39;var&#39;: no room" in client.get("/").text


def test_live_view_without_any_part(client: FlaskClient, backend: FakeBackend) -> None:
    """A fresh station has a page, too."""
    backend.rows.clear()

    page = client.get("/").text

    assert "No picture yet" in page and "No parts yet" in page
    assert client.get("/live.jpg").status_code == 404


def test_twenty_tablets_cost_one_rendering(client: FlaskClient, backend: FakeBackend) -> None:
    """The live view is made at most twice a second, however many look at it."""
    started_s = time.monotonic()
    pages = set()
    for seq in range(6, 26):
        pages.add(client.get("/").text)
        backend.rows[41, seq] = Row(verdict(seq, Result.FAIL))

    assert len(pages) <= 2 + 2 * (time.monotonic() - started_s)


def test_a_long_part_name_shows_its_end(client: FlaskClient, backend: FakeBackend) -> None:
    """In tiles, caption and table: the end tells parts apart, and a file's suffix does not."""
    long = verdict(6, Result.FAIL, part="bottle/broken_large/batch-0000123.PNG")
    backend.rows[41, 6], backend.live = Row(long), LiveImage(b"\xff\xd8", long)

    live, history = client.get("/").text, client.get("/history").text

    assert 'title="bottle/broken_large/batch-0000123.PNG"' in live and ">…0000123<" in live
    assert ">…batch-0000123<" in live, "in the tile"
    assert "Heatmap of part …tch-0000123 at" in live
    assert ">bottle/broken_large/batch-0000123.PNG<" in history and ">…large/batch-0000123<" in history


def test_live_picture_is_sent_again_only_when_it_changed(client: FlaskClient, backend: FakeBackend) -> None:
    """Polling with the ETag costs nothing while no new part came."""
    backend.live = LiveImage(b"\xff\xd8one", verdict(5))
    first = client.get("/live.jpg")

    same = client.get("/live.jpg", headers={"If-None-Match": first.headers["ETag"]})
    backend.live = LiveImage(b"\xff\xd8two", verdict(6))
    other = client.get("/live.jpg", headers={"If-None-Match": first.headers["ETag"]})

    assert (first.status_code, first.data, first.mimetype) == (200, b"\xff\xd8one", "image/jpeg")
    assert (same.status_code, same.data) == (304, b"")
    assert (other.status_code, other.data) == (200, b"\xff\xd8two")


def test_live_picture_is_the_one_the_page_speaks_of(client: FlaskClient, backend: FakeBackend) -> None:
    """A picture that comes between page and image does not get the wrong caption."""
    backend.live = LiveImage(b"\xff\xd8five", verdict(5))
    source = re.search(r'src="(/live\.jpg[^"]+)"', client.get("/").text)
    assert source is not None
    backend.live = LiveImage(b"\xff\xd8six", verdict(6))

    assert client.get(source[1]).data == b"\xff\xd8five"


@pytest.mark.parametrize(
    ("newest", "pictured", "tile"),
    [
        (verdict(6, Result.FAIL), verdict(6, Result.FAIL), "#6"),
        (verdict(6, Result.FAIL), verdict(5), "#5"),
        (verdict(6, Result.ERROR), verdict(5), "#6"),
        (verdict(6, Result.FAIL), verdict(7), "#7"),
    ],
    ids=["both there", "picture to come", "no picture to come", "the disk refused"],
)
def test_the_live_view_shows_a_verdict_beside_its_own_picture(
    client: FlaskClient, backend: FakeBackend, newest: Verdict, pictured: Verdict, tile: str
) -> None:
    """A verdict is journaled a moment before its picture is there; nobody sees a PASS beside a defect."""
    backend.rows |= {(41, 5): Row(verdict(5)), (41, 6): Row(newest)}
    backend.live = LiveImage(b"\xff\xd8", pictured)

    page = client.get("/").text

    shown = re.findall(r'class="(?:end|dim end)"><span>(#\d+)</span>', page)
    assert shown[:2] == [tile, tile], "in the tile, and first of the last parts"


def test_history_filters_by_what_the_form_asks(client: FlaskClient, backend: FakeBackend) -> None:
    """Time, product, result and reason narrow the list; words of the reason stand in it."""

    def parts(query: str) -> list[int]:
        return [
            int(seq)
            for seq in re.findall(r'class="c-part"><a href="/history/41/(\d+)"', client.get(query).text)
        ]

    assert parts("/history") == [5, 4, 3, 2, 1]
    assert parts("/history?result=FAIL%2CUNSURE%2CERROR&product=bottle") == [4, 3, 2]
    assert parts("/history?reason=11&result=&product=&from=&to=") == [3]
    assert parts("/history?to=2026-10-01T00:00") == [1]
    assert parts("/history?from=2026-10-01T00:00&product=screw") == [5]
    assert "Widen the time" in client.get("/history?product=nothing").text


def test_history_pages_through_everything_once(client: FlaskClient, backend: FakeBackend) -> None:
    """Following "older" visits every part once and keeps the filter."""
    for seq in range(6, 100):
        backend.rows[41, seq] = Row(verdict(seq, Result.FAIL))
    seen: list[str] = []
    address: str | None = "/history?result=FAIL"

    while address:
        page = client.get(address).text
        seen += re.findall(r'class="c-part"><a href="/history/41/(\d+)"', page)
        link = re.search(r'rel="next" href="([^"]+)"', page)
        address = link[1].replace("&amp;", "&") if link else None

    assert [int(seq) for seq in seen] == [*range(99, 5, -1), 2]


def test_a_part_is_shown_beside_its_heatmap_and_a_good_one(client: FlaskClient, backend: FakeBackend) -> None:
    """Frame, heatmap and a good part stand side by side, with the facts."""
    backend.good = "1.png"

    page = client.get("/history/41/2").text

    for path in ("2.png", "2.jpg", "1.png"):
        assert f'<img src="/evidence/{path}"' in page
    assert "6 \N{MULTIPLICATION SIGN} 7 px at 4, 8" in page
    assert "2.310, limit 2.000" in page
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d</time>", page)
    assert "half the limit" in page, "what the colours mean"
    assert client.get("/history/41/99").status_code == 404


def test_review_queue_leads_from_reject_to_reject(client: FlaskClient, backend: FakeBackend) -> None:
    """Marking one shows the next; skipping one leaves it for later; the end is said."""
    signed_in(client)
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


def test_review_queue_keeps_to_what_was_chosen(client: FlaskClient, backend: FakeBackend) -> None:
    """Time, product and reason narrow the queue, and skipping or marking does not widen it again."""
    backend.rows[41, 6] = Row(verdict(6, Result.FAIL, product="screw"))
    backend.rows[41, 7] = Row(verdict(7, Result.FAIL, reason=Reason.WRONG_PRODUCT))
    signed_in(client)

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


def test_review_offers_only_reasons_that_can_wait_there(client: FlaskClient) -> None:
    """The queue holds no errors, so it is not narrowed by a lost camera; what was chosen stays to be seen."""

    def offered(page: str) -> list[str]:
        return re.findall(r'<option value="(\d+)"', page[page.index('id="reason"') :])

    assert offered(client.get("/review").text) == ["10", "11", "23", "24"]
    assert offered(client.get("/history").text) == [str(int(reason)) for reason in Reason]
    page = client.get("/history?result=FAIL,UNSURE&product=bottle&reason=10&from=2026-10-01T00:00").text
    assert "From 2026-10-01 00:00:00 · bottle · Fail · Unsure · Score above the limit</b>" in page


def test_enter_in_the_note_is_no_answer(client: FlaskClient) -> None:
    """A form's first button answers that key: here it is one that does nothing, and the note comes next."""
    page = signed_in(client).get("/review").text
    form = page[page.index('class="answers"') :]

    assert re.findall(r"<button ([^>]+)>", form)[0] == "disabled hidden"
    assert form.index('name="note"') < form.index('value="good"') < form.index('value="defect"')


def test_marking_needs_somebody_signed_in(client: FlaskClient, backend: FakeBackend) -> None:
    """Without a session nothing changes and the page asks to sign in."""
    assert 'name="actual"' not in client.get("/review").text

    refused = client.post("/history/41/3", data={"actual": "good"})

    assert refused.status_code == 401 and 'action="/sign-in"' in refused.text
    assert 'name="then" value="/history/41/3"' in refused.text
    assert backend.rows[41, 3].review is None


def test_the_session_is_out_of_reach_of_scripts_and_other_sites(client: FlaskClient) -> None:
    """The cookie holds no token, is HttpOnly and SameSite=Strict, and sign-out ends it."""
    response = client.post("/sign-in", data={"token": TOKEN, "then": "/products"})
    cookie = response.headers["Set-Cookie"]

    assert response.headers["Location"] == "/products"
    assert cookie.startswith("linewatch_station1=") and TOKEN not in cookie
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
    assert "Sign out" in client.get("/products").text
    client.post("/sign-out", data={"then": "/products"})
    assert 'action="/sign-in"' in client.get("/products").text
    copied = client.application.test_client()
    copied.set_cookie("linewatch_station1", cookie.partition("=")[2].partition(";")[0])
    assert 'action="/sign-in"' in copied.get("/products").text, "also for whoever has copied the cookie"


def test_a_wrong_token_gets_no_session_and_is_not_logged(
    client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    """The refusal names the path and the address, never what was sent."""
    response = client.post("/sign-in", data={"token": "guessed-secret", "then": "/review"})

    assert response.status_code == 401 and "Set-Cookie" not in response.headers
    assert 'name="then" value="/review"' in response.text
    assert "token_refused path='/sign-in'" in caplog.text and "guessed-secret" not in caplog.text


@pytest.mark.parametrize(
    "then", ["//evil.example", "https://evil.example", "/\\evil.example", "/a\r\nX: y", ""]
)
def test_signing_in_never_leads_elsewhere(client: FlaskClient, then: str) -> None:
    """The way back is one of our own addresses."""
    response = client.post("/sign-in", data={"token": TOKEN, "then": then})

    assert response.headers["Location"] == "/"


def test_products_show_models_and_change_over_in_two_steps(client: FlaskClient, backend: FakeBackend) -> None:
    """Signed in, any other product can be put on the line; failure is one sentence."""
    backend.product_infos[0] = ProductInfo(
        "bottle",
        3,
        "7f3a91c2",
        2.0,
        1.8,
        True,
        "",
        (ModelInfo("7f3a91c2", 1_790_000_000_000, 2.0, 1.8, 209, 0.01, 0.144),),
    )
    assert 'name="product"' not in client.get("/products").text
    page = signed_in(client).get("/products").text

    done = client.post("/products", data={"product": "screw"})
    backend.trouble = RecipeError("product 'bottle': the golden self-test failed; activate another version")
    failed = client.post("/products", data={"product": "bottle"})
    unknown = client.post("/products", data={"product": "../etc"})

    assert "Wanted false rejects" in page and "proven: at most 14.4\N{NARROW NO-BREAK SPACE}%" in page
    assert "7f3a91c2" in page and "209" in page and "<details" in page and 'value="screw"' in page
    assert (done.status_code, backend.switched) == (303, ["screw"])
    assert failed.status_code == 409 and "golden self-test failed" in failed.text
    assert unknown.status_code == 404


def test_a_report_may_style_itself_and_nothing_else(client: FlaskClient, backend: FakeBackend) -> None:
    """A report is served sandboxed, and only one that the product list names."""
    model = ModelInfo("7f3a91c2", 0, 2.0, 1.8, report=True)
    backend.product_infos[0] = ProductInfo("bottle", 3, "7f3a91c2", 2.0, 1.8, models=(model,))
    backend.reports = {("bottle", "7f3a91c2"): b"<h1>Report</h1>", ("..", "etc"): b"secret"}

    report = client.get("/products/bottle/7f3a91c2/report")

    assert report.data == b"<h1>Report</h1>"
    assert "sandbox" in report.headers["Content-Security-Policy"]
    assert "script-src" not in report.headers["Content-Security-Policy"]
    assert client.get("/products/../etc/report").status_code == 404


def test_an_upload_is_called_as_its_file(client: FlaskClient, backend: FakeBackend) -> None:
    """The name is shown as text, its end if it is endless, and used for nothing else."""
    backend.good = "1.png"
    page = client.post("/inspect", **upload(png(), name=f"{'x' * 300}<b>.png")).text
    stranger = client.post("/inspect", **upload(png(), name="\u202egnp.exe")).text

    assert f"{'x' * 93}&lt;b&gt;.png</p>" in page and "x" * 94 not in page
    assert '<img src="/evidence/1.png"' in page
    assert "gnp.exe" in stranger and "\u202e" not in stranger


def test_uploading_works_without_javascript(client: FlaskClient, backend: FakeBackend) -> None:
    """The plain form answers with verdict and heatmap on a page, and keeps the chosen product."""
    page = client.post("/inspect", **upload(png(), "screw")).text

    shown = re.findall(r'<img src="(/[^"]+\.jpg)"', page)
    assert [client.get(address).data for address in shown] == [b"\xff\xd8picture", b"\xff\xd8heatmap"]
    assert re.fullmatch(r"/picture/[\w-]{32}\.jpg /heatmap/[\w-]{32}\.jpg", " ".join(shown))
    assert 'data-result="FAIL"' in page and "<option selected>screw" in page
    assert client.get("/heatmap/guessed.jpg").status_code == 404
    assert backend.inspected[0][0] == "screw" and backend.inspected[0][1].shape == (64, 64, 3)


# API


def test_api_gives_state_and_health(client: FlaskClient, backend: FakeBackend) -> None:
    """State is the topic's JSON; readiness has reasons; life is the stages'."""
    assert client.get("/api/state").get_json() == backend.current
    assert client.get("/readyz").get_json() == {"ready": True, "state": "READY", "reasons": []}
    assert client.get("/healthz").status_code == 200

    backend.current["state"], backend.reasons, backend.is_alive = State.PAUSED, ["paused by command"], False

    ready = client.get("/readyz")
    assert (ready.status_code, ready.get_json()["reasons"]) == (503, ["paused by command"])
    assert client.get("/healthz").status_code == 503


def test_metrics_are_the_registry_s(client: FlaskClient) -> None:
    """Prometheus gets the exposition with its content type."""
    response = client.get("/metrics")

    assert response.headers["Content-Type"] == CONTENT_TYPE_PLAIN_0_0_4
    assert b"parts_total 3.0" in response.data


def test_api_verdicts_are_the_wire_s_newest_first(client: FlaskClient, backend: FakeBackend) -> None:
    """Each row has every key of the topic, and the review if there is one."""
    backend.review(41, 2, Actual.GOOD, "dust")

    rows = client.get("/api/verdicts").get_json()

    assert [row["seq"] for row in rows] == [5, 4, 3, 2, 1]
    assert rows[3] | {"captured_ms": 0} == {
        "v": 1, "station": "station1", "boot": 41, "seq": 2, "trigger": 0, "part": "", "product": "bottle",
        "product_index": 3, "model": "7f3a91c2", "result": "FAIL", "code": 2, "reason": 10, "score": 1155,
        "raw": 2.31, "threshold": 2.0, "captured_ms": 0, "age_ms": 0, "latency_ms": 0, "late": 0,
        "simulated": 0, "history": 0, "defects": 1, "box": [4, 8, 6, 7], "image": "2.png", "heatmap": "2.jpg",
        "actual": "good", "note": "dust",
    }  # fmt: skip
    assert list(rows[0])[:4] == ["v", "station", "boot", "seq"], "the wire's order"


def test_api_verdicts_filter_and_page(client: FlaskClient) -> None:
    """Limit, before, result and product; the Link header leads to the next page."""
    first = client.get("/api/verdicts?limit=2&product=bottle")
    link = re.fullmatch(r'<(.+)>; rel="next"', first.headers["Link"])
    assert link is not None

    assert [row["seq"] for row in first.get_json()] == [4, 3]
    assert [row["seq"] for row in client.get(link[1]).get_json()] == [2, 1]
    assert [row["seq"] for row in client.get("/api/verdicts?result=fail&before=41-3").get_json()] == [2]
    assert "Link" not in client.get("/api/verdicts").headers


def test_api_inspect_is_a_verdict_with_a_heatmap(client: FlaskClient) -> None:
    """The JSON has the wire's keys and an address that nobody could guess."""
    answer = client.post("/api/inspect", **upload(png())).get_json()

    assert (answer["result"], answer["score"], answer["boot"], answer["seq"]) == ("FAIL", 1155, 0, 0)
    assert re.fullmatch(r"/heatmap/[\w-]{32}\.jpg", answer["heatmap_url"])
    assert client.get(answer["heatmap_url"]).mimetype == "image/jpeg"


def test_only_recent_heatmaps_are_kept(client: FlaskClient) -> None:
    """Memory is bounded: the oldest heatmap goes first."""
    urls = [client.post("/api/inspect", **upload(png())).get_json()["heatmap_url"] for _ in range(33)]

    assert client.get(urls[0]).status_code == 404
    assert client.get(urls[1]).status_code == 200


def test_api_review_and_product_need_the_token(client: FlaskClient, backend: FakeBackend) -> None:
    """The bearer may change; nobody else, and a browser's session is no bearer."""
    signed_in(client)
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}):
        refused = client.post("/api/verdicts/41/2/review", json={"actual": "good"}, headers=headers)
        assert refused.status_code == 401 and "token" in error(refused)
        assert refused.headers["WWW-Authenticate"].startswith("Bearer")
        assert client.post("/api/product", json={"product": "screw"}, headers=headers).status_code == 401
    assert backend.rows[41, 2].review is None and backend.switched == []

    reviewed = client.post(
        "/api/verdicts/41/2/review", json={"actual": "good", "note": "dust"}, headers=BEARER
    )
    switched = client.post("/api/product", json={"product": "screw"}, headers=BEARER)

    assert reviewed.get_json() == {"boot": 41, "seq": 2, "actual": "good", "note": "dust"}
    assert (switched.status_code, backend.switched) == (200, ["screw"])


def test_without_a_token_nothing_can_be_changed(make_app: Callable[..., Flask], backend: FakeBackend) -> None:
    """No token configured is a clear refusal, not an open door, not even for an empty one."""
    client = make_app(token="").test_client()

    for headers in ({}, {"Authorization": "Bearer "}, BEARER):
        refused = client.post("/api/product", json={"product": "screw"}, headers=headers)
        assert refused.status_code == 403 and "http.token_file" in error(refused)
    assert client.post("/sign-in", data={"token": ""}).status_code == 403
    review, products = client.get("/review").text, client.get("/products").text
    assert "Marking is switched off" in review and "Changing over is switched off" in products
    assert all("http.token_file" in page and "Sign in" not in page for page in (review, products))
    assert backend.switched == []


def test_api_says_what_failed(client: FlaskClient, backend: FakeBackend) -> None:
    """Unknown things are 404, a refused changeover is 409, both with the reason."""

    def post(path: str, body: dict[str, str]) -> TestResponse:
        return client.post(path, json=body, headers=BEARER)

    assert post("/api/verdicts/41/99/review", {"actual": "good"}).status_code == 404
    assert post("/api/product", {"product": "unknown"}).status_code == 404

    backend.trouble = RecipeError("product 'screw' has no model; train it")

    refused = post("/api/product", {"product": "screw"})
    assert (refused.status_code, error(refused)) == (409, "product 'screw' has no model; train it")
    assert client.post("/api/inspect", **upload(png(), "screw")).status_code == 409


def test_evidence_is_served_as_kept(client: FlaskClient, tmp_path: Path) -> None:
    """A kept picture comes with its type and may be cached."""
    (tmp_path / "evidence" / "a").mkdir()
    (tmp_path / "evidence" / "a" / "2.png").write_bytes(png())

    response = client.get("/evidence/a/2.png")

    assert (response.data, response.mimetype) == (png(), "image/png")
    assert "max-age" in response.headers["Cache-Control"]
    response.close()
