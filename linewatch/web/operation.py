"""How an operation of the API is described, by whichever module has its routes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel


@dataclass(frozen=True, slots=True)
class Answer:
    """One possible response; `body` is a type sent as JSON, or the media types of anything else."""

    description: str
    body: Any = ()
    headers: Mapping[str, str] = field(default_factory=dict)  # Name -> description.


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path. `errors` are the statuses whose body is an `Error`."""

    id: str
    summary: str
    answers: Mapping[int, Answer]
    errors: tuple[int, ...] = ()
    path: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    media: str = "application/json"
