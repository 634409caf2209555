"""Prepare a product beside the running one, test it, and swap it in between two frames."""

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace

from linewatch.domain import State
from linewatch.errors import RecipeError, RecipeNotThere, StorageFull
from linewatch.line.inspector import Inspector
from linewatch.line.metrics import Metrics
from linewatch.line.snapshot import Snapshot
from linewatch.line.station import Station
from linewatch.models.bundle import Bundle, read_bundle
from linewatch.models.engine_cache import EngineCache
from linewatch.models.loader import prepare
from linewatch.models.recipe_file import index_of, load_recipe
from linewatch.models.reference_embeddings import ReferenceEmbeddings
from linewatch.models.self_test import self_test
from linewatch.runtime.backoff import Backoff
from linewatch.settings import ModelsSettings
from linewatch.storage.journal import Journal
from linewatch.vision.drift import Drift, RejectChart
from linewatch.vision.recipe import Recipe

log = logging.getLogger(__name__)

IN_USE = "in_use"  # The audit's entry for what judges from now on: "to" is PRODUCT/VERSION.
AUDIT_READ_MAX = 1000  # Newest entries that are searched for products in use before.
AWAIT_FIRST_S, AWAIT_MAX_S = 1.0, 15.0  # Between two looks for missing files of recipe and model.

Audit = Callable[[str, str, Mapping[str, object]], None]
"""Records who did what, with its facts; the journal's `audit`. Raises StorageFull."""


def recently_used(journal: Journal) -> list[str]:
    """Return the products that the audit says were in use, the last one first; [] while the disk fails."""
    with journal.reader() as reader, suppress(StorageFull):
        used = (str(entry.facts["to"]) for entry in reader.audit(AUDIT_READ_MAX) if entry.action == IN_USE)
        return list(dict.fromkeys(to.partition("/")[0] for to in used))
    return []


