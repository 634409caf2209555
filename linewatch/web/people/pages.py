"""Pages for signing in, for one's own account, and for admins to manage users and tokens."""

from collections.abc import Callable, Mapping
from http import HTTPStatus

from flask import Blueprint, abort, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from linewatch.people.people import People
from linewatch.people.refusals import Refused
from linewatch.people.roles import Role
from linewatch.web.pages import own_path, return_path
from linewatch.web.params import again
from linewatch.web.people.access import AccessControl

Page = str | Response


class PeoplePages:
    """Routes below /sign-in, /account and /people; what they change, `People` changes for every way in."""

    def __init__(self, people: People, access: AccessControl, texts: Mapping[str, str]) -> None:
        self._people = people
        self._access = access
        self._texts = texts

    def blueprint(self) -> Blueprint:
        """Return the routes."""
        routes = Blueprint("people", __name__)
        routes.get("/sign-in")(self.sign_in_page)
        routes.post("/sign-in")(self.sign_in)
        routes.post("/sign-out")(self.sign_out)
        routes.get("/account")(self.account)
        routes.post("/account/password")(self.change_password)
        routes.get("/people")(self.people)
        routes.post("/people/users")(self.add_user)
        routes.post("/people/users/<name>/role")(self.set_role)
        routes.post("/people/users/<name>/password")(self.set_password)
        routes.post("/people/users/<name>/remove")(self.remove_user)
        routes.post("/people/tokens")(self.add_token)
        routes.post("/people/tokens/<name>/remove")(self.remove_token)
        return routes

    def sign_in_page(self) -> str:
        """Show the form; it returns to the page in `then`."""
        return render_template("sign_in.html", then=own_path(request.args))

    def sign_in(self) -> Response:
        """Start a session and return to the page that asked for it."""
        if "token" in request.form:
            self._access.sign_in_with_token(request.form["token"])
        else:
            self._access.sign_in(request.form.get("user", ""), request.form.get("password", ""))
        return redirect(return_path(), 303)

    def sign_out(self) -> Response:
        """End the session."""
        self._access.sign_out()
        return redirect(return_path(), 303)

    def account(self) -> Page:
        """Show who is signed in, with which rights, and the form for a new password."""
        return self._account()

    def change_password(self) -> Page:
        """Change the signed-in user's password; their other sessions end, and this one gets a new cookie."""
        user = self._access.user
        if not user:
            abort(403, self._texts["error_no_user"])
        try:
            self._access.require_password(request.form.get("present", ""))
            self._people.set_password(user, request.form.get("password", ""), user)
        except Refused as refusal:
            return self._refused(refusal, self._account)
        self._access.begin_again(user)
        return redirect(url_for(".account", done="password"), 303)

    def people(self) -> Page:
        """List users and tokens."""
        return self._people_page()

    def add_user(self) -> Page:
        """Add a user."""
        form = request.form
        return self._change(
            lambda by: self._people.add_user(form.get("user", ""), form.get("password", ""), _role(), by)
        )

    def set_role(self, name: str) -> Page:
        """Give a user another role."""
        return self._change(lambda by: self._people.set_role(name, _role(), by))

    def set_password(self, name: str) -> Page:
        """Set a user's password; their sessions end."""
        return self._change(lambda by: self._people.set_password(name, request.form.get("password", ""), by))

    def remove_user(self, name: str) -> Page:
        """Remove a user; their sessions end."""
        return self._change(lambda by: self._people.remove_user(name, by))

    def add_token(self) -> Page:
        """Issue a token and show it, this once."""
        name = request.form.get("token", "").strip()
        try:
            secret = self._people.add_token(name, _role(), self._access.who)
        except Refused as refusal:
            return self._refused(refusal, self._people_page)
        return self._people_page(issued=name, secret=secret)

    def remove_token(self, name: str) -> Page:
        """Revoke a token."""
        return self._change(lambda by: self._people.remove_token(name, by))

    def _change(self, change: Callable[[str], object]) -> Page:
        try:
            change(self._access.who)
        except Refused as refusal:
            return self._refused(refusal, self._people_page)
        return redirect(url_for(".people", done="change"), 303)

    def _account(self) -> str:
        return render_template("account.html", done=request.args.get("done") == "password")

    def _people_page(self, **more: str) -> str:
        return render_template(
            "people.html",
            users=self._people.users(),
            tokens=self._people.tokens(),
            roles=list(Role),
            done=request.args.get("done") == "change",
            **more,
        )

    def _refused(self, refusal: Refused, page: Callable[[], str]) -> Response:
        sentence = self._texts[f"refused_{refusal.key}"].format(**refusal.facts)
        return again(page, HTTPStatus.BAD_REQUEST, sentence)


def _role() -> Role:
    """Return the role in the form; aborts with 400."""
    try:
        return Role(request.form.get("role", ""))
    except ValueError:
        abort(400)
