"""Recipe files and the threshold rule."""

from pathlib import Path

import pytest

from linewatch.domain import Judgement, Reason, Result
from linewatch.errors import RecipeError
from linewatch.models.recipe_file import follow_model, inspected_area, load_recipe, products, write_recipe
from linewatch.settings import ModelsSettings
from linewatch.vision.recipe import Recipe, judge
from tests.bundles import models_in, teach

RECIPE = Recipe("demo", 1, "00000000", threshold=2.0, unsure_threshold=1.5)


@pytest.fixture
def models(tmp_path: Path) -> ModelsSettings:
    """Return settings of a folder with one model."""
    found = models_in(tmp_path)
    teach(found)
    return found


def _write(models: ModelsSettings, text: str) -> None:
    (models.recipes / "demo.toml").write_text(text)


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        (0.0, (Result.PASS, Reason.NONE)),
        (1.5, (Result.PASS, Reason.NONE)),
        (1.6, (Result.UNSURE, Reason.NEAR_THRESHOLD)),
        (2.0, (Result.UNSURE, Reason.NEAR_THRESHOLD)),
        (2.1, (Result.FAIL, Reason.ABOVE_THRESHOLD)),
        (float("inf"), (Result.FAIL, Reason.ABOVE_THRESHOLD)),
        (float("nan"), (Result.FAIL, Reason.ABOVE_THRESHOLD)),
    ],
)
def test_a_score_on_a_threshold_is_on_its_good_side(raw: float, wanted: tuple[Result, Reason]) -> None:
    """A score equal to a threshold passes it; NaN fails."""
    assert judge(raw, RECIPE) == Judgement(*wanted)


@pytest.mark.parametrize("raw", [0.0, 1.9, 9.0, float("nan")])
def test_a_part_of_another_product_is_unsure(raw: float) -> None:
    """It is UNSURE at any score."""
    assert judge(raw, RECIPE, "lid") == Judgement(Result.UNSURE, Reason.WRONG_PRODUCT)


def test_a_recipe_without_thresholds_follows_the_model(models: ModelsSettings) -> None:
    """Thresholds come from the model's calibration."""
    recipe, bundle = load_recipe(models.recipes, "demo", models.path)

    assert (recipe.threshold, recipe.unsure_threshold) == (2.0, 1.5)
    assert recipe.model == bundle.version


def test_a_threshold_set_by_hand_scales_the_unsure_band(models: ModelsSettings) -> None:
    """The band keeps its ratio if only the threshold is given."""
    _write(models, "index = 1\nthreshold = 4\n")

    recipe, _ = load_recipe(models.recipes, "demo", models.path)

    assert (recipe.threshold, recipe.unsure_threshold) == (4.0, 3.0)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("index = 1\nmodle = 'active'\n", "modle is not a recipe key; did you mean model?"),
        ("model = 'active'\n", "index is missing"),
        ("index = 0\n", "index: input should be greater than or equal to 1"),
        ("index = 1\nmodel = 'newest'\n", "model: must match"),
        ("index = 1\nroi = [1, 2, 3]\n", "roi: list should have at least 4 items"),
        ("index = 1\nroi = [0, 0, 0, 9]\n", "roi: must be [x, y, width, height]"),
        ("index = 1\nthreshold = nan\n", "threshold: input should be"),
        ("index = 1\nthreshold = 1.0\nunsure_threshold = 1.1\n", "make it the smaller one"),
        ("index = 1\nmask = 'nowhere.png'\n", "mask 'nowhere.png' does not exist"),
        ("index = \n", "is not valid TOML"),
        ("index = 1\nmodel = '01234567'\n", "model demo/01234567 is not in"),
    ],
)
def test_a_mistake_in_a_recipe_is_one_sentence(models: ModelsSettings, text: str, says: str) -> None:
    """The error names the file, the key and what to write instead."""
    _write(models, text)

    with pytest.raises(RecipeError) as caught:
        load_recipe(models.recipes, "demo", models.path)

    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_first_recipe_gets_the_next_free_number(tmp_path: Path) -> None:
    """Used numbers are skipped, and an existing recipe stays as it is."""
    (tmp_path / "cup.toml").write_text("index = 1\n")
    (tmp_path / "lid.toml").write_text("index = 3\n")

    write_recipe(tmp_path, "pan")
    write_recipe(tmp_path, "lid")

    assert products(tmp_path) == {"cup": 1, "pan": 2, "lid": 3}


def test_two_products_cannot_share_a_number(tmp_path: Path) -> None:
    """The PLC could not distinguish them."""
    for name in ("cup", "lid"):
        (tmp_path / f"{name}.toml").write_text("index = 7\n")

    with pytest.raises(RecipeError, match=r"'cup' and 'lid' .* both have index 7"):
        products(tmp_path)


def test_a_recipe_that_follows_its_model_again_keeps_what_it_pinned_as_comments(
    models: ModelsSettings,
) -> None:
    """All other lines stay as they are."""
    _write(models, '# Ask Ada.\nindex = 5\nthreshold = 9.0\nmodel = "0a1b2c3d"\nroi = [1, 2, 30, 40]\n')

    pins = follow_model(models.recipes, "demo")

    assert pins == ["threshold = 9.0", 'model = "0a1b2c3d"']
    text = (models.recipes / "demo.toml").read_text()
    assert text.startswith("# Ask Ada.\nindex = 5\n# threshold = 9.0  # Until calibrated.\n# model")
    assert inspected_area(models.recipes, "demo") == ((1, 2, 30, 40), None)
    recipe, bundle = load_recipe(models.recipes, "demo", models.path)
    assert (recipe.threshold, recipe.model) == (2.0, bundle.version)
    assert follow_model(models.recipes, "demo") == []


def test_a_recipe_of_another_system_is_read_and_a_foreign_one_named(models: ModelsSettings) -> None:
    """A byte-order mark changes nothing; Latin-1 and UTF-16 are one sentence."""
    path = models.recipes / "demo.toml"
    path.write_bytes(b"\xef\xbb\xbfindex = 7\r\nthreshold = 3.0\r\n")
    assert products(models.recipes) == {"demo": 7}
    assert follow_model(models.recipes, "demo") == ["threshold = 3.0"]
    assert products(models.recipes) == {"demo": 7}

    for data in (b"index = 7  # f\xfcr Teil 5\r\n", "index = 7\n".encode("utf-16")):
        path.write_bytes(data)
        with pytest.raises(RecipeError, match=r"demo.toml' cannot be read: .*; save it as UTF-8|save it as"):
            products(models.recipes)


def test_what_a_file_manager_leaves_is_no_recipe(models: ModelsSettings) -> None:
    """Hidden files are no products; a file that no product can be called by is named."""
    (models.recipes / "._demo.toml").write_bytes(b"\0\5\x16\7")
    assert list(products(models.recipes)) == ["demo"]

    (models.recipes / "demo (copy).toml").write_text("index = 9\n")
    with pytest.raises(RecipeError, match=r"'demo \(copy\)' is no product name; rename the file"):
        products(models.recipes)


def test_an_active_version_saved_by_an_editor_is_read(models: ModelsSettings) -> None:
    """A byte-order mark in the pointer file changes nothing."""
    pointer = models.path / "demo" / "active"
    pointer.write_bytes(b"\xef\xbb\xbf" + pointer.read_bytes().strip() + b"\r\n")

    assert load_recipe(models.recipes, "demo", models.path)[1].version in pointer.read_text()
