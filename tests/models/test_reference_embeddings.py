"""Embeddings of other products' golden samples, computed with the model in use."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from linewatch.domain import EngineOutput, Image, Result
from linewatch.models.bundle import ACTIVE, MANIFEST, Bundle, version_of, write_variant
from linewatch.models.engine import OpenVinoEngine
from linewatch.models.reference_embeddings import PRODUCTS_MAX, SAMPLES_MAX, ReferenceEmbeddings
from linewatch.settings import ModelsSettings
from linewatch.vision.registration import Registration
from tests.bundles import GREY, models_in, part, teach


class CountingEngine(OpenVinoEngine):
    """An OpenVINO engine that counts its runs."""

    runs = 0

    def run(self, crop: Image) -> EngineOutput:
        """Score one crop."""
        self.runs += 1
        return super().run(crop)


class Plant:
    """A models and a recipes folder with product demo, which has a likeness."""

    def __init__(self, folder: Path, **facts: Any) -> None:
        self.models = models_in(folder)
        self.bundle = teach(self.models, **({"likeness": GREY} | facts))
        self.engine = CountingEngine(self.bundle.graph, threads=1)
        self.references = ReferenceEmbeddings(self.models.path, self.models.recipes)

    def embeddings(self) -> dict[str, list[float]]:
        """Return the embeddings of the other products' samples by product."""
        found = self.references.for_model(self.bundle, self.engine)
        return {
            other.product: [round(float(embedding.item()), 3) for embedding in other.embeddings]
            for other in found
        }


def teach_lid(models: ModelsSettings, product: str = "lid", level: int = 140) -> Bundle:
    """Write a model of another product; its embedding is a tenth of its level, that of demo 10.0."""
    shown = part() - 100 + level
    return teach(models, product, level=level, golden=[(shown, Result.PASS, 0.0)])


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    """Return a plant whose only product is demo."""
    return Plant(tmp_path)


def test_other_products_are_represented_by_their_good_samples(plant: Plant) -> None:
    """The product itself and challenge samples are left out."""
    teach_lid(plant.models)
    many = [(part(blob), Result.PASS, 0.0) for blob in (0, 32, 64)]
    teach(plant.models, "cup", golden=[(part(90), Result.FAIL, 9.0), *many])

    assert plant.embeddings() == {"cup": [10.0, 10.05], "lid": [14.0]}
    assert len(plant.embeddings()["cup"]) == SAMPLES_MAX


def test_products_used_last_come_first(plant: Plant) -> None:
    """Of more than PRODUCTS_MAX those are kept whose parts are likely on the belt; the rest by name."""
    for number in range(PRODUCTS_MAX + 2):
        teach_lid(plant.models, f"lid{number:02}")
    plant.references = ReferenceEmbeddings(
        plant.models.path, plant.models.recipes, ["lid21", "gone", "lid07"]
    )

    def others() -> list[str]:
        return [name for name, _ in plant.references.list_others("demo")]

    assert others() == ["lid21", "lid07", *(f"lid{n:02}" for n in range(19) if n != 7)]
    plant.references.use("lid20")
    plant.references.use("demo")
    assert others()[:3] == ["lid20", "lid21", "lid07"] and len(others()) == PRODUCTS_MAX


def test_what_was_computed_is_kept_when_the_order_changes(plant: Plant) -> None:
    """Going back and forth between products computes nothing again."""
    for number in range(PRODUCTS_MAX + 1):
        teach_lid(plant.models, f"lid{number:02}")
    plant.embeddings()
    plant.references.use("lid20")
    runs = plant.engine.runs

    assert next(iter(plant.embeddings())) == "lid20"
    assert plant.engine.runs == runs + 1
    plant.references.use("lid18")
    plant.references.use("lid19")
    assert plant.references.missing(plant.bundle) == []


def test_embeddings_can_be_computed_product_by_product(plant: Plant) -> None:
    """Of those asked for; the others are returned if they are cached, and missing until then."""
    teach_lid(plant.models)
    teach_lid(plant.models, "screw", 180)
    assert plant.references.missing(plant.bundle) == ["lid", "screw"]

    def products(*only: str) -> list[str]:
        return [other.product for other in plant.references.for_model(plant.bundle, plant.engine, only)]

    assert (products(), products("screw"), products("lid")) == ([], ["screw"], ["lid", "screw"])
    assert (products(), plant.references.missing(plant.bundle)) == (["lid", "screw"], [])
    assert plant.engine.runs == 2


def test_products_without_recipe_or_model_are_left_out(plant: Plant) -> None:
    """Both a recipe without a model and a model without a recipe are ignored."""
    (plant.models.recipes / "new.toml").write_text("index = 7\n")
    teach_lid(plant.models)
    (plant.models.recipes / "lid.toml").unlink()

    assert plant.embeddings() == {}


