"""The endpoints on promised rates in the OpenAPI document, with the bodies they give."""

from typing import Annotated

from pydantic import Field

from linewatch.web.openapi import Body, Count, ReviewedVerdict
from linewatch.web.operation import Answer, Operation
from linewatch.web.promise.params import ReinspectionQuery
from linewatch.web.records.interface import Standing

Share = Annotated[float, Field(ge=0, le=1)]


class RateBody(Body):
    """A promised rate and what is known of the real one, as shares 0 to 1."""

    promised: Share | None
    known: Count
    parts: Count
    low: Share
    high: Share
    standing: Standing
    broken_since_ms: Count


class PromiseBody(Body):
    """What is promised of one product; docs/capability.md explains every key."""

    product: str
    model: str
    since_ms: Count
    false_rejects: RateBody
    escapes: RateBody
    passed: Count
    failed: Count
    unsure: Count
    failed_good: Count
    failed_defect: Count
    unsure_good: Count
    drawn: Count
    waiting: Count
    escapes_elsewhere: Count
    if_alike: Share | None


PROMISE_OPERATIONS = {
    ("get", "/api/promises"): Operation(
        id="promises",
        summary="Whether the promised rates of false rejects and escapes hold, of each product",
        answers={200: Answer("The promises, by product.", list[PromiseBody])},
        errors=(503,),
    ),
    ("get", "/api/reinspections"): Operation(
        id="reinspections",
        summary="Unmarked PASS parts drawn for re-inspection, the oldest first",
        query=ReinspectionQuery,
        answers={200: Answer("The parts, at most `limit`.", list[ReviewedVerdict])},
        errors=(400, 503),
    ),
}
"""(method, path) -> what it takes and gives."""
