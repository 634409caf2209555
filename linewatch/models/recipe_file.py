"""Read, check and write recipe files, `config/recipes/PRODUCT.toml`."""

import difflib
import hashlib
import json
import re
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from linewatch.domain import Box
from linewatch.errors import LinewatchError, RecipeError, RecipeNotThere
from linewatch.identifiers import NAME, VERSION
from linewatch.models.bundle import ACTIVE, Bundle, read_bundle
from linewatch.runtime.atomic_files import write_text
from linewatch.text_files import NotUtf8Error, read_utf8
from linewatch.vision.recipe import Recipe

INDEX_MAX = 999


def load_recipe(recipes: Path, product: str, models: Path, version: str = "") -> tuple[Recipe, Bundle]:
    """Read `recipes/PRODUCT.toml` and the model version it names, or `version`, and verify its files.

    Raises RecipeError, which names the file, the key and what to write instead.
    """
    path = recipes / f"{product}.toml"
    found = _read_toml(path, product)
    bundle = read_bundle(models, product, version or found.model)
    calibration = bundle.calibration
    threshold = calibration.threshold if found.threshold is None else found.threshold
    unsure = found.unsure_threshold
    if unsure is None:
        # The calibrated band keeps its ratio if only the threshold is set by hand.
        unsure = threshold * calibration.unsure_threshold / calibration.threshold
    if unsure > threshold:
        raise RecipeError(
            f"{str(path)!r}: unsure_threshold {unsure:g} is above threshold {threshold:g}; "
            "parts are unsure between the two, so make it the smaller one"
        )
    mask = None if found.mask is None else Path(found.mask)
    if mask is not None and not mask.is_file():
        raise RecipeNotThere(f"{str(path)!r}: mask {str(mask)!r} does not exist; draw it or remove the key")
    recipe = Recipe(
        product=product,
        index=found.index,
        model=bundle.version,
        threshold=threshold,
        unsure_threshold=unsure,
        roi=found.box,
        mask=mask,
        min_defect_px=found.min_defect_px,
    )
    return recipe, bundle


def file_stamps(recipes: Path, product: str) -> tuple[object, ...]:
    """Return what tells a change of a product's recipe or of its mask, without reading the mask."""
    path = recipes / f"{product}.toml"
    try:
        mask = inspected_area(recipes, product)[1]
    except RecipeError:
        mask = None
    return tuple(_stamp(file) for file in (path, mask))


def names(recipes: Path) -> list[str]:
    """Return every product that has a recipe file, readable or not, sorted. Hidden files are none."""
    return sorted(path.stem for path in recipes.glob("*.toml") if not path.name.startswith("."))


def products(recipes: Path) -> dict[str, int]:
    """Return every product that has a recipe with its index, sorted by index. Raises RecipeError."""
    found = {product: _read_toml(recipes / f"{product}.toml", product).index for product in names(recipes)}
    owners: dict[int, str] = {}
    for product, index in found.items():
        if index in owners:
            raise RecipeError(
                f"recipes {owners[index]!r} and {product!r} in {str(recipes)!r} both have index {index}; "
                "the PLC needs one number per product"
            )
        owners[index] = product
    return dict(sorted(found.items(), key=lambda item: item[1]))


def index_of(recipes: Path, product: str) -> int:
    """Return a product's index, 0 if its recipe cannot be read."""
    try:
        return _read_toml(recipes / f"{product}.toml", product).index
    except RecipeError:
        return 0


def inspected_area(recipes: Path, product: str) -> tuple[Box | None, Path | None]:
    """Return `roi` and `mask` of a recipe, None for both if there is no recipe yet. Raises RecipeError."""
    path = recipes / f"{product}.toml"
    if not path.exists():
        return None, None
    found = _read_toml(path, product)
    return found.box, None if found.mask is None else Path(found.mask)


def area_facts(roi: Box | None, mask: Path | None) -> dict[str, object]:
    """Return what tells one inspected area from another, for the facts of a training. Raises OSError."""
    digest = None if mask is None else hashlib.sha256(mask.read_bytes()).hexdigest()
    return {"roi": None if roi is None else list(roi), "mask_digest": digest}


def index_for(recipes: Path, product: str) -> int:
    """Return a product's index, the next free one if it has no recipe yet. Raises RecipeError."""
    known = products(recipes)
    if product in known:
        return known[product]
    taken = set(known.values())
    index = next(number for number in range(1, INDEX_MAX + 2) if number not in taken)
    if index > INDEX_MAX:
        raise RecipeError(f"all {INDEX_MAX} product numbers in {str(recipes)!r} are taken; remove a recipe")
    return index


def _stamp(path: Path | None) -> tuple[int, int, int] | None:
    try:
        found = path.stat() if path else None
    except OSError:
        return None
    return (found.st_size, found.st_ino, found.st_ctime_ns) if found else None


def pinned_version(recipes: Path, product: str) -> str:
    """Return the version that a recipe pins, "" if it follows the active version. Raises RecipeError."""
    path = recipes / f"{product}.toml"
    model = _read_toml(path, product).model if path.exists() else ACTIVE
    return "" if model == ACTIVE else model


