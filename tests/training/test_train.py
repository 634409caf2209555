"""End to end on a small product: train, evaluate, recalibrate, and refuse unusable input."""

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from linewatch.acquisition.sources.simulator.source import render
from linewatch.cli.inspect_files import inspect_files
from linewatch.domain import Embedding, Image, Result, State
from linewatch.errors import ImageError, LinewatchError, RecipeError, StorageFull, UsageError
from linewatch.line.inspector import Inspector
from linewatch.line.metrics import Metrics
from linewatch.line.station import Station
from linewatch.models.bundle import GRAPH, WEIGHTS, Bundle, active_version, versions
from linewatch.models.engine import OpenVinoEngine
from linewatch.models.loader import Prepared, build_scorer
from linewatch.models.recipe_file import load_recipe
from linewatch.models.registry import rollback
from linewatch.models.scoring_worker import ScoringWorker
from linewatch.models.self_test import self_test
from linewatch.models.training_quality import summarize_training
from linewatch.settings import JournalSettings, ModelsSettings, Settings
from linewatch.training.evaluate import evaluate
from linewatch.training.images import open_image_folder
from linewatch.training.network.model import Design
from linewatch.training.recalibrate import activate_proposal, recalibrate
from linewatch.training.train import PIXEL, describe, make_available, train
from linewatch.vision.image_io import read_image
from linewatch.vision.image_quality import QualityGate
from linewatch.vision.product_match import OtherProduct, ProductMatcher
from linewatch.vision.scoring import Scorer, standard_crop
from tests.bundles import models_in, teach
from tests.disks import SmallDisk
from tests.fakes import frame

