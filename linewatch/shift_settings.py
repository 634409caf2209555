"""The settings of shifts: names and the local times at which they begin."""

import re
from collections.abc import Mapping
from datetime import time
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator

from linewatch.setting_types import Section

SHIFTS_MAX = 24
_NAME = re.compile(r"\w(?:[\w .-]{0,30}[\w.-])?")
_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])", re.ASCII)
_TAKEN = {"last"}  # What `linewatch report --shift` takes beside names.


def _start(value: Any) -> time:
    """Return a time of day from "06:00", or from a time as TOML writes it."""
    if isinstance(value, time) and not (value.second or value.microsecond):
        return value
    found = _TIME.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f'{str(value)!r} is no time of day; write hours and minutes, such as "06:00"')
    return time(int(found[1]), int(found[2]))


ShiftStart = Annotated[time, BeforeValidator(_start), PlainSerializer(lambda start: f"{start:%H:%M}")]


class ShiftSettings(Section):
    """When the shifts of a day begin, each lasting until the next; the keys are their names.

    A shift belongs to the day it begins on. Without any, a shift is a day from midnight to midnight.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, ShiftStart] = Field(init=False)

    @property
    def starts(self) -> Mapping[str, time]:
        """The local time at which each shift begins, by its name; {} without shifts."""
        return self.__pydantic_extra__

    @model_validator(mode="after")
    def _can_follow_each_other(self) -> "ShiftSettings":
        if len(self.starts) > SHIFTS_MAX:
            raise ValueError(f"there are {len(self.starts)} shifts; a day has at most {SHIFTS_MAX}")
        names: dict[str, str] = {}
        begun: dict[time, str] = {}
        for name, start in self.starts.items():
            if not _NAME.fullmatch(name) or name.casefold() in _TAKEN:
                raise ValueError(
                    f"{name!r} cannot name a shift; use up to 32 letters, digits, blanks, dots, dashes and "
                    "underscores, a letter or digit first, and not last, which is the last complete shift"
                )
            if (other := names.setdefault(name.casefold(), name)) != name:
                raise ValueError(f"{other!r} and {name!r} are one name; give each shift a name of its own")
            if (other := begun.setdefault(start, name)) != name:
                raise ValueError(
                    f"{other} and {name} both begin at {start:%H:%M}; each shift lasts until the next "
                    "begins, so give each a time of its own"
                )
        return self
