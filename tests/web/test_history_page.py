import math
import re

from flask.testing import FlaskClient

from linewatch.domain import Result
from linewatch.web import Row
from linewatch.web.backend import StorageForecast
from tests.fakes import FakeBackend, verdict


def test_history_filters_by_time_product_result_and_reason(client: FlaskClient, backend: FakeBackend) -> None:
    """Empty fields of the form do not filter."""

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


def test_history_finds_parts_by_how_their_name_begins(client: FlaskClient, backend: FakeBackend) -> None:
    """The form keeps the prefix, and what is set shows control characters by name."""
    backend.rows[41, 6] = Row(verdict(6, part="A\x1d7"))

    page = client.get("/history?part=A%3Cb").text
    assert re.findall(r'href="/history/41/(\d+)"', page) == ["5"]
    assert 'name="part" maxlength="128" autocomplete="off" value="A&lt;b"' in page
    page = client.get("/history?part=A%1D").text
    assert re.findall(r'href="/history/41/(\d+)"', page) == ["6"]
    assert "<b>Part begins with A&lt;GS&gt;</b>" in page
    assert client.get("/history?part=" + "x" * 129).status_code == 400


def test_the_deciding_region_is_shown_and_searched_for(client: FlaskClient, backend: FakeBackend) -> None:
    """A reject names its region, a PASS only on its own page; the form and the API keep the filter."""
    backend.rows[41, 6] = Row(verdict(6, Result.FAIL, region="Gewinde <oben>", region_index=1))
    backend.rows[41, 7] = Row(verdict(7, region="rim", region_index=2))

    everything = client.get("/history").text
    assert "Score above the limit · Gewinde &lt;oben&gt;" in everything
    assert "rim" not in everything
    page = client.get("/history?region=Gewinde+%3Coben%3E").text
    assert re.findall(r'class="c-part"><a href="/history/41/(\d+)"', page) == ["6"]
    assert "<b>Region Gewinde &lt;oben&gt;</b>" in page
    assert 'name="region" maxlength="32" autocomplete="off" value="Gewinde &lt;oben&gt;"' in page
    part = client.get("/history/41/7").text
    assert '<dt>Region that decided</dt><dd><a href="/history?product=bottle&amp;region=rim">rim</a>' in part
    rows = client.get("/api/verdicts?region=rim").get_json()
    assert [(row["seq"], row["region"], row["region_index"]) for row in rows] == [(7, "rim", 2)]
    assert client.get("/history?region=" + "x" * 33).status_code == 400


def test_a_search_says_how_far_it_has_looked_and_goes_on_from_there(
    client: FlaskClient, backend: FakeBackend
) -> None:
    """What one request does not find in its time, the link "Search further back" finds."""
    backend.rows_read_max = 2

    page = client.get("/history?reason=10").text
    assert "No parts match back to 20" in page and "Widen the time" not in page
    link = re.search(r'rel="next" href="([^"]+)">Search further back<', page)
    assert link is not None
    page = client.get(link[1].replace("&amp;", "&")).text
    assert re.findall(r'class="c-part"><a href="/history/41/(\d+)"', page) == ["2"]
    assert "Searched back to 20" in page and "Search further back" in page

    page = client.get("/history?reason=10&before=41-2").text
    assert "Widen the time" in page and "Searched back" not in page and 'rel="next"' not in page


def test_history_pages_show_every_part_once(client: FlaskClient, backend: FakeBackend) -> None:
    """Following "Older parts" visits every part once and keeps the filter."""
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


def test_a_part_is_shown_beside_its_heatmap_and_a_good_part(
    client: FlaskClient, backend: FakeBackend
) -> None:
    """Image, heatmap and a good part are side by side, with the data of the verdict."""
    backend.good = "1.png"

    page = client.get("/history/41/2").text

    for path in ("2.png", "2.jpg", "1.png"):
        assert f'<img src="/evidence/{path}"' in page
    assert "6 \N{MULTIPLICATION SIGN} 7 px at 4, 8" in page
    assert "2.310, limit 2.000" in page
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [A-Z0-9+-]+</time>", page)
    assert "half the limit" in page, "what the colours mean"
    assert client.get("/history/41/99").status_code == 404


def test_history_says_how_long_images_and_verdicts_are_kept(
    client: FlaskClient, backend: FakeBackend
) -> None:
    """At the present rate; less than the retention stands out, what is not known is left out."""
    assert "at the present rate" not in client.get("/history").text

    backend.forecast = StorageForecast(45.2, 30, 104e6, 90)
    page = client.get("/history").text
    assert "Pictures: the disk holds about 45 days at the present rate; kept for at most 30 days." in page
    assert "Verdicts: about 104.0 MB a day, 9,360 MB in the 90 days that they are kept." in page
    assert "note bad" not in page

    backend.forecast = StorageForecast(2.25, 30, 0.0, 90)
    page = client.get("/history").text
    assert "holds only about 2.2 days" in page and "note bad" in page and "Verdicts:" not in page

    backend.forecast = StorageForecast(math.inf, 30, 104e6, 90)
    page = client.get("/history").text
    assert "Pictures: the disk" not in page and "Verdicts: about" in page
