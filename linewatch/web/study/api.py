"""JSON endpoints for studies: each does what the page's button does."""

from dataclasses import asdict
from json import loads

from flask import Blueprint, Response, abort, jsonify, request

from linewatch.web.backend import Backend
from linewatch.web.params import Model
from linewatch.web.study.forms import PeopleBody, PlanBody, ScheduleBody, StudyForms
from linewatch.web.study.interface import Studies
from linewatch.web.teach.forms import refuse_troubles
from linewatch.web.teach.pages import find_product


class StudyApi:
    """Routes below `/api/study`. Whatever changes something needs an engineer.

    `description.STUDY_OPERATIONS` describes each of them.
    """

    def __init__(self, studies: Studies, backend: Backend, forms: StudyForms) -> None:
        self._studies = studies
        self._backend = backend
        self._forms = forms

    def blueprint(self) -> Blueprint:
        """Return the routes."""
        routes = Blueprint("study_api", __name__, url_prefix="/api/study")
        routes.get("")(self.overview)
        routes.post("")(self.plan)
        routes.post("/verify")(self.verify)
        routes.post("/sets/<parts_set>/plan")(self.plan_again)
        routes.post("/sets/<parts_set>")(self.schedule)
        routes.delete("/sets/<parts_set>")(self.forget)
        routes.get("/<name>")(self.state)
        routes.delete("/<name>")(self.discard)
        routes.get("/<name>/prospects")(self.prospects)
        routes.post("/<name>/run")(self.run)
        routes.post("/<name>/next")(self.next)
        routes.post("/<name>/pause")(self.pause)
        routes.post("/<name>/skip")(self.skip)
        routes.post("/<name>/undo")(self.undo)
        return routes

    def overview(self) -> Response:
        """Send every study and set."""
        return jsonify(asdict(self._studies.overview()))

    def plan(self) -> Response:
        """Plan a study."""
        by, new = self._forms.who, self._forms.new_study(self._body(PlanBody))
        find_product(self._backend.products, new.product, self._forms.texts["error_unknown_product"])
        with refuse_troubles():
            name = self._studies.plan(new, by)
        return self._state(name)

    def plan_again(self, parts_set: str) -> Response:
        """Plan a study of a set."""
        by, people = self._forms.who, self._body(PeopleBody).people
        with refuse_troubles():
            name = self._studies.plan_again(parts_set, tuple(people), by)
        return self._state(name)

    def state(self, name: str) -> Response:
        """Send one study."""
        return self._state(name)

    def prospects(self, name: str) -> Response:
        """Send what the parts can prove."""
        self._find(name)
        with refuse_troubles():
            return jsonify([asdict(one) for one in self._studies.prospects(name)])

    def run(self, name: str) -> Response:
        """Start, or go on."""
        self._find(name)
        with refuse_troubles():
            self._studies.go_on(name, self._forms.who)
        return self._state(name)

    def next(self, name: str) -> Response:
        """Take up the verdict that has come."""
        self._find(name)
        with refuse_troubles():
            self._studies.look(name, self._forms.who)
        return self._state(name)

    def pause(self, name: str) -> Response:
        """Pause."""
        self._find(name)
        with refuse_troubles():
            self._studies.pause(name, self._forms.who)
        return self._state(name)

    def skip(self, name: str) -> Response:
        """Put the next part off."""
        self._find(name)
        with refuse_troubles():
            self._studies.skip(name, self._forms.who)
        return self._state(name)

    def undo(self, name: str) -> Response:
        """Take the last verdict back."""
        self._find(name)
        with refuse_troubles():
            self._studies.undo(name, self._forms.who)
        return self._state(name)

    def discard(self, name: str) -> Response:
        """Delete a study without verdicts."""
        self._find(name)
        with refuse_troubles():
            self._studies.discard(name, self._forms.who)
        return self.overview()

    def verify(self) -> Response:
        """Say whether an uploaded result is as it was written."""
        page = self._forms.uploaded_page()
        with refuse_troubles():
            return jsonify(asdict(self._studies.verify(page)))

    def schedule(self, parts_set: str) -> Response:
        """Set how often a set is studied."""
        days = self._body(ScheduleBody).every_days
        with refuse_troubles():
            self._studies.schedule(parts_set, days, self._forms.who)
        return self.overview()

    def forget(self, parts_set: str) -> Response:
        """Delete a set."""
        with refuse_troubles():
            self._studies.forget(parts_set, self._forms.who)
        return self.overview()

    def _state(self, name: str) -> Response:
        self._find(name)
        state = self._studies.state(name)
        assert state is not None
        return jsonify(asdict(state))

    def _find(self, name: str) -> None:
        if self._studies.state(name) is None:
            abort(404, self._forms.texts["study_error_unknown"])

    def _body(self, model: type[Model]) -> Model:
        """Return the JSON body; aborts with 400."""
        request.max_content_length = 1_000_000  # A thousand parts.
        try:
            body = loads(request.get_data())
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            abort(400, self._forms.texts["error_not_json"])
        return self._forms.read(model, body)
