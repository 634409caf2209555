"""The page's backend where no line runs, as in `linewatch serve`: journal, products and uploads."""

import math
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from linewatch.capability.promise_watch import PromiseWatch
from linewatch.domain import Result, State, Verdict
from linewatch.errors import LinewatchError, RecipeError
from linewatch.export.worker import ExportApart, Order
from linewatch.models import recipe_file as recipes
from linewatch.models.bundle import REPORT, Bundle, read_bundle, versions
from linewatch.models.scoring_worker import ScoringWorker
from linewatch.mqtt.messages import StateFacts, state_payload
from linewatch.recall.recall import Question
from linewatch.recall.worker import recall_apart
from linewatch.runtime.paused_processes import PausedProcesses
from linewatch.settings import ModelsSettings
from linewatch.storage.evidence import part_of, without_view
from linewatch.storage.journal import Journal
from linewatch.storage.journal_reader import JournalReader
from linewatch.storage.journal_search import Conditions
from linewatch.web.backend import (
    Actual,
    Counted,
    Export,
    ExportForm,
    FoundRows,
    Hour,
    ImageStatus,
    InspectResult,
    LiveImage,
    ModelInfo,
    ProductInfo,
    Query,
    RecallQuery,
    Review,
    Row,
    StorageForecast,
)
from linewatch.web.formatting import milliseconds_of
from linewatch.web.records.interface import Records
from linewatch.web.records.records_backend import RecordsBackend

PRODUCTS_FRESH_S = 5.0  # The list is cached this long; then the files are compared with what they were.
SEARCH_S = 0.2  # A page waits no longer for a search.
GOOD_IMAGE_S = 0.03  # And no longer for each of the two for a good part to compare with.
NO_LINE = "no line runs here; pictures can be inspected and parts reviewed"


