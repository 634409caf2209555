"""Roles, and who acts: a person or a machine."""

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What a person or a machine may do; each role may do what those before it may."""

    OPERATOR = "operator"  # Review parts, change over to another product.
    ENGINEER = "engineer"  # Teach products, set thresholds, activate models.
    ADMIN = "admin"  # Manage users and tokens.

    def covers(self, needed: "Role") -> bool:
        """Whether this role includes `needed`."""
        return _ORDER.index(self) >= _ORDER.index(needed)


_ORDER = tuple(Role)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who acts, for rights, audit and log."""

    who: str  # As reviews, the audit and the log record it.
    role: Role
    user: str = ""  # The user's name; "" for a machine, and for a session of the station's token.
