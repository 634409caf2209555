"""The `linewatch users` commands: who may change what on the page. Each is one call of `People`."""

import json
import sys
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from linewatch.cli.options import Config, load_settings, show_help
from linewatch.errors import UsageError
from linewatch.people.roles import Role
from linewatch.runtime.user import user_name

if TYPE_CHECKING:
    from linewatch.people.people import People

users_app = typer.Typer(
    callback=show_help,
    invoke_without_command=True,
    rich_markup_mode=None,
    help="Add, list and remove users of the page and machines' tokens. A running daemon follows at once.",
)

Name = Annotated[str, typer.Argument(help="Letters, digits, dots, dashes, underscores, @.")]
RoleOption = Annotated[
    Role, typer.Option("--role", help="operator: review. engineer: also teach, activate. admin: also users.")
]


@users_app.command("list")
def list_people(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    config: Config = None,
) -> None:
    """List users and tokens with their roles."""
    people = _people(config)
    users, tokens = people.users(), people.tokens()
    if as_json:
        found = {
            "users": [{"name": user.name, "role": user.role, "sessions": user.sessions} for user in users],
            "tokens": [{"name": one.name, "role": one.role, "added_by": one.added_by} for one in tokens],
        }
        typer.echo(json.dumps(found, ensure_ascii=False))
        return
    for user in users:
        typer.echo(f"user   {user.name}  {user.role}{'  signed in' if user.sessions else ''}")
    for token in tokens:
        typer.echo(f"token  {token.name}  {token.role}  from {token.added_by}")
    if not users:
        typer.echo("no users: the station's token gives all rights (linewatch users add NAME --role admin)")


@users_app.command("add")
def add(name: Name, role: RoleOption = Role.OPERATOR, config: Config = None) -> None:
    """Add a user. Asks for the password, or reads it from standard input."""
    people = _people(config)
    typer.echo(f"{people.add_user(name, _read_password(), role, user_name())} is an {role}")
    if all(user.role is not Role.ADMIN for user in people.users()):
        typer.echo("note: there is no admin yet; only these commands can manage users", err=True)


@users_app.command("remove")
def remove(name: Name, config: Config = None) -> None:
    """Remove a user and end their sessions. Reviews and the audit keep the name."""
    _people(config).remove_user(name, user_name())
    typer.echo(f"{name} is removed")


@users_app.command("password")
def password(name: Name, config: Config = None) -> None:
    """Set a user's password and end their sessions. Asks for it, or reads it from standard input."""
    _people(config).set_password(name, _read_password(), user_name())
    typer.echo(f"{name} has a new password")


@users_app.command("role")
def role(
    name: Name,
    role: Annotated[Role, typer.Argument(help="operator, engineer or admin.")],
    config: Config = None,
) -> None:
    """Give a user another role. It holds for open sessions, too."""
    _people(config).set_role(name, role, user_name())
    typer.echo(f"{name} is an {role}")


@users_app.command("token")
def token(name: Name, role: RoleOption = Role.OPERATOR, config: Config = None) -> None:
    """Issue a token for a machine and print it. It is shown this once."""
    typer.echo(_people(config).add_token(name, role, user_name()))


@users_app.command("revoke")
def revoke(name: Name, config: Config = None) -> None:
    """Revoke a machine's token."""
    _people(config).remove_token(name, user_name())
    typer.echo(f"the token {name} is revoked")


def _people(config: "Config") -> "People":
    from linewatch.people.people import People
    from linewatch.storage.audit.writing import append_audit

    settings = load_settings(config)
    return People(settings.users_file, partial(append_audit, settings.journal.path))


def _read_password() -> str:
    """Return a password from the terminal, typed twice, or the first line of standard input."""
    if sys.stdin.isatty():
        answer: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
        return answer
    line = sys.stdin.readline().rstrip("\r\n")
    if not line:
        raise UsageError("there is no password on standard input; type it, or pipe one line")
    return line
