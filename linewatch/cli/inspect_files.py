"""Judge image files as the line would: `linewatch inspect`."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2

from linewatch.domain import Image
from linewatch.errors import ImageError, StorageFull
from linewatch.models.engine import OpenVinoEngine
from linewatch.models.judge_file import judge_image
from linewatch.models.loader import build_scorer
from linewatch.models.recipe_file import load_recipe
from linewatch.models.reference_embeddings import ReferenceEmbeddings
from linewatch.mqtt.messages import verdict_payload
from linewatch.vision.heatmap import draw_heatmap
from linewatch.vision.image_io import read_image


def _raise(error: ImageError) -> None:
    raise error


def inspect_files(
    product: str,
    images: Sequence[Path],
    models: Path,
    recipes: Path,
    *,
    out: Path | None = None,
    station: str = "",
    threads: int = 0,
    unreadable: Callable[[ImageError], None] = _raise,
) -> Iterator[dict[str, Any]]:
    """Yield the verdict of each file as the keys of the MQTT payload; write heatmaps to `out`.

    `boot` is 0 and `seq` counts the files. A heatmap is named after its image, with as many of the parent
    folders as make the name unique. Brightness and sharpness are not checked: the user chose these images.
    `unreadable` is called for each file that is not an image, then the next one is judged; by default
    it raises. Raises RecipeError before the first image or at one that the recipe does not fit, and
    StorageFull when a heatmap cannot be written.
    """
    recipe, bundle = load_recipe(recipes, product, models)
    engine = OpenVinoEngine(bundle.graph, threads=threads)
    scorer = build_scorer(bundle, engine, ReferenceEmbeddings(models, recipes).for_model(bundle, engine))
    for number, (path, name) in enumerate(zip(images, _unique_names(images), strict=True), 1):
        try:
            image = read_image(path)
        except ImageError as error:
            unreadable(error)
            continue
        verdict, scored = judge_image(image, scorer, recipe, station=station, seq=number)
        file = ""
        if out is not None and scored is not None:
            file = _write(out / f"{name}_heatmap.jpg", draw_heatmap(image, scored, recipe.threshold))
        # The MQTT payload drops long paths to stay within 500 bytes; here they are kept.
        yield verdict_payload(verdict, history=False) | {"image": str(path), "heatmap": file}


def _unique_names(images: Sequence[Path]) -> list[str]:
    """Return a unique name for each image: `good_000` and `scratch_000` for two files called `000.png`."""
    parts = [[part for part in path.parent.parts if part not in ("..", path.anchor)] for path in images]
    for depth in range(1 + max(map(len, parts), default=0)):
        names = [
            "_".join([*folders[max(0, len(folders) - depth) :], path.stem])
            for folders, path in zip(parts, images, strict=True)
        ]
        if len(set(names)) == len(names):
            return names
    return [f"{number}_{path.stem}" for number, path in enumerate(images, 1)]


def _write(path: Path, image: Image) -> str:
    encoded, data = cv2.imencode(path.suffix, image)
    assert encoded
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.tobytes())
    except OSError as error:
        raise StorageFull(path, f"heatmap not written: {error.strerror}") from error
    return str(path)
