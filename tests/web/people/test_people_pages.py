"""The pages and calls by which people manage accounts, users and tokens."""

import re
from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient

from linewatch.people.people import People
from linewatch.people.refusals import SENTENCES
from linewatch.people.roles import Role
from linewatch.web.texts import ENGLISH
from tests.web.client import PASSWORD, error_sentence, people_with, sign_in_as


@pytest.fixture
def people() -> People:
    """One user for each role, named after it."""
    return people_with()


@pytest.fixture
def admin(make_app: Callable[..., Flask], people: People) -> FlaskClient:
    """Return the browser of the signed-in admin."""
    return sign_in_as(make_app(people=people).test_client(), "admin")


def test_an_admin_adds_changes_and_removes_a_user(admin: FlaskClient, people: People) -> None:
    """By forms alone, each of which returns to the list."""
    forms = [
        ("/people/users", {"user": "Jörg", "password": PASSWORD, "role": "operator"}),
        ("/people/users/Jörg/role", {"role": "engineer"}),
        ("/people/users/Jörg/password", {"password": "another long phrase"}),
    ]
    for path, form in forms:
        done = admin.post(path, data=form)
        assert (done.status_code, done.headers["Location"]) == (303, "/people?done=change"), done.text
    listed = admin.get("/people").text
    assert "Jörg" in listed and people.knows("Jörg", "another long phrase") == "Jörg"

    admin.post("/people/users/Jörg/remove")

    assert "Jörg" not in admin.get("/people").text


@pytest.mark.parametrize(
    ("path", "form", "sentence"),
    [
        ("/people/users", {"user": "operator", "password": PASSWORD, "role": "admin"}, "already"),
        ("/people/users", {"user": "a b", "password": PASSWORD, "role": "admin"}, "no user name"),
        ("/people/users", {"user": "ben", "password": "short", "role": "admin"}, "too short"),
        ("/people/users/admin/remove", {}, "last admin"),
        ("/people/users/admin/role", {"role": "operator"}, "last admin"),
        ("/people/users/ghost/role", {"role": "operator"}, "no user"),
        ("/people/tokens/ghost/remove", {}, "no token"),
    ],
)
def test_a_refused_change_is_one_sentence_on_the_same_page(
    admin: FlaskClient, people: People, path: str, form: dict[str, str], sentence: str
) -> None:
    """Nothing is changed, and the lists are still there."""
    before = people.users()

    refused = admin.post(path, data=form)

    assert refused.status_code == 400 and sentence in refused.text and "Tokens for machines" in refused.text
    assert [(user.name, user.role) for user in people.users()] == [(user.name, user.role) for user in before]


def test_an_unknown_role_is_refused(admin: FlaskClient, people: People) -> None:
    """Not taken for another one."""
    for role in ("root", "", "ADMIN"):
        form = {"user": "ben", "password": PASSWORD, "role": role}
        assert admin.post("/people/users", data=form).status_code == 400
    assert len(people.users()) == 3


def test_a_token_is_shown_once_and_works(admin: FlaskClient, people: People) -> None:
    """The page says so; the list has its name only."""
    page = admin.post("/people/tokens", data={"token": "mes", "role": "operator"}).text

    found = re.search(r"lw_[\w-]{43}", page)
    assert found
    assert people.token(found[0]) is not None
    assert found[0] not in admin.get("/people").text and "mes" in admin.get("/people").text


def test_a_person_changes_their_own_password(make_app: Callable[..., Flask], people: People) -> None:
    """With the present one; other sessions end, this one goes on with a new cookie."""
    app = make_app(people=people)
    client, elsewhere = sign_in_as(app.test_client(), "operator"), sign_in_as(app.test_client(), "operator")
    cookie = client.get_cookie("linewatch_station1")

    wrong = client.post("/account/password", data={"present": "wrong", "password": "another long phrase"})
    assert wrong.status_code == 400 and "present password is wrong" in wrong.text
    done = client.post("/account/password", data={"present": PASSWORD, "password": "another long phrase"})

    assert done.status_code == 303 and client.get_cookie("linewatch_station1") != cookie
    assert "The password is changed" in client.get("/account?done=password").text
    assert elsewhere.get("/account").status_code == 401
    assert people.knows("operator", "another long phrase") == "operator"


def test_the_account_page_shows_name_role_and_rights(make_app: Callable[..., Flask], people: People) -> None:
    """Only an admin finds the way to the users there."""
    app = make_app(people=people)
    for role in Role:
        page = sign_in_as(app.test_client(), role.value).get("/account").text
        assert ENGLISH.texts[f"role_does_{role}"] in page
        assert ('href="/people"' in page) == (role is Role.ADMIN)


def test_the_api_manages_users_and_tokens(make_app: Callable[..., Flask], people: People) -> None:
    """The same as the page, by an admin's token."""
    headers = {"Authorization": f"Bearer {people.add_token('setup', Role.ADMIN, 'test')}"}
    client = make_app(people=people).test_client()

    added = client.post("/api/users", json={"name": "ben", "password": PASSWORD}, headers=headers)
    assert {"name": "ben", "role": "operator", "sessions": 0} in added.get_json()
    assert client.post("/api/users/ben/role", json={"role": "engineer"}, headers=headers).status_code == 200
    other = {"password": "another long phrase"}
    assert client.post("/api/users/ben/password", json=other, headers=headers).status_code == 200
    again = client.post("/api/users", json={"name": "ben", "password": PASSWORD}, headers=headers)
    assert again.status_code == 409 and "already" in error_sentence(again)
    assert client.delete("/api/users/ben", headers=headers).status_code == 200
    assert client.delete("/api/users/ben", headers=headers).status_code == 404
    wrong = client.post("/api/users", json={"name": "ben", "password": 5}, headers=headers)
    assert wrong.status_code == 400 and "openapi" in error_sentence(wrong)

    issued = client.post("/api/tokens", json={"name": "mes"}, headers=headers).get_json()
    assert people.token(issued["token"]) is not None
    listed = client.get("/api/tokens", headers=headers).get_json()
    assert [token["name"] for token in listed] == ["mes", "setup"] and "token" not in listed[0]
    assert client.delete("/api/tokens/mes", headers=headers).status_code == 200


def test_the_page_says_what_the_command_says() -> None:
    """In English word by word, but for the command that shows all, which the page does not name."""
    for key, sentence in SENTENCES.items():
        said = ENGLISH.texts[f"refused_{key}"]
        assert said.partition(";")[0].lower() == sentence.partition(";")[0].lower(), key
