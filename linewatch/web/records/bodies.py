"""What programs get of records."""

from typing import Annotated, Any

from pydantic import Field

from linewatch.domain import Result
from linewatch.web.openapi import Body, Count


class CountedVerdicts(Body):
    """How many verdicts of each result there are, and how far back they are counted."""

    counts: dict[Result, Count]
    total: Count
    counted_to: Annotated[
        str,
        Field(pattern=r"^([0-9]{1,10}-[0-9]{1,10})?$", description='"before" to go on with; "": all are.'),
    ]
    counted_to_ms: Annotated[int | None, Field(description="When that verdict was journaled, UTC.")]


class AuditAct(Body):
    """One row of the audit; docs/audit.md explains it."""

    row: Count
    time: str
    who: str
    action: str
    product: str
    facts: dict[str, Any]
    hash: str


class AuditVerification(Body):
    """Whether the audit is as it was written."""

    intact: bool
    head: Annotated[str, Field(description="The newest row that is intact with all before it: row:hash.")]
    broken_row: Annotated[int, Field(ge=0, description="The first that is not intact; 0: all are.")]
    trouble: str
