"""The addresses of shift reports for programs."""

from datetime import date
from typing import Annotated

from pydantic import BaseModel, Field

from linewatch.reporting.figures import DefectRate, FirstPass, ShiftFigures
from linewatch.web.openapi import Body, Count
from linewatch.web.operation import Answer, Operation


class ShiftPath(BaseModel):
    """A shift in an address."""

    day: Annotated[date, Field(description="The local day that the shift began on.")]
    name: Annotated[str, Field(min_length=1, description='Its name in the settings; without any "day".')]


class ShiftSummary(Body):
    """One shift; the figures are null while they are being worked out."""

    day: date
    shift: str
    since_ms: int
    until_ms: int
    running: bool
    inspections: Count | None
    defect_rate: DefectRate | None
    first_pass: FirstPass | None
    uptime: float | None


class Awaited(Body):
    """The figures are being worked out, beside the line, which goes first."""

    awaited: str


SHIFT_OPERATIONS = {
    ("get", "/api/shifts"): Operation(
        id="shifts",
        summary="The last shifts, the newest first",
        answers={200: Answer("At most 21.", list[ShiftSummary])},
        errors=(503,),
    ),
    ("get", "/api/shifts/{day}/{name}"): Operation(
        id="shift",
        summary="The report of a shift; those of a running one are renewed about every half minute",
        path=ShiftPath,
        answers={
            200: Answer("The figures. `changes` is empty below the role engineer.", ShiftFigures),
            202: Answer("Not yet.", Awaited, {"Retry-After": "Seconds to wait before asking again."}),
        },
        errors=(404, 503),
    ),
}
"""(method, path) -> what it takes and gives."""
