"""Access control: who sends a request, and whether they may.

Programs send a token with every call below /api. A browser sends name and password (or, where there are
no users, the station's token) once, in the body of the sign-in form, and gets a session: a random cookie
(HttpOnly, SameSite=Strict) of which only a hash is stored. It ends after a shift, by signing out, with the
user, or with a new password. Neither passwords nor tokens are stored in a browser or logged.
"""

import hmac
import logging
import math
import re
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import NoReturn

from flask import Flask, abort, g, request
from markupsafe import Markup
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import TooManyRequests, Unauthorized
from werkzeug.wrappers import Response

from linewatch.errors import StorageFull
from linewatch.people.attempts import Attempts
from linewatch.people.people import SESSION_H, People
from linewatch.people.refusals import Refused
from linewatch.people.roles import Identity, Role
from linewatch.web.people.protection import is_marked_own
from linewatch.web.people.rights import RIGHTS

log = logging.getLogger(__name__)

FORM_FIELD = "proof"


class AccessControl:
    """Knows who sends the current request, and refuses it where RIGHTS asks for more.

    Without users, the station's token (`token`) gives the rights of an engineer; with users, those of an
    operator, to programs only. Without either nothing can be changed.
    """

    def __init__(
        self, people: People, token: Callable[[], str], texts: Mapping[str, str], station: str
    ) -> None:
        self._people = people
        self._read_token = token
        self._texts = texts
        # Stations on one host share its cookies whatever their port, so each has its own name.
        self._cookie = f"linewatch_{re.sub('[^A-Za-z0-9]', '_', station)}"
        self._attempts = Attempts()

    def protect(self, app: Flask) -> None:
        """Check every request of the app against RIGHTS, and send cookies."""
        app.before_request(self._authorize)
        app.after_request(self._send_cookie)

    # What templates and handlers ask

    @property
    def identity(self) -> Identity | None:
        """Who sends the current request; None for a reader, and while the users' file cannot be read."""
        try:
            return self._identity()
        except StorageFull as trouble:
            log.warning("users_unreadable reason=%r", str(trouble))
            return None

    @property
    def signed_in(self) -> bool:
        """Whether the current request may change anything."""
        return self.identity is not None

    def may(self, role: str) -> bool:
        """Whether the current request has the rights of a role: "operator", "engineer" or "admin"."""
        identity = self.identity
        return identity is not None and identity.role.covers(Role(role))

    @property
    def who(self) -> str:
        """The name for reviews, audit and log."""
        identity = self.identity
        return identity.who if identity else "page"

    @property
    def user(self) -> str:
        """The signed-in user's name; "" for a session of the station's token."""
        identity = self.identity
        return identity.user if identity else ""

    @property
    def has_users(self) -> bool:
        """Whether people sign in with names; True as well while the users' file cannot be read."""
        if "has_users" not in g:
            try:
                g.has_users = self._people.has_users()
            except StorageFull:
                g.has_users = True
        return bool(g.has_users)

    @property
    def can_sign_in(self) -> bool:
        """Whether there is anything to sign in with."""
        return bool(self._token) or self.has_users

    def form_token(self) -> Markup:
        """Return the hidden field for every form that changes something.

        It ties the form to the session it was made for: another user's session in the next tab, or a page of
        another site, cannot send it.
        """
        secret = self._secret
        if not secret:
            return Markup("")
        field = Markup('<input type="hidden" name="{}" value="{}">')
        return field.format(FORM_FIELD, _form_proof(secret))

    # Signing in and out

    def sign_in(self, user: str, password: str) -> None:
        """Begin a user's session; aborts with 401, or with 429 while sign-ins are delayed."""
        known = self._is_right(user, password)
        if not known:
            raise Unauthorized(self._texts["error_sign_in"], www_authenticate=_CHALLENGE)
        self._begin(known)
        log.info("user_signed_in user=%r from=%s", known, self._address)

    def sign_in_with_token(self, token: str) -> None:
        """Begin a session with the station's token, where there are no users; aborts with 401 or 403."""
        self._require_configured()
        if self._people.has_users() or not self._is_station_token(token.strip()):
            self._refuse()
        self._begin("")
        log.info("operator_signed_in from=%s", request.remote_addr)

    def sign_out(self) -> None:
        """End the session of this browser; a copy of its cookie becomes invalid, too."""
        if secret := self._secret:
            self._people.end_session(secret)
        g.new_cookie = ""

    def require_password(self, password: str) -> None:
        """Raise Refused unless this is the signed-in user's password; aborts with 429 after many failures."""
        if not self._is_right(self.user, password):
            raise Refused("password_wrong")

    def begin_again(self, user: str) -> None:
        """Give a user a new session: after a change of password the old cookie is worth nothing."""
        self._begin(user)

    # How it works

    def _is_right(self, user: str, password: str) -> str:
        """Return the user's name as it is kept if this is their password, else ""."""
        address = self._address
        wait_s = self._attempts.begin(user, address)
        if wait_s > 0:
            log.warning("sign_in_delayed user=%r from=%s wait_s=%.0f", user[:40], address, wait_s)
            raise _too_many(self._texts["error_sign_in_wait"], wait_s)
        known = self._people.knows(user, password)
        if known:
            self._attempts.succeeded(user, address)
        else:
            self._attempts.failed(user, address)
            log.warning("sign_in_refused user=%r from=%s", user[:40], address)
        return known

    def _begin(self, user: str) -> None:
        if secret := self._secret:
            self._people.end_session(secret)  # A session is never taken over by the next user.
        g.new_cookie = self._people.begin_session(user, self._token)

    def _authorize(self) -> None:
        """Refuse what the table of rights does not allow."""
        if request.url_rule is None or request.method == "OPTIONS":
            return  # 404 and 405 follow; OPTIONS lists methods.
        method = "GET" if request.method == "HEAD" else request.method
        key = method, request.url_rule.rule
        if key not in RIGHTS:
            log.error("route_without_rights method=%s rule=%r", *key)
            abort(403, self._texts["error_no_rights"])
        needed = RIGHTS[key]
        if needed is None:
            return
        self._require_configured()
        identity = self._identity()
        if identity is None:
            self._refuse()
        if not identity.role.covers(needed):
            log.warning("role_refused who=%r needed=%s path=%r", identity.who, needed, request.path)
            role = self._texts[f"role_{needed}"]
            abort(403, self._texts["error_role"].format(role=role, who=identity.who))
        if method != "GET" and not _is_program():
            self._require_own_form(identity)

    def _require_own_form(self, identity: Identity) -> None:
        """Refuse a form of another session, and one of which a browser does not say where it is from."""
        proof = ""
        if request.mimetype == "application/x-www-form-urlencoded":
            proof = request.form.get(FORM_FIELD, "")
        if proof and not hmac.compare_digest(proof.encode(), _form_proof(self._secret).encode()):
            abort(409, self._texts["error_other_session"].format(who=identity.who))
        # Without users everything is as it was: scripts sign in with the token and post forms.
        if not proof and identity.user and not is_marked_own():
            abort(403, self._texts["error_cross_site"])

    def _identity(self) -> Identity | None:
        if "identity" not in g:
            g.identity = self._machine() if _is_program() else self._person()
        found: Identity | None = g.identity
        return found

    def _machine(self) -> Identity | None:
        scheme, _, sent = request.headers.get("Authorization", "").partition(" ")
        # WSGI decodes headers as Latin-1; encoding them again restores the bytes that were sent.
        token = sent.strip().encode("latin-1", "replace").decode("utf-8", "replace")
        if scheme.lower() != "bearer" or not token:
            return None
        if self._is_station_token(token):
            return Identity("token", Role.OPERATOR if self._people.has_users() else Role.ENGINEER)
        return self._people.token(token)

    def _person(self) -> Identity | None:
        secret = self._secret
        return self._people.session(secret, self._token) if secret else None

    def _is_station_token(self, sent: str) -> bool:
        return bool(self._token) and hmac.compare_digest(sent.encode(), self._token.encode())

    @property
    def _token(self) -> str:
        return self._read_token()

    @property
    def _secret(self) -> str:
        return request.cookies.get(self._cookie, "")

    @property
    def _address(self) -> str:
        """The client's address; behind a proxy on this machine the one that the proxy saw."""
        address = request.remote_addr or ""
        if address in ("127.0.0.1", "::1"):
            forwarded = request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip()
            return forwarded[:45] or address
        return address

    def _require_configured(self) -> None:
        if not self.can_sign_in and not self._people.tokens():
            abort(403, self._texts["error_no_token"])

    def _refuse(self) -> NoReturn:
        log.warning("token_refused path=%r from=%s", request.path, request.remote_addr)
        person = self.has_users and not _is_program()
        sentence = self._texts["error_sign_in_first"] if person else self._texts["error_wrong_token"]
        raise Unauthorized(sentence, www_authenticate=_CHALLENGE)

    def _send_cookie(self, response: Response) -> Response:
        secret = g.get("new_cookie")
        if secret:
            response.set_cookie(
                self._cookie,
                secret,
                max_age=SESSION_H * 3600,
                httponly=True,
                samesite="Strict",
                secure=request.is_secure,
            )
        elif secret == "":
            response.delete_cookie(self._cookie, httponly=True, samesite="Strict", secure=request.is_secure)
        return response


_CHALLENGE = WWWAuthenticate("bearer", {"realm": "linewatch"})


def _is_program() -> bool:
    """Whether the request is for programs, which send a token; a session's cookie counts for pages only."""
    return request.path.startswith("/api/")


def _form_proof(secret: str) -> str:
    return hmac.new(secret.encode("utf-8", "replace"), b"form", sha256).hexdigest()[:32]


def _too_many(sentence: str, wait_s: float) -> TooManyRequests:
    seconds = math.ceil(wait_s)
    return TooManyRequests(sentence.format(count=seconds), retry_after=seconds)
