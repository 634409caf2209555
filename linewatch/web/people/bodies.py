"""JSON bodies of the endpoints for users and tokens."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from linewatch.people.passwords import CHARACTERS_MAX, CHARACTERS_MIN
from linewatch.people.roles import Role

Name = Annotated[str, Field(min_length=1, max_length=64)]
Password = Annotated[
    str, Field(description=f"{CHARACTERS_MIN} to {CHARACTERS_MAX} characters; refused if easily guessed.")
]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NewUser(_Body):
    """A user to add."""

    name: Name
    password: Password
    role: Role = Role.OPERATOR


class RoleBody(_Body):
    """The role to give."""

    role: Role


class PasswordBody(_Body):
    """The password to set."""

    password: Password


class NewToken(_Body):
    """A token to issue to a machine."""

    name: Name
    role: Role = Role.OPERATOR


class PersonPath(BaseModel):
    """The name of a user or of a token."""

    name: Annotated[str, Field(min_length=1, max_length=64)]


class ListedUser(_Body):
    """One user."""

    name: str
    role: Role
    sessions: Annotated[int, Field(ge=0)]  # That are open now.


class ListedToken(_Body):
    """One machine's token."""

    name: str
    role: Role
    added_by: str


class IssuedToken(_Body):
    """A new token with its secret, which is in this answer only."""

    name: str
    role: Role
    token: str
