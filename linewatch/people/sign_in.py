"""Sign-in of clients that are no browsers: a user with the password, or a machine with its token."""

import logging

from linewatch.errors import StorageFull
from linewatch.people.attempts import Attempts
from linewatch.people.people import People

log = logging.getLogger(__name__)


class SignIn:
    """Checks names and passwords, with the delays of the page. Any thread may ask."""

    def __init__(self, people: People) -> None:
        self._people = people
        self._attempts = Attempts()

    def check(self, name: str, password: str, address: str) -> str:
        """Return who signs in, for audit and log; "" if the password is wrong or attempts are delayed.

        The password of a machine is its token, with any name. Every role may do what an operator may.
        """
        try:
            machine = self._people.token(password)
            if machine is not None:
                return machine.who
            wait_s = self._attempts.begin(name, address)
            if wait_s > 0:
                log.warning("sign_in_delayed user=%r from=%s wait_s=%.0f", name[:40], address, wait_s)
                return ""
            known = self._people.knows(name, password)
        except StorageFull as trouble:
            log.warning("users_unreadable reason=%r", str(trouble))
            return ""
        if known:
            self._attempts.succeeded(name, address)
        else:
            self._attempts.failed(name, address)
            log.warning("sign_in_refused user=%r from=%s", name[:40], address)
        return known

    def has_users(self) -> bool:
        """Whether people sign in with names; True as well while the users' file cannot be read."""
        try:
            return self._people.has_users()
        except StorageFull as trouble:
            log.warning("users_unreadable reason=%r", str(trouble))
            return True
