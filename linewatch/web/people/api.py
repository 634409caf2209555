"""JSON endpoints by which an admin's program manages users and tokens."""

from collections.abc import Callable, Mapping
from json import loads
from typing import NoReturn, TypeVar

from flask import Blueprint, Response, abort, jsonify, request
from pydantic import BaseModel

from linewatch.people.people import People
from linewatch.people.refusals import Refused
from linewatch.web.params import read_body
from linewatch.web.people.access import AccessControl
from linewatch.web.people.bodies import (
    IssuedToken,
    ListedToken,
    ListedUser,
    NewToken,
    NewUser,
    PasswordBody,
    RoleBody,
)

Model = TypeVar("Model", bound=BaseModel)
Done = Response | tuple[Response, int]
GONE = ("user_unknown", "token_unknown")  # Refused with 404, the others with 409.


class PeopleApi:
    """Routes below /api/users and /api/tokens. `openapi.OPERATIONS` describes each of them."""

    def __init__(self, people: People, access: AccessControl, texts: Mapping[str, str]) -> None:
        self._people = people
        self._access = access
        self._texts = texts

    def blueprint(self) -> Blueprint:
        """Return the routes."""
        routes = Blueprint("people_api", __name__, url_prefix="/api")
        routes.get("/users")(self.users)
        routes.post("/users")(self.add_user)
        routes.delete("/users/<name>")(self.remove_user)
        routes.post("/users/<name>/role")(self.set_role)
        routes.post("/users/<name>/password")(self.set_password)
        routes.get("/tokens")(self.tokens)
        routes.post("/tokens")(self.add_token)
        routes.delete("/tokens/<name>")(self.remove_token)
        return routes

    def users(self) -> Response:
        """Send every user."""
        return _sent(
            [ListedUser(name=u.name, role=u.role, sessions=u.sessions) for u in self._people.users()]
        )

    def add_user(self) -> Done:
        """Add a user."""
        new = self._body(NewUser)
        return self._done(lambda by: self._people.add_user(new.name, new.password, new.role, by))

    def remove_user(self, name: str) -> Done:
        """Remove a user; their sessions end."""
        return self._done(lambda by: self._people.remove_user(name, by))

    def set_role(self, name: str) -> Done:
        """Give a user another role."""
        role = self._body(RoleBody).role
        return self._done(lambda by: self._people.set_role(name, role, by))

    def set_password(self, name: str) -> Done:
        """Set a user's password; their sessions end."""
        password = self._body(PasswordBody).password
        return self._done(lambda by: self._people.set_password(name, password, by))

    def tokens(self) -> Response:
        """Send every token, without its secret."""
        return _sent(
            [
                ListedToken(name=one.name, role=one.role, added_by=one.added_by)
                for one in self._people.tokens()
            ]
        )

    def add_token(self) -> Done:
        """Issue a token; its secret is in this answer only."""
        new = self._body(NewToken)
        try:
            secret = self._people.add_token(new.name, new.role, self._access.who)
        except Refused as refusal:
            self._refuse(refusal)
        return jsonify(IssuedToken(name=new.name, role=new.role, token=secret).model_dump())

    def remove_token(self, name: str) -> Done:
        """Revoke a token."""
        return self._done(lambda by: self._people.remove_token(name, by))

    def _done(self, change: Callable[[str], object]) -> Done:
        try:
            change(self._access.who)
        except Refused as refusal:
            self._refuse(refusal)
        return self.users() if "/users" in request.path else self.tokens()

    def _refuse(self, refusal: Refused) -> NoReturn:
        sentence = self._texts[f"refused_{refusal.key}"].format(**refusal.facts)
        abort(404 if refusal.key in GONE else 409, sentence)

    def _body(self, model: type[Model]) -> Model:
        try:
            fields = loads(request.get_data())
        except (ValueError, RecursionError):
            fields = None
        if not isinstance(fields, dict):
            abort(400, self._texts["error_not_json"])
        sentences = dict.fromkeys(model.model_fields, self._texts["error_person"])
        return read_body(model, fields, sentences)


def _sent(listed: list[ListedUser] | list[ListedToken]) -> Response:
    return jsonify([one.model_dump() for one in listed])
