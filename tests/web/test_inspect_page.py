import re

from flask.testing import FlaskClient

from tests.fakes import FakeBackend
from tests.web.client import png, upload


def test_an_upload_shows_the_name_of_its_file(client: FlaskClient, backend: FakeBackend) -> None:
    """Escaped, printable and at most 100 characters, beside a good part."""
    backend.good = "1.png"
    page = client.post("/inspect", **upload(png(), name=f"{'x' * 300}<b>.png")).text
    renamed = client.post("/inspect", **upload(png(), name="\u202egnp.exe")).text

    assert f"{'x' * 93}&lt;b&gt;.png</p>" in page and "x" * 94 not in page
    assert '<img src="/evidence/1.png"' in page
    assert "gnp.exe" in renamed and "\u202e" not in renamed


def test_an_upload_works_without_javascript(client: FlaskClient, backend: FakeBackend) -> None:
    """The form answers with verdict, image and heatmap, and keeps the chosen product."""
    page = client.post("/inspect", **upload(png(), "screw")).text

    shown = re.findall(r'<img src="(/[^"]+\.jpg)"', page)
    assert [client.get(address).data for address in shown] == [b"\xff\xd8picture", b"\xff\xd8heatmap"]
    assert re.fullmatch(r"/picture/[\w-]{32}\.jpg /heatmap/[\w-]{32}\.jpg", " ".join(shown))
    assert 'data-result="FAIL"' in page and "<option selected>screw" in page
    assert client.get("/heatmap/guessed.jpg").status_code == 404
    assert backend.inspected[0][0] == "screw" and backend.inspected[0][1].shape == (64, 64, 3)
