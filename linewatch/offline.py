"""Judge pictures as the line would, without a line: for `linewatch inspect` and the page's uploads."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2

from linewatch.domain import NO_BOX, Image, Reason, Result, Scored, Verdict
from linewatch.engine import OpenVinoEngine
from linewatch.errors import ImageError, NotRegistered, RecipeError, StorageFull
from linewatch.messages import verdict_json
from linewatch.pictures import read_image
from linewatch.recipe import Recipe, judge, load_recipe
from linewatch.scoring import Scorer, heatmap
from linewatch.strangers import Strangers


def _give_up(trouble: ImageError) -> None:
    raise trouble


def inspect_files(
    product: str,
    images: Sequence[Path],
    models: Path,
    recipes: Path,
    *,
    out: Path | None = None,
    station: str = "",
    threads: int = 0,
    refuse: Callable[[ImageError], None] = _give_up,
) -> Iterator[dict[str, Any]]:
    """Yield for every file the keys of a verdict; heatmaps go into `out`.

    `boot` is 0 and `seq` counts the files; a heatmap is named like its picture, with as many of its folders
    as tell it from the others. Light and sharpness are not examined: somebody chose
    these pictures. `refuse` is told of every file that is no picture, then the next one is judged;
    left alone it raises. Raises RecipeError before the first or at a picture that the recipe does
    not fit, and StorageFull when `out` takes nothing.
    """
    recipe, bundle = load_recipe(recipes, product, models)
    engine = OpenVinoEngine(bundle.graph, threads=threads)
    scorer = Scorer(bundle, engine, Strangers(models, recipes).of(bundle, engine))
    for number, (path, name) in enumerate(zip(images, _names(images), strict=True), 1):
        try:
            image = read_image(path)
        except ImageError as trouble:
            refuse(trouble)
            continue
        verdict, scored = judge_picture(image, scorer, recipe, station=station, seq=number)
        drawn = ""
        if out is not None and scored is not None:
            drawn = _write(out / f"{name}_heatmap.jpg", heatmap(image, scored, recipe.threshold))
        # On the wire long paths are left out; here there is room for them.
        yield json.loads(verdict_json(verdict, history=False)) | {"image": str(path), "heatmap": drawn}


def judge_picture(
    image: Image, scorer: Scorer, recipe: Recipe, *, station: str, seq: int = 0
) -> tuple[Verdict, Scored | None]:
    """Judge one picture that no camera of the line took: any light and sharpness will do.

    `boot` is 0. Returns None beside the verdict when the part was not found. Raises RecipeError when
    the recipe's `roi` or `mask` does not fit the picture.
    """
    started_ns = time.monotonic_ns()
    scored: Scored | None = None
    try:
        scored = scorer.score(image, recipe)
        result, reason = judge(scored.raw, recipe, scored.looks_like)
    except NotRegistered:
        result, reason = Result.UNSURE, Reason.NOT_REGISTERED
    except ImageError as trouble:
        raise RecipeError(
            f"this picture does not fit the recipe of {recipe.product!r}: {trouble}"
        ) from trouble
    verdict = Verdict(
        station=station,
        boot=0,
        seq=seq,
        product=recipe.product,
        product_index=recipe.index,
        model=recipe.model,
        result=result,
        reason=reason,
        raw=scored.raw if scored else 0.0,
        threshold=recipe.threshold,
        captured_ms=time.time_ns() // 1_000_000,
        latency_ms=(time.monotonic_ns() - started_ns) // 1_000_000,
        defects=len(scored.defects) if scored else 0,
        box=scored.defects[0].box if scored and scored.defects else NO_BOX,
    )
    return verdict, scored


def _names(images: Sequence[Path]) -> list[str]:
    """Return a name for each picture that no other one has: `good_000` and `scratch_000`."""
    parts = [[part for part in path.parent.parts if part not in ("..", path.anchor)] for path in images]
    for depth in range(1 + max(map(len, parts), default=0)):
        names = [
            "_".join([*folders[max(0, len(folders) - depth) :], path.stem])
            for folders, path in zip(parts, images, strict=True)
        ]
        if len(set(names)) == len(names):
            return names
    return [f"{number}_{path.stem}" for number, path in enumerate(images, 1)]


def _write(path: Path, picture: Any) -> str:
    encoded, data = cv2.imencode(path.suffix, picture)
    assert encoded
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.tobytes())
    except OSError as error:
        raise StorageFull(path, f"heatmap not written: {error.strerror}") from error
    return str(path)
