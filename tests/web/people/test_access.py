"""Hostile visitors: sessions, cookies, floods, other sites, two tabs."""

import re
from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient

from linewatch.people import passwords
from linewatch.people.people import People
from linewatch.people.roles import Role
from tests.fakes import FakeBackend
from tests.web.client import PASSWORD, TOKEN, people_with, sign_in_as

COOKIE = "linewatch_station1"
OWN = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def people() -> People:
    """One user for each role, named after it."""
    return people_with()


@pytest.fixture
def app(make_app: Callable[..., Flask], people: People) -> Flask:
    """Return the app with these users."""
    return make_app(people=people)


def sign_in(client: FlaskClient, user: str, password: str = PASSWORD, **headers: str) -> tuple[int, str]:
    """Return status and cookie of a sign-in."""
    answer = client.post("/sign-in", data={"user": user, "password": password}, headers=headers)
    return answer.status_code, answer.headers.get("Set-Cookie", "")


def review(client: FlaskClient, seq: int = 2, **form: str) -> int:
    """Return the status of a review, sent as a browser does from a page of the station."""
    return client.post(f"/history/41/{seq}", data={"actual": "good", **form}, headers=OWN).status_code


def proof(client: FlaskClient, page: str = "/history/41/2") -> str:
    """Return what ties the forms of a page to its session."""
    found = re.search(r'name="proof" value="(\w+)"', client.get(page).text)
    assert found
    return found[1]


def test_the_cookie_is_protected(app: Flask) -> None:
    """HttpOnly, SameSite=Strict, with an end, and for TLS only behind a proxy that speaks TLS."""
    status, cookie = sign_in(app.test_client(), "operator")
    assert status == 303
    assert all(word in cookie for word in ("HttpOnly", "SameSite=Strict", "Max-Age=36000", "Path=/"))
    assert "Secure" not in cookie and PASSWORD not in cookie and "operator" not in cookie

    _, cookie = sign_in(app.test_client(), "operator", **{"X-Forwarded-Proto": "https"})
    assert "Secure" in cookie


def test_a_session_is_never_one_that_the_visitor_chose(app: Flask) -> None:
    """A cookie that was planted before signing in is worth nothing afterwards (session fixation)."""
    client = app.test_client()
    client.set_cookie(COOKIE, "planted-by-somebody-else")

    sign_in_as(client, "operator")

    assert client.get_cookie(COOKIE).value != "planted-by-somebody-else"  # type: ignore[union-attr]
    other = app.test_client()
    other.set_cookie(COOKIE, "planted-by-somebody-else")
    assert review(other) == 401


def test_signing_in_again_ends_the_session_before(app: Flask) -> None:
    """The next user of a tablet takes over no session, and leaves none behind."""
    client = sign_in_as(app.test_client(), "operator")
    before = client.get_cookie(COOKIE)
    assert before is not None

    sign_in_as(client, "engineer")

    copied = app.test_client()
    copied.set_cookie(COOKIE, before.value)
    assert review(copied) == 401


@pytest.mark.parametrize(
    "forged", ["", "x", "a" * 3000, "eyJvcGVyYXRvciI6IngifQ.Zx.y", "%00", "é", "' OR 1=1"]
)
def test_a_forged_cookie_is_refused(app: Flask, forged: str) -> None:
    """Whatever it holds; reading goes on."""
    client = app.test_client()
    client.set_cookie(COOKIE, forged)

    assert review(client) == 401
    assert client.get("/review").status_code == 200


def test_signing_out_ends_the_session_on_the_server(app: Flask) -> None:
    """A copy of the cookie is invalid, too, and the browser drops its own."""
    client = sign_in_as(app.test_client(), "operator")
    cookie = client.get_cookie(COOKIE)
    assert cookie is not None

    client.post("/sign-out")

    assert client.get_cookie(COOKIE) is None
    client.set_cookie(COOKIE, cookie.value)
    assert review(client) == 401


