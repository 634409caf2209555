from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.fakes import FakeBackend
from tests.web.client import BEARER, TOKEN, error_sentence


def test_the_session_cookie_is_protected_and_ends_with_sign_out(client: FlaskClient) -> None:
    """It holds no token, is HttpOnly and SameSite=Strict, and a copy of it is invalid after sign-out."""
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
    assert 'action="/sign-in"' in copied.get("/products").text, "a copied cookie is invalid, too"


def test_a_wrong_token_gets_no_session_and_is_not_logged(
    client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    """The log names path and address of the client only."""
    response = client.post("/sign-in", data={"token": "guessed-secret", "then": "/review"})

    assert response.status_code == 401 and "Set-Cookie" not in response.headers
    assert 'name="then" value="/review"' in response.text
    assert "token_refused path='/sign-in'" in caplog.text and "guessed-secret" not in caplog.text


@pytest.mark.parametrize(
    "then", ["//evil.example", "https://evil.example", "/\\evil.example", "/a\r\nX: y", ""]
)
def test_sign_in_never_redirects_to_another_site(client: FlaskClient, then: str) -> None:
    """Anything but a path of this site leads to the live view."""
    response = client.post("/sign-in", data={"token": TOKEN, "then": then})

    assert response.headers["Location"] == "/"


def test_without_a_configured_token_nothing_can_be_changed(
    make_app: Callable[..., Flask], backend: FakeBackend
) -> None:
    """Every attempt is refused with 403, an empty token included, and the pages say so."""
    client = make_app(token="").test_client()

    for headers in ({}, {"Authorization": "Bearer "}, BEARER):
        refused = client.post("/api/product", json={"product": "screw"}, headers=headers)
        assert refused.status_code == 403 and "http.token_file" in error_sentence(refused)
    assert client.post("/sign-in", data={"token": ""}).status_code == 403
    review, products = client.get("/review").text, client.get("/products").text
    assert "Marking is switched off" in review and "Changing over is switched off" in products
    assert all("http.token_file" in page and "Sign in" not in page for page in (review, products))
    assert backend.switched == []