def write_recipe(recipes: Path, product: str, index: int = 0) -> Path:
    """Write a recipe with `index`, or the next free one, unless there is one, and return its path.

    Raises RecipeError and StorageFull.
    """
    path = recipes / f"{product}.toml"
    if not path.exists():
        if index:
            _check_free(recipes, product, index)
        write_text(path, _TEMPLATE.format(product=product, index=index or index_for(recipes, product)))
    return path


def _check_free(recipes: Path, product: str, index: int) -> None:
    owner = next((name for name, number in products(recipes).items() if number == index), "")
    if owner or not 1 <= index <= INDEX_MAX:
        problem = f"belongs to {owner!r}" if owner else f"is not from 1 to {INDEX_MAX}"
        raise RecipeError(f"number {index} of product {product!r} {problem}; choose another")


def write_area(recipes: Path, product: str, roi: Box | None, mask: Path | None) -> None:
    """Write the inspected area into a product's recipe, in place of the one before; the other lines stay.

    Raises RecipeError and StorageFull, and changes nothing then.
    """
    path = write_recipe(recipes, product)
    _read_toml(path, product)
    kept = [line for line in read_utf8(path).splitlines() if not re.match(r"\s*(roi|mask)\s*=", line)]
    tables = next((row for row, line in enumerate(kept) if re.match(r"\s*\[", line)), len(kept))
    lines = [f"roi = {list(roi)}"] if roi is not None else []
    lines += [f"mask = {json.dumps(str(mask))}"] if mask is not None else []
    before = path.read_bytes()
    write_text(path, "\n".join([*kept[:tables], *lines, *kept[tables:]]) + "\n")
    try:
        _read_toml(path, product)
    except RecipeError:  # Such as a roi written over several lines by hand.
        write_text(path, before.decode())
        raise


def follow_model(recipes: Path, product: str) -> list[str]:
    """Make a recipe follow the active model and return the lines that were turned into comments.

    These are the lines that pin a version or a threshold. Raises RecipeError and StorageFull.
    """
    path = write_recipe(recipes, product)
    _read_toml(path, product)
    lines = read_utf8(path).splitlines()
    pins = [line for line in lines if re.match(r"\s*((unsure_)?threshold\s*=|model\s*=(?!\s*.active))", line)]
    if pins:
        lines = [f"# {line}  # Until calibrated." if line in pins else line for line in lines]
        write_text(path, "\n".join(lines) + "\n")
        _read_toml(path, product)
    return pins


@contextmanager
def unchanged_on_error(recipes: Path, product: str) -> Iterator[None]:
    """Restore a recipe if the block raises a LinewatchError. Raises RecipeError and StorageFull."""
    path = recipes / f"{product}.toml"
    before = path.read_bytes() if path.exists() else None
    try:
        yield
    except LinewatchError:
        if before is None:
            path.unlink(missing_ok=True)
        elif path.read_bytes() != before:
            write_text(path, before.decode())
        raise


_TEMPLATE = """\
# How {product} is inspected. Unset keys follow the model; docs/settings.md explains each.
index = {index}  # The PLC's product number.
model = "active"  # Or a version: 8 hex digits.
# roi = [x, y, width, height]  # Inspected area, in frame pixels.
# mask = "config/recipes/{product}.png"  # The frame's size; black is not inspected.
# min_defect_px = 0  # Smaller regions, in frame pixels, do not make a part fail.
# threshold = 1.5  # Raw score; default: the model's calibration.
# unsure_threshold = 1.4
"""


class _RecipeFile(BaseModel):
    """The keys of a recipe file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    index: Annotated[int, Field(ge=1, le=INDEX_MAX)]
    model: Annotated[str, Field(pattern=f"^({ACTIVE}|{VERSION.pattern})$")] = "active"
    roi: Annotated[list[int], Field(min_length=4, max_length=4)] | None = None
    mask: str | None = None
    threshold: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    unsure_threshold: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    min_defect_px: Annotated[int, Field(ge=0)] = 0

    @field_validator("roi")
    @classmethod
    def _is_an_area(cls, roi: list[int] | None) -> list[int] | None:
        if roi is not None and (min(roi[:2]) < 0 or min(roi[2:]) < 1):
            raise ValueError("must be [x, y, width, height] with a corner from 0 and sides from 1")
        return roi

    @property
    def box(self) -> Box | None:
        """`roi` as a Box."""
        if self.roi is None:
            return None
        x, y, width, height = self.roi
        return x, y, width, height


def _read_toml(path: Path, product: str) -> _RecipeFile:
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
        return _RecipeFile.model_validate(table)
    except ValidationError as error:
        raise RecipeError(_sentence(error, path)) from error


def _sentence(error: ValidationError, path: Path) -> str:
    errors = error.errors()
    # A misspelt `index` is reported as missing, too; the misspelling is the cause.
    first = next((found for found in errors if found["type"] == "extra_forbidden"), errors[0])
    key = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        known = list(_RecipeFile.model_fields)
        close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
        advice = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
        return f"recipe {str(path)!r}: {key} is not a recipe key; {advice}"
    if first["type"] == "missing":
        return f"recipe {str(path)!r}: {key} is missing; give the PLC's product number, 1 to {INDEX_MAX}"
    what = first["msg"].removeprefix("Value error, ").replace("String should match pattern", "must match")
    return f"recipe {str(path)!r}: {key}: {what[0].lower()}{what[1:]}"
