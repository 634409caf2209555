"""The daemon as the page sees it: snapshots and files, never a lane."""

import json
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

import cv2

from linewatch import recipe as recipes
from linewatch.announcer import facts_of
from linewatch.bundle import Bundle, read_bundle, versions
from linewatch.changeover import prepare
from linewatch.commands import Answer, Code, Commands
from linewatch.domain import Image, Result, Verdict
from linewatch.errors import LinewatchError, RecipeError
from linewatch.inspector import Inspector, Prepared
from linewatch.journal import Journal
from linewatch.messages import Command, state_json
from linewatch.offline import judge_picture
from linewatch.pictures import shrunk
from linewatch.recorder import Latest
from linewatch.scoring import heatmap
from linewatch.settings import ModelsSettings
from linewatch.station import Station
from linewatch.web.desk import (
    Actual,
    Hour,
    InspectResult,
    LivePicture,
    ModelInfo,
    ProductInfo,
    Query,
    Review,
    Row,
)

LIVE_SIDE_PX = 960
PRODUCTS_S = 5.0  # Proving every model's files takes a while; a page may be this old.
SWITCH_S = 30.0


class StationDesk:
    """Implements the page's `Desk`; any of the web threads may call."""

    def __init__(
        self,
        station: Station,
        journal: Journal,
        inspector: Inspector,
        commands: Commands,
        models: ModelsSettings,
        *,
        latest: Callable[[], Latest | None],
        alive: Callable[[], bool],
    ) -> None:
        self._station = station
        self._journal = journal
        self._reader = journal.reader()
        self._inspector = inspector
        self._commands = commands
        self._models = models
        self._latest = latest
        self.alive = alive
        # One lock each: whoever loads a model must not hold up the live view.
        self._picturing, self._proving, self._borrowing = (threading.Lock() for _ in range(3))
        self._live: LivePicture | None = None
        self._products: tuple[float, list[ProductInfo]] = (-math.inf, [])
        self._borrowed: Prepared | None = None  # The product last inspected that is not on the line.

    def state(self) -> dict[str, object]:
        """Return the JSON of the topic `B/state`."""
        facts = facts_of(self._station.snapshot(), self._journal.undelivered_count())
        parsed: dict[str, object] = json.loads(state_json(facts))
        return parsed

    def not_ready(self) -> list[str]:
        """Return why no part can pass now; [] in READY and DEGRADED."""
        now = self._station.snapshot()
        return [] if now.state.judging else now.reasons or [f"the station is {now.state}"]

    def verdicts(self, query: Query) -> Sequence[Row]:
        """Return journaled verdicts, newest first."""
        found = self._reader.verdicts(
            query.limit,
            before=query.before,
            results=query.results,
            product=query.product,
            reason=query.reason,
            since_ms=query.since_ms,
            until_ms=query.until_ms,
            reviewed=query.reviewed,
        )
        return [self._row(verdict) for verdict in found]

    def verdict(self, boot: int, seq: int) -> Row | None:
        """Return one journaled verdict."""
        found = self._reader.verdict(boot, seq)
        return self._row(found) if found else None

    def good_picture(self, verdict: Verdict) -> str:
        """Return the evidence path of the good part kept last before this one, else after it."""
        before = (verdict.boot, verdict.seq)
        for limit_before in (before, None):
            found = self._reader.verdicts(
                1,
                before=limit_before,
                results=frozenset({Result.PASS}),
                product=verdict.product,
                pictured=True,
            )
            if found:
                return found[0].image
        return ""

    def hours(self, since_ms: int) -> Sequence[Hour]:
        """Return counts from `since_ms` until now in steps of one hour, oldest first."""
        return [Hour(start_ms, counts) for start_ms, counts in self._reader.hours(since_ms)]

    def live_picture(self) -> LivePicture | None:
        """Return the newest judged picture, encoded once however many look at it."""
        latest = self._latest()
        if latest is None or latest.inspection.frame.image is None:
            return self._live
        with self._picturing:
            if self._live is None or self._live.verdict is not latest.verdict:
                self._live = LivePicture(_jpeg(_shown(latest)), latest.verdict)
            return self._live

    def products(self) -> Sequence[ProductInfo]:
        """Return every product that has a recipe, by index."""
        with self._proving:
            read_s, found = self._products
            if time.monotonic() - read_s > PRODUCTS_S:
                found = self._read_products()
                self._products = (time.monotonic(), found)
        on_line = self._inspector.prepared
        now = on_line.recipe.product if on_line else ""
        return [replace(product, resident=product.name == now) for product in found]

    def report(self, product: str, version: str) -> bytes | None:
        """Return a model's training report."""
        if version not in versions(self._models.path, product):
            return None
        path = self._models.path / product / version / "report.html"
        return path.read_bytes() if path.exists() else None

    def inspect(self, product: str, image: Image) -> InspectResult:
        """Judge a picture as the line would, except that any light and sharpness will do."""
        prepared = self._prepared(product)
        recipe, station = prepared.recipe, self._station.snapshot().station
        verdict, scored = judge_picture(image, prepared.scorer, recipe, station=station)
        return InspectResult(verdict, _jpeg(heatmap(image, scored, recipe.threshold)) if scored else b"")

    def review(self, boot: int, seq: int, actual: Actual, note: str) -> bool:
        """Keep a person's word on a verdict; False if there is no such verdict."""
        return self._journal.review(boot, seq, actual.value, note, "page")

    def switch(self, product: str) -> None:
        """Inspect another product from now on; returns when it is ready."""
        answers: list[Answer] = []
        answered = threading.Event()

        def done(answer: Answer) -> None:
            answers.append(answer)
            answered.set()

        self._commands.request(Command("product", 0, product=product, who="page"), done)
        if not answered.wait(SWITCH_S):
            raise LinewatchError(f"product {product!r} is not ready after {SWITCH_S:.0f} s; see the log")
        if answers[0].code is not Code.DONE:
            raise LinewatchError(answers[0].reason)

    def _row(self, verdict: Verdict) -> Row:
        said = self._reader.review(verdict.boot, verdict.seq)
        return Row(verdict, Review(Actual(said.actual), said.note, said.at_ms) if said else None)

    def _prepared(self, product: str) -> Prepared:
        on_line = self._inspector.prepared
        if on_line is not None and on_line.recipe.product == product:
            return on_line
        with self._borrowing:
            # Read every time: since the last picture another version may have become the active one.
            recipe, _ = recipes.load_recipe(self._models.recipes, product, self._models.path)
            if self._borrowed is None or self._borrowed.recipe != recipe:
                self._borrowed, _ = prepare(product, self._models)
            return self._borrowed

    def _read_products(self) -> list[ProductInfo]:
        try:
            names = recipes.products(self._models.recipes)
        except RecipeError as trouble:  # Nobody can be sure which product is which; each says why.
            files = sorted(self._models.recipes.glob("*.toml"))
            return [ProductInfo(file.stem, 0, "", 0.0, 0.0, trouble=str(trouble)) for file in files]
        return [self._product(name, index) for name, index in names.items()]

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
            bundle = read_bundle(self._models.path, product, version)
        except RecipeError:
            return ModelInfo(version, 0, 0.0, 0.0)
        return _model_info(bundle)


def _model_info(bundle: Bundle) -> ModelInfo:
    calibration = bundle.calibration
    return ModelInfo(
        version=bundle.version,
        trained_ms=_utc_ms(bundle.created),
        threshold=calibration.threshold,
        unsure_threshold=calibration.unsure_threshold,
        images=len(calibration.scores),
        false_reject=calibration.false_reject,
        report=(bundle.folder / "report.html").exists(),
    )


def _utc_ms(created: str) -> int:
    """Return milliseconds since 1970, 0 if it cannot be told: no hash protects this line of the manifest."""
    try:
        return round(datetime.fromisoformat(created).timestamp() * 1000)
    except ValueError:
        return 0


def _shown(latest: Latest) -> Image:
    """Return the frame small enough for a tablet, its heatmap over it if it was scored."""
    image, scored = latest.inspection.frame.image, latest.inspection.scored
    assert image is not None
    if scored is None:
        return shrunk(image, LIVE_SIDE_PX)
    return heatmap(image, scored, latest.inspection.threshold, LIVE_SIDE_PX)


def _jpeg(image: Image) -> bytes:
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
