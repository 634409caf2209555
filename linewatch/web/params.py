"""Parameters and bodies of requests: untrusted input validated, or refused with 400 and one sentence."""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, NoReturn, TypeVar

from flask import Response, abort, g, request
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
)
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import BadRequest, Conflict, HTTPException, RequestEntityTooLarge
from werkzeug.routing import BaseConverter
from werkzeug.wrappers import Response as AnyResponse

from linewatch.domain import Reason, Result
from linewatch.errors import LinewatchError
from linewatch.setting_types import Name
from linewatch.web.backend import Actual, Query

LIMIT = 50
LIMIT_MAX = 1000
NOTE_CHARACTERS_MAX = 500
PART_CHARACTERS_MAX = 128  # As in the trigger command.
REGION_CHARACTERS_MAX = 32  # As in a recipe.
REVIEWER_CHARACTERS_MAX = 64
PARAMETER_CHARACTERS_MAX = 32  # Of an unknown parameter's name, quoted in the answer.

_LIMIT = re.compile(r"[0-9]{1,4}", re.ASCII)
_BEFORE = re.compile(r"([0-9]{1,10})[-/:,]([0-9]{1,10})", re.ASCII)
_MILLISECONDS = re.compile(r"[0-9]{9,13}", re.ASCII)
_REASONS = {str(int(reason)): reason for reason in Reason}

Texts = Mapping[str, str]
Model = TypeVar("Model", bound=BaseModel)
Query_ = TypeVar("Query_", bound="VerdictQuery")


class Ordinal(BaseConverter):
    """A boot or sequence number in a path: at most ten digits, as on the wire."""

    regex = "[0-9]{1,10}"
    part_isolating = True

    def to_python(self, value: str) -> int:
        """Return the number."""
        return int(value)


def _limit(word: str) -> str:
    if not _LIMIT.fullmatch(word):  # int() would also take signs, spaces and the digits of other scripts.
        raise ValueError("not a whole number")
    return word


def boot_and_seq(word: str) -> tuple[int, int]:
    """Return boot and sequence of "41-1023". Raises ValueError."""
    found = _BEFORE.fullmatch(word)
    if found is None:
        raise ValueError("not boot and sequence")
    return int(found[1]), int(found[2])


def _results(word: str) -> frozenset[Result]:
    return frozenset(Result(name.upper()) for name in word.split(","))


def _reason(word: str) -> Reason:
    if word not in _REASONS:
        raise ValueError("not a reason")
    return _REASONS[word]


def _utc_ms(word: str) -> int:
    if _MILLISECONDS.fullmatch(word):
        return int(word)
    try:
        return round(datetime.fromisoformat(word).timestamp() * 1000)
    except (OverflowError, OSError) as error:  # A year that the platform's clock does not have.
        raise ValueError("not a time") from error


_DATE = r"20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T([01][0-9]|2[0-3]):[0-5][0-9]"
Time = Annotated[
    int | None,
    BeforeValidator(_utc_ms),
    WithJsonSchema({"type": "string", "pattern": f"^({_DATE}|1[0-9]{{12}})$"}),
]
Number = Annotated[int, Field(ge=0, le=9_999_999_999)]


class VerdictQuery(BaseModel):
    """The conditions on verdicts, all of which must hold; the fields are those of `Query`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: Annotated[int, Field(ge=1, le=LIMIT_MAX), BeforeValidator(_limit)] = LIMIT
    before: Annotated[
        tuple[int, int] | None,
        BeforeValidator(boot_and_seq),
        WithJsonSchema({"type": "string", "pattern": "^[0-9]{1,10}-[0-9]{1,10}$"}),
        Field(description="Boot and sequence; only older ones."),
    ] = None
    results: Annotated[
        frozenset[Result],
        BeforeValidator(_results),
        WithJsonSchema(
            {"type": "string", "pattern": "^({0})(,({0})){{0,3}}$".format("|".join(Result))},
        ),
        Field(alias="result", description="One or several, joined by commas."),
    ] = frozenset()
    product: Name = ""
    part: Annotated[
        str, Field(max_length=PART_CHARACTERS_MAX, description="What the part's name begins with.")
    ] = ""
    region: Annotated[
        str,
        Field(max_length=REGION_CHARACTERS_MAX, description="The region of the recipe that decided."),
    ] = ""
    model: Annotated[
        str,
        WithJsonSchema({"type": "string", "pattern": "^[0-9a-f]{8}$"}),
        Field(pattern=r"^([0-9a-f]{8})?$", description="The version that judged."),
    ] = ""
    reviewer: Annotated[
        str, Field(max_length=REVIEWER_CHARACTERS_MAX, description="Who reviewed the part last.")
    ] = ""
    reason: Annotated[
        Reason | None,
        BeforeValidator(_reason),
        WithJsonSchema({"type": "integer", "enum": [int(reason) for reason in Reason]}),
    ] = None
    since_ms: Annotated[
        Time,
        Field(
            alias="from",
            description="Journaled at or after: a local date and time, or milliseconds since 1970 (UTC).",
        ),
    ] = None
    until_ms: Annotated[Time, Field(alias="to", description="Journaled before.")] = None


class LiveImageQuery(BaseModel):
    """Which of the latest images is wanted."""

    at: Annotated[
        str,
        Field(
            description="Boot and sequence of a recent part, as in 41-1023: its picture, "
            "if it is still there."
        ),
    ] = ""


class VerdictPath(BaseModel):
    """The numbers that identify a verdict."""

    boot: Number
    seq: Number


class EvidencePath(BaseModel):
    """A path below the evidence folder."""

    path: Annotated[str, Field(min_length=1)]


class ReviewBody(BaseModel):
    """What a part really is. A later review replaces an earlier one."""

    actual: Actual
    note: Annotated[
        str,
        # Nothing that cannot be stored and shown: no control characters.
        Field(max_length=NOTE_CHARACTERS_MAX, pattern=r"^[^\u0000-\u001f\u007f-\u009f]*$"),
        AfterValidator(str.strip),
    ] = ""


class ProductBody(BaseModel):
    """The product to change over to."""

    product: Annotated[str, Field(min_length=1)]


class InspectForm(BaseModel):
    """An image to inspect, and as which product."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    image: Annotated[
        FileStorage,
        WithJsonSchema({"type": "string", "format": "binary"}),
        Field(description="PNG, JPEG, BMP, TIFF or WebP; at most 20 MB and 50 megapixels."),
    ]
    product: Annotated[str, Field(min_length=1)]


