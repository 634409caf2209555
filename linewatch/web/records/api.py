"""JSON endpoints on the audit, for programs."""

from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import islice
from urllib.parse import urlencode

from flask import Blueprint, Response, jsonify, request

from linewatch.web.records.bodies import AuditAct, AuditVerification
from linewatch.web.records.interface import Act, Records
from linewatch.web.records.params import read_audit_page, read_head


class RecordApi:
    """Routes below /api/audit. `operations.RECORD_OPERATIONS` describes each of them."""

    def __init__(self, records: Records, texts: Mapping[str, str]) -> None:
        self._records = records
        self._texts = texts

    def blueprint(self) -> Blueprint:
        """Return the routes."""
        routes = Blueprint("records_api", __name__, url_prefix="/api/audit")
        routes.get("")(self.audit)
        routes.get("/verify")(self.verify)
        return routes

    def audit(self) -> Response:
        """Send rows of the audit, newest first; the header `Link` says where to go on."""
        wanted, limit = read_audit_page(request.args, self._texts)
        acts = list(islice(self._records.acts(wanted), limit + 1))
        response = jsonify([_body(act).model_dump() for act in acts[:limit]])
        if len(acts) > limit:
            args = {**request.args.to_dict(), "before": acts[limit - 1].row}
            response.headers["Link"] = f'<{request.script_root}{request.path}?{urlencode(args)}>; rel="next"'
        return response

    def verify(self) -> Response:
        """Send whether the audit is as it was written, and has the row that is named."""
        state = self._records.audit_state(read_head(request.args, self._texts))
        body = AuditVerification(
            intact=not state.trouble,
            head=f"{state.rows}:{state.hash}",
            broken_row=state.broken_row,
            trouble=state.trouble,
        )
        return jsonify(body.model_dump())


def _body(act: Act) -> AuditAct:
    when = datetime.fromtimestamp(act.at_ms / 1000, UTC).isoformat(timespec="milliseconds")
    return AuditAct(
        row=act.row,
        time=when,
        who=act.who,
        action=act.action,
        product=act.product,
        facts=dict(act.facts),
        hash=act.hash,
    )
