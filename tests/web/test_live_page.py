import re
import time
from datetime import datetime

import pytest
from flask.testing import FlaskClient

from linewatch.domain import Reason, Result, State, Verdict
from linewatch.web import Hour, LiveImage, Row
from tests.fakes import FakeBackend, verdict


def test_the_live_view_shows_the_last_verdict_and_the_figures_of_today(
    client: FlaskClient, backend: FakeBackend
) -> None:
    """The newest part is in the tile, the last ones in the strip, and the counts of the day add up."""
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
    """In FAULT, PAUSED and the like the tile shows state and reason instead of the last PASS."""
    backend.current["state"] = state
    backend.reasons = ["camera 'x': no frame for 4.2 s; check cable, power and address"]

    page = client.get("/").text

    tile = page[page.index('data-part="verdict"') : page.index('data-part="figures"')]
    assert "data-result" not in tile and f'data-state="{state}"' in tile
    assert "no frame for 4.2 s" in tile


def test_a_part_without_a_score_shows_its_reason(client: FlaskClient, backend: FakeBackend) -> None:
    """A part that was not found in the image shows no score; 0 would be a perfect one."""
    lost = verdict(6, Result.UNSURE, raw=0.0, reason=Reason.NOT_REGISTERED)
    backend.rows[41, 6] = Row(lost)

    for page in (client.get("/").text, client.get("/review").text):
        assert "Part not found in the picture" in page and "Score 0" not in page


def test_a_late_part_shows_its_reason_beside_its_score(client: FlaskClient, backend: FakeBackend) -> None:
    """An ERROR shows its reason, because the score of a late part may be a good one."""
    backend.rows[41, 6] = Row(
        verdict(6, Result.ERROR, raw=0.8, threshold=2.0, late=True, reason=Reason.LATE, latency_ms=350)
    )

    page = client.get("/").text

    tile = page[page.index('data-part="verdict"') : page.index('data-part="figures"')]
    assert "Judged after the deadline" in tile and "Score 400, limit 1,000" in tile


def test_a_degraded_station_shows_its_reason(client: FlaskClient, backend: FakeBackend) -> None:
    """DEGRADED is shown with what is impaired."""
    backend.current |= {"state": State.DEGRADED, "reason": "storage 'var': no room"}

    assert "storage &#39;var&#39;: no room" in client.get("/").text


def test_the_live_view_works_before_the_first_part(client: FlaskClient, backend: FakeBackend) -> None:
    """A station without any part has a live view, but no image."""
    backend.rows.clear()

    page = client.get("/").text

    assert "No picture yet" in page and "No parts yet" in page
    assert client.get("/live.jpg").status_code == 404


def test_the_live_view_is_rendered_at_most_twice_a_second(client: FlaskClient, backend: FakeBackend) -> None:
    """Twenty tablets that poll cost no more than one."""
    started_s = time.monotonic()
    pages = set()
    for seq in range(6, 26):
        pages.add(client.get("/").text)
        backend.rows[41, seq] = Row(verdict(seq, Result.FAIL))

    assert len(pages) <= 2 + 2 * (time.monotonic() - started_s)


def test_a_long_part_name_is_shortened_from_its_start(client: FlaskClient, backend: FakeBackend) -> None:
    """Tile, caption and table show the end of the name, without the suffix of an image file."""
    long = verdict(6, Result.FAIL, part="bottle/broken_large/batch-0000123.PNG")
    backend.rows[41, 6], backend.live = Row(long), LiveImage(b"\xff\xd8", long)

    live, history = client.get("/").text, client.get("/history").text

    assert 'title="bottle/broken_large/batch-0000123.PNG"' in live and ">…0000123<" in live
    assert ">…batch-0000123<" in live, "in the tile"
    assert "Heatmap of part …000123 at" in live
    assert ">bottle/broken_large/batch-0000123.PNG<" in history and ">…large/batch-0000123<" in history


def test_the_live_image_is_sent_again_only_when_it_changed(client: FlaskClient, backend: FakeBackend) -> None:
    """A request with the current ETag gets 304."""
    backend.live = LiveImage(b"\xff\xd8one", verdict(5))
    first = client.get("/live.jpg")

    same = client.get("/live.jpg", headers={"If-None-Match": first.headers["ETag"]})
    backend.live = LiveImage(b"\xff\xd8two", verdict(6))
    other = client.get("/live.jpg", headers={"If-None-Match": first.headers["ETag"]})

    assert (first.status_code, first.data, first.mimetype) == (200, b"\xff\xd8one", "image/jpeg")
    assert (same.status_code, same.data) == (304, b"")
    assert (other.status_code, other.data) == (200, b"\xff\xd8two")


def test_the_live_page_gets_the_image_of_its_caption(client: FlaskClient, backend: FakeBackend) -> None:
    """The page names its image, so a newer one does not appear under an older caption."""
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
def test_the_live_view_shows_a_verdict_beside_its_own_image(
    client: FlaskClient, backend: FakeBackend, newest: Verdict, pictured: Verdict, tile: str
) -> None:
    """A verdict is journaled shortly before its image is there; a PASS never appears beside a defect."""
    backend.rows |= {(41, 5): Row(verdict(5)), (41, 6): Row(newest)}
    backend.live = LiveImage(b"\xff\xd8", pictured)

    page = client.get("/").text

    shown = re.findall(r'class="(?:end|dim end)"><span>(#\d+)</span>', page)
    assert shown[:2] == [tile, tile], "in the tile, and first of the last parts"
