"""The keys of a recipe file, and what is said about a mistake in one."""

import difflib
import tomllib
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from linewatch.domain import Box
from linewatch.errors import RecipeError, RecipeNotThere
from linewatch.identifiers import NAME, VERSION
from linewatch.models.bundle import ACTIVE
from linewatch.text_files import NotUtf8Error, read_utf8
from linewatch.vision.recipe import Region
from linewatch.vision.regions import FACTOR_MAX, FACTOR_MIN, check_regions

INDEX_MAX = 999


def _is_an_area(roi: list[int] | None) -> list[int] | None:
    if roi is not None and (min(roi[:2]) < 0 or min(roi[2:]) < 1):
        raise ValueError("must be [x, y, width, height] with a corner from 0 and sides from 1")
    return roi


class _RegionKeys(BaseModel):
    """The keys of a `[[region]]`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str
    roi: Annotated[list[int], Field(min_length=4, max_length=4), AfterValidator(_is_an_area)]
    threshold: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    threshold_factor: Annotated[float, Field(ge=FACTOR_MIN, le=FACTOR_MAX)] | None = None
    min_defect_px: Annotated[int, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _has_one_threshold(self) -> Self:
        if self.threshold is not None and self.threshold_factor is not None:
            raise ValueError("has threshold and threshold_factor; keep one of them")
        return self

    @property
    def region(self) -> Region:
        """The region as the file sets it."""
        x, y, width, height = self.roi
        factor = 1.0 if self.threshold_factor is None else self.threshold_factor
        return Region(self.name, (x, y, width, height), factor, self.threshold, self.min_defect_px)


class RecipeKeys(BaseModel):
    """The keys of a recipe file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    index: Annotated[int, Field(ge=1, le=INDEX_MAX)]
    model: Annotated[str, Field(pattern=f"^({ACTIVE}|{VERSION.pattern})$")] = "active"
    roi: Annotated[list[int], Field(min_length=4, max_length=4), AfterValidator(_is_an_area)] | None = None
    mask: str | None = None
    threshold: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    unsure_threshold: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    min_defect_px: Annotated[int, Field(ge=0)] = 0

    region: list[_RegionKeys] = []

    @model_validator(mode="after")
    def _has_usable_regions(self) -> Self:
        if trouble := check_regions(self.regions, self.box):
            raise ValueError(trouble)
        return self

    @property
    def regions(self) -> tuple[Region, ...]:
        """`region` as regions."""
        return tuple(entry.region for entry in self.region)

    @property
    def box(self) -> Box | None:
        """`roi` as a Box."""
        if self.roi is None:
            return None
        x, y, width, height = self.roi
        return x, y, width, height


def read_keys(path: Path, product: str) -> RecipeKeys:
    """Read a product's recipe file. Raises RecipeError, RecipeNotThere if it cannot be read."""
    if not NAME.fullmatch(product) and path.name == f"{product}.toml" and path.exists():
        raise RecipeError(
            f"recipe {str(path)!r}: {product!r} is no product name; rename the file, with up to 32 letters, "
            "digits, dots, dashes and underscores, a letter or digit first"
        )
    try:
        table = tomllib.loads(read_utf8(path))
    except FileNotFoundError as error:
        raise RecipeNotThere(
            f"product {product!r} has no recipe {str(path)!r}; "
            f"write one or train it: linewatch train {product} --images DIR"
        ) from error
    except (OSError, NotUtf8Error) as error:
        kind = RecipeNotThere if isinstance(error, OSError) else RecipeError
        raise kind(f"recipe {str(path)!r} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"recipe {str(path)!r} is not valid TOML: {error}") from error
    try:
        return RecipeKeys.model_validate(table)
    except ValidationError as error:
        raise RecipeError(_sentence(error, path)) from error


def _sentence(error: ValidationError, path: Path) -> str:
    errors = error.errors()
    # A misspelt `index` is reported as missing, too; the misspelling is the cause.
    first = next((found for found in errors if found["type"] == "extra_forbidden"), errors[0])
    if not first["loc"]:  # Of several keys, which the sentence names.
        return f"recipe {str(path)!r}: {first['msg'].removeprefix('Value error, ')}"
    keys, where = RecipeKeys.model_fields, f"recipe {str(path)!r}"
    key, number = (
        str(first["loc"][0]),
        next((place for place in first["loc"] if isinstance(place, int)), None),
    )
    if key == "region" and number is not None:
        keys, where = _RegionKeys.model_fields, f"{where}: region {number + 1}"
        key = str(first["loc"][2]) if len(first["loc"]) > 2 else ""
    if first["type"] == "extra_forbidden":
        close = difflib.get_close_matches(key, keys, n=1, cutoff=0.5)
        advice = f"did you mean {close[0]}?" if close else f"known are {', '.join(keys)}"
        return f"{where}: {key} is not a recipe key; {advice}"
    if first["type"] == "missing":
        advice = _MISSING.get(key, f"give the PLC's product number, 1 to {INDEX_MAX}")
        return f"{where}: {key} is missing; {advice}"
    what = first["msg"].removeprefix("Value error, ").replace("String should match pattern", "must match")
    return f"{where}: {f'{key}: ' if key else ''}{what[0].lower()}{what[1:]}"


_MISSING = {"name": "the verdict names the region", "roi": "give [x, y, width, height] in frame pixels"}
