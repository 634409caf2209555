"""Tiny models for tests: real OpenVINO graphs in real bundles, with predictable scores."""

import shutil
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import openvino as ov
from openvino import opset13 as ops

from linewatch.domain import Image, Result
from linewatch.models.bundle import (
    GRAPH,
    WEIGHTS,
    Bundle,
    Calibration,
    GoldenSample,
    ImageStatistics,
    set_active,
    write_bundle,
)
from linewatch.models.recipe_file import write_recipe
from linewatch.settings import ModelsSettings
from linewatch.vision.product_match import Likeness
from linewatch.vision.registration import Registration

SIDE_PX = 64
CELL_PX = 8
LEVEL = 100
"""Grey value of a good part. A cell scores a tenth of the difference between its mean and LEVEL."""


GREY = Likeness(mean=(LEVEL / 10,), spread=(1.0,), limit=1.0)
"""The likeness of parts whose mean grey differs from LEVEL by at most 10."""


def part(blob: int = 0) -> Image:
    """Return an image of a part; a `blob` covers one cell and scores a tenth of its strength."""
    image = np.full((SIDE_PX, SIDE_PX, 3), LEVEL, np.uint8)
    image[16:24, 32:40] += np.uint8(blob)
    return image


def png(image: Image) -> bytes:
    """Encode an image as PNG."""
    return cv2.imencode(".png", image)[1].tobytes()


def teach(
    models: ModelsSettings,
    product: str = "demo",
    *,
    index: int = 0,
    level: int = LEVEL,
    golden: Sequence[tuple[Image, Result, float]] | None = None,
    registration: Registration | None = None,
    created: str = "2026-11-22T10:00:00+00:00",
    scores: tuple[float, ...] = (0.5, 0.9),
    recall: float | None = None,
    embedding: bool = True,
    likeness: Likeness | None = None,
) -> Bundle:
    """Write and activate a version of `product`, with a recipe; threshold 2.0, unsure from 1.5.

    `level` is the grey of its good parts. `golden` are its samples with their recorded scores,
    `scores` the calibration scores, `recall` the measured recall on synthetic defects.
    The `embedding` is a tenth of the mean grey; with a `likeness` such as `GREY` parts of other products
    are recognised.
    """
    samples = golden if golden is not None else [(part(), Result.PASS, 0.0), (part(30), Result.FAIL, 3.0)]
    with TemporaryDirectory() as scratch:
        content = Path(scratch) / "content"
        (content / "golden").mkdir(parents=True)
        for name in (GRAPH, WEIGHTS):
            shutil.copy(_graph(level, embedding) / name, content / name)
        names = [f"golden/{number}.png" for number in range(len(samples))]
        for name, (image, _, _) in zip(names, samples, strict=True):
            (content / name).write_bytes(cv2.imencode(".png", image)[1].tobytes())
        bundle = write_bundle(
            models.path,
            product,
            created=created,
            input_shape=(SIDE_PX, SIDE_PX),
            registration=registration,
            calibration=Calibration(2.0, 1.5, 0.01, None, "test", scores),
            pictures=ImageStatistics((60.0, 100.0, 140.0), (0.0, 0.0, 0.0)),
            golden=tuple(
                GoldenSample(name, expected, raw)
                for name, (_, expected, raw) in zip(names, samples, strict=True)
            ),
            training={} if recall is None else {"made_up_recall": {"stain": recall}},
            content=content,
            likeness=likeness,
        )
    set_active(models.path, product, bundle.version)
    recipe = write_recipe(models.recipes, product)
    if index:
        recipe.write_text(f"index = {index}\n")
    return bundle


def models_in(folder: Path) -> ModelsSettings:
    """Return settings whose models and recipes are in `folder`."""
    return ModelsSettings(path=folder / "models", recipes=folder / "recipes", threads=1)


_FOLDER = TemporaryDirectory(prefix="linewatch-test-graphs-")


@cache
def _graph(level: int, embedding: bool) -> Path:
    """Write the graph: the score is the largest cell of |mean - level| / 10."""
    picture = ops.parameter([1, SIDE_PX, SIDE_PX, 3], ov.Type.u8, name="picture")
    grey = ops.reduce_mean(ops.convert(picture, ov.Type.f32), ops.constant([3]), keep_dims=True)
    planes = ops.transpose(grey, ops.constant([0, 3, 1, 2]))
    cell = [CELL_PX, CELL_PX]
    means = ops.avg_pool(planes, cell, [0, 0], [0, 0], cell, True)
    distance = ops.abs(ops.subtract(means, ops.constant(np.float32(level))))
    scaled = ops.multiply(distance, ops.constant(np.float32(0.1)))
    anomaly_map = ops.squeeze(scaled, ops.constant([1]))
    score = ops.reduce_max(anomaly_map, ops.constant([1, 2]), keep_dims=False)
    outlets = {"score": score, "map": anomaly_map}
    if embedding:
        shown = ops.reduce_mean(planes, ops.constant([2, 3]), keep_dims=False)
        outlets["embedding"] = ops.multiply(shown, ops.constant(np.float32(0.1)))
    model = ov.Model(list(outlets.values()), [picture], "tiny")
    for outlet, name in zip(model.outputs, outlets, strict=True):
        outlet.set_names({name})
    folder = Path(_FOLDER.name) / f"{level}-{embedding}"
    folder.mkdir()
    ov.save_model(model, folder / GRAPH, compress_to_fp16=False)
    return folder
