"""Read, check and write recipe files, `config/recipes/PRODUCT.toml`."""

import hashlib
import json
import re
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from linewatch.domain import Box
from linewatch.errors import LinewatchError, RecipeError, RecipeNotThere
from linewatch.models.bundle import ACTIVE, Bundle, read_bundle
from linewatch.models.recipe_keys import INDEX_MAX, read_keys
from linewatch.runtime.atomic_files import write_text
from linewatch.text_files import read_utf8
from linewatch.vision.recipe import Recipe, Region


def load_recipe(recipes: Path, product: str, models: Path, version: str = "") -> tuple[Recipe, Bundle]:
    """Read `recipes/PRODUCT.toml` and the model version it names, or `version`, and verify its files.

    Raises RecipeError, which names the file, the key and what to write instead.
    """
    path = recipes / f"{product}.toml"
    found = read_keys(path, product)
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
        regions=tuple(_resolved(region, threshold, found.min_defect_px) for region in found.regions),
    )
    return recipe, bundle


def _resolved(region: Region, threshold: float, min_defect_px: int) -> Region:
    """Return a region with its factor and smallest defect known, by the recipe's where it sets none."""
    factor = region.factor if region.threshold is None else region.threshold / threshold
    smallest = min_defect_px if region.min_defect_px is None else region.min_defect_px
    return replace(region, factor=factor, threshold=None, min_defect_px=smallest)


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
    found = {product: read_keys(recipes / f"{product}.toml", product).index for product in names(recipes)}
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
        return read_keys(recipes / f"{product}.toml", product).index
    except RecipeError:
        return 0


def inspected_area(recipes: Path, product: str) -> tuple[Box | None, Path | None]:
    """Return `roi` and `mask` of a recipe, None for both if there is no recipe yet. Raises RecipeError."""
    path = recipes / f"{product}.toml"
    if not path.exists():
        return None, None
    found = read_keys(path, product)
    return found.box, None if found.mask is None else Path(found.mask)


def regions_of(recipes: Path, product: str) -> tuple[Region, ...]:
    """Return the regions as a recipe sets them, none if there is no recipe yet. Raises RecipeError."""
    path = recipes / f"{product}.toml"
    return read_keys(path, product).regions if path.exists() else ()


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
    model = read_keys(path, product).model if path.exists() else ACTIVE
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
    read_keys(path, product)
    head, tables = _split(path)
    kept = [line for line in head if not re.match(r"\s*(roi|mask)\s*=", line)]
    lines = [f"roi = {list(roi)}"] if roi is not None else []
    lines += [f"mask = {json.dumps(str(mask))}"] if mask is not None else []
    _write_checked(path, product, [*kept, *lines, *tables])


def write_regions(recipes: Path, product: str, regions: Sequence[Region]) -> None:
    """Write a product's regions into its recipe, in place of those before; the lines above them stay.

    Raises RecipeError and StorageFull, and changes nothing then.
    """
    path = write_recipe(recipes, product)
    read_keys(path, product)
    head, _ = _split(path)
    while head and not head[-1].strip():
        head.pop()
    _write_checked(path, product, [*head, *(line for region in regions for line in _region_lines(region))])


def _region_lines(region: Region) -> list[str]:
    # What JSON writes of a text is a TOML string, but for DEL, which no name contains.
    lines = [
        "",
        "[[region]]",
        f"name = {json.dumps(region.name, ensure_ascii=False)}",
        f"roi = {list(region.roi)}",
    ]
    if region.threshold is not None:
        lines.append(f"threshold = {region.threshold!r}")
    elif region.factor != 1.0:
        lines.append(f"threshold_factor = {region.factor!r}")
    if region.min_defect_px is not None:
        lines.append(f"min_defect_px = {region.min_defect_px}")
    return lines


def _split(path: Path) -> tuple[list[str], list[str]]:
    """Return the lines of a recipe before its first table, and the rest."""
    lines = read_utf8(path).splitlines()
    first = next((row for row, line in enumerate(lines) if re.match(r"\s*\[", line)), len(lines))
    return lines[:first], lines[first:]


def _write_checked(path: Path, product: str, lines: Sequence[str]) -> None:
    before = path.read_bytes()
    write_text(path, "\n".join(lines) + "\n")
    try:
        read_keys(path, product)
    except RecipeError:  # Such as a roi written over several lines by hand.
        write_text(path, before.decode())
        raise


def follow_model(recipes: Path, product: str, threshold: float) -> list[str]:
    """Make a recipe follow the active model and return the lines that were turned into comments.

    These are the lines that pin a version or a threshold. A region's raw score becomes a factor of
    `threshold`, the one in use so far, so that it stays as strict beside the rest. Raises RecipeError and
    StorageFull.
    """
    path = write_recipe(recipes, product)
    read_keys(path, product)
    head, tables = _split(path)
    pins = [line for line in head if re.match(r"\s*((unsure_)?threshold\s*=|model\s*=(?!\s*.active))", line)]
    pins += [line for line in tables if re.match(r"\s*threshold\s*=", line)]
    if pins:
        lines = [f"# {line}  # Until calibrated." if line in pins else line for line in head]
        for line in tables:
            if line in pins:
                factor = tomllib.loads(line)["threshold"] / threshold
                lines.append(f"threshold_factor = {factor:.6g}  # {line.strip()} until calibrated.")
            else:
                lines.append(line)
        _write_checked(path, product, lines)
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
# min_defect_px = 0  # Smaller defects, in frame pixels, do not make a part fail.
# threshold = 1.5  # Raw score; default: the model's calibration.
# unsure_threshold = 1.4
# [[region]]  # At the end of the file, up to 16: places with limits of their own.
# name = "thread"
# roi = [x, y, width, height]
# threshold_factor = 0.8  # Of the threshold: below 1 is stricter.
# min_defect_px = 0
"""
