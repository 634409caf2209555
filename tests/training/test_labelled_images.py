"""Labelled images and masks as other tools and data sets name and paint them."""

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from linewatch.cli.options import write_html
from linewatch.errors import ImageError, LinewatchError, UsageError
from linewatch.training.evaluate import Evaluation, evaluate
from tests.bundles import models_in, part, png, teach


class LabelledFolder:
    """A taught product, one good and one defective image, and a mask to be added."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "parts"
        self.models = models_in(folder)
        teach(self.models)
        for kind, blob in (("good", 0), ("scratch", 50)):
            (self.data / kind).mkdir(parents=True)
            (self.data / kind / "001.png").write_bytes(png(part(blob)))

    def paint(self, name: str, level: int) -> None:
        """Add a mask whose upper half has a level."""
        path = self.data / "ground_truth" / "scratch" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        mask = np.zeros((64, 64), np.uint8)
        mask[:32] = level
        assert cv2.imwrite(str(path), mask)

    def evaluate(self) -> Evaluation:
        """Measure the product on the images."""
        return evaluate("demo", self.data, self.models.path, self.models.recipes, threads=1)


@pytest.fixture
def labelled(tmp_path: Path) -> LabelledFolder:
    """Return a labelled folder without a mask."""
    return LabelledFolder(tmp_path)


@pytest.mark.parametrize("name", ["001_mask.png", "001.png", "001_GT.png", "001_label.bmp", "Mask_001.TIF"])
@pytest.mark.parametrize("level", [1, 100, 255])
def test_masks_of_other_tools_are_read(labelled: LabelledFolder, name: str, level: int) -> None:
    """Whatever is not black is the defect, under each of the usual names."""
    labelled.paint(name, level)

    evaluation = labelled.evaluate()

    (truth,) = [sample.truth for sample in evaluation.samples if not sample.good]
    assert truth is not None
    assert 0.45 < float(np.mean(truth)) < 0.55
    assert evaluation.metrics["images_masked"] == 1


@pytest.mark.parametrize(
    ("name", "level", "error", "words"),
    [
        (
            "other.png",
            255,
            UsageError,
            "holds no mask for '001.png' or any other picture; call them",
        ),
        ("001_mask.png", 0, ImageError, "is all black, so it marks no defect"),
    ],
)
def test_a_mask_that_would_read_as_empty_is_refused(
    labelled: LabelledFolder, name: str, level: int, error: type[LinewatchError], words: str
) -> None:
    """One sentence names the mask or the folder."""
    labelled.paint(name, level)

    with pytest.raises(error, match=words):
        labelled.evaluate()


def test_litter_is_no_kind_of_defect_and_phone_photos_are_named(labelled: LabelledFolder) -> None:
    """Hidden folders are left out; a format that cannot be read is one sentence."""
    for name in (".ipynb_checkpoints", "@eaDir"):
        (labelled.data / name).mkdir()
        (labelled.data / name / "001.png").write_bytes(png(part()))
    per_defect: dict[str, Any] = labelled.evaluate().metrics["per_defect"]
    assert list(per_defect) == ["scratch"]

    (labelled.data / "scratch" / "IMG_1.HEIC").write_bytes(b"")
    with pytest.raises(UsageError, match=r"1 pictures in other formats, such as 'IMG_1\.HEIC'; convert them"):
        labelled.evaluate()


def test_a_report_can_name_a_file_that_is_not_utf_8(labelled: LabelledFolder, tmp_path: Path) -> None:
    """The report is written; what is not text in a name is replaced."""
    name = os.fsdecode(b"kratz\xfcr.png")
    (labelled.data / "scratch" / name).write_bytes(png(part(50)))

    write_html(tmp_path / "report.html", labelled.evaluate().render_report())

    assert "scratch/kratz?r.png" in (tmp_path / "report.html").read_text()