QUERY_PARAMETERS = frozenset(field.alias or name for name, field in VerdictQuery.model_fields.items())


def read_query(args: Mapping[str, str], texts: Texts, *, limit: int = LIMIT) -> Query:
    """Return the conditions in `args`; without `limit` among them at most `limit` verdicts.

    An empty parameter counts as not given. Aborts with 400 on wrong values and unknown parameters.
    """
    asked = read_conditions(VerdictQuery, args, texts)
    return Query(**{"limit": limit} | asked.model_dump(exclude_unset=True))


def read_conditions(model: type[Query_], args: Mapping[str, str], texts: Texts, **sentences: str) -> Query_:
    """Return the conditions in `args` by their model, as `read_query` does.

    `sentences` are those for wrong values where they differ from those of `VerdictQuery`.
    """
    known = {field.alias or name for name, field in model.model_fields.items()}
    given = {name: word for name, word in args.items() if word or name not in known}
    try:
        return model.model_validate(given)
    except ValidationError as error:
        usual = {
            "limit": texts["error_limit"],
            "before": texts["error_before"],
            "result": texts["error_result"],
            "product": texts["error_product_name"],
            "part": texts["error_part"],
            "region": texts["error_region"],
            "model": texts["error_recall_model"],
            "reviewer": texts["error_reviewer"],
            "reason": texts["error_reason"],
            "from": texts["error_time"],
            "to": texts["error_time"],
            "format": texts["error_format"],
        }
        _refuse(error, usual | sentences, texts["error_parameter"])


def read_page_query(args: Mapping[str, str], texts: Texts, *, limit: int) -> Query:
    """Do what `read_query` does, but ignore unknown parameters: pages have others of their own."""
    return read_query({name: args[name] for name in QUERY_PARAMETERS & args.keys()}, texts, limit=limit)


def read_review(fields: Mapping[str, object], texts: Texts) -> ReviewBody:
    """Return the review in a form or JSON object; aborts with 400."""
    return read_body(ReviewBody, fields, {"actual": texts["error_actual"], "note": texts["error_note"]})


def read_body(model: type[Model], fields: Mapping[str, object], sentences: Mapping[str, str]) -> Model:
    """Return the fields of `model`; aborts with 400 and the sentence for the first one that is wrong."""
    try:
        return model.model_validate({name: fields[name] for name in model.model_fields if name in fields})
    except ValidationError as error:
        _refuse(error, sentences)


def or_again(change: Callable[[], AnyResponse], page: Callable[[], str], texts: Texts) -> AnyResponse:
    """Return what `change` answers; if it is refused, its page again with the reason and what was typed.

    `change` refuses by a LinewatchError, or by aborting with 400, 409 or 413.
    """
    try:
        return change()
    except LinewatchError as refusal:
        return again(page, HTTPStatus.CONFLICT, str(refusal))
    except (BadRequest, Conflict, RequestEntityTooLarge) as refusal:
        assert refusal.code is not None
        return again(page, HTTPStatus(refusal.code), sentence_of(refusal, texts))


def again(page: Callable[[], str], status: HTTPStatus, sentence: str) -> Response:
    """Return the page of a form that is refused, with the reason and what was typed."""
    # A body that is too large was not read, so nothing is known of its fields.
    g.trouble, g.typed = sentence, {} if status is HTTPStatus.REQUEST_ENTITY_TOO_LARGE else request.form
    return Response(page(), status, mimetype="text/html")


def trouble() -> str:
    """Return why the form that was sent is refused, "" on every other page."""
    return str(g.get("trouble", ""))


def typed(name: str, default: object = "") -> object:
    """Return what was typed into a field of a form that is refused, `default` on every other page."""
    return g.get("typed", {}).get(name, default)


def sentence_of(error: HTTPException, texts: Texts) -> str:
    """Return why a request is refused, in one sentence."""
    if error.description and error.description != type(error).description:
        return error.description
    return texts.get(f"error_{error.code or 500}", texts["error_400"])


def _refuse(error: ValidationError, sentences: Mapping[str, str], unknown: str = "") -> NoReturn:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    name = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        printable = "".join(letter for letter in name if letter.isprintable())
        abort(400, unknown.format(name=printable[:PARAMETER_CHARACTERS_MAX]))
    abort(400, sentences[name])
