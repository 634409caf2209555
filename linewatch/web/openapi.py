"""The OpenAPI document of the addresses for programs, generated from the models of requests and responses."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from linewatch.domain import Result, State
from linewatch.web.backend import Actual
from linewatch.web.operation import Answer, Operation
from linewatch.web.params import (
    EvidencePath,
    InspectForm,
    LiveImageQuery,
    ProductBody,
    ReviewBody,
    VerdictPath,
    VerdictQuery,
)
from linewatch.web.people.operations import PEOPLE_OPERATIONS
from linewatch.web.people.rights import right_of

Flag = Literal[0, 1]
Count = Annotated[int, Field(ge=0)]
ProductIndex = Annotated[int, Field(ge=0, le=999)]


class Body(BaseModel):
    """A JSON object that a response consists of."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Error(Body):
    """One sentence: what is wrong and what to do."""

    error: Annotated[str, Field(min_length=1)]


class Health(Body):
    """Whether the process is alive and every stage makes progress."""

    alive: bool


class Readiness(Body):
    """Whether a part can pass now."""

    ready: bool
    state: State
    reasons: list[str]


class StationState(Body):
    """The payload of the topic B/state; docs/plc.md explains every key."""

    v: Literal[1]
    station: str
    boot: Annotated[int, Field(ge=1)]
    state: State
    reason: str
    product: str
    product_index: ProductIndex
    model: str
    camera: Flag
    disk: Flag
    outbox: Count
    last_seq: Count
    uptime_s: Count
    model_sha256: str


class Verdict(Body):
    """The payload of the topic B/verdict; docs/plc.md explains every key."""

    v: Literal[1]
    station: str
    boot: Count
    seq: Count
    trigger: Count
    part: str
    product: str
    product_index: ProductIndex
    model: str
    result: Result
    code: Literal[1, 2, 3, 4]
    reason: int
    score: Count
    raw: float
    threshold: float
    captured_ms: int
    age_ms: Count
    latency_ms: Count
    late: Flag
    simulated: Flag
    history: Flag
    defects: Count
    box: Annotated[list[Count], Field(min_length=4, max_length=4)]
    region: str = ""
    region_index: Annotated[int, Field(ge=0, le=16)] = 0
    image: str
    heatmap: str


class ReviewedVerdict(Verdict):
    """A journaled verdict with its review; `actual` is "" without one."""

    actual: Literal["", "good", "defect"]
    note: str


class InspectedVerdict(Verdict):
    """The verdict on an uploaded image; `boot` and `seq` are 0."""

    heatmap_url: Annotated[str, Field(pattern=r"^(/heatmap/[A-Za-z0-9_-]{32}\.jpg)?$")]


class Reviewed(Body):
    """The review as it was stored."""

    boot: Count
    seq: Count
    actual: Actual
    note: str


PAGE = ("text/html",)

OPERATIONS = {
    ("get", "/healthz"): Operation(
        id="health",
        summary="Is the process alive and does every stage move",
        answers={200: Answer("It does.", Health), 503: Answer("It does not.", Health)},
    ),
    ("get", "/readyz"): Operation(
        id="readiness",
        summary="Can a part pass now: READY or DEGRADED",
        answers={
            200: Answer("It can.", Readiness),
            503: Answer("It cannot; the reasons are in words.", Readiness),
        },
    ),
    ("get", "/metrics"): Operation(
        id="metrics",
        summary="The numbers for Prometheus",
        answers={200: Answer("Text exposition.", ("text/plain",))},
    ),
    ("get", "/live.jpg"): Operation(
        id="livePicture",
        summary="The newest judged picture with its heatmap; poll with If-None-Match",
        query=LiveImageQuery,
        answers={
            200: Answer("The picture.", ("image/jpeg",)),
            304: Answer("It has not changed."),
            404: Answer("There is none yet.", PAGE),
        },
    ),
    ("get", "/evidence/{path}"): Operation(
        id="evidence",
        summary="A kept picture: `image` or `heatmap` of a verdict",
        path=EvidencePath,
        answers={
            200: Answer("The picture.", ("image/png", "image/jpeg")),
            304: Answer("It never changes."),
            404: Answer("No verdict names it.", PAGE),
            410: Answer("A verdict names it, but it was shed under load or removed by retention.", PAGE),
            503: Answer("It is still being written; try again after `Retry-After` seconds.", PAGE),
        },
    ),
    ("get", "/api/state"): Operation(
        id="state",
        summary="What the topic B/state says",
        answers={200: Answer("The state.", StationState)},
    ),
    ("get", "/api/verdicts"): Operation(
        id="verdicts",
        summary="Journaled verdicts, newest first; the header Link says where to go on",
        query=VerdictQuery,
        answers={
            200: Answer(
                "The verdicts found in 0.2 s, at most `limit`; perhaps none although there are some.",
                list[ReviewedVerdict],
                {"Link": '`<...>; rel="next"` goes on from there; without it nothing older is left.'},
            )
        },
        errors=(400,),
    ),
    ("post", "/api/inspect"): Operation(
        id="inspect",
        summary="Judge a picture as the line would; nothing is journaled, published or kept",
        body=InspectForm,
        media="multipart/form-data",
        answers={200: Answer("The verdict; boot and seq are 0.", InspectedVerdict)},
        errors=(400, 404, 409, 413, 503),
    ),
    ("post", "/api/verdicts/{boot}/{seq}/review"): Operation(
        id="review",
        summary="Say what a part really is; the last review counts",
        path=VerdictPath,
        body=ReviewBody,
        answers={200: Answer("Stored.", Reviewed)},
        errors=(400, 401, 403, 404, 413, 503),
    ),
    ("post", "/api/product"): Operation(
        id="switchProduct",
        summary="Change what the line inspects; answers when that is done",
        body=ProductBody,
        answers={200: Answer("The product is on the line.", StationState)},
        errors=(400, 401, 403, 404, 409, 413),
    ),
    **PEOPLE_OPERATIONS,
}
"""(method, path) -> what it takes and gives. The route itself stands in `api`, `pages` or `app`."""

