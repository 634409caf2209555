"""The content of training and evaluation reports, without training anything."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from linewatch.models.bundle import Calibration
from linewatch.training.detection import DefectExample, Detection
from linewatch.training.reports.calibration import calibration_report
from linewatch.training.reports.evaluation import evaluation_report
from linewatch.training.reports.page import GalleryImage
from linewatch.training.reports.training import training_report
from linewatch.training.runs import Runs

FACTS: dict[str, Any] = {
    "made_up_recall": {"scratch": 0.8, "stain": 1.0, "patch": 0.9},
    "images": 4,
    "images_left_out": [],
    "registered": False,
    "overlap": None,
    "architecture": "feature",
    "seed": 0,
    "parity": 0.002,
}
CALIBRATION = Calibration(2.0, 1.8, 0.01, 0.527, "gumbel", (1.0, 1.2, 1.5, 1.9))


def gallery_image(name: str, score: float) -> GalleryImage:
    """Return a grey image whose map has one high cell."""
    anomaly_map = np.full((8, 8), 0.5, np.float32)
    anomaly_map[2, 3] = min(score, 9.0)
    return GalleryImage(name, score, np.full((64, 64, 3), 120, np.uint8), anomaly_map)


def report(calibration: Calibration = CALIBRATION, **facts: object) -> str:
    """Return the training report of two images."""
    return training_report(
        "cup", calibration, FACTS | facts, [gallery_image("usual.png", 1.0), gallery_image("odd.png", 2.31)]
    )


def test_a_poor_training_is_highlighted() -> None:
    """A poor result is marked by colour and symbol, a good one is not."""
    good, bad = report(), report(made_up_recall={"scratch": 0.1, "stain": 0.3})

    assert "This product can be learnt" in good and 'class="lead"' in good and "<svg" not in good
    assert "is not learnt well enough: only 20%" in bad and 'class="lead bad"' in bad and "<svg" in bad


def test_images_above_the_limit_are_named_with_what_leaving_them_out_changes() -> None:
    """The limit without them is stated where enough images remain."""
    rng = np.random.default_rng(2)
    scores = (*(float(score) for score in rng.gumbel(1.0, 0.1, 30)), 2.31)
    limit = Calibration(2.0, 1.8, 0.01, 0.15, "gumbel", scores)

    text, none = report(limit), report(replace(limit, threshold=3.0))
    became = re.search(
        r"leave these out and train again: the limit would become a raw score of about ([\d.]+)", text
    )
    assert became is not None and 1.3 < float(became[1]) < 2.0
    assert "<td>1: odd.png</td>" in text
    assert text.index('class="first"') < text.index("odd.png") < text.index("<table>"), "before all else"
    assert "<td>none</td>" in none and 'class="first"' not in none


def test_what_is_not_inspected_and_what_was_tried_is_shown() -> None:
    """The inspected area is outlined and explained, and synthetic defects appear as images."""
    mask = np.zeros((8, 8), np.float32)
    mask[2:6, 2:6] = 1
    example = DefectExample("stain", 0.08, np.full((64, 64, 3), 90, np.uint8), 2.5)
    detection = Detection(
        {0.05: {"stain": 0.2}, 0.08: {"stain": 0.9}},
        (-0.2, 0.3),
        (example,),
        {0.05: {}, 0.08: {"near the edge": 0.8, "inside": 1.0}},
        {-0.2: 1.0, 0.3: 1.0},
        {-0.2: 0.9, 0.3: 1.0},
    )
    images = [gallery_image("usual.png", 1.0)]
    facts = FACTS | {"inspected_share": 0.25, "light_band": [-0.2, 0.3]}

    text = training_report("cup", CALIBRATION, facts, images, detection=detection, part_mask=mask)

    assert "25% of the area, outlined in the pictures" in text
    assert "in light from -20% to +30% of the usual" in text
    assert 'stain, 8%, inside: <span class="found">found</span> · score 1250' in text
    for figure in ("found, by size and kind", "found, by size and place", "Verdicts in other light"):
        assert text.count(f"{figure}</h2>") == 1
    assert text != training_report("cup", CALIBRATION, facts, images, detection=detection)


def test_it_says_which_version_it_is_and_what_it_was_trained_on() -> None:
    """Version, date, folder, digest, settings and runs are in the report."""
    facts = FACTS | {"folder": "good", "images_digest": "ab12", "pixels": 65536, "align": "auto"}
    images = [gallery_image("usual.png", 1.0)]
    runs = Runs(3, "2026-11-03 06:00", "2026-11-05 21:58", named=True)

    text = training_report(
        "cup", CALIBRATION, facts, images, version="7f3a91c2", created="2026-11-28T10:00:00+00:00", runs=runs
    )

    assert "<title>Training cup 7f3a91c2</title>" in text and "2026-11-28T10:00:00+00:00" in text
    assert "4 from &#39;good&#39;" in text and "ab12" in text
    assert "false-reject 0.01, pixels 65536, align auto" in text
    assert "3 runs by the times in their names, 2026-11-03 06:00 to 2026-11-05 21:58" in text


def test_a_calibrated_version_has_a_report_of_its_own() -> None:
    """It states its own limit, the version it stems from, and what changes."""
    text = calibration_report(
        "cup", "0a1b2c3d", "2026-11-28", "7f3a91c2", CALIBRATION, ["threshold 2 (now 1.5)", "of 9 parts none"]
    )

    assert "Calibration cup 0a1b2c3d" in text and "of version 7f3a91c2; only the thresholds differ" in text
    assert "a raw score of 2.000" in text and "of 9 parts none" in text and "<figure>" not in text


def test_scores_are_those_of_the_page() -> None:
    """Captions use the scale where 1000 is the limit; the raw threshold appears once, beside the limit."""
    text = report()

    captions = re.findall(r"<figcaption>(.+) · <span class=\"(.*)\">(.+)</span></figcaption>", text)
    assert captions[:2] == [("odd.png", "failed", "score 1155"), ("usual.png", "", "score 500")]
    assert text.count('class="first"') == 1
    assert "score 1000, which is a raw score of 2.000" in text and "score 900, raw 1.800" in text
    assert "of the threshold" not in text


def test_images_and_heatmaps_have_captions() -> None:
    """Each image and heatmap has its caption, and the colour legend appears once."""
    text = report()

    assert text.count(">picture</div>") == text.count(">heatmap</div>") == 3, (
        "one above the limit, the other twice"
    )
    assert text.count("half the limit") == 1


def test_the_report_asks_about_light_and_background_and_collapses_the_mathematics() -> None:
    """The calibration method is in the collapsed details, and only there."""
    text = report()

    details = text[text.index("<details>") : text.index("</details>")]
    assert "and taken with the usual light and background?" in text
    assert "gumbel" in details and "Compiled against trained model" in details
    assert text.count("gumbel") == text.count("Compiled against trained model") == 1


@pytest.mark.parametrize(
    ("bound", "says"),
    [
        (
            0.527,
            "at most 52.7% with 95 % confidence; 299 good pictures are needed to state 1.0%, these are 4",
        ),
        (None, "299 good pictures are needed to state 1.0%, these are 4"),
    ],
)
def test_it_states_what_its_images_prove(bound: float | None, says: str) -> None:
    """The proven rate and the number of missing images are stated, with and without a bound."""
    calibration = Calibration(2.0, 1.8, 0.01, bound, "gumbel", (1.0, 1.2, 1.5, 1.9))

    assert f"<td>{says}</td>" in report(calibration)


def test_a_part_that_was_not_found_has_no_score() -> None:
    """An evaluation lists it with a text in place of the score."""
    gallery = ("Defects that score highest", [gallery_image("turned.png", float("inf"))])
    scores = {"good": [1.0, 1.1], "defect": [3.0]}

    text = evaluation_report("cup", CALIBRATION, [("images", "3")], scores, [], [gallery])

    assert "score none, the part was not found" in text and "<details>" not in text
