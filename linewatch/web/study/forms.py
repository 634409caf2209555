"""Forms and bodies of studies: untrusted input validated, or refused with one sentence."""

from collections.abc import Mapping
from typing import Annotated, Literal

from flask import abort, request
from pydantic import BaseModel, BeforeValidator, Field

from linewatch.errors import LinewatchError
from linewatch.setting_types import Name
from linewatch.web.params import PART_CHARACTERS_MAX, Model, read_body
from linewatch.web.people.access import AccessControl
from linewatch.web.study.interface import NewStudy, Rates, Studies

PARTS_MAX = 1000
PASSES_MAX = 20
PEOPLE_MAX = 10
DAYS_MAX = 3650
LIST_BYTES_MAX = 300_000
PAGE_BYTES_MAX = 8_000_000  # Of an uploaded result.

Person = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\u0000-\u001f\u007f-\u009f]*$")]
Share = Annotated[float, Field(gt=0, le=0.5)]


def _empty_is(default: object) -> BeforeValidator:
    return BeforeValidator(lambda word: default if word == "" else word)


class PartBody(BaseModel):
    """A part whose truth is known."""

    part: Annotated[str, Field(min_length=1, max_length=PART_CHARACTERS_MAX)]
    truth: Literal["good", "defect"]


class PeopleBody(BaseModel):
    """Who presents the parts."""

    people: Annotated[
        list[Person], Field(max_length=PEOPLE_MAX, description="Without any it is who asks.")
    ] = []


class PlanBody(PeopleBody):
    """A study to plan."""

    product: Name
    parts: Annotated[
        list[PartBody], Field(max_length=PARTS_MAX, description="Without any they are numbered G1, D1, ...")
    ] = []
    good: Annotated[int, _empty_is(0), Field(ge=0, le=PARTS_MAX, description="Good parts to number.")] = 0
    defective: Annotated[int, _empty_is(0), Field(ge=0, le=PARTS_MAX)] = 0
    passes: Annotated[int, Field(ge=2, le=PASSES_MAX)] = 3
    by: Annotated[
        Literal["part", "count"],
        Field(description="A verdict is the part's by its id, or by being the next."),
    ] = "part"
    miss_rate: Annotated[
        Share | None, _empty_is(None), Field(description="To prove; with false_alarm_rate, or neither.")
    ] = None
    false_alarm_rate: Annotated[Share | None, _empty_is(None)] = None
    keep_as: Annotated[
        str,
        Field(pattern=r"^([A-Za-z0-9][A-Za-z0-9_.\-]{0,31})?$", description="Name for the set of parts."),
    ] = ""
    every_days: Annotated[
        int,
        _empty_is(0),
        Field(ge=0, le=DAYS_MAX, description="How often the set is studied; 0 is never."),
    ] = 0


class ScheduleBody(BaseModel):
    """How often a set of parts is studied."""

    every_days: Annotated[int, _empty_is(0), Field(ge=0, le=DAYS_MAX)]


class StudyForms:
    """Reads the forms of the pages; aborts with one sentence where they are wrong."""

    def __init__(self, studies: Studies, access: AccessControl, texts: Mapping[str, str]) -> None:
        self._studies = studies
        self._access = access
        self.texts = texts

    @property
    def who(self) -> str:
        """The name of who asks, for the audit; the table of rights has let only engineers through."""
        return self._access.who

    @property
    def may_walk(self) -> bool:
        """Whether who asks presents parts: only their looking takes verdicts up."""
        return self._access.may("engineer")

    def plan(self) -> NewStudy:
        """Return the study of the form: the rates in percent, the parts as text, file or numbers."""
        request.max_content_length = 2 * LIST_BYTES_MAX
        fields: dict[str, object] = dict(request.form)
        fields["parts"] = self._listed()
        fields["people"] = self.people()
        fields["miss_rate"] = self._share("miss_percent")
        fields["false_alarm_rate"] = self._share("alarm_percent")
        return self.new_study(self.read(PlanBody, fields))

    def new_study(self, body: PlanBody) -> NewStudy:
        """Return the study of a body; aborts with 400."""
        rates = body.miss_rate, body.false_alarm_rate
        if (rates[0] is None) != (rates[1] is None):
            abort(400, self.texts["study_error_rates"])
        if body.every_days and not body.keep_as:
            abort(400, self.texts["study_error_keep"])
        return NewStudy(
            product=body.product,
            parts=tuple((one.part, one.truth) for one in body.parts),
            good=body.good,
            defective=body.defective,
            passes=body.passes,
            by=body.by,
            people=tuple(body.people),
            rates=Rates(rates[0], rates[1]) if rates[0] is not None and rates[1] is not None else None,
            keep_as=body.keep_as,
            every_days=body.every_days,
        )

    def people(self) -> list[str]:
        """Return the people of the form, which are separated by commas."""
        return [name.strip() for name in request.form.get("people", "").split(",") if name.strip()]

    def uploaded_page(self) -> bytes:
        """Return an uploaded result; aborts with 400 without one."""
        request.max_content_length = PAGE_BYTES_MAX
        file = request.files.get("page")
        if file is None or not file.filename:
            abort(400, self.texts["study_error_no_file"])
        return file.stream.read(PAGE_BYTES_MAX)

    def read(self, model: type[Model], fields: Mapping[str, object]) -> Model:
        """Return the fields of `model`; aborts with 400 and a sentence that names the wrong one."""
        sentence = self.texts["teach_error_field"]
        sentences = {name: sentence.format(name=name) for name in model.model_fields}
        return read_body(model, fields, sentences)

    def _listed(self) -> list[dict[str, str]]:
        """Return the parts of the file, else of the text; [] without either."""
        file = request.files.get("list")
        text = request.form.get("parts", "")
        if file is not None and file.filename:
            text = file.stream.read(LIST_BYTES_MAX).decode("utf-8", "replace")
        if not text.strip():
            return []
        try:
            return [{"part": part, "truth": truth} for part, truth in self._studies.read_parts(text)]
        except LinewatchError as error:
            abort(400, str(error))

    def _share(self, name: str) -> float | str:
        word = request.form.get(name, "").strip()
        try:
            return float(word.replace(",", ".")) / 100 if word else ""
        except ValueError:
            abort(400, self.texts["teach_error_field"].format(name=name))
