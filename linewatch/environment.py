"""LINEWATCH_* environment variables: settings, misspelt settings, and what a cluster sets by itself."""

import difflib
import re
from collections.abc import Iterable, Mapping

from linewatch.errors import ConfigError

ENV_PREFIX = "LINEWATCH_"
NAMED_BY_USERS = (f"{ENV_PREFIX}SHIFTS__",)  # Sections whose keys are names.


def refuse_unknown_variables(environment: Mapping[str, str], keys: Iterable[str]) -> None:
    """Raise ConfigError for an unknown LINEWATCH_* variable, which pydantic-settings ignores."""
    known = {ENV_PREFIX + key.upper().replace(".", "__") for key in keys}
    for name, value in sorted(environment.items()):
        if not name.upper().startswith(ENV_PREFIX) or _describes_service(name.upper(), value):
            continue
        if name.upper() not in known and not name.upper().startswith(NAMED_BY_USERS):
            raise ConfigError(
                f"environment variable {name} is not a setting{did_you_mean(name.upper(), known)}"
            )
        if value.endswith("\r"):
            raise ConfigError(
                f"environment variable {name} ends with a carriage return; "
                "save the file that sets it with Unix line ends"
            )


def _describes_service(name: str, value: str) -> bool:
    """Whether a cluster or a container link set a variable for a service called linewatch or linewatch-..."""
    return any(pattern.fullmatch(f"{name}={value}") for pattern in _SERVICE_VARIABLES)


# Kubernetes and Docker: https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
_SERVICE_VARIABLES = tuple(
    re.compile(rf"{ENV_PREFIX}(\w+_)?{pattern}", re.DOTALL)
    for pattern in (
        r"SERVICE_HOST=[0-9a-fA-F.:]*",
        r"SERVICE_PORT(_\w+)?=\d*",
        r"PORT=(tcp|udp|sctp)://.*",
        r"PORT_\d+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?=.*",
        r"NAME=/[^/]+/[^/]+",
        r"ENV_\w+=.*",
    )
)


def did_you_mean(wrong: str, known: set[str]) -> str:
    """Return a hint that names the known word closest to `wrong`, or all of them."""
    close = difflib.get_close_matches(wrong, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else f"; known are {', '.join(sorted(known))}"
