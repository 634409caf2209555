"""Prepare a product beside the running one, test it, and swap it in between two frames."""

import logging
import time

from linewatch.bundle import Bundle
from linewatch.domain import State
from linewatch.engine import OpenVinoEngine
from linewatch.errors import RecipeError
from linewatch.golden import self_test
from linewatch.health import Gate
from linewatch.inspector import Inspector, Prepared
from linewatch.metrics import Metrics
from linewatch.recipe import load_recipe
from linewatch.scoring import Scorer
from linewatch.settings import ModelsSettings
from linewatch.station import Station

log = logging.getLogger(__name__)


def prepare(product: str, models: ModelsSettings, *, live: bool = False) -> tuple[Prepared, Bundle]:
    """Load a product's recipe and model and prove them on the golden samples. Raises RecipeError.

    `live` says whether frames come from a camera, which can freeze.
    """
    recipe, bundle = load_recipe(models.recipes, product, models.path)
    scorer = Scorer(bundle, OpenVinoEngine(bundle.graph, threads=models.threads))
    self_test(scorer, recipe, bundle)
    return Prepared(recipe, scorer, Gate(bundle.pictures, live=live)), bundle


class Changeover:
    """Brings products into use; called from one thread at a time."""

    def __init__(
        self,
        models: ModelsSettings,
        inspector: Inspector,
        station: Station,
        metrics: Metrics,
        *,
        live: bool,
    ) -> None:
        self._models = models
        self._live = live
        self._inspector = inspector
        self._station = station
        self._metrics = metrics

    def begin(self, product: str) -> None:
        """Take up the first product. Raises RecipeError and leaves the station in FAULT if it is unfit."""
        self._station.intend(State.SELFTEST, "self-test before the first part")
        self._take_up(product)
        self._station.intend(State.READY)

    def change(self, product: str) -> None:
        """Judge `product` from now on. Raises RecipeError and leaves the station in FAULT if it is unfit.

        From the first line to the last no part is judged: a failed changeover must never go on
        silently with the product before it.
        """
        started = time.monotonic()
        self._station.intend(State.CHANGEOVER, f"changing to product {product}")
        self._take_up(product)
        took_s = time.monotonic() - started
        self._metrics.changeover.set(took_s)
        self._station.intend(State.READY)
        self._station.event("product_changed", product=product, ms=round(1000 * took_s))
        log.info("product_changed product=%s took_s=%.3f", product, took_s)

    def test(self) -> None:
        """Prove the product in use again, from disk. Raises RecipeError and leaves FAULT if it failed."""
        before = self._station.snapshot()
        self._station.intend(State.SELFTEST, "self-test")
        self._take_up(before.product)
        # A paused station stays paused; out of FAULT a passed self-test leads back to work.
        paused = before.mode is State.PAUSED
        self._station.intend(before.mode if paused else State.READY, before.mode_reason if paused else "")

    def _take_up(self, product: str) -> None:
        started = time.monotonic()
        before = self._station.snapshot()
        station = before.station
        self._metrics.know_product(product)
        try:
            prepared, bundle = prepare(product, self._models, live=self._live)
        except RecipeError as trouble:
            self._inspector.use(None)
            self._station.use(product, 0, "")  # Not the old one: a verdict must not name what did not judge.
            self._station.tested(passed=False)
            self._metrics.selftest_success.labels(station, product).set(0)
            self._station.event("selftest_failed", product=product, reason=str(trouble))
            self._station.intend(State.FAULT, str(trouble))
            log.error("selftest_failed product=%s reason=%r", product, str(trouble))
            raise
        self._inspector.use(prepared)
        self._station.use(product, prepared.recipe.index, bundle.version)
        self._station.tested(passed=True)
        if before.product == product and before.model not in ("", bundle.version):
            self._station.event("model_activated", product=product, model=bundle.version, before=before.model)
        self._metrics.selftest_success.labels(station, product).set(1)
        self._metrics.use_model(product, bundle.version, bundle.checksum[:16])
        self._metrics.model_load.set(time.monotonic() - started)
