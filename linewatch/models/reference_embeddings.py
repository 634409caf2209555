"""What the good parts of other products look like to a model, so that such a part is known on the belt."""

import logging
from collections import OrderedDict
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
MODELS_MAX = 50  # Whose strangers are remembered: about 30 KB each.


class ReferenceEmbeddings:
    """Knows the other products by their golden samples; one thread at a time.

    A model looks at a sample once, until its product has another active version.
    """

    def __init__(self, models: Path, recipes: Path) -> None:
        self._models = models
        self._recipes = recipes
        self._known: OrderedDict[tuple[Key, Registration | None], dict[tuple[str, str], OtherProduct]] = (
            OrderedDict()
        )

    def present(self, product: str) -> tuple[tuple[str, str], ...]:
        """Return the first other products by name that have a recipe and a model, and their active versions.

        A version is "" where the file that names it is damaged.
        """
        others = (name for name in names(self._recipes) if name != product and self._is_there(name))
        return tuple((name, self._active(name)) for name in islice(others, PRODUCTS_MAX))

    def of(self, bundle: Bundle, engine: Engine) -> tuple[OtherProduct, ...]:
        """Return what the others look like to a model; what is wrong with one of them is logged, no more."""
        if bundle.likeness is None:
            return ()
        key = graph_key(bundle), bundle.registration
        before, now = self._known.pop(key, {}), {}
        for name, version in self.present(bundle.product):
            known = before.get((name, version))
            try:
                now[name, version] = known or self._meet(name, version, bundle, engine)
            except (LinewatchError, OSError) as trouble:
                log.warning(
                    "stranger_unknown product=%s other=%s reason=%r", bundle.product, name, str(trouble)
                )
        self._known[key] = now
        if len(self._known) > MODELS_MAX:
            self._known.popitem(last=False)
        return tuple(now.values())

    def _active(self, product: str) -> str:
        try:
            return active_version(self._models, product)
        except RecipeError:
            return ""

    def _is_there(self, product: str) -> bool:
        try:
            return (self._models / product / ACTIVE).exists()
        except OSError:  # Nobody lets us look: said when its samples are wanted.
            return True

    def _meet(self, product: str, version: str, bundle: Bundle, engine: Engine) -> OtherProduct:
        """Look at another product's samples as if they were on the belt now."""
        seen: list[Embedding] = []
        for path in good_samples(self._models, product, version, SAMPLES_MAX):
            try:
                crop, _ = standard_crop(read_image(path), bundle.registration, engine.input_shape)
            except NotRegistered:
                continue  # On the belt it is not found either: UNSURE already.
            seen.append(engine.run(crop).embedding)
        return OtherProduct(product, tuple(seen))