def test_a_user_who_is_removed_while_signed_in_changes_nothing_more(
    app: Flask, people: People, backend: FakeBackend
) -> None:
    """Their next click is refused."""
    client = sign_in_as(app.test_client(), "operator")
    assert review(client) == 303

    people.remove_user("operator", "admin")

    assert review(client, 3) == 401 and backend.rows[41, 3].review is None
    assert "Sign in" in client.get("/").text


def test_a_role_that_is_taken_away_is_gone_with_the_next_request(app: Flask, people: People) -> None:
    """The page behind it was open already."""
    people.add_user("second", PASSWORD, Role.ADMIN, "test")
    client = sign_in_as(app.test_client(), "admin")
    assert client.get("/people").status_code == 200

    people.set_role("admin", Role.OPERATOR, "second")

    form = {"user": "mallory", "password": PASSWORD, "role": "admin"}
    assert client.post("/people/users", data=form).status_code == 403
    assert "mallory" not in {user.name for user in people.users()}


def test_the_form_of_one_tab_is_not_sent_as_the_user_of_another(app: Flask, backend: FakeBackend) -> None:
    """Two tabs share the cookie; what the operator typed is not recorded under the engineer's name."""
    client = sign_in_as(app.test_client(), "operator")
    first_tab = proof(client)
    assert review(client, 2, proof=first_tab) == 303

    sign_in_as(client, "engineer")

    assert review(client, 3, proof=first_tab) == 409
    assert backend.rows[41, 3].review is None
    assert review(client, 2, proof=proof(client)) == 303
    stored = backend.rows[41, 2].review
    assert stored is not None and stored.who == "engineer"


def test_a_form_without_origin_needs_its_proof(app: Flask, backend: FakeBackend) -> None:
    """A browser so old that it names no origin is protected by the form's own field."""
    client = sign_in_as(app.test_client(), "operator")
    own = proof(client)
    del client.environ_base["HTTP_SEC_FETCH_SITE"]

    assert client.post("/history/41/2", data={"actual": "good"}).status_code == 403
    assert client.post("/history/41/2", data={"actual": "good", "proof": "0" * 32}).status_code == 409
    assert backend.rows[41, 2].review is None
    assert client.post("/history/41/2", data={"actual": "good", "proof": own}).status_code == 303


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_site_signs_nobody_in_or_out(app: Flask, site: str) -> None:
    """Nor does it send a form with the right field."""
    client = sign_in_as(app.test_client(), "operator")
    own = proof(client)
    headers = {"Sec-Fetch-Site": site}

    for path, form in (
        ("/sign-in", {"user": "operator", "password": PASSWORD}),
        ("/sign-out", {}),
        ("/history/41/2", {"actual": "good", "proof": own}),
        ("/language", {"language": "de"}),
    ):
        assert client.post(path, data=form, headers=headers).status_code == 403
    assert review(client) == 303, "still signed in"


