"""The teach and product endpoints in the OpenAPI document, with the bodies they take and give."""

from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, WithJsonSchema
from werkzeug.datastructures import FileStorage

from linewatch.domain import Result
from linewatch.teaching import LearningStage, Order
from linewatch.web.openapi import OPERATIONS, Body, Count, document
from linewatch.web.operation import Answer, Operation
from linewatch.web.promise.operations import PROMISE_OPERATIONS
from linewatch.web.recall.forms import RECALL_OPERATIONS
from linewatch.web.records.operations import RECORD_OPERATIONS
from linewatch.web.shifts.operations import SHIFT_OPERATIONS
from linewatch.web.study.description import STUDY_OPERATIONS
from linewatch.web.teach.forms import (
    AreaBody,
    BeginBody,
    CollectBody,
    CurateQuery,
    LearnBody,
    MoveBody,
    PlaceBody,
    RegionBody,
    RegionsBody,
    RemoveBody,
    ThresholdBody,
    VersionBody,
    WithoutBody,
)

Binary = WithJsonSchema({"type": "string", "format": "binary"})


class ProductPath(BaseModel):
    """The product in an address."""

    product: Annotated[str, Field(min_length=1)]


class ThresholdQuery(BaseModel):
    """The threshold to try."""

    threshold: Annotated[str, Field(description="A raw score; without it the one in use.")] = ""


class ImagesForm(BaseModel):
    """Images for a data set."""

    model_config = {"arbitrary_types_allowed": True}

    image: Annotated[FileStorage, Binary, Field(description="One or several images, 20 MB together.")]
    place: Annotated[str, Field(max_length=64, description="train/good, or test/KIND.")] = "train/good"


class ArchiveForm(BaseModel):
    """A model version."""

    model_config = {"arbitrary_types_allowed": True}

    archive: Annotated[
        FileStorage, Binary, Field(description="Written by linewatch models export; at most 20 MB.")
    ]


class Collection(Body):
    """How collecting frames goes."""

    product: str
    place: str
    wanted: Count
    taken: Count
    alike: Count
    enough: bool
    trouble: str
    running: bool


class LearningProgress(Body):
    """How far learning is."""

    stage: LearningStage
    product: str
    doing: str
    share: float
    sentence: str
    version: str
    by: str
    started_ms: int
    ended_ms: int
    log: list[str]


class InspectedArea(Body):
    """What of the frames is inspected; `roi` is null for the whole frame, `mask` the mask's file."""

    roi: tuple[Count, Count, Count, Count] | None
    strokes: str
    mask: str


class AddedParts(Body):
    """How many reviewed parts were added."""

    good: Count
    defect: Count


class TeachState(Body):
    """A product's data set, and what is being done with it."""

    product: str
    area: InspectedArea
    regions: list[RegionBody]
    places: dict[str, Count]
    collecting: Collection
    learning: LearningProgress
    learning_unavailable: str


class ListedPicture(Body):
    """One image of a data set."""

    name: str
    group: Count
    ready: bool
    trouble: str
    raw: float | None
    map_ready: bool


class Pictures(Body):
    """One page of a place of a data set; `maps` is the key of /teach/PRODUCT/map."""

    place: str
    order: Order
    page: Count
    pages: Count
    pictures: list[ListedPicture]
    alike: Count
    waiting: Count
    version: str
    threshold: float
    maps: str


class Without(Body):
    """What learning without some images would come to; `becomes` is null if too few would remain."""

    left_out: Count
    images: Count
    threshold: float
    becomes: float | None


class Version(Body):
    """One version of a product."""

    version: str
    created_ms: int
    threshold: float
    unsure_threshold: float
    images: Count
    false_reject: float
    bound: float | None
    active: bool
    on_trial: bool
    report: bool
    measured: Annotated[
        dict[str, Any] | None, Field(description="Figures on the labelled images, as linewatch evaluate has.")
    ]
    sentence: str
    adequate: bool
    scored: bool
    other_area: bool
    trouble: str


class Trial(Body):
    """How the version on trial compares with the line."""

    version: str
    parts: Count
    agreements: Count
    counts: list[tuple[Result, Result, int]]
    live_ms: tuple[float, float]
    trial_ms: tuple[float, float]


class ProductState(Body):
    """A product's versions; `used` is the one that judges now."""

    product: str
    used: str
    versions: list[Version]
    trial: Trial | None


class ImportedVersion(Body):
    """The version that was added."""

    product: str
    version: str


class TallyOf(Body):
    """How often something happens."""

    now: Count
    then: Count
    of: Count


class ChangedPart(Body):
    """A part that would get another result."""

    title: str
    was: Result
    becomes: Result
    map_ready: bool
    thumbnail_ready: bool
    heatmap_ready: bool
    raw: float
    actual: Literal["", "good", "defect"]
    boot: Count
    seq: Count
    image: str
    heatmap: str
    place: str
    name: str
    region: str


class Effect(Body):
    """What a threshold would do."""

    threshold: float
    unsure_threshold: float
    threshold_now: float
    lowest: float
    highest: float
    parts: Count
    labelled: Count
    rejected: TallyOf
    unsure: TallyOf
    false_rejects: TallyOf
    escapes: TallyOf
    changes: list[ChangedPart]
    changes_all: Count
    maps: str
    waiting: Count


