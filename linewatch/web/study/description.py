"""The endpoints of studies in the OpenAPI document."""

from typing import Annotated, Any

from pydantic import BaseModel, Field, WithJsonSchema
from werkzeug.datastructures import FileStorage

from linewatch.web.operation import Answer, Operation
from linewatch.web.study.forms import PeopleBody, PlanBody, ScheduleBody
from linewatch.web.study.interface import Overview, Prospect, StudyState, Verified


class StudyPath(BaseModel):
    """The study in an address."""

    name: Annotated[str, Field(min_length=1)]


class SetPath(BaseModel):
    """The set of parts in an address."""

    parts_set: Annotated[str, Field(min_length=1)]


class ResultForm(BaseModel):
    """A result to verify."""

    model_config = {"arbitrary_types_allowed": True}

    page: Annotated[
        FileStorage,
        WithJsonSchema({"type": "string", "format": "binary"}),
        Field(description="The HTML file of a study; at most 8 MB."),
    ]


STATE = {200: Answer("The study.", StudyState)}
EVERYTHING = {200: Answer("Every study and set of parts.", Overview)}
ERRORS = (400, 401, 403, 404, 409, 413)


def _act(name: str, summary: str, answers: dict[int, Answer] = STATE) -> Operation:
    """Return an operation on a study."""
    return Operation(id=name, summary=summary, path=StudyPath, answers=answers, errors=ERRORS)


def _on_set(
    name: str, summary: str, answers: dict[int, Answer], body: type[BaseModel] | None = None
) -> Operation:
    """Return an operation on a set of parts."""
    return Operation(id=name, summary=summary, path=SetPath, body=body, answers=answers, errors=ERRORS)


STUDY_OPERATIONS: dict[tuple[str, str], Any] = {
    ("get", "/api/study"): Operation(
        id="studies", summary="Every capability study and set of parts", answers=EVERYTHING
    ),
    ("post", "/api/study"): Operation(
        id="planStudy", summary="Plan a study: draw its order", body=PlanBody, answers=STATE, errors=ERRORS
    ),
    ("post", "/api/study/verify"): Operation(
        id="verifyStudy",
        summary="Say whether a result is as it was written, and whether this station wrote it",
        body=ResultForm,
        media="multipart/form-data",
        answers={200: Answer("What is known of it.", Verified)},
        errors=(400, 401, 403, 409, 413),
    ),
    ("post", "/api/study/sets/{parts_set}"): _on_set(
        "scheduleSet", "Set how often a set of parts is studied", EVERYTHING, ScheduleBody
    ),
    ("delete", "/api/study/sets/{parts_set}"): _on_set(
        "forgetSet", "Delete a set of parts; its studies stay", EVERYTHING
    ),
    ("post", "/api/study/sets/{parts_set}/plan"): _on_set(
        "planAgain", "Plan a study of a set of parts in a newly drawn order", STATE, PeopleBody
    ),
    ("get", "/api/study/{name}"): Operation(
        id="study", summary="One study", path=StudyPath, answers=STATE, errors=(404,)
    ),
    ("delete", "/api/study/{name}"): _act("discardStudy", "Delete a study without verdicts", EVERYTHING),
    ("get", "/api/study/{name}/prospects"): Operation(
        id="prospects",
        summary="What the parts of a study can prove",
        path=StudyPath,
        answers={200: Answer("For the defective and for the good parts.", list[Prospect])},
        errors=(404, 409),
    ),
    ("post", "/api/study/{name}/run"): _act("runStudy", "Wait for the verdict on the next part from now on"),
    ("post", "/api/study/{name}/next"): _act(
        "nextPart", "Take up the verdict on the part asked for; poll it, as the page does each second"
    ),
    ("post", "/api/study/{name}/pause"): _act("pauseStudy", "Take up no more verdicts"),
    ("post", "/api/study/{name}/skip"): _act("skipPart", "Put the next part off to the end of its pass"),
    ("post", "/api/study/{name}/undo"): _act("undoVerdict", "Take the last verdict back"),
}
"""(method, path) -> what it takes and gives."""
