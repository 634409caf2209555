"""Recipe files and the threshold rule."""

from pathlib import Path

import pytest

from linewatch.domain import Judgement, Reason, Result
from linewatch.errors import RecipeError
from linewatch.models.recipe_file import (
    follow_model,
    inspected_area,
    load_recipe,
    products,
    regions_of,
    write_area,
    write_recipe,
    write_regions,
)
from linewatch.settings import ModelsSettings
from linewatch.vision.recipe import Recipe, Region, judge
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


def _regions(*places: tuple[str, int], head: str = "", extra: str = "") -> str:
    """Return a recipe with regions of 64 x 64 pixels, by name and left edge; `extra` is in the last one."""
    tables = [f"[[region]]\nname = {name!r}\nroi = [{x}, 0, 64, 64]\n" for name, x in places]
    return "\n".join(["index = 1", head, *tables, extra, ""])


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
        (_regions(("a", 0), ("a", 90)), "two regions have the name 'a'"),
        (_regions(("a", 0), ("b", 63)), "regions 'a' and 'b' overlap; move or shrink one"),
        (_regions(*((f"r{number}", 64 * number) for number in range(17))), "17 regions are more than 16"),
        (_regions(("a", 0), extra="threshold = 1.0\nthreshold_factor = 2.0"), "keep one of them"),
        (_regions(("a", 0), extra="threshold_factor = 0.0"), "region 1: threshold_factor: input should be"),
        (_regions(("a", 0), extra="treshold = 1.0"), "region 1: treshold is not a recipe key; did you mean"),
        (_regions(("a", 0), extra="min_defect_px = 4096"), "no room for a defect of min_defect_px = 4096"),
        (_regions((" ", 0)), "region 1 ' ' has no usable name"),
        (_regions(("x" * 33, 0)), "has a name of more than 32 characters"),
        (_regions(("a", 0), head="roi = [1, 0, 99, 99]"), "is not inside the recipe's roi [1, 0, 99, 99]"),
        ("index = 1\n[[region]]\nname = 'a'\n", "region 1: roi is missing; give [x, y, width, height]"),
        ("index = 1\n[[region]]\nname = 'a'\nroi = [0, 0, 7, 9]\n", "is 7x9 pixels, too small"),
        ("index = 1\n[[region]]\nname = 'a'\nroi = [-1, 0, 9, 9]\n", "region 1: roi: must be"),
        ("index = 1\nregion = 3\n", "region: input should be a valid list"),
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

    pins = follow_model(models.recipes, "demo", 9.0)

    assert pins == ["threshold = 9.0", 'model = "0a1b2c3d"']
    text = (models.recipes / "demo.toml").read_text()
    assert text.startswith("# Ask Ada.\nindex = 5\n# threshold = 9.0  # Until calibrated.\n# model")
    assert inspected_area(models.recipes, "demo") == ((1, 2, 30, 40), None)
    recipe, bundle = load_recipe(models.recipes, "demo", models.path)
    assert (recipe.threshold, recipe.model) == (2.0, bundle.version)
    assert follow_model(models.recipes, "demo", 9.0) == []


def test_a_recipe_of_another_system_is_read_and_a_foreign_one_named(models: ModelsSettings) -> None:
    """A byte-order mark changes nothing; Latin-1 and UTF-16 are one sentence."""
    path = models.recipes / "demo.toml"
    path.write_bytes(b"\xef\xbb\xbfindex = 7\r\nthreshold = 3.0\r\n")
    assert products(models.recipes) == {"demo": 7}
    assert follow_model(models.recipes, "demo", 9.0) == ["threshold = 3.0"]
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


def test_a_region_takes_what_it_does_not_set_from_the_recipe(models: ModelsSettings) -> None:
    """A raw score becomes a factor of the recipe's threshold; without limits it is judged like the rest."""
    third = "[[region]]\nname = 'c'\nroi = [200, 0, 9, 9]\nthreshold_factor = 3\nmin_defect_px = 0"
    extra = f"threshold = 1.0\n\n{third}"
    _write(models, _regions(("a", 0), ("b", 90), head="min_defect_px = 7", extra=extra))

    recipe, _ = load_recipe(models.recipes, "demo", models.path)

    assert [(one.name, one.factor, one.min_defect_px) for one in recipe.regions] == [
        ("a", 1.0, 7),
        ("b", 0.5, 7),
        ("c", 3.0, 0),
    ]


def test_regions_are_written_and_read_back(models: ModelsSettings) -> None:
    """The lines above stay, the regions of before go, and the roi is changed without theirs."""
    _write(models, "# Ask Ada.\n" + _regions(("old", 0)))
    wanted = (
        Region('Gewinde "oben"', (1, 2, 30, 40), factor=0.8, min_defect_px=5),
        Region("rim", (50, 2, 30, 40), threshold=1.25),
    )

    write_regions(models.recipes, "demo", wanted)
    write_area(models.recipes, "demo", (0, 0, 90, 90), None)

    assert regions_of(models.recipes, "demo") == wanted
    assert inspected_area(models.recipes, "demo") == ((0, 0, 90, 90), None)
    assert (models.recipes / "demo.toml").read_text().startswith("# Ask Ada.\nindex = 1\n")
    with pytest.raises(RecipeError, match="'rim' is not inside the recipe's roi"):
        write_area(models.recipes, "demo", (0, 0, 60, 90), None)
    assert inspected_area(models.recipes, "demo") == ((0, 0, 90, 90), None)
    write_regions(models.recipes, "demo", ())
    assert regions_of(models.recipes, "demo") == ()


def test_a_region_stays_as_strict_when_the_recipe_follows_its_model_again(models: ModelsSettings) -> None:
    """Its raw score becomes a factor of the threshold used before; a region without one stays as it is."""
    _write(models, _regions(("a", 0), ("b", 90), head="threshold = 4.0", extra="threshold = 3.0"))

    pins = follow_model(models.recipes, "demo", 4.0)

    assert pins == ["threshold = 4.0", "threshold = 3.0"]
    assert [one.factor for one in load_recipe(models.recipes, "demo", models.path)[0].regions] == [1.0, 0.75]
