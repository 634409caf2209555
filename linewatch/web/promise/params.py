"""Parameters of the parts drawn for re-inspection; unknown ones are errors."""

from collections.abc import Mapping
from typing import Annotated

from flask import abort
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema

from linewatch.setting_types import Name
from linewatch.web.params import LIMIT, LIMIT_MAX, PARAMETER_CHARACTERS_MAX, Texts, boot_and_seq


class ReinspectionQuery(BaseModel):
    """Which drawn parts are wanted, the oldest first."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: Annotated[int, Field(ge=1, le=LIMIT_MAX)] = LIMIT
    after: Annotated[
        tuple[int, int],
        BeforeValidator(boot_and_seq),
        WithJsonSchema({"type": "string", "pattern": "^[0-9]{1,10}-[0-9]{1,10}$"}),
        Field(description="Boot and sequence; only later ones."),
    ] = (0, 0)
    product: Name = ""


def read_reinspection_query(args: Mapping[str, str], texts: Texts) -> ReinspectionQuery:
    """Return the conditions in `args`; an empty parameter counts as not given. Aborts with 400."""
    try:
        return ReinspectionQuery.model_validate({name: word for name, word in args.items() if word})
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        name = "".join(letter for letter in str(first["loc"][0]) if letter.isprintable())
        sentences = {"limit": "error_limit", "after": "error_before", "product": "error_product_name"}
        if first["type"] != "extra_forbidden" and name in sentences:
            abort(400, texts[sentences[name]])
        abort(400, texts["error_parameter"].format(name=name[:PARAMETER_CHARACTERS_MAX]))
