"""Parameters of the pages on records and of their addresses for programs; unknown ones are errors."""

import re
from collections.abc import Mapping
from typing import Annotated, TypeVar

from flask import abort
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema

from linewatch.web.backend import ExportForm, Query
from linewatch.web.params import (
    PARAMETER_CHARACTERS_MAX,
    Number,
    Texts,
    Time,
    VerdictQuery,
    read_conditions,
)
from linewatch.web.records.interface import ActsWanted, Head, RowForm

ROWS_MAX = 1_000_000  # Of an export.
ACTS, ACTS_MAX = 100, 1000
Word = Annotated[str, Field(max_length=128)]
Asked = TypeVar("Asked", bound=BaseModel)

_LIMIT = re.compile(r"[0-9]{1,7}", re.ASCII)
_HEAD = re.compile(r"([0-9]{1,18}):([0-9a-f]{64})", re.ASCII)


def _limit(word: str) -> str:
    if not _LIMIT.fullmatch(word):
        raise ValueError("not a whole number")
    return word


def _head(word: str) -> tuple[int, str]:
    found = _HEAD.fullmatch(word)
    if found is None:
        raise ValueError("not a row and its hash")
    return int(found[1]), found[2]


class ExportQuery(VerdictQuery):
    """The conditions on what to export, and its form."""

    limit: Annotated[int, Field(ge=1, le=ROWS_MAX), BeforeValidator(_limit)] = ROWS_MAX
    form: Annotated[
        ExportForm,
        Field(alias="format", description="csv, jsonl, or zip for the pictures."),
    ] = ExportForm.JSONL


class AuditQuery(BaseModel):
    """The conditions on rows of the audit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    since_ms: Annotated[Time, Field(alias="from")] = None
    until_ms: Annotated[Time, Field(alias="to")] = None
    who: Word = ""
    action: Word = ""
    product: Word = ""
    before: Annotated[Number | None, Field(description="Only rows before this one.")] = None


class AuditPageQuery(AuditQuery):
    """The conditions, and how many rows at most."""

    limit: Annotated[int, Field(ge=1, le=ACTS_MAX), BeforeValidator(_limit)] = ACTS


class AuditExportQuery(AuditQuery):
    """The conditions, and the form of the file."""

    form: Annotated[RowForm, Field(alias="format")] = RowForm.JSONL


class HeadQuery(BaseModel):
    """A row that an event, a log line or an export named."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    head: Annotated[
        tuple[int, str] | None,
        BeforeValidator(_head),
        WithJsonSchema({"type": "string", "pattern": "^[0-9]{1,18}:[0-9a-f]{64}$"}),
        Field(description="Row and hash, as in 57:9f3c..., which the audit must have."),
    ] = None


def read_export(args: Mapping[str, str], texts: Texts) -> tuple[Query, ExportForm]:
    """Return what to export and its form. Aborts with 400."""
    asked = read_conditions(ExportQuery, args, texts, limit=texts["error_export_limit"])
    return Query(**asked.model_dump(exclude={"form"})), asked.form


def read_audit_query(args: Mapping[str, str], texts: Texts) -> ActsWanted:
    """Return the conditions in `args`; an empty parameter counts as not given. Aborts with 400."""
    return ActsWanted(**_read(AuditQuery, args, texts).model_dump())


def read_audit_page(args: Mapping[str, str], texts: Texts) -> tuple[ActsWanted, int]:
    """Return the conditions in `args`, and how many rows at most. Aborts with 400."""
    asked = _read(AuditPageQuery, args, texts)
    return ActsWanted(**asked.model_dump(exclude={"limit"})), asked.limit


def read_audit_export(args: Mapping[str, str], texts: Texts) -> tuple[ActsWanted, RowForm]:
    """Return the conditions in `args`, and the form of the file. Aborts with 400."""
    asked = _read(AuditExportQuery, args, texts)
    return ActsWanted(**asked.model_dump(exclude={"form"})), asked.form


def read_head(args: Mapping[str, str], texts: Texts) -> Head | None:
    """Return the row that the audit must have; None if none is named. Aborts with 400."""
    return _read(HeadQuery, args, texts).head


def _read(model: type[Asked], args: Mapping[str, str], texts: Texts) -> Asked:
    try:
        return model.model_validate({name: word for name, word in args.items() if word})
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        name = "".join(letter for letter in str(first["loc"][0]) if letter.isprintable())
        if first["type"] == "extra_forbidden":
            abort(400, texts["error_parameter"].format(name=name[:PARAMETER_CHARACTERS_MAX]))
        sentences = {
            "from": texts["error_time"],
            "to": texts["error_time"],
            "limit": texts["error_limit"],
            "head": texts["error_head"],
            "format": texts["error_audit_format"],
        }
        abort(400, sentences.get(name, texts["error_condition"].format(name=name)))
