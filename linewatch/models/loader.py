"""Load a product for inspection: read its recipe, compile its model, run its self-test."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from linewatch.errors import SelfTestFailed
from linewatch.models.bundle import Bundle
from linewatch.models.engine import OpenVinoEngine
from linewatch.models.engine_cache import EngineCache
from linewatch.models.recipe_file import load_recipe
from linewatch.models.reference_embeddings import ReferenceEmbeddings
from linewatch.models.self_test import self_test, verify_mask
from linewatch.settings import ModelsSettings
from linewatch.vision.drift import Drift
from linewatch.vision.image_quality import QualityGate
from linewatch.vision.product_match import OtherProduct, WrongProductAlarm
from linewatch.vision.recipe import Recipe
from linewatch.vision.scoring import Engine, Scorer


@dataclass(frozen=True, slots=True)
class Prepared:
    """All that is needed to judge one product; replaced as a whole at a changeover."""

    recipe: Recipe
    scorer: Scorer
    gate: QualityGate
    drift: Drift = field(default_factory=Drift)
    alarm: WrongProductAlarm = field(default_factory=WrongProductAlarm)


def prepare(
    product: str,
    models: ModelsSettings,
    *,
    version: str = "",
    live: bool = False,
    frozen_s: float = 0.0,
    engines: EngineCache | None = None,
    brief: bool = False,
    references: ReferenceEmbeddings | None = None,
    recognise: Collection[str] | None = None,
) -> tuple[Prepared, Bundle]:
    """Load a product's recipe and model and verify them on the golden samples. Raises RecipeError.

    `version` overrides the recipe's. `live` enables the freeze detection, for frames from a camera, and
    `frozen_s` its delay.
    A model whose engine is in `engines` is not compiled again, and with `brief` only its first golden
    sample of each kind is scored then; its files are always verified. With `references` parts of other
    products are recognised; computing their embeddings takes a while, and verifying needs none. `recognise`
    limits what is computed to these products.
    """
    recipe, bundle = load_recipe(models.recipes, product, models.path, version)
    cached = engines.get(bundle) if engines else None
    engine = cached or OpenVinoEngine(bundle.graph, threads=models.threads)
    try:
        scorer = build_scorer(bundle, engine)
        verify_mask(scorer, recipe)
        self_test(scorer, recipe, bundle, brief=brief and cached is not None)
    except SelfTestFailed:
        if engines:
            engines.drop(bundle)
        raise
    if engines:
        engines.keep(bundle, engine)
    scorer = build_scorer(
        bundle, engine, references.for_model(bundle, engine, recognise) if references else ()
    )
    return Prepared(recipe, scorer, QualityGate(bundle.pictures, live=live, frozen_s=frozen_s)), bundle


def build_scorer(bundle: Bundle, engine: Engine, references: Sequence[OtherProduct] = ()) -> Scorer:
    """Return the scorer of a model version; `references` are the other products that it recognises."""
    assert engine.input_shape == bundle.input_shape, "engine and bundle belong to different models"
    return Scorer(engine, bundle.registration, bundle.likeness, references)