STATE = {200: Answer("The data set and what is done with it.", TeachState)}
VERSIONS = {200: Answer("The versions.", ProductState)}
CHANGE_ERRORS = (400, 401, 403, 404, 409, 413)


def _change(
    name: str, summary: str, answers: dict[int, Answer], body: type[BaseModel] | None = None, **more: Any
) -> Operation:
    """Return an operation that an engineer may do on a product."""
    return Operation(
        id=name,
        summary=summary,
        path=ProductPath,
        body=body,
        answers=answers,
        errors=CHANGE_ERRORS,
        **more,
    )


TEACH_OPERATIONS = {
    ("post", "/api/teach"): Operation(
        id="begin",
        summary="Begin to teach a product: write its recipe",
        body=BeginBody,
        answers=STATE,
        errors=(400, 401, 403, 409, 413),
    ),
    ("get", "/api/teach/{product}"): Operation(
        id="teachState",
        summary="The data set, the collection and the learning",
        path=ProductPath,
        answers=STATE,
        errors=(404, 409),
    ),
    ("post", "/api/teach/{product}/area"): _change(
        "area", "Set region and mask of the recipe", STATE, AreaBody
    ),
    ("post", "/api/teach/{product}/regions"): _change(
        "regions", "Set the regions of the recipe", STATE, RegionsBody
    ),
    ("post", "/api/teach/{product}/collect"): _change(
        "collect", "Keep the next frames of the line", STATE, CollectBody
    ),
    ("post", "/api/teach/{product}/collect/one"): _change(
        "takeOne", "Keep the newest frame of the line", STATE, PlaceBody
    ),
    ("post", "/api/teach/{product}/collect/stop"): _change("stopCollecting", "End the collection", STATE),
    ("post", "/api/teach/{product}/images"): _change(
        "addImages", "Add images to the data set", STATE, ImagesForm, media="multipart/form-data"
    ),
    ("post", "/api/teach/{product}/reviewed"): _change(
        "addReviewed",
        "Add the images of reviewed parts to the data set",
        {200: Answer("How many were added.", AddedParts)},
    ),
    ("post", "/api/teach/{product}/remove"): _change(
        "remove", "Delete images that were left out", STATE, RemoveBody
    ),
    ("post", "/api/teach/{product}/move"): _change("move", "Move images, or leave them out", STATE, MoveBody),
    ("get", "/api/teach/{product}/pictures"): Operation(
        id="pictures",
        summary="Images of a data set with their scores, the suspicious ones first",
        path=ProductPath,
        query=CurateQuery,
        answers={200: Answer("One page of images.", Pictures)},
        errors=(400, 404, 409),
    ),
    ("post", "/api/teach/{product}/without"): _change(
        "thresholdWithout",
        "Predict the threshold of learning without some images",
        {200: Answer("The threshold; null if nothing was learnt yet.", Without | None)},
        WithoutBody,
    ),
    ("post", "/api/teach/{product}/learn"): _change(
        "learn", "Learn from train/good in a process beside the line", STATE, LearnBody
    ),
    ("post", "/api/teach/{product}/learn/cancel"): _change("cancelLearning", "Cancel learning", STATE),
    ("post", "/api/models"): Operation(
        id="importModel",
        summary="Verify and add a version; it does not become active",
        body=ArchiveForm,
        media="multipart/form-data",
        answers={200: Answer("The version.", ImportedVersion)},
        errors=(400, 401, 403, 409, 413),
    ),
    ("get", "/api/products/{product}"): Operation(
        id="product", summary="The versions of a product", path=ProductPath, answers=VERSIONS, errors=(404,)
    ),
    ("post", "/api/products/{product}/activate"): _change(
        "activate", "Make a version the active one; the line takes it over", VERSIONS, VersionBody
    ),
    ("post", "/api/products/{product}/rollback"): _change(
        "rollBack", "Make the version before the active one", VERSIONS
    ),
    ("post", "/api/products/{product}/trial"): _change(
        "try", "Put a version on trial", VERSIONS, VersionBody
    ),
    ("post", "/api/products/{product}/promote"): _change(
        "promote", "Activate the version on trial", VERSIONS
    ),
    ("post", "/api/products/{product}/discard"): _change("discard", "End the trial", VERSIONS),
    ("get", "/api/products/{product}/threshold"): Operation(
        id="thresholdEffect",
        summary="What a threshold would do to the latest parts and the labelled images",
        path=ProductPath,
        query=ThresholdQuery,
        answers={200: Answer("Its effect.", Effect)},
        errors=(400, 404, 409),
    ),
    ("post", "/api/products/{product}/threshold"): _change(
        "saveThreshold", "Write and activate a version with a threshold", VERSIONS, ThresholdBody
    ),
}
"""(method, path) -> what it takes and gives."""


@cache
def description() -> dict[str, Any]:
    """Return the OpenAPI document of all addresses for programs."""
    operations = OPERATIONS | RECALL_OPERATIONS | RECORD_OPERATIONS | SHIFT_OPERATIONS
    return document(operations | PROMISE_OPERATIONS | TEACH_OPERATIONS | STUDY_OPERATIONS)
