"""What the teach pages do: the same functions as the commands, on the folders of the settings."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import cv2

from linewatch.domain import Box
from linewatch.errors import UsageError
from linewatch.identifiers import VERSION
from linewatch.line.commands import Commands
from linewatch.models.recipe_file import regions_of, write_recipe
from linewatch.settings import Settings
from linewatch.teach.area import read_area, save_area, save_regions
from linewatch.teach.collector import Collector
from linewatch.teach.curation import Curation
from linewatch.teach.datasets import Datasets
from linewatch.teach.learning import Learning
from linewatch.teach.measuring import read_measured, read_measured_report
from linewatch.teach.reviewed import add_reviewed
from linewatch.teach.score_maps import ScoreMaps
from linewatch.teach.thumbnails import Thumbnails
from linewatch.teaching import (
    LEFT_OUT,
    Area,
    Collecting,
    CuratedPlace,
    LearningState,
    Measured,
    Order,
    ThresholdWithout,
)
from linewatch.vision.image_io import SUFFIXES, check_kind, shrink_to
from linewatch.vision.image_quality import brightness, sharpness
from linewatch.vision.recipe import Region
from linewatch.web.backend import Actual
from linewatch.web.cache import TimedCache
from linewatch.web.teach.interface import LiveFrame
from linewatch.web.teach.versions_backend import VersionsBackend

FRAME_SIDE_PX = 1280
FRAME_FRESH_S = 0.5
NAMES_IN_AUDIT = 20


class TeachBackend(VersionsBackend):
    """Implements `Teaching`; thread-safe. Without `collector` and `commands` no line runs here."""

    def __init__(
        self,
        settings: Settings,
        datasets: Datasets,
        thumbnails: Thumbnails,
        maps: ScoreMaps,
        learning: Learning,
        *,
        collector: Collector | None = None,
        commands: Commands | None = None,
        on_line: Callable[[], tuple[str, str]] = lambda: ("", ""),
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_line` returns product and version that judge now; `changed` is called after a change."""
        super().__init__(
            settings, datasets, thumbnails, maps, commands=commands, on_line=on_line, changed=changed
        )
        self._curation = Curation(settings.models, datasets, thumbnails, maps)
        self._learning = learning
        self._collector = collector
        self._frame = TimedCache(self._render_frame, FRAME_FRESH_S)

    def begin(self, product: str, index: int, by: str) -> None:
        """Write a recipe with the PLC's product number `index`, 0 for the next free one."""
        self._datasets.product_folder(product)
        with self._changing:
            if (self._settings.models.recipes / f"{product}.toml").exists():
                raise UsageError(f"product {product!r} exists already; choose it, or another name")
            write_recipe(self._settings.models.recipes, product, index)
            self._audit(by, "product_begun", product, "", product, "")
        self._changed()

    def places(self, product: str) -> Mapping[str, int]:
        """Return the number of images in each place of the data set."""
        return self._datasets.places(product)

    def curated(self, product: str, place: str, version: str, order: Order | None, page: int) -> CuratedPlace:
        """Return one page of the images of a place, with their scores and maps."""
        return self._curation.show(product, place, version, order, page)

    def threshold_without(self, product: str, version: str, names: Sequence[str]) -> ThresholdWithout | None:
        """Return what learning without these images would come to; None if nothing was learnt yet."""
        return self._curation.predict(product, version, names)

    def picture_file(self, product: str, place: str, name: str) -> Path:
        """Return the file of an image."""
        return self._datasets.file(product, place, name)

    def thumbnail(self, product: str, place: str, name: str) -> bytes | None:
        """Return a small WebP of an image; None if it is not made yet."""
        return self._thumbnails.read(product, place, name)

    def add_pictures(self, product: str, place: str, files: Iterable[tuple[str, bytes]], by: str) -> int:
        """Store uploaded images (name, content), and return how many.

        Nothing is stored if one is of a wrong kind; what fits on a disk that fills up stays. Decoding them
        is left to another process.
        """
        self._known(product)
        images = list(files)
        for name, data in images:
            check_kind(data, name[-40:])
            if Path(name).suffix.lower() not in SUFFIXES:
                raise UsageError(
                    f"{name[-40:]!r} is not named as an image; send PNG, JPEG, BMP, TIFF or WebP"
                )
        stored: list[str] = []
        try:
            for name, data in images:
                suffix = Path(name).suffix.lower()
                stem = re.sub(r"[^A-Za-z0-9_-]", "", Path(name).stem)[:60] or "image"
                stored.append(self._datasets.add_file(product, place, data, stem, suffix))
        finally:
            if stored:
                self._audit(by, "images_uploaded", product, "", place, _listed(stored))
        return len(stored)

    def add_reviewed(self, product: str, by: str) -> Mapping[str, int]:
        """Copy the images of reviewed parts into the data set; return how many good and defective."""
        self._known(product)
        added = add_reviewed(
            self._datasets, product, self._settings.journal.path, self._settings.evidence.path
        )
        why = f"{added[Actual.GOOD]} good, {added[Actual.DEFECT]} defects"
        self._audit(by, "reviewed_parts_added", product, "", "", why)
        return added

    def move(self, product: str, place: str, names: Sequence[str], to: str, by: str) -> int:
        """Move images to another place of the data set, and return how many."""
        count = self._datasets.move(product, place, names, to)
        self._audit(by, "images_moved", product, place, to, _listed(names))
        return count

    def remove(self, product: str, names: Sequence[str], by: str) -> int:
        """Delete images that were left out, and return how many."""
        count = self._datasets.remove(product, names)
        self._audit(by, "images_deleted", product, LEFT_OUT, "", _listed(names))
        return count

    def live_frame(self) -> LiveFrame | None:
        """Return the newest frame; None before the first, and where no line runs."""
        return self._frame.get()

    def collecting(self) -> Collecting:
        """Return how the current or last collection goes."""
        return self._collector.state if self._collector else Collecting()

    def collect(self, product: str, place: str, count: int, by: str) -> Collecting:
        """Begin to keep the next frames."""
        self._known(product)
        state = self._line().start(product, place, count)
        self._audit(by, "collecting_begun", product, "", place, f"{count} images")
        return state

    def take_one(self, product: str, place: str, by: str) -> str:
        """Keep the newest frame and return its name."""
        self._known(product)
        name = self._line().take_one(product, place)
        self._audit(by, "image_taken", product, "", place, name)
        return name

    def stop_collecting(self, by: str) -> None:
        """End the collection."""
        before = self._line().state
        self._line().stop()
        if before.running:
            self._audit(by, "collecting_stopped", before.product, "", before.place, f"{before.taken} images")

    def area(self, product: str) -> Area:
        """Return what of a product's frames is inspected."""
        return read_area(self._settings.models.recipes, product)

    def save_area(self, product: str, roi: Box | None, strokes: str, by: str) -> None:
        """Set what of a product's frames is inspected."""
        shape = self._frame_shape(product)
        with self._changing:
            recipes = self._settings.models.recipes
            before = read_area(recipes, product)
            save_area(recipes, product, shape, roi, strokes)
            was, becomes = ("" if box is None else str(list(box)) for box in (before.roi, roi))
            self._audit(by, "area_changed", product, was, becomes, "mask drawn" if strokes else "")
        self._changed()

    def regions(self, product: str) -> Sequence[Region]:
        """Return the regions as the recipe sets them."""
        return regions_of(self._settings.models.recipes, product)

    def save_regions(self, product: str, regions: Sequence[Region], by: str) -> None:
        """Set the regions of the recipe; a line with this product loads them at once."""
        shape, models = self._frame_shape(product), self._settings.models
        with self._changing:
            before = regions_of(models.recipes, product)
            save_regions(models.recipes, models.path, product, shape, regions)
            self._audit(by, "regions_changed", product, _described(before), _described(regions), "")
        self._take_over(product, "the changed recipe", by)

    def _frame_shape(self, product: str) -> tuple[int, int]:
        """Return height and width of a known product's frames."""
        self._known(product)
        image = self._line().latest
        if image is None:
            raise UsageError("no frame has arrived yet, so its size is not known; check the camera")
        return image.shape[0], image.shape[1]

    def learning_unavailable(self) -> str:
        """Return why nothing can be learnt on this machine, "" if it can."""
        return self._learning.unavailable()

    def learning(self) -> LearningState:
        """Return how far the current or last learning is."""
        return self._learning.state()

    def learn(self, product: str, by: str, false_reject: float, detail: str) -> LearningState:
        """Begin to learn."""
        self._known(product)
        state = self._learning.start(product, by, false_reject=false_reject, detail=detail)
        self._audit(by, "learning_begun", product, "", "", "")
        return state

    def cancel_learning(self, by: str) -> None:
        """End learning; nothing is kept of it."""
        product = self._learning.state().product
        self._learning.cancel(by)
        self._audit(by, "learning_cancelled", product, "", "", "")

    def measured(self, product: str, version: str) -> Measured | None:
        """Return the figures of a version on the labelled images."""
        return read_measured(self._datasets, product, version) if VERSION.fullmatch(version) else None

    def measured_report(self, product: str, version: str) -> bytes | None:
        """Return the same as a report in HTML, without scripts."""
        return read_measured_report(self._datasets, product, version) if VERSION.fullmatch(version) else None

    def _line(self) -> Collector:
        if self._collector is None:
            raise UsageError("no line runs here, so there are no frames; upload images instead")
        return self._collector

    def _render_frame(self) -> LiveFrame | None:
        image = self._collector.latest if self._collector else None
        if image is None:
            return None
        height, width = image.shape[:2]
        jpeg = cv2.imencode(".jpg", shrink_to(image, FRAME_SIDE_PX), [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
        return LiveFrame(jpeg.tobytes(), width, height, brightness(image), sharpness(image))


def _listed(names: Sequence[str]) -> str:
    """Return how many images, with the first names, for the audit."""
    more = ", …" if len(names) > NAMES_IN_AUDIT else ""
    return f"{len(names)} images: {', '.join(names[:NAMES_IN_AUDIT])}{more}"


def _described(regions: Iterable[Region]) -> str:
    """Return regions as the audit has them: name, rectangle and limits."""
    return "; ".join(
        f"{one.name} {list(one.roi)}"
        + (f" x{one.factor:g}" if one.threshold is None else f" {one.threshold:g}")
        + ("" if one.min_defect_px is None else f" {one.min_defect_px} px")
        for one in regions
    )
