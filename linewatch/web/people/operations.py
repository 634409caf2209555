"""The operations on users and tokens, for the OpenAPI document."""

from collections.abc import Mapping

from pydantic import BaseModel

from linewatch.web.operation import Answer, Operation
from linewatch.web.people.bodies import (
    IssuedToken,
    ListedToken,
    ListedUser,
    NewToken,
    NewUser,
    PasswordBody,
    PersonPath,
    RoleBody,
)

_USERS = {200: Answer("Every user.", list[ListedUser])}
_TOKENS = {200: Answer("Every token, without its secret.", list[ListedToken])}
_READ, _NEW, _CHANGE = (401, 403, 503), (400, 401, 403, 409, 413, 503), (400, 401, 403, 404, 409, 413, 503)


def _change(
    name: str, summary: str, answers: Mapping[int, Answer], body: type[BaseModel] | None = None
) -> Operation:
    """Return an operation that an admin may do on a user or a token."""
    return Operation(id=name, summary=summary, path=PersonPath, body=body, answers=answers, errors=_CHANGE)


PEOPLE_OPERATIONS: Mapping[tuple[str, str], Operation] = {
    ("get", "/api/users"): Operation(
        id="users", summary="Who may sign in, with which role", answers=_USERS, errors=_READ
    ),
    ("post", "/api/users"): Operation(
        id="addUser", summary="Add a user", body=NewUser, answers=_USERS, errors=_NEW
    ),
    ("delete", "/api/users/{name}"): _change("removeUser", "Remove a user and end their sessions", _USERS),
    ("post", "/api/users/{name}/role"): _change(
        "setRole", "Give a user another role, which holds for open sessions, too", _USERS, RoleBody
    ),
    ("post", "/api/users/{name}/password"): _change(
        "setPassword", "Set a user's password and end their sessions", _USERS, PasswordBody
    ),
    ("get", "/api/tokens"): Operation(
        id="tokens", summary="Which machines have a token", answers=_TOKENS, errors=_READ
    ),
    ("post", "/api/tokens"): Operation(
        id="issueToken",
        summary="Issue a token to a machine",
        body=NewToken,
        answers={200: Answer("The token's secret, this once.", IssuedToken)},
        errors=_NEW,
    ),
    ("delete", "/api/tokens/{name}"): _change("revokeToken", "Revoke a token", _TOKENS),
}