class OfficeBackend:
    """Implements `Backend` where no line runs; thread-safe."""

    has_line = False

    def __init__(
        self,
        station: str,
        journal: Journal,
        models: ModelsSettings,
        worker: ScoringWorker,
        *,
        promises: PromiseWatch | None = None,
        beside: PausedProcesses | None = None,
        products_fresh_s: float = PRODUCTS_FRESH_S,
    ) -> None:
        self._products_fresh_s = products_fresh_s
        self._name = station
        self._journal = journal
        self._models = models
        self._worker = worker
        self._beside = beside
        self.records: Records = RecordsBackend(journal, promises)
        self._local = threading.local()
        self._products_lock = threading.Lock()
        self._products: tuple[float, list[ProductInfo]] = (-math.inf, [])
        self._known: dict[str, tuple[object, ProductInfo]] = {}  # With the stamps of the files it is from.

    def state(self) -> dict[str, object]:
        """Return the payload of the topic `B/state`."""
        return state_payload(
            StateFacts(
                station=self._name,
                boot=self._journal.boot,
                state=State.STOPPED,
                reason=NO_LINE,
                outbox=self._journal.undelivered_count(),
            )
        )

    def not_ready(self) -> list[str]:
        """Return the one reason why no part can pass here."""
        return [NO_LINE]

    def alive(self) -> bool:
        """Return True: there are no stages."""
        return True

    def search(self, query: Query) -> FoundRows:
        """Return the verdicts that are found in 0.2 s, and where to go on."""
        found = self._reader.search(query.limit, _conditions(query), before=query.before, budget_s=SEARCH_S)
        rows = [self._row(verdict) for verdict in found.verdicts]
        return FoundRows(rows, found.searched_to, found.searched_to_ms)

    def count(self, query: Query) -> Counted:
        """Return what is counted in 0.2 s, and where to go on."""
        found = self._reader.count(_conditions(query), before=query.before, budget_s=SEARCH_S)
        return Counted(found.counts, found.searched_to, found.searched_to_ms)

    def export(self, query: Query, form: ExportForm, evidence: Path) -> Export:
        """Begin an export in a process of the lowest priority."""
        asked = _conditions(query), query.before, query.limit
        return ExportApart(Order(self._journal.path, evidence, form.value, *asked), self._beside)

    def verdict(self, boot: int, seq: int) -> Row | None:
        """Return one journaled verdict."""
        found = self._reader.verdict(boot, seq)
        return self._row(found) if found else None

    def good_image(self, verdict: Verdict) -> str:
        """Return the evidence path of the last good part before this one, else of the newest; "" if none."""
        good = Conditions(results=frozenset({Result.PASS}), product=verdict.product, has_image=True)
        for before in ((verdict.boot, verdict.seq), None):
            found = self._reader.search(1, good, before=before, budget_s=GOOD_IMAGE_S)
            if found.verdicts:
                return found.verdicts[0].image
        return ""

    def hours(self, since_ms: int) -> Sequence[Hour]:
        """Return counts from `since_ms` until now in steps of one hour, oldest first."""
        return [Hour(start_ms, counts) for start_ms, counts in self._reader.hours(since_ms)]

    def image_status(self, path: str) -> ImageStatus:
        """Return GONE for an image that a journaled verdict names, UNKNOWN for any other path."""
        return ImageStatus.GONE if self._verdict_naming(path) else ImageStatus.UNKNOWN

    def storage(self) -> StorageForecast | None:
        """Return None: nothing is recorded here."""
        return None

    def live_image(self) -> LiveImage | None:
        """Return None: no frames are captured here."""
        return None

    def products(self) -> Sequence[ProductInfo]:
        """Return every product that has a recipe, by index."""
        with self._products_lock:
            read_s, found = self._products
            if time.monotonic() - read_s > self._products_fresh_s:
                found = self._read_products()
                self._products = (time.monotonic(), found)
            return found

    def forget_products(self) -> None:
        """Let the next list of products be read anew: one of them was changed."""
        with self._products_lock:
            self._products = (-math.inf, [])

    def report(self, product: str, version: str) -> bytes | None:
        """Return a model's training report."""
        if version not in versions(self._models.path, product):
            return None
        path = self._models.path / product / version / REPORT
        return path.read_bytes() if path.exists() else None

    def golden_image(self, product: str, version: str) -> bytes | None:
        """Return the first good golden sample of a model, as PNG."""
        if version not in versions(self._models.path, product):
            return None
        try:
            bundle = read_bundle(self._models.path, product, version)
        except RecipeError:
            return None
        good = (sample.file for sample in bundle.golden if sample.expected is Result.PASS)
        return next(((bundle.folder / name).read_bytes() for name in good), None)

    def inspect(self, product: str, data: bytes) -> InspectResult:
        """Inspect an image as the line would, but without checks of light and sharpness."""
        return InspectResult(*self._worker.inspect_and_show(product, data))

    def recall(self, query: RecallQuery, data: bytes) -> dict[str, Any]:
        """Search in a process of idle priority."""
        question = Question(query.product, query.since_ms, query.until_ms, model=query.model)
        return recall_apart(self._models, self._journal.path, query.evidence, question, data)

    def review(self, boot: int, seq: int, actual: Actual, note: str, who: str = "page") -> bool:
        """Store a review; False if there is no such verdict."""
        return self._journal.review(boot, seq, actual.value, note, who)

    def switch(self, product: str, who: str = "page") -> None:  # noqa: ARG002 - as in a station
        """Raise LinewatchError: there is no line to change over."""
        raise LinewatchError(
            f"{NO_LINE}; to inspect {product!r} on a line start: linewatch run --config FILE"
        )

    @property
    def _reader(self) -> JournalReader:
        """The calling thread's own reader, so that a long search blocks no other thread."""
        if not hasattr(self._local, "reader"):
            self._local.reader = self._journal.reader()
        reader: JournalReader = self._local.reader
        return reader

    def _verdict_naming(self, path: str) -> Verdict | None:
        part = part_of(path)
        verdict = self._reader.verdict(*part) if part else None
        named = verdict is not None and without_view(path) in (verdict.image, verdict.heatmap)
        return verdict if named else None

    def _row(self, verdict: Verdict) -> Row:
        review = self._reader.review(verdict.boot, verdict.seq)
        if review is None:
            return Row(verdict)
        return Row(verdict, Review(Actual(review.actual), review.note, review.at_ms, review.who))

    def _read_products(self) -> list[ProductInfo]:
        try:
            names = recipes.products(self._models.recipes)
        except RecipeError as trouble:  # Product numbers are ambiguous: show it with every product.
            files = sorted(self._models.recipes.glob("*.toml"))
            return [ProductInfo(file.stem, 0, "", 0.0, 0.0, trouble=str(trouble)) for file in files]
        known = self._known
        self._known = {
            name: self._product_if_changed(name, index, known.get(name)) for name, index in names.items()
        }
        return [product for _, product in self._known.values()]

    def _product_if_changed(
        self, name: str, index: int, known: tuple[object, ProductInfo] | None
    ) -> tuple[object, ProductInfo]:
        """Read a product anew only if one of its files has changed: hashing its models takes a while."""
        models = _file_stamps(self._models.path / name)
        stamps = models, recipes.file_stamps(self._models.recipes, name)
        return known if known and known[0] == stamps else (stamps, self._product(name, index))

    def _product(self, name: str, index: int) -> ProductInfo:
        models = tuple(self._model(name, version) for version in reversed(versions(self._models.path, name)))
        try:
            recipe, _ = recipes.load_recipe(self._models.recipes, name, self._models.path)
        except RecipeError as trouble:
            return ProductInfo(name, index, "", 0.0, 0.0, trouble=str(trouble), models=models)
        return ProductInfo(
            name, index, recipe.model, recipe.threshold, recipe.unsure_threshold, models=models
        )

    def _model(self, product: str, version: str) -> ModelInfo:
        try:
            bundle = read_bundle(self._models.path, product, version, verify=False)
        except RecipeError:
            return ModelInfo(version, 0, 0.0, 0.0)
        return _model_info(bundle)


def _conditions(query: Query) -> Conditions:
    return Conditions(
        results=query.results,
        product=query.product,
        reason=query.reason,
        part=query.part,
        region=query.region,
        model=query.model,
        reviewer=query.reviewer,
        since_ms=query.since_ms,
        until_ms=query.until_ms,
        reviewed=query.reviewed,
    )


def _model_info(bundle: Bundle) -> ModelInfo:
    calibration = bundle.calibration
    return ModelInfo(
        version=bundle.version,
        trained_ms=milliseconds_of(bundle.created),
        threshold=calibration.threshold,
        unsure_threshold=calibration.unsure_threshold,
        images=len(calibration.scores),
        false_reject=calibration.false_reject,
        bound=calibration.bound,
        report=(bundle.folder / REPORT).exists(),
    )


def _file_stamps(folder: Path) -> tuple[tuple[str, int, int, int], ...]:
    """Return name, size, inode and time of change of every file below a folder.

    Two equal results mean that no file was replaced or written in between; much quicker than hashing them.
    Empty if there is no folder.
    """
    stamps = []
    for path in folder.rglob("*"):
        try:
            found = path.stat()
        except OSError:
            continue  # Removed since the folder was read.
        stamps.append((str(path), found.st_size, found.st_ino, found.st_ctime_ns))
    return tuple(sorted(stamps))
