"""Other products on disk, as the model in use sees them: known by golden samples, and never in the way."""

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
    """The real one; counts what it looks at."""

    runs = 0

    def run(self, crop: Image) -> EngineOutput:
        """Read one crop."""
        self.runs += 1
        return super().run(crop)


class Place:
    """Models and recipes of demo, with a likeness, and of what else a test teaches."""

    def __init__(self, folder: Path, **facts: Any) -> None:
        self.models = models_in(folder)
        self.bundle = teach(self.models, **({"likeness": GREY} | facts))
        self.engine = CountingEngine(self.bundle.graph, threads=1)
        self.references = ReferenceEmbeddings(self.models.path, self.models.recipes)

    def met(self) -> dict[str, list[float]]:
        """Return the other products by name, with the embeddings of their samples."""
        found = self.references.for_model(self.bundle, self.engine)
        return {one.product: [round(float(seen.item()), 3) for seen in one.embeddings] for one in found}


def teach_lid(models: ModelsSettings, product: str = "lid", level: int = 140) -> Bundle:
    """Teach another product; its embedding is a tenth of its level, that of demo 10.0."""
    shown = part() - 100 + level
    return teach(models, product, level=level, golden=[(shown, Result.PASS, 0.0)])


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Return a place with demo alone."""
    return Place(tmp_path)


def test_other_products_are_known_by_their_good_samples(place: Place) -> None:
    """As this model sees them; the product itself and its challenge samples are no strangers."""
    teach_lid(place.models)
    many = [(part(blob), Result.PASS, 0.0) for blob in (0, 32, 64)]
    teach(place.models, "cup", golden=[(part(90), Result.FAIL, 9.0), *many])

    assert place.met() == {"cup": [10.0, 10.05], "lid": [14.0]}
    assert len(place.met()["cup"]) == SAMPLES_MAX


def test_what_is_no_product_of_this_line_is_no_stranger(place: Place) -> None:
    """A recipe without a model, and a model without a recipe."""
    (place.models.recipes / "new.toml").write_text("index = 7\n")
    teach_lid(place.models)
    (place.models.recipes / "lid.toml").unlink()

    assert place.met() == {}


def test_a_product_that_nobody_may_look_at_keeps_nobody_waiting(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Another user's folder: it is named in the log, the others are known, and the line goes on."""
    teach_lid(place.models)
    teach_lid(place.models, "cup", 180)
    for name in ("stat", "read_text"):
        real = getattr(Path, name)

        def refusing(path: Path, *rest: Any, real: Any = real, **how: Any) -> Any:
            if "cup" in path.parts:
                raise PermissionError(13, "Permission denied")
            return real(path, *rest, **how)

        monkeypatch.setattr(Path, name, refusing)

    assert place.met() == {"lid": [14.0]}
    assert "reference_unavailable product=demo other=cup" in caplog.text


def test_a_sample_is_looked_at_once(place: Place) -> None:
    """The next changeover takes no longer than before; another version of the lid, or a cup, is news."""
    teach_lid(place.models)
    assert [place.met(), place.engine.runs] == [{"lid": [14.0]}, 1]
    assert [place.met(), place.engine.runs] == [{"lid": [14.0]}, 1]

    teach_lid(place.models, level=150)
    assert [place.met(), place.engine.runs] == [{"lid": [15.0]}, 2]
    teach_lid(place.models, "cup", level=80)
    assert [place.met(), place.engine.runs] == [{"cup": [8.0], "lid": [15.0]}, 3]


def test_versions_with_the_same_graph_know_the_same_strangers(place: Place) -> None:
    """A calibration changes no picture."""
    teach_lid(place.models)
    place.met()

    place.bundle = write_variant(place.models.path, place.bundle, created="", training={"calibrated": 1})

    assert [place.met(), place.engine.runs] == [{"lid": [14.0]}, 1]


def test_a_model_that_cannot_tell_looks_at_nobody(tmp_path: Path) -> None:
    """It was learnt before this was known: its changeovers stay as quick."""
    place = Place(tmp_path, likeness=None)
    teach_lid(place.models)

    assert [place.met(), place.engine.runs] == [{}, 0]


def test_a_sample_in_which_no_part_is_found_is_left_out(tmp_path: Path) -> None:
    """On the belt such a part is not found either."""
    place = Place(tmp_path, registration=Registration(True, False, 0.5, 0.5, 0, 0, 0.1, 0.3))
    teach_lid(place.models)

    assert place.met() == {"lid": []}


def test_a_plant_with_many_products_compares_with_the_first_ones(place: Place) -> None:
    """Somewhere is an end."""
    names = [f"cup{number:02}" for number in range(PRODUCTS_MAX + 1)]
    for name in names:
        teach(place.models, name, golden=[])

    assert list(place.met()) == names[:PRODUCTS_MAX]


def _spoil(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")


def sample_changed(lid: Bundle) -> None:
    """Let a golden sample rot."""
    _spoil(lid.folder / "golden/0.png")


def sample_missing(lid: Bundle) -> None:
    """Lose a golden sample."""
    (lid.folder / "golden/0.png").unlink()


def manifest_changed(lid: Bundle) -> None:
    """Let the manifest rot."""
    _spoil(lid.folder / MANIFEST)


def pointer_damaged(lid: Bundle) -> None:
    """Let the file rot that names the active version."""
    (lid.folder.parent / ACTIVE).write_bytes(b"\xff\xfe\x00")


def pointer_leads_nowhere(lid: Bundle) -> None:
    """Remove the active version."""
    (lid.folder.parent / ACTIVE).write_text("12345678\n")


@pytest.mark.parametrize(
    "damage", [sample_changed, sample_missing, manifest_changed, pointer_damaged, pointer_leads_nowhere]
)
def test_a_damaged_product_is_named_in_the_log_and_keeps_nobody_waiting(
    place: Place, caplog: pytest.LogCaptureFixture, damage: Callable[[Bundle], None]
) -> None:
    """One line; the others are known all the same."""
    damage(teach_lid(place.models))
    teach_lid(place.models, "cup", level=80)

    with caplog.at_level(logging.WARNING):
        assert place.met() == {"cup": [8.0]}

    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("reference_unavailable product=demo other=lid reason=")


@pytest.mark.parametrize("name", ["../../elsewhere.png", "golden/0.bin", "/etc/hostname"])
def test_nothing_but_a_sample_inside_the_folder_is_opened(
    place: Place, caplog: pytest.LogCaptureFixture, tmp_path: Path, name: str
) -> None:
    """A manifest that somebody made up leads to no other file."""
    (tmp_path / "elsewhere.png").write_bytes(b"secret")
    made_up(place.models, teach_lid(place.models), name)

    assert place.met() == {}

    assert "is no golden sample" in caplog.text


def test_a_manifest_that_lacks_what_is_needed_is_no_crash(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """Its hash is right and it names no sample's file."""
    made_up(place.models, teach_lid(place.models), None)

    assert place.met() == {}

    assert "is not a model manifest" in caplog.text


def made_up(models: ModelsSettings, lid: Bundle, name: str | None) -> None:
    """Give the lid a manifest that names another file as its golden sample, with the right hash."""
    manifest = json.loads((lid.folder / MANIFEST).read_text())
    manifest["golden"] = [{"file": name, "expected": "PASS", "raw": 0.0} if name else {}]
    manifest["files"][str(name)] = "0" * 64
    version = version_of(manifest)
    folder = lid.folder.rename(lid.folder.with_name(version))
    (folder / MANIFEST).write_text(json.dumps(manifest | {"version": version}))
    (folder.parent / ACTIVE).write_text(version)
