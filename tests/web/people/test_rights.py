"""Every route of the app against every role: what the table of rights does not allow is refused."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

import linewatch.web
from linewatch.people.roles import Role
from linewatch.web.people.rights import RIGHTS
from tests.web.client import TOKEN, people_with, sign_in_as

TEMPLATES = sorted(Path(linewatch.web.__file__).parent.rglob("*.html"))
SPELLINGS = ("/people/", "//people", "/people//", "/PEOPLE", "/./people", "/x/../people")
REFUSED = (401, 403)


def routes(app: Flask) -> set[tuple[str, str]]:
    """Return (method, rule) of every route, without those that Flask answers by itself."""
    return {
        (method, rule.rule)
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }


def address(rule: str) -> str:
    """Return an address that the rule matches."""
    return re.sub(r"<(?:\w+:)?\w+>", "1", rule)


def ask(client: FlaskClient, method: str, rule: str, headers: dict[str, str]) -> int:
    """Return the status of one request."""
    return client.open(address(rule), method=method, headers=headers).status_code


def test_every_route_has_its_right_and_every_right_its_route(make_app: Callable[..., Flask]) -> None:
    """A route that is added without an entry is refused, so this test names it first."""
    assert routes(make_app()) == RIGHTS.keys()


def test_a_route_without_a_right_is_refused(make_app: Callable[..., Flask]) -> None:
    """Even for an admin."""
    app = make_app(people=people_with())
    app.add_url_rule("/forgotten", view_func=lambda: "secret", methods=["GET", "POST"])
    client = sign_in_as(app.test_client(), "admin")

    for method in ("GET", "POST", "HEAD"):
        assert client.open("/forgotten", method=method).status_code == 403


@pytest.mark.parametrize("role", [None, *Role])
def test_each_role_gets_through_where_its_right_reaches(
    make_app: Callable[..., Flask], role: Role | None
) -> None:
    """Each route for each role, as a person on pages and as a machine in the API; no role reaches further."""
    people = people_with()
    app = make_app(people=people)
    token = people.add_token("mes", role, "test") if role else ""
    person, machine = app.test_client(), app.test_client()
    if role:
        sign_in_as(person, role.value)

    for (method, rule), needed in sorted(RIGHTS.items()):
        api = rule.startswith("/api/")
        headers = {"Authorization": f"Bearer {token}"} if api and token else {}
        if rule in ("/sign-in", "/sign-out"):
            continue
        status = ask(machine if api else person, method, rule, headers)
        if needed is None or (role is not None and role.covers(needed)):
            assert status not in REFUSED, (method, rule)
        else:
            assert status == (403 if role else 401), (method, rule)


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "head", "X"])
def test_another_method_opens_no_protected_page(make_app: Callable[..., Flask], method: str) -> None:
    """HEAD needs the right of GET; methods that a route does not have are 405."""
    client = make_app(people=people_with()).test_client()

    for rule in ("/people", "/account", "/people/users"):
        response = client.open(rule, method=method)
        assert response.status_code in (401, 405) or (method == "OPTIONS" and response.data == b"")


@pytest.mark.parametrize(
    "path", ["/people/", "//people", "/people//", "/PEOPLE", "/./people", "/x/../people"]
)
def test_another_spelling_of_an_address_passes_no_right(make_app: Callable[..., Flask], path: str) -> None:
    """It is refused, unknown, or sent on to the one that is checked."""
    response = make_app(people=people_with()).test_client().get(path)

    assert response.status_code in (308, 401, 404), response.status_code


def test_without_users_the_station_s_token_does_what_an_engineer_does(make_app: Callable[..., Flask]) -> None:
    """As before there were users; only the management of users is not for it."""
    app = make_app()
    client = app.test_client()
    client.post("/sign-in", data={"token": TOKEN})

    for (method, rule), needed in RIGHTS.items():
        if needed is None:
            continue
        headers = {"Authorization": f"Bearer {TOKEN}"} if rule.startswith("/api/") else {}
        refused = ask(client, method, rule, headers) in REFUSED
        assert refused == (needed is Role.ADMIN or rule == "/account/password"), (method, rule)


def test_with_users_the_station_s_token_keeps_its_rights_for_programs_only(
    make_app: Callable[..., Flask],
) -> None:
    """It reviews and changes over, as ever; a person signs in with a name."""
    people = people_with(Role.ADMIN)
    client = make_app(people=people).test_client()
    headers = {"Authorization": f"Bearer {TOKEN}"}

    for (method, rule), needed in RIGHTS.items():
        if needed is not None and rule.startswith("/api/"):
            assert (ask(client, method, rule, headers) in REFUSED) == (needed is not Role.OPERATOR), rule
    assert client.post("/sign-in", data={"token": TOKEN}).status_code == 401


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_every_form_carries_its_session(template: Path) -> None:
    """A form that changes something has the field that ties it to the session it was made for."""
    for form in re.findall(r"<form\b.*?</form>", template.read_text(), re.DOTALL):
        free = re.search(r"people\.sign_in'|pages\.choose_language|script_root }}/(?:inspect|recall)", form)
        if 'method="post"' in form and not free:
            assert "{{ form_token() }}" in form, form[:200]
