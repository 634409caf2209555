import re
from pathlib import Path

import pytest
from flask.testing import FlaskClient

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
