"""A product made ready to be judged: recipe, model and self-test together."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from linewatch.errors import SelfTestFailed
from linewatch.models.bundle import Bundle
from linewatch.models.engine import OpenVinoEngine
from linewatch.models.engine_cache import EngineCache
from linewatch.models.recipe_file import load_recipe
from linewatch.models.reference_embeddings import ReferenceEmbeddings
from linewatch.models.self_test import mask_test, self_test
from linewatch.settings import ModelsSettings
from linewatch.vision.drift import Drift
from linewatch.vision.image_quality import QualityGate
from linewatch.vision.product_match import OtherProduct, Sightings
from linewatch.vision.recipe import Recipe
from linewatch.vision.scoring import Engine, Scorer


@dataclass(frozen=True, slots=True)
class Prepared:
    """A product ready to be judged: recipe, scorer and gate change together or not at all."""

    recipe: Recipe
    scorer: Scorer
    gate: QualityGate
    drift: Drift = field(default_factory=Drift)
    sightings: Sightings = field(default_factory=Sightings)


def prepare(
    product: str,
    models: ModelsSettings,
    *,
    version: str = "",
    live: bool = False,
    engines: EngineCache | None = None,
    brief: bool = False,
    strangers: ReferenceEmbeddings | None = None,
) -> tuple[Prepared, Bundle]:
    """Load a product's recipe and model and prove them on the golden samples. Raises RecipeError.

    `version` stands in for the one that the recipe asks for. `live` says whether frames come from a
    camera, which can freeze. A model whose engine is among `engines` is not compiled again, and with
    `brief` only the first golden sample of each kind is scored then; its files are always proven.
    `strangers` lets it know parts of other products, which takes a while; whoever only proves needs none.
    """
    recipe, bundle = load_recipe(models.recipes, product, models.path, version)
    resident = engines.get(bundle) if engines else None
    engine = resident or OpenVinoEngine(bundle.graph, threads=models.threads)
    try:
        scorer = build_scorer(bundle, engine)
        mask_test(scorer, recipe)
        self_test(scorer, recipe, bundle, brief=brief and resident is not None)
    except SelfTestFailed:
        if engines:
            engines.drop(bundle)
        raise
    if engines:
        engines.keep(bundle, engine)
    scorer = build_scorer(bundle, engine, strangers.of(bundle, engine) if strangers else ())
    return Prepared(recipe, scorer, QualityGate(bundle.pictures, live=live)), bundle


def build_scorer(bundle: Bundle, engine: Engine, strangers: Sequence[OtherProduct] = ()) -> Scorer:
    """Return the scorer of a model version; `strangers` are the other products it shall recognise."""
    assert engine.input_shape == bundle.input_shape, "engine and bundle belong to different models"
    return Scorer(engine, bundle.registration, bundle.likeness, strangers)