def test_a_product_without_read_permission_is_logged_and_left_out(
    plant: Plant, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log names it, and the other products are compared."""
    teach_lid(plant.models)
    teach_lid(plant.models, "cup", 180)
    for name in ("stat", "read_text"):
        real = getattr(Path, name)

        def refusing(path: Path, *rest: Any, real: Any = real, **how: Any) -> Any:
            if "cup" in path.parts:
                raise PermissionError(13, "Permission denied")
            return real(path, *rest, **how)

        monkeypatch.setattr(Path, name, refusing)

    assert plant.embeddings() == {"lid": [14.0]}
    assert "reference_unavailable product=demo other=cup" in caplog.text


def test_a_sample_is_scored_once(plant: Plant) -> None:
    """Only a new version or a new product is scored at the next changeover."""
    teach_lid(plant.models)
    assert [plant.embeddings(), plant.engine.runs] == [{"lid": [14.0]}, 1]
    assert [plant.embeddings(), plant.engine.runs] == [{"lid": [14.0]}, 1]

    teach_lid(plant.models, level=150)
    assert [plant.embeddings(), plant.engine.runs] == [{"lid": [15.0]}, 2]
    teach_lid(plant.models, "cup", level=80)
    assert [plant.embeddings(), plant.engine.runs] == [{"cup": [8.0], "lid": [15.0]}, 3]


def test_versions_with_the_same_graph_share_the_embeddings(plant: Plant) -> None:
    """A new calibration does not change embeddings."""
    teach_lid(plant.models)
    plant.embeddings()

    plant.bundle = write_variant(plant.models.path, plant.bundle, created="", training={"calibrated": 1})

    assert [plant.embeddings(), plant.engine.runs] == [{"lid": [14.0]}, 1]


def test_a_model_without_likeness_scores_no_samples(tmp_path: Path) -> None:
    """Models trained before likenesses were introduced change over without delay."""
    plant = Plant(tmp_path, likeness=None)
    teach_lid(plant.models)

    assert [plant.embeddings(), plant.engine.runs] == [{}, 0]


def test_a_sample_that_cannot_be_registered_is_left_out(tmp_path: Path) -> None:
    """Such a part cannot be registered on the belt either."""
    plant = Plant(tmp_path, registration=Registration(True, False, 0.5, 0.5, 0, 0, 0.1, 0.3))
    teach_lid(plant.models)

    assert plant.embeddings() == {"lid": []}


def test_the_number_of_compared_products_is_limited(plant: Plant) -> None:
    """The first PRODUCTS_MAX by name are compared."""
    names = [f"cup{number:02}" for number in range(PRODUCTS_MAX + 1)]
    for name in names:
        teach(plant.models, name, golden=[])

    assert list(plant.embeddings()) == names[:PRODUCTS_MAX]


def _spoil(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")


def sample_changed(lid: Bundle) -> None:
    """Corrupt a golden sample."""
    _spoil(lid.folder / "golden/0.png")


def sample_missing(lid: Bundle) -> None:
    """Delete a golden sample."""
    (lid.folder / "golden/0.png").unlink()


def manifest_changed(lid: Bundle) -> None:
    """Corrupt the manifest."""
    _spoil(lid.folder / MANIFEST)


def pointer_damaged(lid: Bundle) -> None:
    """Corrupt the `active` file."""
    (lid.folder.parent / ACTIVE).write_bytes(b"\xff\xfe\x00")


def pointer_leads_nowhere(lid: Bundle) -> None:
    """Name a missing version in the `active` file."""
    (lid.folder.parent / ACTIVE).write_text("12345678\n")


@pytest.mark.parametrize(
    "damage", [sample_changed, sample_missing, manifest_changed, pointer_damaged, pointer_leads_nowhere]
)
def test_a_damaged_product_is_logged_and_left_out(
    plant: Plant, caplog: pytest.LogCaptureFixture, damage: Callable[[Bundle], None]
) -> None:
    """One log line names it, and the other products are compared."""
    damage(teach_lid(plant.models))
    teach_lid(plant.models, "cup", level=80)

    with caplog.at_level(logging.WARNING):
        assert plant.embeddings() == {"cup": [8.0]}

    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("reference_unavailable product=demo other=lid reason=")


@pytest.mark.parametrize("name", ["../../elsewhere.png", "golden/0.bin", "/etc/hostname"])
def test_only_samples_inside_the_folder_are_opened(
    plant: Plant, caplog: pytest.LogCaptureFixture, tmp_path: Path, name: str
) -> None:
    """A forged manifest cannot name other files."""
    (tmp_path / "elsewhere.png").write_bytes(b"secret")
    forge(plant.models, teach_lid(plant.models), name)

    assert plant.embeddings() == {}

    assert "is no golden sample" in caplog.text


def test_a_manifest_without_a_needed_key_is_logged(plant: Plant, caplog: pytest.LogCaptureFixture) -> None:
    """A correct digest over an entry without a file name is no crash."""
    forge(plant.models, teach_lid(plant.models), None)

    assert plant.embeddings() == {}

    assert "is not a model manifest" in caplog.text


def forge(models: ModelsSettings, lid: Bundle, name: str | None) -> None:
    """Give the lid a manifest with a correct digest that names another file as its golden sample."""
    manifest = json.loads((lid.folder / MANIFEST).read_text())
    manifest["golden"] = [{"file": name, "expected": "PASS", "raw": 0.0} if name else {}]
    manifest["files"][str(name)] = "0" * 64
    version = version_of(manifest)
    folder = lid.folder.rename(lid.folder.with_name(version))
    (folder / MANIFEST).write_text(json.dumps(manifest | {"version": version}))
    (folder.parent / ACTIVE).write_text(version)
