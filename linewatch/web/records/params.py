"""Parameters of the pages on records; unknown ones are errors."""

from collections.abc import Mapping
from typing import Annotated

from flask import abort
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from linewatch.web.params import PARAMETER_CHARACTERS_MAX, Number, Texts, Time
from linewatch.web.records.interface import ActsWanted

Word = Annotated[str, Field(max_length=128)]


class AuditQuery(BaseModel):
    """The conditions on rows of the audit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    since_ms: Annotated[Time, Field(alias="from")] = None
    until_ms: Annotated[Time, Field(alias="to")] = None
    who: Word = ""
    action: Word = ""
    product: Word = ""
    before: Number | None = None


def read_audit_query(args: Mapping[str, str], texts: Texts) -> ActsWanted:
    """Return the conditions in `args`; an empty parameter counts as not given. Aborts with 400."""
    try:
        asked = AuditQuery.model_validate({name: word for name, word in args.items() if word})
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        name = "".join(letter for letter in str(first["loc"][0]) if letter.isprintable())
        if name in ("from", "to"):
            abort(400, texts["error_time"])
        abort(400, texts["error_parameter"].format(name=name[:PARAMETER_CHARACTERS_MAX]))
    return ActsWanted(**asked.model_dump())
