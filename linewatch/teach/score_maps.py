"""Score maps of images, laid over them, drawn one at a time in a process of the lowest priority.

They are kept by what they depend on, the model's graph and the product's recipe, so that an old one is never
shown for a new version.
"""

import hashlib
import re
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from linewatch.domain import Image
from linewatch.models.engine import OpenVinoEngine
from linewatch.models.loader import build_scorer
from linewatch.models.recipe_file import area_facts, inspected_area, load_recipe
from linewatch.runtime.side_process import SideProcess, read_job
from linewatch.settings import ModelsSettings
from linewatch.teach.datasets import Datasets, check_place
from linewatch.teach.derived_images import PARTS, PARTS_MAX, SIDE_PX, DerivedImages, is_plain
from linewatch.vision.heatmap import draw_heatmap

FOLDER = "_maps"  # Of the data sets' folder; no product's name begins with an underscore.
KEYS_MAX = 2  # Of one product; maps of the oldest are deleted.
NICE = 19
PAUSE = 3.0  # After each map, times what it took: the cores' caches and memory are shared with the line.
_KEY = re.compile("[0-9a-f]{16}")


class ScoreMaps:
    """Maps beside the data sets; any thread may call. `close` ends the process."""

    def __init__(self, datasets: Datasets, models: ModelsSettings, free_bytes_min: int = 0) -> None:
        self._root = datasets.root / FOLDER
        self._models = models
        self._free_bytes_min = free_bytes_min  # On the disk, to leave for the line.
        self._process = SideProcess(__name__, self._root, NICE)

    def close(self) -> None:
        """End the process that draws them."""
        self._process.close()

    def key(self, product: str, version: str = "") -> str:
        """Return under what the maps of a version, or of the one in use, are kept. Raises RecipeError."""
        recipes = self._models.recipes
        _, bundle = load_recipe(recipes, product, self._models.path, version)
        area = sorted(area_facts(*inspected_area(recipes, product)).items())
        facts = repr((bundle.checksum, (recipes / f"{product}.toml").read_bytes(), area))
        return hashlib.sha256(facts.encode()).hexdigest()[:16]

    def make(self, product: str, key: str, version: str, place: str, files: Mapping[str, Path]) -> int:
        """Begin to draw the maps of `files` that are missing, and return how many are.

        While others are being drawn nothing is begun; a later call does.
        """
        known = self._known(product, key, place)
        missing = {name: str(path) for name, path in files.items() if not known.is_made(name)}
        if missing:
            self._forget_others(product, key)
            self._process.start(
                {
                    "models": str(self._models.path),
                    "recipes": str(self._models.recipes),
                    "product": product,
                    "version": version,
                    "folder": str(known.folder),
                    "files": missing,
                    "images_max": PARTS_MAX if place == PARTS else 0,
                    "free_bytes_min": self._free_bytes_min,
                }
            )
        return len(missing)

    def is_ready(self, product: str, key: str, place: str, name: str) -> bool:
        """Whether a map is drawn."""
        return self._known(product, key, place).is_ready(name)

    def read(self, product: str, key: str, place: str, name: str) -> bytes | None:
        """Return a map as WebP, None if it is not drawn. `name` comes from outside."""
        plain = bool(_KEY.fullmatch(key)) and is_plain(name)
        return self._known(product, key, place).read(name) if plain else None

    def _known(self, product: str, key: str, place: str) -> DerivedImages:
        folder = place if place == PARTS else check_place(place).replace("/", "__")
        return DerivedImages(self._root / product / key / folder)

    def _forget_others(self, product: str, key: str) -> None:
        """Delete the maps of all but the newest other keys."""
        folder = self._root / product
        others = [path for path in folder.glob("*") if path.name != key] if folder.is_dir() else []
        others.sort(key=lambda path: path.stat().st_mtime)
        for path in others[: len(others) + 1 - KEYS_MAX]:
            shutil.rmtree(path, ignore_errors=True)


def main() -> None:
    """Draw the maps that the job asks for."""
    draw_maps(read_job())


def draw_maps(job: Mapping[str, Any], pause: float = PAUSE) -> None:
    """Draw the maps of a job. Raises RecipeError and StorageFull."""
    recipe, bundle = load_recipe(Path(job["recipes"]), job["product"], Path(job["models"]), job["version"])
    scorer = build_scorer(bundle, OpenVinoEngine(bundle.graph, threads=1))
    known = DerivedImages(Path(job["folder"]))

    def draw(image: Image) -> Image:
        return draw_heatmap(image, scorer.score(image, recipe), recipe.threshold, SIDE_PX)

    known.make_room(len(job["files"]), job["images_max"])
    for name, source in job["files"].items():
        started_s = time.monotonic()
        if job["free_bytes_min"] and shutil.disk_usage(known.folder.parents[2]).free < job["free_bytes_min"]:
            return  # The disk's last space is kept for the line.
        known.derive(name, Path(source), draw)
        time.sleep(pause * (time.monotonic() - started_s))
