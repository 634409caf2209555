"""What a search for similar parts takes and gives."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, WithJsonSchema

from linewatch.domain import Result
from linewatch.web.openapi import Body, Count
from linewatch.web.operation import Answer, Operation
from linewatch.web.params import InspectForm, Time


class RecallForm(InspectForm):
    """An image of a part, its product, and the time to search."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    since: Annotated[
        Time,
        Field(description="Exposed at or after: local date and time, or milliseconds since 1970 (UTC)."),
    ] = None
    until: Annotated[Time, Field(description="Exposed before this.")] = None
    model: Annotated[
        str,
        WithJsonSchema({"type": "string", "pattern": "^[0-9a-f]{8}$"}),
        Field(pattern=r"^([0-9a-f]{8})?$", description="A version that judges the parts found again."),
    ] = ""


class SimilarPart(Body):
    """A part of the journal, as similar as `similarity` says, -1 to 1."""

    captured: str
    captured_ms: int
    boot: Count
    seq: Count
    part: str
    similarity: float
    in_window: bool
    result: Result
    raw: float
    threshold: float
    model: str
    image: str
    again: Result | None
    again_score: int | None


class SimilarWindow(Body):
    """A time in which similar parts cluster; `p` bounds the probability of chance."""

    first: str
    first_ms: int
    last: str
    last_ms: int
    similar: Count
    parts: Count
    elsewhere: Count
    p: float


class SimilarHour(Body):
    """Similar and all parts of one hour."""

    start: str
    start_ms: int
    similar: Count
    parts: Count


class NotCompared(Body):
    """Parts that could not be compared, and why."""

    model: str
    parts: Count
    first_day: str
    last_day: str
    why: str


class Recalled(Body):
    """The answer of `linewatch recall --json`; docs/recall.md explains it."""

    product: str
    compared: Count
    similar_in: Literal["defect", "place", "whole"]
    models: list[str]
    windows: list[SimilarWindow]
    parts: list[SimilarPart]
    hours: list[SimilarHour]
    incomparable: list[NotCompared]
    judged_again_by: str


RECALL_OPERATIONS = {
    ("post", "/api/recall"): Operation(
        id="recall",
        summary="Find the parts of the journal that look like one, and the time they cluster in",
        body=RecallForm,
        media="multipart/form-data",
        answers={200: Answer("The parts, the most similar first.", Recalled)},
        errors=(400, 404, 409, 413, 503),
    ),
}
"""(method, path) -> what it takes and gives."""
