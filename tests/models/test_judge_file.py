"""Picture files judged without a line."""

from pathlib import Path

import cv2
import pytest

from linewatch.cli.inspect_files import inspect_files
from linewatch.errors import ImageError, RecipeError
from linewatch.vision.image_io import read_image
from tests.bundles import models_in, part, teach


def test_files_get_the_keys_of_a_verdict(tmp_path: Path) -> None:
    """Every file gets result, score and box, and a heatmap where it was asked for."""
    models = models_in(tmp_path)
    bundle = teach(models, index=7)
    for name, blob in (("good", 0), ("near", 18), ("bad", 50)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), part(blob))
    files = [tmp_path / f"{name}.png" for name in ("good", "near", "bad")]

    found = list(inspect_files("demo", files, models.path, models.recipes, out=tmp_path / "out"))

    assert [one["result"] for one in found] == ["PASS", "UNSURE", "FAIL"]
    assert [one["score"] for one in found] == [0, 900, 2500]
    assert [one["seq"] for one in found] == [1, 2, 3]
    assert found[2]["box"] == [32, 16, 8, 8]
    assert (found[0]["product_index"], found[0]["model"]) == (7, bundle.version)
    assert found[2]["image"] == str(files[2])
    assert read_image(Path(found[2]["heatmap"])).shape == (64, 64, 3)


@pytest.mark.parametrize(
    ("files", "heatmaps"),
    [
        (["good/000.png", "good/001.png"], ["000", "001"]),
        (["good/000.png", "scratch/000.png", "scratch/001.png"], ["good_000", "scratch_000", "scratch_001"]),
        (["x/a/good/0.png", "y/a/good/0.png", "z/0.png"], ["x_a_good_0", "y_a_good_0", "z_0"]),
        (["good/000.png", "good/000.jpg"], ["1_000", "2_000"]),
    ],
)
def test_no_heatmap_takes_the_place_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: list[str], heatmaps: list[str]
) -> None:
    """Data sets number the pictures in each folder from 000 on."""
    monkeypatch.chdir(tmp_path)
    models = models_in(tmp_path)
    teach(models)
    paths = [Path(file) for file in files]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), part(50))

    found = list(inspect_files("demo", paths, models.path, models.recipes, out=Path("out")))

    assert [one["heatmap"] for one in found] == [f"out/{name}_heatmap.jpg" for name in heatmaps]
    assert len(list(Path("out").iterdir())) == len(files)


def test_without_a_folder_no_heatmap_is_written(tmp_path: Path) -> None:
    """Nothing appears beside the pictures."""
    models = models_in(tmp_path)
    teach(models)
    (tmp_path / "parts").mkdir()
    cv2.imwrite(str(tmp_path / "parts" / "a.png"), part(50))

    (found,) = inspect_files("demo", [tmp_path / "parts" / "a.png"], models.path, models.recipes)

    assert found["heatmap"] == ""
    assert len(list((tmp_path / "parts").iterdir())) == 1


def test_trouble_is_one_sentence(tmp_path: Path) -> None:
    """A product without a model and a file that is no picture are named."""
    models = models_in(tmp_path)
    with pytest.raises(RecipeError, match="has no recipe"):
        list(inspect_files("cup", [], models.path, models.recipes))
    teach(models)
    (tmp_path / "a.png").write_text("not a picture")

    with pytest.raises(ImageError, match=r"a\.png"):
        list(inspect_files("demo", [tmp_path / "a.png"], models.path, models.recipes))


def test_a_file_that_is_no_picture_need_not_stop_the_others(tmp_path: Path) -> None:
    """Broken, tiny and missing ones are told of, each in one sentence, and the rest is judged."""
    models = models_in(tmp_path)
    teach(models)
    files = [tmp_path / name for name in ("broken.png", "tiny.png", "missing.png", "good.png")]
    files[0].write_text("not a picture")
    cv2.imwrite(str(files[1]), part()[:8, :8])
    cv2.imwrite(str(files[3]), part())
    refused: list[ImageError] = []

    (judged,) = inspect_files("demo", files, models.path, models.recipes, unreadable=refused.append)

    assert (judged["result"], judged["seq"]) == ("PASS", 4)
    for path, trouble in zip(files[:3], refused, strict=True):
        assert path.name in str(trouble)
        assert "\n" not in str(trouble)
