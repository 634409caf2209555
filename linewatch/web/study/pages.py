"""Pages for a study: plan it, walk through it with a tablet, keep its result."""

from flask import Blueprint, Response, abort, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from linewatch.errors import LinewatchError
from linewatch.web.backend import Backend
from linewatch.web.pages import REPORT_POLICY
from linewatch.web.params import or_again
from linewatch.web.study.forms import PeopleBody, ScheduleBody, StudyForms
from linewatch.web.study.interface import Prospect, Stage, Studies, StudyState
from linewatch.web.teach.pages import find_product

STUDIES_SHOWN = 50


class StudyPages:
    """Routes below `/study`. Whatever changes something needs an engineer."""

    def __init__(self, studies: Studies, backend: Backend, forms: StudyForms) -> None:
        self._studies = studies
        self._backend = backend
        self._forms = forms

    def blueprint(self) -> Blueprint:
        """Return the routes."""
        routes = Blueprint("study", __name__, url_prefix="/study")
        routes.get("")(self.overview)
        routes.post("")(self.plan)
        routes.post("/verify")(self.verify)
        routes.post("/sets/<parts_set>")(self.change_set)
        routes.get("/<name>")(self.study)
        routes.post("/<name>")(self.act)
        routes.get("/<name>/result.html")(self.result)
        return routes

    def overview(self) -> str:
        """List studies and sets of parts, and offer to plan a study."""
        return self._overview()

    def _overview(self, **facts: object) -> str:
        found = self._studies.overview()
        return render_template(
            "study/overview.html",
            found=found,
            shown=found.studies[:STUDIES_SHOWN],
            products=self._backend.products(),
            **facts,
        )

    def plan(self) -> AnyResponse:
        """Plan a study and show what it can prove."""

        def plan() -> AnyResponse:
            new = self._forms.plan()
            find_product(self._backend.products, new.product, self._forms.texts["error_unknown_product"])
            return redirect(url_for(".study", name=self._studies.plan(new, self._forms.who)), 303)

        return or_again(plan, self.overview, self._forms.texts)

    def study(self, name: str) -> str:
        """Show the part to present, or how the study stands; takes the verdict up that has come."""
        note = ""
        if self._forms.may_walk:
            try:
                self._studies.look(name, self._forms.who)
            except LinewatchError as error:
                note = str(error)
        state = self._find(name)
        prospects: tuple[Prospect, ...] = ()
        if state.stage is Stage.PLANNED:
            try:
                prospects = tuple(self._studies.prospects(name))
            except LinewatchError as error:
                note = str(error)
        return render_template("study/study.html", study=state, prospects=prospects, note=note)

    def act(self, name: str) -> AnyResponse:
        """Start or go on, pause, put a part off, take a verdict back, or discard."""
        self._find(name)
        actions = {
            "run": self._studies.go_on,
            "pause": self._studies.pause,
            "skip": self._studies.skip,
            "undo": self._studies.undo,
            "discard": self._studies.discard,
        }
        action = request.form.get("action", "")

        def act() -> AnyResponse:
            if action not in actions:
                abort(400, self._forms.texts["teach_error_field"].format(name="action"))
            actions[action](name, self._forms.who)
            gone = action == "discard"
            return redirect(url_for(".overview") if gone else url_for(".study", name=name), 303)

        return or_again(act, lambda: self.study(name), self._forms.texts)

    def result(self, name: str) -> Response:
        """Send the result, to read or with `download` to keep."""
        page = self._studies.result(name)
        if page is None:
            abort(404, self._forms.texts["study_error_unknown"])
        response = Response(page, content_type="text/html; charset=utf-8")
        if request.args.get("download"):
            response.headers["Content-Disposition"] = f'attachment; filename="{name}.html"'
        response.headers["Content-Security-Policy"] = REPORT_POLICY
        return response

    def verify(self) -> AnyResponse:
        """Say whether an uploaded result is as it was written."""

        def verify() -> AnyResponse:
            verified = self._studies.verify(self._forms.uploaded_page())
            return Response(self._overview(verified=verified))

        return or_again(verify, self.overview, self._forms.texts)

    def change_set(self, parts_set: str) -> AnyResponse:
        """Study a set again, or change or remove it."""

        def change() -> AnyResponse:
            by, action = self._forms.who, request.form.get("action", "")
            if action == "repeat":
                people = self._forms.read(PeopleBody, {"people": self._forms.people()}).people
                name = self._studies.plan_again(parts_set, tuple(people), by)
                return redirect(url_for(".study", name=name), 303)
            if action == "remove":
                self._studies.forget(parts_set, by)
            else:
                days = self._forms.read(ScheduleBody, request.form).every_days
                self._studies.schedule(parts_set, days, by)
            return redirect(url_for(".overview"), 303)

        return or_again(change, self.overview, self._forms.texts)

    def _find(self, name: str) -> StudyState:
        state = self._studies.state(name)
        if state is None:
            abort(404, self._forms.texts["study_error_unknown"])
        return state
