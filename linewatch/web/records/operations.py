"""The operations on records, for the OpenAPI document."""

from linewatch.web.operation import Answer, Operation
from linewatch.web.params import VerdictQuery
from linewatch.web.records.bodies import AuditAct, AuditVerification, CountedVerdicts
from linewatch.web.records.params import AuditPageQuery, ExportQuery, HeadQuery

_REFUSED = (400, 401, 403)

RECORD_OPERATIONS = {
    ("get", "/api/export"): Operation(
        id="export",
        summary="Verdicts with their reviews as CSV or JSON lines, or their pictures as a ZIP, newest first",
        query=ExportQuery,
        answers={
            200: Answer(
                "At most a million rows, or 50,000 pictures or 4 GB. Go on with `before`: the boot and seq "
                "of the last row, or what `export.txt` in the ZIP says. A response that ends early is "
                "not ended as HTTP asks for.",
                ("text/csv", "application/x-ndjson", "application/zip"),
            )
        },
        errors=(*_REFUSED, 503),
    ),
    ("get", "/api/counts"): Operation(
        id="counts",
        summary="How many verdicts of each result meet the conditions",
        query=VerdictQuery,
        answers={200: Answer("Those counted in 0.2 s, and where to go on.", CountedVerdicts)},
        errors=(400, 503),
    ),
    ("get", "/api/audit"): Operation(
        id="audit",
        summary="Who changed what passes, newest first; the header Link says where to go on",
        query=AuditPageQuery,
        answers={
            200: Answer(
                "The rows, at most `limit`.",
                list[AuditAct],
                {"Link": '`<...>; rel="next"` goes on from there; without it nothing older is left.'},
            )
        },
        errors=(*_REFUSED, 503),
    ),
    ("get", "/api/audit/verify"): Operation(
        id="verifyAudit",
        summary="Is every row of the audit as it was written",
        query=HeadQuery,
        answers={200: Answer("What the chain says, at most half a minute old.", AuditVerification)},
        errors=(*_REFUSED, 503),
    ),
}
"""(method, path) -> what it takes and gives."""
