"""Types of settings: sections, bounded numbers, and names and topics whose rules are explained in words."""

import ipaddress
import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from linewatch.identifiers import NAME

BASE_TOPIC_CHARACTERS_MAX = 60
LANGUAGES = (
    "auto",  # As the browser asks.
    *sorted(path.stem for path in (Path(__file__).parent / "web/languages").glob("*.toml")),
)


class Section(BaseModel):
    """One TOML table; unknown keys are errors, values are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def is_loopback(host: str) -> bool:
    """Return whether only programs on this machine reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_name(name: str) -> str:
    if not NAME.fullmatch(name):
        raise ValueError(
            "must be 1 to 32 letters, digits, dots, dashes and underscores, a letter or digit first, "
            "because folders, topics and metrics are named after it"
        )
    return name


def _is_base_topic(topic: str) -> str:
    """Refuse topics that a subscriber who follows docs/plc.md would not receive."""
    levels = topic.split("/")
    if not all(levels) or topic.startswith("$") or len(topic) > BASE_TOPIC_CHARACTERS_MAX:
        problem = "no '$' first, no '/' at either end or twice in a row"
    elif set(topic) & set("#+") or not topic.isprintable() or " " in topic:
        problem = "no '#' or '+', which are wildcards, and no blanks"
    else:
        return topic
    raise ValueError(
        f"must be 1 to {BASE_TOPIC_CHARACTERS_MAX} characters such as linewatch/station1, with {problem}"
    )


def _is_path_prefix(prefix: str) -> str:
    if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)*", prefix):
        raise ValueError('must be "" or a path such as /station1, with a "/" first and none at its end')
    return prefix


def _is_origin(origin: str) -> str:
    if not re.fullmatch(r"https?://[A-Za-z0-9.\[\]:-]+", origin):
        raise ValueError("must be an origin such as https://hmi.plant.example:8443, without a path")
    return origin


def _is_language(code: str) -> str:
    if code not in LANGUAGES:
        raise ValueError(f"{code!r} is not a language of the page; there are {', '.join(LANGUAGES)}")
    return code


def _is_network(network: str) -> str:
    try:
        ipaddress.ip_network(network)
    except ValueError as error:
        raise ValueError(
            f"{network!r} must be an address such as 192.168.0.10 or a network such as 192.168.0.0/24"
        ) from error
    return network


Network = Annotated[str, AfterValidator(_is_network)]
PathPrefix = Annotated[str, AfterValidator(_is_path_prefix)]
Origin = Annotated[str, AfterValidator(_is_origin)]
LanguageCode = Annotated[str, AfterValidator(_is_language)]
Name = Annotated[str, AfterValidator(_is_name)]
# Bounded: timers and dates overflow on very large numbers, hours after the start.
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Days = Annotated[float, Field(gt=0, le=36_500)]
Count = Annotated[int, Field(ge=1)]
BaseTopic = Annotated[str, AfterValidator(_is_base_topic)]


def _named(path: Path) -> Path:
    if not path.name:  # "", "." and "/" name no file.
        raise ValueError(f"{str(path)!r} names nothing; write a path such as var/name")
    return path


NamedPath = Annotated[Path, AfterValidator(_named)]