PRODUCT = "mini"
SIDE_PX = 128
QUICK = Design(iterations=30)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in MVTec layout: train/good, test/good, test/missing, ground_truth/missing."""
    root = tmp_path_factory.mktemp("data")

    def write(folder: str, numbers: range, defect: str | None) -> None:
        (root / folder).mkdir(parents=True)
        for number in numbers:
            cv2.imwrite(str(root / folder / f"{number:03}.png"), render(5, number, defect, SIDE_PX))

    write("train/good", range(1, 25), None)
    write("test/good", range(100, 108), None)
    write("test/missing", range(200, 206), "missing")
    (root / "ground_truth/missing").mkdir(parents=True)
    for number in range(200, 206):
        good, bad = (render(5, number, defect, SIDE_PX) for defect in (None, "missing"))
        changed = (cv2.absdiff(good, bad).max(axis=2) > 20).astype(np.uint8) * 255
        cv2.imwrite(str(root / f"ground_truth/missing/{number:03}_mask.png"), changed)
    return root


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of models and recipes."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def bundle(data: Path, home: Path) -> Bundle:
    """Return the trained product; it is trained once for all tests."""
    shares: list[float] = []
    made = train(
        PRODUCT,
        data / "train/good",
        home / "models",
        home / "recipes",
        pixels=96 * 96,
        design=QUICK,
        progress=lambda _, done: shares.append(done),
    )
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    return made


def _scorer(home: Path, bundle: Bundle) -> Scorer:
    return build_scorer(bundle, OpenVinoEngine(bundle.graph))


def test_training_makes_a_usable_model(home: Path, bundle: Bundle) -> None:
    """It is active, has a recipe, passes its self-test and has good and challenge samples."""
    recipe, active = load_recipe(home / "recipes", PRODUCT, home / "models")

    assert active == bundle
    assert recipe.threshold == bundle.calibration.threshold
    self_test(_scorer(home, bundle), recipe, bundle)
    assert [sample.expected for sample in bundle.golden] == [Result.PASS] * 2 + [Result.FAIL] * 2
    assert len(bundle.calibration.scores) == 24
    assert bundle.training["parity"] < 0.01
    assert bundle.likeness is not None and 0 < bundle.likeness.limit < 10
    assert len(bundle.likeness.mean) == len(bundle.likeness.spread) == 176
    assert sum(path.stat().st_size for path in bundle.folder.rglob("*")) < 25_000_000


def test_the_summary_names_files_and_quality(home: Path, bundle: Bundle) -> None:
    """It names version, report and recipe, and warns of a poor or inactive model."""
    lines = describe(bundle, home / "models", home / "recipes").splitlines()
    assert lines[:3] == [
        f"{PRODUCT} {bundle.version}",
        f"report: {bundle.folder / 'report.html'}",
        f"recipe: {home / 'recipes'}/{PRODUCT}.toml, number 1 for the PLC",
    ]
    assert lines[3] == summarize_training(bundle.training)

    good = tuple(sample for sample in bundle.golden if sample.expected is Result.PASS)
    bad = replace(bundle, training={"made_up_recall": {"stain": 0.06}}, golden=good)
    lines = describe(bad, home / "models", home / "recipes").splitlines()
    assert lines[3].startswith("This product is not learnt well enough: only 6%")
    assert lines[4].startswith("No synthetic defect is found clearly enough")
    assert lines[5].startswith("It is active nevertheless: ")

    lines = describe(replace(bundle, version="0a1b2c3d"), home / "models", home / "recipes").splitlines()
    assert lines[-1] == (
        f"It is not active, {bundle.version} is; run it on trial: linewatch models try mini 0a1b2c3d"
    )


def test_the_report_is_self_contained(bundle: Bundle) -> None:
    """The report embeds its images and loads nothing else."""
    text = (bundle.folder / "report.html").read_text()

    assert "data:image/png;base64" in text
    assert 'src="http' not in text
    assert "Wanted false rejects" in text


def test_a_second_model_waits_to_be_activated(data: Path, home: Path, bundle: Bundle) -> None:
    """Training again does not change the active version."""
    second = train(
        PRODUCT,
        data / "train/good",
        home / "models",
        home / "recipes",
        pixels=96 * 96,
        design=replace(QUICK, autoencoder=False),
    )

    assert second.version != bundle.version
    assert active_version(home / "models", PRODUCT) == bundle.version
    assert versions(home / "models", PRODUCT) == [bundle.version, second.version]


@pytest.mark.parametrize(
    ("shape", "white", "says"),
    [
        ((64, 64), 64, "is 64x64 pixels but frames are 128x128; draw the mask on a captured frame"),
        ((128, 128), 1, "hides the whole part; draw it with more white"),
    ],
)
def test_an_unusable_mask_is_refused_before_training(
    data: Path, tmp_path: Path, shape: tuple[int, int], white: int, says: str
) -> None:
    """A mask of another size, or one that hides the whole part, raises ImageError."""
    mask = np.zeros(shape, np.uint8)
    mask[:white, :white] = 255
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    (recipes / "hidden.toml").write_text(f"index = 1\nmask = {str(tmp_path / 'mask.png')!r}\n")

    with pytest.raises(ImageError, match=says):
        train("hidden", data / "train/good", tmp_path / "models", recipes, align="off")


def test_the_pixel_architecture_can_be_trained(data: Path, tmp_path: Path) -> None:
    """The pixel autoencoder, a baseline, is trained and scored in the same way."""
    made = train(
        "plain",
        data / "train/good",
        tmp_path / "models",
        tmp_path / "recipes",
        pixels=64 * 64,
        architecture="pixel",
        design=replace(PIXEL, iterations=5),
    )

    assert made.training["architecture"] == "pixel"
    assert made.likeness is None  # The mean of its pixels does not identify a product.
    assert (
        _scorer(tmp_path, made)
        .score(
            render(5, 1, None, SIDE_PX), load_recipe(tmp_path / "recipes", "plain", tmp_path / "models")[0]
        )
        .raw
        > 0
    )


def test_embeddings_tell_products_apart(data: Path, home: Path, bundle: Bundle) -> None:
    """Training, test and defective parts match their product; a striped pattern matches another one."""
    engine = OpenVinoEngine(bundle.graph)

    def embed(image: Image) -> Embedding:
        return engine.run(standard_crop(image, bundle.registration, engine.input_shape)[0]).embedding

    def matches(folder: str) -> set[str]:
        areas = open_image_folder(data / folder, images_min=1)
        return {matcher.match(embed(area)) for area in areas}

    stripes = np.full((SIDE_PX, SIDE_PX, 3), 60, np.uint8)
    stripes[:, ::8] = (0, 0, 200)
    matcher = ProductMatcher(bundle.likeness, [OtherProduct("stripes", (embed(stripes),))])
    assert matches("train/good") == matches("test/good") == matches("test/missing") == {""}
    assert matcher.match(embed(np.roll(stripes, 1, axis=1))) == "stripes"


def test_a_trained_graph_has_a_local_embedding(bundle: Bundle) -> None:
    """It has the channels of the embedding, and what it shows is no constant."""
    engine = OpenVinoEngine(bundle.graph)
    good, bad = (render(5, 200, defect, engine.input_shape[0]) for defect in (None, "missing"))
    first, second = engine.run(good), engine.run(bad)

    assert first.local.shape == first.embedding.shape
    assert np.linalg.norm(first.local - second.local) > 0.1 * np.linalg.norm(first.local)


def test_evaluation_separates_good_from_defective(data: Path, home: Path, bundle: Bundle) -> None:
    """The metrics have the contract's keys and plausible values; the report shows them."""
    measured = evaluate(PRODUCT, data, home / "models", home / "recipes")
    metrics = measured.metrics

    assert metrics["version"] == bundle.version
    assert metrics["images"] == 14
    assert metrics["image_auroc"] > 70  # A tiny, hardly trained product: far above chance is all to expect.
    assert metrics["pixel_auroc"] > 85
    assert set(metrics["per_defect"]) == {"missing"}
    assert 0 < metrics["scorer_ms_p50"] <= metrics["scorer_ms_p95"]
    assert metrics["images_masked"] == 6 >= metrics["masked_found"]
    assert 0 <= metrics["located"] <= 1
    assert metrics["pb1"] <= metrics["pb5"] and 0 <= metrics["pg2"] <= 100
    assert "Image AUROC" in (text := measured.render_report()) and "Found where they are" in text