class Changeover:
    """Bring products into use; calls from several threads run one after the other."""

    def __init__(
        self,
        models: ModelsSettings,
        inspector: Inspector,
        station: Station,
        metrics: Metrics,
        audit: Audit,
        recent: Sequence[str] = (),
        *,
        live: bool,
        frozen_s: float = 0.0,
        await_first_s: float = AWAIT_FIRST_S,
    ) -> None:
        """`recent` are products that were in use before this start, the last one first."""
        self._models = models
        self._live = live
        self._frozen_s = frozen_s
        self._inspector = inspector
        self._station = station
        self._metrics = metrics
        self._audit = audit
        self._engines = EngineCache(models.resident_bytes_max)
        self._references = ReferenceEmbeddings(models.path, models.recipes, recent)
        self._in_use: Bundle | None = None
        self._judging: dict[str, object] = {}  # The recipe in use, as the audit has it.
        self._unrecognised: list[str] = []  # Products that the model in use has no embeddings of yet.
        self._usual: dict[str, tuple[Recipe, RejectChart]] = {}  # The usual reject rate of each product.
        self._busy = threading.Lock()
        self._awaiting = False  # Whether files of the station's product are missing and looked for.
        self._await = Backoff(await_first_s, max(await_first_s, AWAIT_MAX_S))
        self._await_until_s = 0.0

    def begin(self, product: str) -> None:
        """Bring the first product into use, or leave FAULT if it is unfit.

        Files that are missing are awaited: see `awaited_due`.
        """
        with self._busy, suppress(RecipeError):
            self._station.intend(State.SELFTEST, "self-test before the first part")
            self._take_up(product, "linewatch", "start")
            self._station.intend(State.READY)

    @property
    def awaited_due(self) -> bool:
        """Whether it is time for `take_up_awaited`; never after a changeover, whose answer is final."""
        return self._awaiting and time.monotonic() >= self._await_until_s

    def take_up_awaited(self) -> None:
        """Bring the product into use whose files were missing, as on a share that was not mounted yet.

        Does nothing while they are not there, but names what is missing now. Raises RecipeError and
        leaves FAULT if the product is unfit.
        """
        with self._busy:
            now = self._station.snapshot()
            if not self._awaiting or now.mode is not State.FAULT:
                return
            try:
                load_recipe(self._models.recipes, now.product, self._models.path)
            except RecipeError as trouble:  # Also a file that is copied just now.
                self._await_until_s = time.monotonic() + self._await.next_s()
                self._station.intend(State.FAULT, _waiting(trouble))
                return
            log.info("product_found product=%s", now.product)
            self._take_up(now.product, "linewatch", "its files were missing before")
            self._station.intend(State.READY)

    def change(self, product: str, who: str, claim: Callable[[], None] = lambda: None) -> None:
        """Judge `product` from now on. Raises RecipeError and leaves the station in FAULT if it is unfit.

        `claim` is called when the product is ready; it raises PrepareTimeout after the time limit.

        From the first line to the last no part is judged: a failed changeover must never go on
        silently with the product before it.
        """
        with self._busy:
            started = time.monotonic()
            self._station.intend(State.CHANGEOVER, f"changing to product {product}")
            self._take_up(product, who, "changeover", brief=True, claim=claim, final=True)
            took_s = time.monotonic() - started
            self._metrics.changeover.set(took_s)
            self._station.intend(State.READY)
            self._station.event("product_changed", product=product, took_ms=round(1000 * took_s))
            log.info("product_changed product=%s took_s=%.3f", product, took_s)

    def test(self, who: str) -> None:
        """Test the product in use again, from disk. Raises RecipeError and leaves FAULT if it failed."""
        with self._busy:
            self._station.intend(State.SELFTEST, "self-test")
            self._take_up(self._station.snapshot().product, who, "self-test")
            self._station.intend(State.READY)  # Also out of FAULT; a paused station stays paused.

    def reload(self, who: str) -> None:
        """Read and test the product in use again while the line goes on, then replace it.

        Raises RecipeError and leaves the station in FAULT if it is unfit now.
        """
        with self._busy:
            self._take_up(self._station.snapshot().product, who, "reload")
            self._station.intend(State.READY)

    def probe(self) -> None:
        """Test the model in use while the line goes on; leaves FAULT if it fails.

        Does nothing while no part is judged, or while a changeover or another test runs.
        """
        if not self._busy.acquire(blocking=False):
            return
        try:
            prepared = self._inspector.prepared
            if prepared is None or self._station.snapshot().mode is not State.READY:
                return
            recipe = prepared.recipe
            try:
                bundle = read_bundle(self._models.path, recipe.product, recipe.model)
                self_test(prepared.scorer, recipe, bundle)
            except RecipeError as trouble:
                self._refuse(recipe.product, trouble, "linewatch", "scheduled self-test")
            else:
                log.info("selftest_passed product=%s model=%s", recipe.product, recipe.model)
        finally:
            self._busy.release()

    def recognise_next(self) -> None:
        """Let the model in use recognise the parts of one more product; maintenance calls it every second.

        A changeover computes only the embeddings of the product before it, whose parts may still be on the
        belt. Does nothing while a changeover or a test runs.
        """
        if not self._unrecognised or not self._busy.acquire(blocking=False):
            return
        try:
            prepared, bundle = self._inspector.prepared, self._in_use
            if prepared is None or bundle is None or not self._unrecognised:
                return
            engine = self._engines.get(bundle)
            assert engine is not None, "the engine used last is always cached"
            name = self._unrecognised.pop(0)
            prepared.scorer.recognise(self._references.for_model(bundle, engine, (name,)))
        finally:
            self._busy.release()

    def _take_up(
        self,
        product: str,
        who: str,
        why: str,
        *,
        brief: bool = False,
        claim: Callable[[], None] = lambda: None,
        final: bool = False,
    ) -> None:
        started = time.monotonic()
        before = self._station.snapshot()
        station = before.station
        for known in (before.product, product):  # Resets their drift metrics.
            self._metrics.know_product(known)
        try:
            prepared, bundle = prepare(
                product,
                self._models,
                live=self._live,
                frozen_s=self._frozen_s,
                engines=self._engines,
                brief=brief,
                references=self._references,
                recognise=(before.product,) if brief else None,
            )
            claim()
        except RecipeError as trouble:
            self._refuse(product, trouble, who, why, final=final)
            raise
        self._awaiting = False
        prepared = replace(prepared, drift=self._drift(prepared.recipe, bundle))
        self._metrics.drift_psi.labels(station, product).set_function(lambda: prepared.drift.psi)
        self._inspector.use(prepared)
        self._references.use(product)
        self._in_use, self._unrecognised = bundle, self._references.missing(bundle) if brief else []
        self._station.use(product, prepared.recipe.index, bundle.version, bundle.digest)
        self._station.tested(passed=True)
        if before.product == product and before.model not in ("", bundle.version):
            self._station.event("model_activated", product=product, model=bundle.version, before=before.model)
        self._metrics.selftest_success.clear()  # Of products before.
        self._metrics.selftest_success.labels(station, product).set(1)
        self._metrics.use_model(product, bundle.version, bundle.checksum[:16])
        self._metrics.model_load.set(time.monotonic() - started)
        judging = {"model_sha256": bundle.digest, **_recipe_facts(prepared.recipe)}
        if (before.product, before.model) != (product, bundle.version) or judging != self._judging:
            self._remember(who, IN_USE, before, f"{product}/{bundle.version}", why, judging)
        self._judging = judging

    def _drift(self, recipe: Recipe, bundle: Bundle) -> Drift:
        """Return new drift charts; the usual reject rate is kept if the recipe is as before."""
        judged_by, rejects = self._usual.get(recipe.product, (recipe, RejectChart()))
        if judged_by != recipe:
            rejects = RejectChart()
        rejects.restart()
        self._usual[recipe.product] = recipe, rejects
        usual = bundle.pictures
        return Drift(bundle.calibration.scores, recipe.threshold, usual.brightness, usual.sharpness, rejects)

    def _refuse(self, product: str, trouble: RecipeError, who: str, why: str, *, final: bool = False) -> None:
        """Judge nothing until a product passes its self-test; await missing files unless it is `final`."""
        self._awaiting = isinstance(trouble, RecipeNotThere) and not final
        self._await.reset()
        self._await_until_s = time.monotonic() + self._await.next_s()
        before = self._station.snapshot()
        self._inspector.use(None)
        index = index_of(self._models.recipes, product)
        self._station.use(product, index, "")  # Not the old model: it does not judge.
        self._station.tested(passed=False)
        self._metrics.selftest_success.clear()
        self._metrics.selftest_success.labels(before.station, product).set(0)
        self._station.event("selftest_failed", product=product, reason=str(trouble))
        self._station.intend(State.FAULT, _waiting(trouble) if self._awaiting else str(trouble))
        log.error("selftest_failed product=%s reason=%r", product, str(trouble))
        self._remember(who, "refused", before, product, f"{why}: {trouble}", {})

    def _remember(
        self, who: str, action: str, before: Snapshot, to: str, why: str, more: Mapping[str, object]
    ) -> None:
        """Write into the audit what judges from now on, or what was refused."""
        came_from = f"{before.product}/{before.model}" if before.model else ""
        try:
            product = to.partition("/")[0]
            self._audit(who, action, {"product": product, "from": came_from, "to": to, "why": why, **more})
        except StorageFull as trouble:
            self._station.storage_failed("journal", trouble)


def _recipe_facts(recipe: Recipe) -> dict[str, object]:
    """Return what of a recipe decides on parts: a change of its file by hand shows in the audit, too."""
    facts = {name: value for name, value in asdict(recipe).items() if value not in (None, ())}
    if recipe.mask is not None:
        with suppress(OSError):
            facts["mask_sha256"] = hashlib.sha256(recipe.mask.read_bytes()).hexdigest()
    return {"recipe": facts}


def _waiting(trouble: RecipeError) -> str:
    """Return the reason of a FAULT that ends by itself."""
    return f"{trouble}; it is used as soon as it is there"
