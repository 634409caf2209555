"""Which role each request needs: the only table of rights. A route without an entry is refused."""

import re
from collections.abc import Mapping
from types import MappingProxyType

from linewatch.people.roles import Role

ANYONE = None
"""Reading, inspecting an upload, signing in and choosing the language need no rights."""

_PART = "/<ordinal:boot>/<ordinal:seq>"

RIGHTS: Mapping[tuple[str, str], Role | None] = MappingProxyType(
    {
        # What everyone who can reach the station may do
        ("GET", "/"): ANYONE,
        ("GET", "/live.jpg"): ANYONE,
        ("GET", "/inspect"): ANYONE,
        ("POST", "/inspect"): ANYONE,
        ("GET", "/heatmap/<name>.jpg"): ANYONE,
        ("GET", "/picture/<name>.jpg"): ANYONE,
        ("GET", "/recall"): ANYONE,
        ("POST", "/recall"): ANYONE,
        ("GET", "/recall/<name>.csv"): ANYONE,
        ("GET", "/recall/<name>.json"): ANYONE,
        ("POST", "/api/recall"): ANYONE,
        ("GET", "/history"): ANYONE,
        ("GET", f"/history{_PART}"): ANYONE,
        ("GET", "/shifts"): ANYONE,
        ("GET", "/shifts/<day>/<name>"): ANYONE,  # Who changed what: engineers only.
        ("GET", "/shifts/<day>/<name>/file"): ANYONE,
        ("GET", "/shifts/<day>/<name>/<int:number>.jpg"): ANYONE,
        ("GET", "/api/shifts"): ANYONE,
        ("GET", "/api/shifts/<day>/<name>"): ANYONE,
        ("GET", "/review"): ANYONE,
        ("GET", "/reinspect"): ANYONE,
        ("GET", "/promise"): ANYONE,
        ("GET", "/api/promises"): ANYONE,
        ("GET", "/api/reinspections"): ANYONE,
        ("GET", "/products"): ANYONE,
        ("GET", "/products/<product>/<version>/report"): ANYONE,
        ("GET", "/products/<product>/<version>/good.png"): ANYONE,
        ("GET", "/evidence/<path:path>"): ANYONE,
        ("GET", "/static/<path:filename>"): ANYONE,
        ("GET", "/static/openapi.json"): ANYONE,
        ("GET", "/metrics"): ANYONE,
        ("GET", "/healthz"): ANYONE,
        ("GET", "/readyz"): ANYONE,
        ("POST", "/language"): ANYONE,
        ("GET", "/sign-in"): ANYONE,
        ("POST", "/sign-in"): ANYONE,
        ("POST", "/sign-out"): ANYONE,
        ("GET", "/api/state"): ANYONE,
        ("GET", "/api/verdicts"): ANYONE,
        ("GET", "/api/counts"): ANYONE,
        ("POST", "/api/inspect"): ANYONE,
        # Operators: review parts, change over, export, and their own account
        ("GET", "/history/export"): Role.OPERATOR,
        ("GET", "/api/export"): Role.OPERATOR,
        ("POST", f"/history{_PART}"): Role.OPERATOR,
        ("POST", "/products"): Role.OPERATOR,
        ("POST", f"/api/verdicts{_PART}/review"): Role.OPERATOR,
        ("POST", "/api/product"): Role.OPERATOR,
        ("GET", "/account"): Role.OPERATOR,
        ("POST", "/account/password"): Role.OPERATOR,
        # Engineers: teach, thresholds, activate
        ("GET", "/teach"): ANYONE,
        ("GET", "/teach/frame.jpg"): ANYONE,
        ("GET", "/teach/<product>/look"): ANYONE,
        ("GET", "/teach/<product>/regions"): ANYONE,
        ("GET", "/teach/<product>/collect"): ANYONE,
        ("GET", "/teach/<product>/sort"): ANYONE,
        ("GET", "/teach/<product>/learn"): ANYONE,
        ("GET", "/teach/<product>/judge"): ANYONE,
        ("GET", "/teach/<product>/activate"): ANYONE,
        ("GET", "/teach/<product>/thumbnail"): ANYONE,
        ("GET", "/teach/<product>/image"): ANYONE,
        ("GET", "/teach/<product>/map"): ANYONE,
        ("GET", "/products/<product>"): ANYONE,
        ("GET", "/products/<product>/threshold"): ANYONE,
        ("GET", "/products/<product>/trial"): ANYONE,
        ("GET", "/products/<product>/<version>/measured"): ANYONE,
        ("GET", "/api/teach/<product>"): ANYONE,
        ("GET", "/api/teach/<product>/pictures"): ANYONE,
        ("GET", "/api/products/<product>"): ANYONE,
        ("GET", "/api/products/<product>/threshold"): ANYONE,
        ("POST", "/teach"): Role.ENGINEER,
        ("GET", "/teach/archive"): ANYONE,
        ("POST", "/teach/archive"): Role.ENGINEER,
        ("POST", "/teach/<product>/look"): Role.ENGINEER,
        ("POST", "/teach/<product>/regions"): Role.ENGINEER,
        ("POST", "/teach/<product>/collect"): Role.ENGINEER,
        ("POST", "/teach/<product>/sort"): Role.ENGINEER,
        ("POST", "/teach/<product>/learn"): Role.ENGINEER,
        ("POST", "/products/<product>"): Role.ENGINEER,
        ("POST", "/products/<product>/threshold"): Role.ENGINEER,
        ("POST", "/api/teach"): Role.ENGINEER,
        ("POST", "/api/teach/<product>/area"): Role.ENGINEER,
        ("POST", "/api/teach/<product>/regions"): Role.ENGINEER,
        ("POST", "/api/teach/<product>/collect"): Role.ENGINEER,
        ("POST", "/api/teach/<product>/collect/one"): Role.ENGINEER,
        ("POST", "/api/teach/<product>/collect/stop"): Role.ENGINEER,
        ("POST", "/api/teach/<product>/images"): Role.ENGINEER,
        ("POST", "/api/teach/<product>/move"): Role.ENGINEER,
        ("POST", "/api/teach/<product>/remove"): Role.ENGINEER,
        ("POST", "/api/teach/<product>/reviewed"): Role.ENGINEER,
        ("POST", "/api/teach/<product>/without"): Role.ENGINEER,
        ("POST", "/api/teach/<product>/learn"): Role.ENGINEER,
        ("POST", "/api/teach/<product>/learn/cancel"): Role.ENGINEER,
        ("POST", "/api/models"): Role.ENGINEER,
        ("POST", "/api/products/<product>/activate"): Role.ENGINEER,
        ("POST", "/api/products/<product>/rollback"): Role.ENGINEER,
        ("POST", "/api/products/<product>/trial"): Role.ENGINEER,
        ("POST", "/api/products/<product>/promote"): Role.ENGINEER,
        ("POST", "/api/products/<product>/discard"): Role.ENGINEER,
        ("POST", "/api/products/<product>/threshold"): Role.ENGINEER,
        ("GET", "/audit"): Role.ENGINEER,
        ("GET", "/audit/export"): Role.ENGINEER,
        ("GET", "/api/audit"): Role.ENGINEER,
        ("GET", "/api/audit/verify"): Role.ENGINEER,
        # Admins: users and tokens
        ("GET", "/people"): Role.ADMIN,
        ("POST", "/people/users"): Role.ADMIN,
        ("POST", "/people/users/<name>/role"): Role.ADMIN,
        ("POST", "/people/users/<name>/password"): Role.ADMIN,
        ("POST", "/people/users/<name>/remove"): Role.ADMIN,
        ("POST", "/people/tokens"): Role.ADMIN,
        ("POST", "/people/tokens/<name>/remove"): Role.ADMIN,
        ("GET", "/api/users"): Role.ADMIN,
        ("POST", "/api/users"): Role.ADMIN,
        ("DELETE", "/api/users/<name>"): Role.ADMIN,
        ("POST", "/api/users/<name>/role"): Role.ADMIN,
        ("POST", "/api/users/<name>/password"): Role.ADMIN,
        ("GET", "/api/tokens"): Role.ADMIN,
        ("POST", "/api/tokens"): Role.ADMIN,
        ("DELETE", "/api/tokens/<name>"): Role.ADMIN,
    }
)
"""(method, rule of the route) -> the least role, or ANYONE. HEAD counts as GET."""


def right_of(method: str, path: str) -> Role | None:
    """Return the right for an address as OpenAPI writes it: "/api/users/{name}". Raises KeyError."""
    return _BY_PATH[method.upper(), path]


_BY_PATH = {
    (method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule)): role for (method, rule), role in RIGHTS.items()
}