def test_a_defect_is_hit_where_it_is(data: Path, home: Path, bundle: Bundle, tmp_path: Path) -> None:
    """A mask over the whole image is met by every box, a mask in an empty corner by none."""
    for part in ("test/good", "test/missing"):
        shutil.copytree(data / part, tmp_path / part)
    masks = tmp_path / "ground_truth/missing"
    masks.mkdir(parents=True)
    strict = home / "recipes" / f"{PRODUCT}.toml"
    text = strict.read_text()
    hits = {}
    try:
        strict.write_text(f"{text}\nthreshold = 0.01\nunsure_threshold = 0.01\n")
        everywhere, corner = (
            np.full((SIDE_PX, SIDE_PX), 255, np.uint8),
            np.zeros((SIDE_PX, SIDE_PX), np.uint8),
        )
        corner[:1, :1] = 255
        for name, mask in (("everywhere", everywhere), ("nowhere", corner)):
            for image in sorted((tmp_path / "test/missing").iterdir()):
                cv2.imwrite(str(masks / f"{image.stem}_mask.png"), mask)
            metrics = evaluate(PRODUCT, tmp_path, home / "models", home / "recipes").metrics
            hits[name] = metrics["masked_found"], metrics["hits"], metrics["located"]
    finally:
        strict.write_text(text)

    assert hits == {"everywhere": (6, 1.0, 1.0), "nowhere": (6, 0.0, 0.0)}


def test_an_evaluation_counts_what_each_region_rejects(data: Path, home: Path, bundle: Bundle) -> None:
    """A region that is strict beyond measure rejects all; without regions there is no count."""
    recipe = home / "recipes" / f"{PRODUCT}.toml"
    text = recipe.read_text()
    assert evaluate(PRODUCT, data, home / "models", home / "recipes").metrics["per_region"] == {}
    table = f"[[region]]\nname = 'middle'\nroi = [32, 32, {SIDE_PX - 64}, {SIDE_PX - 64}]\n"
    try:
        recipe.write_text(f"{text}\n{table}threshold_factor = 0.01\n")
        measured = evaluate(PRODUCT, data, home / "models", home / "recipes")
    finally:
        recipe.write_text(text)

    assert measured.metrics["per_region"] == {
        "": {"good": 0, "defects": 0},
        "middle": {"good": 8, "defects": 6},
    }
    report = measured.render_report()
    assert "Region middle" in report and "rejects 8 good pictures and 6 with defects" in report