INFO = {
    "title": "linewatch station",
    "version": "1",
    "description": (
        "What programs may ask of one station. Pages for people are at /, /inspect, /history, /review and "
        '/products. Errors of /api are one JSON object with one sentence: {"error": "..."}.'
    ),
    "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
}

_REF = "#/components/schemas/{model}"
_ERROR = {"$ref": "#/components/responses/Error"}


class _WithoutTitles(GenerateJsonSchema):
    """Leaves out the titles that only repeat the names of fields."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002  # pydantic's signature
        return False


def document(operations: Mapping[tuple[str, str], Operation]) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of some operations."""
    schemas, components = _schemas(operations)
    paths: dict[str, dict[str, Any]] = {}
    for (method, path), operation in operations.items():
        paths.setdefault(path, {})[method] = _describe(method, path, operation, schemas, components)
    for kind in {kind for asked in operations.values() for kind in (asked.path, asked.query) if kind}:
        del components[kind.__name__]  # Its fields stand with the operation.
    return {
        "openapi": "3.1.0",
        "info": INFO,
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "responses": {"Error": {"description": Error.__doc__, "content": _json(schemas[Error])}},
            "schemas": components,
        },
    }


def _schemas(
    operations: Mapping[tuple[str, str], Operation],
) -> tuple[dict[Any, Any], dict[str, Any]]:
    """Return the schema of every body, and the named schemas that these refer to."""
    types = {Error}.union(*(_types(operation) for operation in operations.values()))
    keyed, definitions = TypeAdapter.json_schemas(
        [(str(kind), "validation", TypeAdapter(kind)) for kind in sorted(types, key=str)],
        ref_template=_REF,
        schema_generator=_WithoutTitles,
    )
    return {kind: keyed[str(kind), "validation"] for kind in types}, definitions["$defs"]


def _types(operation: Operation) -> Iterator[Any]:
    yield from (kind for kind in (operation.path, operation.query, operation.body) if kind)
    yield from (answer.body for answer in operation.answers.values() if not isinstance(answer.body, tuple))


def _describe(
    method: str, path: str, operation: Operation, schemas: dict[Any, Any], components: dict[str, Any]
) -> dict[str, Any]:
    described: dict[str, Any] = {"operationId": operation.id, "summary": operation.summary}
    if needed := right_of(method, path):
        described["security"] = [{"token": []}]
        described["description"] = f"Needs the role {needed}."
    parameters = [
        parameter
        for place, model in (("path", operation.path), ("query", operation.query))
        if model is not None
        for parameter in _parameters(place, components[model.__name__])
    ]
    if parameters:
        described["parameters"] = parameters
    if operation.body is not None:
        described["requestBody"] = {
            "required": True,
            "content": {operation.media: {"schema": schemas[operation.body]}},
        }
    described["responses"] = {
        str(status): {
            "description": answer.description,
            **_headers(answer.headers),
            **_content(answer.body, schemas),
        }
        for status, answer in operation.answers.items()
    } | {str(status): _ERROR for status in operation.errors}
    return described


def _parameters(place: str, model: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name, given in model["properties"].items():
        about = {"description": given["description"]} if "description" in given else {}
        schema = {key: value for key, value in given.items() if key != "description"}
        if not schema.get("default"):
            schema.pop("default", None)  # "", null and []: simply not given.
        yield {"name": name, "in": place, "required": place == "path", "schema": schema, **about}


def _headers(headers: Mapping[str, str]) -> dict[str, Any]:
    described = {
        name: {"description": about, "schema": {"type": "string"}} for name, about in headers.items()
    }
    return {"headers": described} if described else {}


def _content(body: Any, schemas: dict[Any, Any]) -> dict[str, Any]:
    if not isinstance(body, tuple):
        return {"content": _json(schemas[body])}
    return {"content": {media: {} for media in body}} if body else {}


def _json(schema: Any) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
