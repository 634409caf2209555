"""Forms and bodies of the teach pages and API: untrusted input validated, or refused with one sentence."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Literal

from flask import Request, abort, request
from pydantic import BaseModel, BeforeValidator, Field

from linewatch.errors import LinewatchError
from linewatch.setting_types import Name
from linewatch.teaching import TRAIN_GOOD, Order
from linewatch.vision.recipe import Region
from linewatch.vision.regions import FACTOR_MAX, FACTOR_MIN, NAME_CHARACTERS_MAX, REGIONS_MAX
from linewatch.vision.strokes import CHARACTERS_MAX
from linewatch.web.params import Model, read_body
from linewatch.web.people.access import AccessControl
from linewatch.web.uploads import FORM_BYTES_MAX, UPLOAD_BYTES_MAX

FILES_MAX = 200  # In one upload.
NAMES_MAX = 1000
_SIDES = ("x", "y", "width", "height")
_REGION_FIELDS = ("name", *_SIDES, "percent", "threshold", "smallest")
Side = Annotated[int, Field(ge=0, le=65_535)]


def _empty_is(default: object) -> BeforeValidator:
    return BeforeValidator(lambda word: default if word == "" else word)


class BeginBody(BaseModel):
    """A new product."""

    product: Annotated[Name, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,31}$")]
    index: Annotated[
        int,
        _empty_is(0),
        Field(ge=0, le=999, description="The PLC's product number; 0 is the next free one."),
    ] = 0


class AreaBody(BaseModel):
    """What of the frames is inspected."""

    roi: Annotated[
        tuple[Side, Side, Side, Side] | None,
        Field(description="x, y, width and height in frame pixels; null is the whole frame."),
    ] = None
    strokes: Annotated[
        str,
        Field(
            max_length=CHARACTERS_MAX,
            description="What is painted out: `radius x y x y ...`, one stroke after each semicolon.",
        ),
    ] = ""


class RegionBody(BaseModel):
    """One region of a recipe."""

    name: Annotated[str, Field(min_length=1, max_length=NAME_CHARACTERS_MAX)]
    roi: Annotated[
        tuple[Side, Side, Side, Side], Field(description="x, y, width and height in frame pixels.")
    ]
    threshold_factor: Annotated[
        Annotated[float, Field(ge=FACTOR_MIN, le=FACTOR_MAX)] | None,
        _empty_is(None),
        Field(description="Of the product's threshold; below 1 is stricter."),
    ] = None
    threshold: Annotated[
        Annotated[float, Field(gt=0, lt=1e9)] | None,
        _empty_is(None),
        Field(description="A raw score, where threshold_factor is null."),
    ] = None
    min_defect_px: Annotated[
        Annotated[int, Field(ge=0, le=10**9)] | None,
        _empty_is(None),
        Field(description="null is the recipe's."),
    ] = None

    @property
    def region(self) -> Region:
        """The region as a recipe sets it."""
        factor = 1.0 if self.threshold_factor is None else self.threshold_factor
        threshold = self.threshold if self.threshold_factor is None else None
        return Region(self.name, self.roi, factor, threshold, self.min_defect_px)


class RegionsBody(BaseModel):
    """All regions of a recipe."""

    regions: Annotated[list[RegionBody], Field(max_length=REGIONS_MAX)]


class PlaceBody(BaseModel):
    """Where a frame goes."""

    place: Annotated[str, Field(max_length=64, description="train/good, or test/KIND.")] = TRAIN_GOOD


class CollectBody(PlaceBody):
    """Frames to collect."""

    count: Annotated[int, Field(ge=1, le=1000)] = 40


class MoveBody(BaseModel):
    """Images to move to another place of the data set."""

    place: Annotated[str, Field(max_length=64)]
    names: Annotated[list[Annotated[str, Field(max_length=100)]], Field(min_length=1, max_length=NAMES_MAX)]
    to: Annotated[str, Field(max_length=64, description="Another place, such as left_out.")]


class RemoveBody(BaseModel):
    """Images to delete, of those that were left out."""

    names: Annotated[list[Annotated[str, Field(max_length=100)]], Field(min_length=1, max_length=NAMES_MAX)]


class CurateQuery(BaseModel):
    """Which images of a data set are shown."""

    place: Annotated[str, Field(max_length=64, description="train/good, left_out, or test/KIND.")] = (
        TRAIN_GOOD
    )
    version: Annotated[
        str,
        Field(pattern="^([0-9a-f]{8})?$", description="Whose scores; without it the newest that has some."),
    ] = ""
    order: Annotated[
        Order | None, _empty_is(None), Field(description="Without it by score, if there are scores.")
    ] = None
    page: Annotated[int, Field(ge=1, le=1000)] = 1


class WithoutBody(BaseModel):
    """Good images that might be left out."""

    names: Annotated[list[Annotated[str, Field(max_length=100)]], Field(max_length=NAMES_MAX)] = []
    version: Annotated[str, Field(pattern="^([0-9a-f]{8})?$")] = ""


class LearnBody(BaseModel):
    """How to learn."""

    false_reject: Annotated[
        float, Field(gt=0, le=0.5, description="Wanted share of good parts that are rejected, 0 to 1.")
    ] = 0.01
    detail: Annotated[
        Literal["coarse", "usual", "fine"], Field(description="Pixels of the network's input.")
    ] = "usual"


class VersionBody(BaseModel):
    """A model version."""

    version: Annotated[str, Field(pattern="^[0-9a-f]{8}$")]


class ThresholdBody(BaseModel):
    """A threshold chosen by hand."""

    threshold: Annotated[float, Field(gt=0, lt=1e9, description="A raw score.")]


class Forms:
    """Reads the forms of the pages; aborts with one sentence where they are wrong."""

    def __init__(self, access: AccessControl, texts: Mapping[str, str]) -> None:
        self._access = access
        self.texts = texts

    @property
    def who(self) -> str:
        """The name of who asks, for the audit; the table of rights has let only engineers through."""
        return self._access.who

    def begin(self) -> BeginBody:
        """Return name and number of a new product."""
        return self.read(BeginBody, request.form)

    def area(self) -> AreaBody:
        """Return region and strokes; with all four numbers empty the region is the whole frame."""
        words = [request.form.get(name, "") for name in _SIDES]
        roi = None if not any(words) else words
        return self.read(AreaBody, {"roi": roi, "strokes": request.form.get("strokes", "")})

    def regions(self) -> list[Region]:
        """Return the regions; the form has their factors in percent; empty rows do not count."""
        if len({len(request.form.getlist(name)) for name in _REGION_FIELDS}) > 1:
            abort(400, self.texts["teach_error_field"].format(name="regions"))
        found = []
        for row in self.region_rows():
            fields = {"name": row["name"].strip(), "roi": [row[side] for side in _SIDES]}
            fields |= {"threshold_factor": self._share(row["percent"]), "threshold": row["threshold"]}
            fields |= {"min_defect_px": row["smallest"]}
            found.append(self.read(RegionBody, fields).region)
        return found

    def region_rows(self) -> list[dict[str, str]]:
        """Return what was typed of each region, without rows whose name and place are empty."""
        columns = [request.form.getlist(name) for name in _REGION_FIELDS]
        rows = [dict(zip(_REGION_FIELDS, row, strict=True)) for row in zip(*columns, strict=False)]
        return [row for row in rows if any(row[name].strip() for name in ("name", *_SIDES))]

    def _share(self, percent: str) -> str:
        try:
            return percent and str(float(percent.replace(",", ".")) / 100)
        except ValueError:
            abort(400, self.texts["teach_error_field"].format(name="percent"))

    def curate(self, fields: Mapping[str, str]) -> CurateQuery:
        """Return which images are shown; other fields of the form do not matter."""
        return self.read(
            CurateQuery, {name: fields[name] for name in CurateQuery.model_fields if name in fields}
        )

    def learn(self) -> LearnBody:
        """Return how to learn; the form has the rate in percent."""
        fields = dict(request.form)
        fields["false_reject"] = self._share(fields.pop("percent", "1"))
        return self.read(LearnBody, fields)

    def threshold(self, word: str) -> float:
        """Return a threshold."""
        return self.read(ThresholdBody, {"threshold": word.replace(",", ".")}).threshold

    def version(self) -> str:
        """Return a version."""
        return self.read(VersionBody, request.form).version

    def count(self) -> int:
        """Return how many frames are wanted."""
        return self.read(CollectBody, {"count": request.form.get("count", "")}).count

    def place(self) -> str:
        """Return the chosen place; a new kind of defect may be named beside it."""
        kind = request.form.get("kind", "").strip()
        return f"test/{kind}" if kind else request.form.get("place", TRAIN_GOOD)

    def target(self) -> str:
        """Return where images go."""
        kind = request.form.get("kind", "").strip()
        chosen = f"test/{kind}" if kind else request.form.get("goal", "")
        return request.form.get("to", chosen)

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Yield name and content of the uploaded images, at most 20 MB together."""
        request.max_content_length = UPLOAD_BYTES_MAX + FORM_BYTES_MAX
        request.max_form_parts = FILES_MAX
        files = request.files.getlist("image")
        if not files:
            abort(400, self.texts["teach_error_no_file"])
        for file in files:
            yield file.filename or "", file.stream.read(UPLOAD_BYTES_MAX)

    def archive(self) -> tuple[str, bytes]:
        """Return name and content of an uploaded archive, at most 20 MB."""
        request.max_content_length = UPLOAD_BYTES_MAX + FORM_BYTES_MAX
        file = request.files.get("archive")
        if file is None or not file.filename:
            abort(400, self.texts["teach_error_no_file"])
        return file.filename, file.stream.read(UPLOAD_BYTES_MAX)

    def read(self, model: type[Model], fields: Mapping[str, object]) -> Model:
        """Return the fields of `model`; aborts with 400 and a sentence that names the wrong one."""
        sentence = self.texts["teach_error_field"]
        sentences = {name: sentence.format(name=name) for name in model.model_fields}
        return read_body(model, fields, sentences)


def action_of(form: Request) -> str:
    """Return which button of a form was pressed; before its files are read, as `max_content_length` says."""
    form.max_content_length = UPLOAD_BYTES_MAX + FORM_BYTES_MAX
    form.max_form_parts = FILES_MAX
    return form.form.get("action", "")


def region_rows(regions: Iterable[Region]) -> list[dict[str, str]]:
    """Return regions as the fields of the form have them."""
    return [
        {
            "name": one.name,
            **dict(zip(_SIDES, map(str, one.roi), strict=True)),
            "percent": f"{100 * one.factor:g}" if one.threshold is None else "",
            "threshold": "" if one.threshold is None else str(one.threshold),
            "smallest": "" if one.min_defect_px is None else str(one.min_defect_px),
        }
        for one in regions
    ]


@contextmanager
def refuse_troubles(status: int = 409) -> Iterator[None]:
    """Abort with `status` and the sentence of a LinewatchError in the block."""
    try:
        yield
    except LinewatchError as error:
        abort(status, str(error))
