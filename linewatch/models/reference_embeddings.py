"""Compute the embeddings of other products' golden samples, to recognise their parts on the belt."""

import logging
from collections import OrderedDict
from collections.abc import Collection, Sequence
from itertools import islice
from pathlib import Path

from linewatch.domain import Embedding
from linewatch.errors import LinewatchError, NotRegistered, RecipeError
from linewatch.models.bundle import ACTIVE, Bundle, active_version, good_samples
from linewatch.models.engine_cache import Key, graph_key
from linewatch.models.recipe_file import names
from linewatch.vision.image_io import read_image
from linewatch.vision.product_match import OtherProduct
from linewatch.vision.registration import Registration
from linewatch.vision.scoring import Engine, standard_crop

log = logging.getLogger(__name__)

PRODUCTS_MAX = 20
SAMPLES_MAX = 2  # Of each product.
MODELS_MAX = 50  # Models whose reference embeddings are cached: about 1.5 KB for each other product.


class ReferenceEmbeddings:
    """Computes and caches reference embeddings; one thread at a time.

    A model scores another product's samples once, and again when that product's active version changes.
    """

    def __init__(self, models: Path, recipes: Path, recent: Sequence[str] = ()) -> None:
        """`recent` are products that were in use before, the last one first."""
        self._models = models
        self._recipes = recipes
        self._recent = list(recent)
        self._cache: OrderedDict[tuple[Key, Registration | None], dict[tuple[str, str], OtherProduct]] = (
            OrderedDict()
        )

    def use(self, product: str) -> None:
        """Remember that a product is in use: its parts are more likely on the belt later than others."""
        self._recent = [product, *(name for name in self._recent if name != product)]

    def list_others(self, product: str) -> tuple[tuple[str, str], ...]:
        """Return the other products with a recipe and a model, and their active versions.

        At most PRODUCTS_MAX of them: those used last first, then by name. A version is "" if its product's
        `active` file is damaged.
        """
        known = names(self._recipes)
        ordered = dict.fromkeys([*(name for name in self._recent if name in known), *known])
        others = (name for name in ordered if name != product and self._has_model(name))
        return tuple((name, self._active(name)) for name in islice(others, PRODUCTS_MAX))

    def for_model(
        self, bundle: Bundle, engine: Engine, only: Collection[str] | None = None
    ) -> tuple[OtherProduct, ...]:
        """Return the other products with their embeddings; log and skip those that cannot be read.

        With `only` these products are computed and the others returned if they are cached: each takes as
        long as scoring SAMPLES_MAX parts. Empty if the model has no likeness, because embeddings cannot be
        compared then.
        """
        if bundle.likeness is None:
            return ()
        key = graph_key(bundle), bundle.registration
        before, now = self._cache.pop(key, {}), {}
        for name, version in self.list_others(bundle.product):
            cached = before.get((name, version))
            if cached is None and only is not None and name not in only:
                continue
            try:
                now[name, version] = cached or self._embed(name, version, bundle, engine)
            except (LinewatchError, OSError) as trouble:
                log.warning(
                    "reference_unavailable product=%s other=%s reason=%r", bundle.product, name, str(trouble)
                )
        current = {name for name, _ in now}
        self._cache[key] = now | {other: found for other, found in before.items() if other[0] not in current}
        if len(self._cache) > MODELS_MAX:
            self._cache.popitem(last=False)
        return tuple(now.values())

    def missing(self, bundle: Bundle) -> list[str]:
        """Return the other products that `for_model` would have to compute."""
        if bundle.likeness is None:
            return []
        cached = self._cache.get((graph_key(bundle), bundle.registration), {})
        return [other[0] for other in self.list_others(bundle.product) if other not in cached]

    def _active(self, product: str) -> str:
        try:
            return active_version(self._models, product)
        except RecipeError:
            return ""

    def _has_model(self, product: str) -> bool:
        try:
            return (self._models / product / ACTIVE).exists()
        except OSError:  # No permission: logged when its samples are read.
            return True

    def _embed(self, product: str, version: str, bundle: Bundle, engine: Engine) -> OtherProduct:
        """Compute the embeddings of another product's good samples, cropped like parts of this product."""
        embeddings: list[Embedding] = []
        for path in good_samples(self._models, product, version, SAMPLES_MAX):
            try:
                crop, _ = standard_crop(read_image(path), bundle.registration, engine.input_shape)
            except NotRegistered:
                continue  # Such a part is not found on the belt either, and is UNSURE already.
            embeddings.append(engine.run(crop).embedding)
        return OtherProduct(product, tuple(embeddings))