def test_a_version_is_measured_before_it_is_activated(data: Path, home: Path, bundle: Bundle) -> None:
    """`version` replaces the active one; an unknown one is refused."""
    measured = evaluate(PRODUCT, data, home / "models", home / "recipes", version=bundle.version)

    assert measured.metrics["version"] == bundle.version
    with pytest.raises(RecipeError, match="mini/0a1b2c3d is not in"):
        evaluate(PRODUCT, data, home / "models", home / "recipes", version="0a1b2c3d")


def test_copies_of_an_image_count_once(data: Path, tmp_path: Path) -> None:
    """Twelve images copied three times prove no more than twelve; copies of one are refused."""
    for folder, originals in (("few", 12), ("one", 1)):
        (tmp_path / folder).mkdir()
        for copy in range(3 if folder == "few" else 12):
            for image in sorted((data / "train/good").iterdir())[:originals]:
                shutil.copy(image, tmp_path / folder / f"{copy}{image.name}")
    quick = Design(autoencoder=False)

    bundle = train(PRODUCT, tmp_path / "few", tmp_path / "models", tmp_path, pixels=64 * 64, design=quick)

    assert bundle.training["images"] == 36
    assert len(bundle.calibration.scores) == bundle.training["images_distinct"] == 12
    assert bundle.calibration.bound is not None and bundle.calibration.bound > 0.2
    with pytest.raises(UsageError, match="only 1 of 12 pictures differ"):
        train(PRODUCT, tmp_path / "one", tmp_path / "models", tmp_path, pixels=64 * 64, design=quick)


def test_evaluation_takes_the_test_folder_itself(data: Path, home: Path, bundle: Bundle) -> None:
    """Masks are found beside the test folder."""
    measured = evaluate(PRODUCT, data / "test", home / "models", home / "recipes")

    assert measured.metrics["pixel_auroc"] is not None


def test_evaluation_without_good_images_is_refused(data: Path, home: Path, bundle: Bundle) -> None:
    """The error names the missing folder."""
    with pytest.raises(UsageError, match="has no folder 'good'"):
        evaluate(PRODUCT, data / "ground_truth", home / "models", home / "recipes")


@pytest.mark.parametrize("kind", [Result.PASS, Result.FAIL])
def test_the_same_image_scores_the_same_everywhere(home: Path, bundle: Bundle, kind: Result) -> None:
    """Raw scores of training, line, page and command agree to 0.1 %."""
    sample = next(sample for sample in bundle.golden if sample.expected is kind)
    path = bundle.folder / sample.file
    models = ModelsSettings(path=home / "models", recipes=home / "recipes")
    recipe, _ = load_recipe(models.recipes, PRODUCT, models.path)

    metrics = Metrics("test")
    station = Station("test", 1, PRODUCT, metrics)
    station.camera_back(0)
    station.intend(State.READY)
    line = Inspector(station, metrics, frame_age_ms_max=60_000)
    line.use(Prepared(recipe, _scorer(home, bundle), QualityGate(bundle.pictures, live=True)))
    (examined,) = line.examine(frame(image=read_image(path)))
    (live,) = line.inspect(examined)
    with ScoringWorker(models, "test") as worker:
        page, _ = worker.inspect(PRODUCT, path.read_bytes())
    (command,) = inspect_files(PRODUCT, [path], models.path, models.recipes)

    assert live.scored is not None
    assert live.result is page.result is kind
    for raw in (live.scored.raw, page.raw, command["raw"]):
        assert raw == pytest.approx(sample.raw, rel=1e-3)


