"""The page behind a reverse proxy: below a path, under another host name, in a frame of an HMI."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from linewatch.domain import Result
from linewatch.settings import HttpSettings
from linewatch.web import LiveImage, Row, create_app
from tests.fakes import FakeBackend, verdict
from tests.web.client import TOKEN

PAGES = ("/", "/inspect", "/recall", "/history", "/history/41/1", "/review", "/products", "/nowhere")
Client = Callable[..., FlaskClient]


@pytest.fixture
def client_with(tmp_path: Path) -> Client:
    """Return a function that makes a client of a station with these settings."""

    def make(**http: object) -> FlaskClient:
        backend = FakeBackend(Row(verdict(1, Result.FAIL)))
        backend.live = LiveImage(b"\xff\xd8", verdict(1))
        settings = HttpSettings.model_validate(http)
        return create_app(backend, lambda: (b"", "text/plain"), TOKEN, tmp_path, http=settings).test_client()

    return make


def addresses(page: str) -> list[str]:
    """Return every address on a page of this site."""
    found: list[str] = re.findall(r'(?:href|src|action)="(/[^"]*)"', page)
    return found


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("cut", [True, False])
def test_every_address_on_a_page_lies_below_the_prefix(client_with: Client, path: str, cut: bool) -> None:
    """By header or by setting, whether the proxy cuts the prefix off or leaves it."""
    asked = path if cut else f"/station1{path}"
    by_header = client_with().get(asked, headers={"X-Forwarded-Prefix": "/station1/"})
    by_setting = client_with(prefix="/station1").get(asked)

    for answer in (by_header, by_setting):
        assert answer.status_code == (404 if path == "/nowhere" else 200)
        assert addresses(answer.text)
        assert [address for address in addresses(answer.text) if not address.startswith("/station1/")] == []


def test_the_cached_live_page_has_the_links_of_its_reader(client_with: Client) -> None:
    """A tablet beside the station and one behind the proxy read the page at the same time."""
    client = client_with()
    there, here = client.get("/", headers={"X-Forwarded-Prefix": "/a"}).text, client.get("/").text

    assert 'href="/a/history"' in there and 'href="/history"' in here
    for number in range(20):
        assert f'"/p{number}/history"' in client.get("/", headers={"X-Forwarded-Prefix": f"/p{number}"}).text


@pytest.mark.parametrize("prefix", ["//evil.example", "javascript:x", "/a b", '/"><script>', "https://evil"])
def test_a_prefix_that_is_no_path_is_ignored(client_with: Client, prefix: str) -> None:
    """It would become part of every link."""
    page = client_with().get("/", headers={"X-Forwarded-Prefix": prefix}).text

    assert "evil" not in page and "<script>" not in page and 'href="/history"' in page


def test_redirects_stay_below_the_prefix(client_with: Client) -> None:
    """Signing in returns to the page of the form."""
    client = client_with(prefix="/station1")
    done = client.post("/station1/sign-in", data={"token": TOKEN, "then": "/history"})

    assert (done.status_code, done.headers["Location"]) == (303, "/station1/history")


def test_signing_in_through_a_proxy_that_changes_the_host(client_with: Client) -> None:
    """The browser names the proxy as origin; the proxy says for whom it asks."""
    browser = {"Origin": "https://hmi.plant.example", "Host": "127.0.0.1:8080"}
    form = {"token": TOKEN, "then": "/"}

    assert client_with().post("/sign-in", data=form, headers=browser).status_code == 403
    through = browser | {"X-Forwarded-Host": "hmi.plant.example"}
    assert client_with().post("/sign-in", data=form, headers=through).status_code == 303
    elsewhere = through | {"Origin": "https://evil.example"}
    assert client_with().post("/sign-in", data=form, headers=elsewhere).status_code == 403


@pytest.mark.parametrize(
    "path", ["/", "/history", "/live.jpg", "/metrics", "/healthz", "/api/state", "/api/verdicts"]
)
def test_head_answers_as_get_without_a_body(client_with: Client, path: str) -> None:
    """Load balancers and monitors ask by HEAD."""
    client = client_with()
    get, head = client.get(path), client.head(path)

    assert (head.status_code, head.data) == (get.status_code, b"")
    assert head.content_type == get.content_type


def test_only_named_origins_may_embed_the_page(client_with: Client) -> None:
    """An HMI shows the page in a frame, or its newest image."""
    closed = client_with().get("/live.jpg").headers
    opened = (
        client_with(frame_ancestors=["https://hmi.plant.example:8443", "http://10.0.0.5"])
        .get("/live.jpg")
        .headers
    )

    assert "frame-ancestors 'none'" in closed["Content-Security-Policy"]
    assert (closed["X-Frame-Options"], closed["Cross-Origin-Resource-Policy"]) == ("DENY", "same-origin")
    policy = "frame-ancestors https://hmi.plant.example:8443 http://10.0.0.5;"
    assert policy in opened["Content-Security-Policy"]
    assert "X-Frame-Options" not in opened
    assert opened["Cross-Origin-Resource-Policy"] == "cross-origin"


@pytest.mark.parametrize(
    "wrong",
    [
        {"prefix": "station1"},
        {"prefix": "/a/"},
        {"frame_ancestors": ["*"]},
        {"frame_ancestors": ["https://a/b"]},
    ],
)
def test_a_wrong_prefix_or_origin_is_explained(wrong: dict[str, object]) -> None:
    """The rule is said in words."""
    with pytest.raises(ValueError, match=r"such as /station1|such as https://hmi"):
        HttpSettings.model_validate(wrong)
