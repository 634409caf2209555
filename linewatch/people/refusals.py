"""Refusals in the management of users and tokens, with a key by which the page finds its own words."""

from linewatch.errors import UsageError

SENTENCES = {
    "user_exists": "there is a user {name!r} already; choose another name",
    "user_unknown": "there is no user {name!r}; linewatch users list shows all",
    "user_name": "{name!r} is no user name; use 1 to 32 letters, digits, dots, dashes, underscores or @, "
    "a letter or digit first",
    "users_many": "there are {count} users, which is the most; remove one first",
    "last_admin": "{name!r} is the last admin; make another user an admin first",
    "password_short": "the password is too short; use at least {count} characters",
    "password_long": "the password is too long; use at most {count} characters",
    "password_easy": "the password is the user's name or one of the first that are tried; choose another",
    "password_wrong": "the present password is wrong; type it again",
    "token_exists": "there is a token {name!r} already; choose another name",
    "token_unknown": "there is no token {name!r}; linewatch users list shows all",
    "tokens_many": "there are {count} tokens, which is the most; revoke one first",
}


class Refused(UsageError):
    """A change of users or tokens that is not made; `key` and `facts` identify the sentence."""

    def __init__(self, key: str, **facts: object) -> None:
        super().__init__(SENTENCES[key].format(**facts))
        self.key = key
        self.facts = facts