def test_good_parts_score_as_they_were_calibrated(data: Path, home: Path, bundle: Bundle) -> None:
    """Calibration scores are those of unseen images, which exceed those of training images."""
    recipe, _ = load_recipe(home / "recipes", PRODUCT, home / "models")
    scorer = _scorer(home, bundle)

    def mean(folder: str) -> float:
        return float(
            np.mean(
                [scorer.score(area, recipe).raw for area in open_image_folder(data / folder, images_min=1)]
            )
        )

    calibrated = float(np.mean(bundle.calibration.scores))
    assert mean("train/good") < 0.95 * calibrated
    assert mean("test/good") == pytest.approx(calibrated, rel=0.1)


def test_recalibrating_changes_only_thresholds(data: Path, home: Path, bundle: Bundle) -> None:
    """The proposal changes nothing; activating it adds a version with the same graph and new thresholds."""
    settings = Settings(
        models=ModelsSettings(path=home / "models", recipes=home / "recipes"),
        journal=JournalSettings(path=home / "journal.db"),
    )
    strict = recalibrate(
        PRODUCT, 0.2, home / "models", home / "recipes", bad=data / "test/missing", good=data / "train/good"
    )
    lax = recalibrate(PRODUCT, 0.02, home / "models", home / "recipes")
    assert load_recipe(home / "recipes", PRODUCT, home / "models")[1] == bundle

    calibrated, _ = activate_proposal(settings, lax)

    recipe, after = load_recipe(home / "recipes", PRODUCT, home / "models")
    assert strict.calibration.threshold < lax.calibration.threshold
    assert recipe.threshold == lax.calibration.threshold
    assert after == calibrated != bundle
    assert {name: after.files[name] for name in (GRAPH, WEIGHTS)} == {
        name: bundle.files[name] for name in (GRAPH, WEIGHTS)
    }
    assert strict.effects[0].threshold == strict.calibration.threshold
    assert all(0 <= share <= 1 for e in strict.effects for share in (e.false_reject, e.recall, e.precision))
    assert rollback(settings, PRODUCT) == (bundle.version, calibrated.version)
    assert load_recipe(home / "recipes", PRODUCT, home / "models")[1] == bundle


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"false_reject": 0.0}, "use 0.01 for 1 %"),
        ({"pixels": 10}, "pixels 10 is out of range"),
        ({"align": "yes"}, "align 'yes' is unknown; use one of auto, on, off"),
        ({"foreground": "maybe"}, "foreground 'maybe' is unknown; use one of auto, on, off"),
        ({"architecture": "vit"}, "architecture 'vit' is unknown"),
    ],
)
def test_a_wrong_option_is_one_sentence(tmp_path: Path, options: dict[str, object], says: str) -> None:
    """A wrong option raises UsageError before any image is read."""
    with pytest.raises(UsageError, match=says):
        train("x", tmp_path, tmp_path, tmp_path, **options)  # type: ignore[arg-type]  # wrong on purpose


def _folder(tmp_path: Path, odd: bytes | Image | None, count: int = 12) -> Path:
    for number in range(count):
        cv2.imwrite(str(tmp_path / f"{number:02}.png"), np.full((64, 64, 3), 10 * number, np.uint8))
    if isinstance(odd, bytes):
        (tmp_path / "odd.png").write_bytes(odd)
    elif odd is not None:
        cv2.imwrite(str(tmp_path / "odd.png"), odd)
    return tmp_path


@pytest.mark.parametrize(
    ("odd", "says"),
    [
        (b"", r"odd\.png.*is empty"),
        (b"\x89PNG\r\n\x1a\nhalf", r"odd\.png.*"),
        (np.zeros((8, 8, 3), np.uint8), r"odd\.png.*only 8x8 pixels"),
        (np.zeros((64, 128, 3), np.uint8), r"odd\.png.*is 128x64 pixels but 00\.png is 64x64"),
    ],
)
def test_an_unusable_image_is_one_sentence(tmp_path: Path, odd: bytes | Image, says: str) -> None:
    """Broken, tiny and differently shaped images are named in the error."""
    with pytest.raises(ImageError, match=says) as caught:
        open_image_folder(_folder(tmp_path, odd))

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "odd", [np.zeros((64, 64), np.uint8), np.zeros((64, 64), np.uint16), np.zeros((64, 64, 4), np.uint8)]
)
def test_grey_deep_and_transparent_images_are_converted(tmp_path: Path, odd: Image) -> None:
    """They are converted to 8-bit BGR."""
    assert {area.shape for area in open_image_folder(_folder(tmp_path, odd))} == {(64, 64, 3)}