def test_a_login_flood_is_delayed_and_costs_few_checks(
    app: Flask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A hundred guesses lead to a handful of checked passwords; the answer says how long to wait."""
    checked: list[str] = []
    original = passwords.matches

    def matches(stored: str, word: str) -> bool:
        checked.append(word)
        return original(stored, word)

    monkeypatch.setattr(passwords, "matches", matches)
    client = app.test_client()

    answers = [
        client.post("/sign-in", data={"user": "admin", "password": f"guess number {n}"}) for n in range(100)
    ]

    assert {answer.status_code for answer in answers} == {401, 429}
    assert len(checked) <= 7
    late = answers[-1]
    assert int(late.headers["Retry-After"]) >= 1 and "wait" in late.text
    assert sign_in(client, "admin")[0] == 429, "even with the right password"
    assert "guess number" not in caplog.text and "sign_in_refused user='admin'" in caplog.text


def test_behind_a_proxy_the_flood_of_one_address_delays_no_other(app: Flask) -> None:
    """The proxy on this machine names the address; of several the one that it saw itself."""
    for n in range(30):
        sign_in(app.test_client(), f"u{n}", "wrong", **{"X-Forwarded-For": f"9.9.9.{n}, 10.0.0.1"})
    assert sign_in(app.test_client(), "u99", "wrong", **{"X-Forwarded-For": "10.0.0.1"})[0] == 429


def test_a_wrong_name_and_a_wrong_password_get_the_same_answer(app: Flask) -> None:
    """Nothing says which users there are; the name that was typed stays in its field."""
    answers = []
    for user in ("admin", "nobody"):
        answer = app.test_client().post("/sign-in", data={"user": user, "password": "wrong password"})
        assert answer.text.count(f'value="{user}"') == 1
        answers.append(answer.text.replace(f'value="{user}"', 'value=""'))

    assert answers[0] == answers[1]


@pytest.mark.parametrize("user", ["a\r\nSet-Cookie: x=1", "<script>", "x" * 5000, "\x00", "é\u202e"])
def test_a_hostile_name_is_refused_and_not_repeated(
    app: Flask, user: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither in the page nor as a line of its own in the log."""
    answer = app.test_client().post("/sign-in", data={"user": user, "password": "wrong password"})

    assert answer.status_code == 401 and user not in answer.text and "Set-Cookie" not in answer.headers
    assert all(
        len(record.getMessage()) < 200 and "\n" not in record.getMessage() for record in caplog.records
    )


def test_a_session_opens_no_api_and_a_token_no_page(app: Flask, people: People) -> None:
    """Each way in has its own check."""
    client = sign_in_as(app.test_client(), "admin")
    assert client.get("/api/users").status_code == 401

    token = people.add_token("mes", Role.ADMIN, "test")
    assert app.test_client().get("/people", headers={"Authorization": f"Bearer {token}"}).status_code == 401
    assert (
        app.test_client().get("/api/users", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    )


def test_a_revoked_token_is_refused_at_once(app: Flask, people: People, backend: FakeBackend) -> None:
    """And while it holds, its name is with what it did."""
    headers = {"Authorization": f"Bearer {people.add_token('mes', Role.OPERATOR, 'test')}"}
    client = app.test_client()
    path = "/api/verdicts/41/2/review"

    assert client.post(path, json={"actual": "good"}, headers=headers).status_code == 200
    people.remove_token("mes", "admin")
    assert client.post(path, json={"actual": "defect"}, headers=headers).status_code == 401

    stored = backend.rows[41, 2].review
    assert stored is not None and (stored.actual, stored.who) == ("good", "token:mes")


def test_what_a_user_does_carries_the_name(app: Flask, backend: FakeBackend) -> None:
    """Reviews and changes of product; shown on the part's page and in the history."""
    client = sign_in_as(app.test_client(), "operator")

    review(client)
    client.post("/products", data={"product": "screw"})

    assert backend.switched_by == ["operator"]
    assert "by operator" in client.get("/history/41/2").text
    assert "<small>operator</small>" in client.get("/history").text


def test_without_a_file_of_users_everything_is_as_before(make_app: Callable[..., Flask]) -> None:
    """People sign in with the station's token, which the form asks for."""
    client = make_app().test_client()
    assert (
        'name="token"' in client.get("/review").text and 'name="password"' not in client.get("/review").text
    )

    assert client.post("/sign-in", data={"token": TOKEN}).status_code == 303
    assert client.post("/history/41/2", data={"actual": "good"}).status_code == 303
    assert client.get("/account").status_code == 200


def test_with_users_the_form_asks_for_a_name(app: Flask) -> None:
    """On its own page and where a change is offered."""
    for page in ("/sign-in?then=/review", "/review", "/products"):
        text = app.test_client().get(page).text
        assert 'name="user"' in text and 'name="token"' not in text


@pytest.mark.parametrize("then", ["//evil.example", "https://evil.example", "/\\evil", "javascript:alert(1)"])
def test_the_sign_in_page_leads_to_no_other_site(app: Flask, then: str) -> None:
    """Whatever its address says."""
    page = app.test_client().get("/sign-in", query_string={"then": then}).text

    assert then not in page and 'name="then" value="/"' in page
