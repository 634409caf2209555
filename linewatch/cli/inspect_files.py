"""Judge image files as the line would, without a line: `linewatch inspect`."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2

from linewatch.errors import ImageError, StorageFull
from linewatch.models.engine import OpenVinoEngine
from linewatch.models.judge_file import judge_picture
from linewatch.models.loader import build_scorer
from linewatch.models.recipe_file import load_recipe
from linewatch.models.reference_embeddings import ReferenceEmbeddings
from linewatch.mqtt.messages import verdict_payload
from linewatch.vision.heatmap import heatmap
from linewatch.vision.image_io import read_image


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
    scorer = build_scorer(bundle, engine, ReferenceEmbeddings(models, recipes).of(bundle, engine))
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
        yield verdict_payload(verdict, history=False) | {"image": str(path), "heatmap": drawn}


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