def test_too_few_images_are_refused(tmp_path: Path) -> None:
    """The error states the least number of images."""
    with pytest.raises(UsageError, match="holds 9 pictures, 10 good ones are the least"):
        open_image_folder(_folder(tmp_path, None, count=9))


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    """A missing folder raises UsageError."""
    with pytest.raises(UsageError, match="is not a folder"):
        open_image_folder(tmp_path / "nowhere")


def test_a_recipe_with_a_mistake_stops_training_at_once(data: Path, tmp_path: Path) -> None:
    """A misspelt recipe key is refused before training."""
    (tmp_path / "mini.toml").write_text("index = 1\nrio = [0, 0, 9, 9]\n")

    with pytest.raises(RecipeError, match="did you mean roi"):
        train(PRODUCT, data / "train/good", tmp_path, tmp_path)

    assert issubclass(RecipeError, LinewatchError)


@pytest.mark.parametrize(
    ("others", "says"),
    [
        ({"lid": "index = 1\nrio = [0, 0, 9, 9]\n"}, "lid.toml.*did you mean roi"),
        ({"lid": "index = 1\n", "cup": "index = 1\n"}, "both have index 1"),
        ({f"p{index}": f"index = {index}\n" for index in range(1, 1000)}, "all 999 product numbers"),
    ],
)
def test_other_recipes_that_leave_no_number_stop_training_at_once(
    data: Path, tmp_path: Path, others: dict[str, str], says: str
) -> None:
    """Invalid recipes and a lack of free product numbers are refused before training."""
    for product, text in others.items():
        (tmp_path / f"{product}.toml").write_text(text)

    with pytest.raises(RecipeError, match=says):
        train(PRODUCT, data / "train/good", tmp_path / "models", tmp_path)

    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(("models", "recipes"), [("file", "recipes"), ("models", "file/recipes")])
def test_a_place_that_cannot_be_written_stops_training_at_once(
    data: Path, tmp_path: Path, models: str, recipes: str
) -> None:
    """Folders that cannot be written are refused before training."""
    (tmp_path / "file").write_text("")

    with pytest.raises(StorageFull, match=r"file.*(File exists|Not a directory); check permissions and room"):
        train(PRODUCT, data / "train/good", tmp_path / models, tmp_path / recipes)


@pytest.mark.parametrize("full", ["temporary", "models"])
def test_a_disk_that_fills_up_while_a_model_is_written_is_one_sentence(
    data: Path, tmp_path: Path, small_disk: SmallDisk, monkeypatch: pytest.MonkeyPatch, full: str
) -> None:
    """Whichever disk is full, no partial version remains."""
    if full == "temporary":
        monkeypatch.setattr(tempfile, "tempdir", str(small_disk.folder))
    models = small_disk.folder / "models" if full == "models" else tmp_path / "models"

    with pytest.raises(StorageFull, match=r"check permissions and room"):
        train(
            PRODUCT,
            data / "train/good",
            models,
            tmp_path / "recipes",
            pixels=64 * 64,
            design=Design(autoencoder=False),
        )

    assert versions(models, PRODUCT) == []
    assert not list(small_disk.folder.rglob("scorer*"))


def test_no_version_is_left_where_its_recipe_cannot_be_written(tmp_path: Path) -> None:
    """A new version is deleted, one that existed before is kept."""
    models = models_in(tmp_path)
    bundle = teach(models)
    (tmp_path / "file").write_text("")

    for before, left in ([bundle.version], True), ([], False):
        with pytest.raises(StorageFull, match=r"demo\.toml.*Not a directory; check permissions and room"):
            make_available(bundle, models.path, tmp_path / "file/recipes", before)
        assert bundle.folder.exists() is left
