import re
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from linewatch.web.backend import ImageStatus
from tests.fakes import FakeBackend
from tests.web.client import png


@pytest.mark.parametrize("page", ["/", "/inspect", "/history", "/history/41/2", "/review", "/products"])
def test_no_page_needs_foreign_or_inline_scripts_and_styles(client: FlaskClient, page: str) -> None:
    """The content security policy forbids both."""
    response = client.get(page)

    assert response.status_code == 200
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Cache-Control"] == "no-store"
    assert "http://" not in response.text.replace("http://www.w3.org", "") and "https://" not in response.text
    assert not re.search(r"\sstyle=|\son[a-z]+=|<style|<script>|javascript:", response.text)


def test_evidence_is_served_as_stored(client: FlaskClient, tmp_path: Path) -> None:
    """An image has its media type and may be cached."""
    (tmp_path / "evidence" / "a").mkdir()
    (tmp_path / "evidence" / "a" / "2.png").write_bytes(png())

    response = client.get("/evidence/a/2.png")

    assert (response.data, response.mimetype) == (png(), "image/png")
    assert "max-age" in response.headers["Cache-Control"]
    response.close()


def test_a_queued_image_is_waited_for(client: FlaskClient, backend: FakeBackend, tmp_path: Path) -> None:
    """A frame may follow its verdict by a moment; the request returns as soon as it is written."""
    asked: list[str] = []

    def write_at_the_second_question(path: str) -> None:
        asked.append(path)
        if len(asked) == 2:
            (tmp_path / "evidence" / path).write_bytes(png())

    backend.images = {"2.png": ImageStatus.QUEUED}
    backend.during_image_status = write_at_the_second_question

    with client.get("/evidence/2.png") as response:
        assert (response.status_code, response.data) == (200, png())
    assert asked == ["2.png", "2.png"]


def test_an_image_that_stays_queued_is_said_to_be_on_its_way(
    client: FlaskClient, backend: FakeBackend
) -> None:
    """After a second the request ends, and the client may come again."""
    backend.images = {"2.png": ImageStatus.QUEUED}

    response = client.get("/evidence/2.png")

    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
    assert "still being written" in response.text


def test_an_image_that_was_shed_or_removed_is_gone(client: FlaskClient, backend: FakeBackend) -> None:
    """A verdict names it, so the address was right: 410; a new verdict's image is waited for before."""
    backend.images = {"2.png": ImageStatus.GONE, "3.png": ImageStatus.EXPECTED}

    for path in backend.images:
        response = client.get(f"/evidence/{path}")
        assert response.status_code == 410
        assert "was not kept under load" in response.text
    assert client.get("/evidence/4.png").status_code == 404
