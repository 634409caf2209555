"""The report of a training: whether the product was learnt, which images to examine, what is detected."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from linewatch.domain import Image
from linewatch.models.bundle import Calibration
from linewatch.models.training_quality import is_adequate, summarize_training
from linewatch.training.calibrate import IMAGES_MIN, calibrate
from linewatch.training.detection import Detection
from linewatch.training.reports.figures import draw_histogram, draw_shares
from linewatch.training.reports.kinds import describe_kinds
from linewatch.training.reports.page import (
    GALLERY_SIZE,
    GalleryImage,
    calibration_rows,
    format_score,
    gallery,
    jpeg,
    render,
)
from linewatch.training.runs import Runs, describe_runs
from linewatch.vision.image_io import shrink_to

ABOVE_SHOWN_MAX = 24  # Good images above the limit that the report names and shows.
_EXAMPLE_SIDE_PX = 256
_OUTLINE_BGR = (80, 220, 80)


def training_report(
    product: str,
    calibration: Calibration,
    facts: Mapping[str, Any],
    images: Sequence[GalleryImage],
    *,
    version: str = "",
    created: str = "",
    runs: Runs | None = None,
    detection: Detection | None = None,
    part_mask: NDArray[np.float32] | None = None,
    rarer: NDArray[np.bool_] | None = None,
) -> str:
    """Return a training report as HTML.

    `facts` are the training facts of the manifest, `images` the good images with their out-of-fold
    scores. The outline of `part_mask` (rows, columns) is drawn on them. `rarer` (n,) marks those of the
    rarer of two kinds.
    """
    ordered = sorted(images, key=lambda image: -image.score)
    scores = [image.score for image in images]
    unusual = [replace(image, crop=_outline(image.crop, part_mask)) for image in ordered]
    above = [image for image in unusual if image.score > calibration.threshold]
    below = unusual[len(above) :]
    galleries = [
        (
            "Most unusual good pictures below the limit: is every one of them really good, "
            "and taken with the usual light and background?",
            gallery(below[:GALLERY_SIZE], calibration),
        ),
        ("Most usual good pictures", gallery(below[::-1][:GALLERY_SIZE], calibration)),
        *_kinds_galleries(images, rarer, calibration),
    ]
    return render(
        title=f"Training {product} {version}".strip(),
        lead=summarize_training(facts),
        learnt=is_adequate(facts),
        first=_above_first(above, calibration),
        rows=[
            *([("Version", f"{version}, {created}")] if version else []),
            *_images_rows(facts, runs),
            *calibration_rows(calibration),
            ("Good pictures above the limit", _above_text(above)),
            *([("Kinds", kinds)] if (kinds := describe_kinds(facts)) else []),
            *_facts_rows(facts),
        ],
        details=_details(calibration, facts),
        figures=[
            (
                "Scores of good pictures, each by a model trained without it",
                draw_histogram({"good": scores}, calibration),
            ),
            *_detection_figures(detection),
        ],
        galleries=galleries,
        examples=_example_rows(detection, calibration),
    )


def _kinds_galleries(
    images: Sequence[GalleryImage], rarer: NDArray[np.bool_] | None, calibration: Calibration
) -> list[tuple[str, list[dict[str, str]]]]:
    """Return galleries of the most usual images of each of two kinds; empty if there is one kind."""
    if rarer is None:
        return []
    usual = sorted(zip(images, rarer, strict=True), key=lambda pair: pair[0].score)
    kinds = [[image for image, few in usual if few == wanted][:GALLERY_SIZE] for wanted in (False, True)]
    titles = "Two kinds of good pictures: the more frequent", "Two kinds of good pictures: the rarer"
    return [(title, gallery(kind, calibration)) for title, kind in zip(titles, kinds, strict=True)]


def _above_first(above: Sequence[GalleryImage], calibration: Calibration) -> dict[str, Any] | None:
    """Return the gallery of good images that would be rejected, with what to do; None if there are none."""
    if not above:
        return None
    advice = "If they are not good, leave these out and train again"
    rest = tuple(score for score in calibration.scores if score <= calibration.threshold)
    if len(rest) >= IMAGES_MIN:
        limit = calibrate(rest, calibration.false_reject).threshold
        share = limit / calibration.threshold
        advice += (
            f": the limit would become a raw score of about {limit:.3f}, {share:.0%} of what it is, "
            "so smaller defects would be found"
            if share < 1
            else ": the limit would stay about as it is"
        )
    return {
        "title": "Good pictures above the limit",
        "advice": f"{advice}. If they are good, more pictures like them are needed.",
        "pictures": gallery(above[:ABOVE_SHOWN_MAX], calibration),
    }


def _above_text(above: Sequence[GalleryImage]) -> str:
    if not above:
        return "none"
    names = ", ".join(image.name for image in above[:ABOVE_SHOWN_MAX])
    return f"{len(above)}: {names}{', …' if len(above) > ABOVE_SHOWN_MAX else ''}"


def _detection_figures(detection: Detection | None) -> list[tuple[str, str]]:
    """Return the plots of recall over defect size, and of verdicts over brightness."""
    if detection is None:
        return []
    axes = "size, % of the shorter side", "found, %"
    figures = [("Synthetic defects found, by size and kind", draw_shares(_turn(detection.recall), *axes))]
    if detection.recall_by_place:
        shares = draw_shares(_turn(detection.recall_by_place), *axes)
        figures.append(("Synthetic defects found, by size and place", shares))
    if detection.passed_by_light:
        light = {
            "good pictures that still pass": {0.0: 1.0, **detection.passed_by_light},
            "defects that are still found": {0.0: 1.0, **detection.found_by_light},
        }
        plot = draw_shares(light, "change of brightness, %", "of those in usual light, %")
        figures.append(("Verdicts in other light", plot))
    return figures


def _turn(by_size: Mapping[float, Mapping[str, float]]) -> dict[str, dict[float, float]]:
    """Return {label: {size: share}} of {size: {label: share}}."""
    labels = dict.fromkeys(label for shares in by_size.values() for label in shares)
    return {
        label: {size: shares[label] for size, shares in by_size.items() if label in shares}
        for label in labels
    }


def _example_rows(detection: Detection | None, calibration: Calibration) -> list[dict[str, str]]:
    """Return the synthetic defects that the scorer was tried with, as images."""
    if detection is None:
        return []
    return [
        {
            "name": f"{example.kind}, {example.size:.0%}, {example.place}",
            "score": format_score(example.score, calibration),
            "found": "found" if example.score > calibration.threshold else "missed",
            "picture": jpeg(shrink_to(example.image, _EXAMPLE_SIDE_PX)),
        }
        for example in detection.examples
    ]


def _outline(crop: Image, part_mask: NDArray[np.float32] | None) -> Image:
    """Return the crop with the outline of the inspected area, unless that is all of it."""
    if part_mask is None or part_mask.all():
        return crop
    size = (crop.shape[1], crop.shape[0])
    mask = cv2.resize(part_mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    drawn = crop.copy()
    cv2.drawContours(drawn, outlines, -1, _OUTLINE_BGR, 1)
    return drawn


def _images_rows(facts: Mapping[str, Any], runs: Runs | None) -> list[tuple[str, str]]:
    """Return how many images there are, from which folder, and from how many runs."""
    distinct = facts.get("images_distinct", facts["images"])
    copies = (
        "" if distinct == facts["images"] else f", {distinct} of them distinct; near-duplicates count once"
    )
    source = f" from {facts['folder']!r}" if facts.get("folder") else ""
    rows = [("Good pictures", f"{facts['images']}{source}{copies}")]
    if runs is not None:
        rows.append(("Taken in", describe_runs(runs)))
    return rows


def _facts_rows(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    overlap = facts["overlap"]
    aligned = (
        "not tried"
        if overlap is None
        else (f"parts overlap {overlap['raw']:.0%} as they lie, {overlap['registered']:.0%} when registered")
    )
    share = facts.get("inspected_share", 1.0)
    inspected = "the whole area"
    if share < 1:
        inspected = (
            f"{share:.0%} of the area, outlined in the pictures: the part stands out from its background, "
            "which is not inspected; train with --foreground off to inspect everything"
        )
    darkest, brightest = facts.get("light_band", (0.0, 0.0))
    return [
        ("Inspected", inspected),
        ("Verdicts hold", f"in light from {darkest:+.0%} to {brightest:+.0%} of the usual"),
        ("Left out, part not found", ", ".join(facts["images_left_out"]) or "none"),
        ("Registration", f"{'on' if facts['registered'] else 'off'}; {aligned}"),
    ]


def _details(calibration: Calibration, facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return rows for those who maintain the models; the report collapses them."""
    settings = ("pixels", "align", "foreground")
    return [
        ("SHA-256 of the pictures", facts.get("images_digest", "")),
        (
            "Settings",
            ", ".join(
                [
                    f"false-reject {calibration.false_reject:g}",
                    *(f"{name} {facts[name]}" for name in settings if name in facts),
                ]
            ),
        ),
        ("Threshold computed by", calibration.method),
        ("Architecture", f"{facts['architecture']}, seed {facts['seed']}"),
        ("Compiled against trained model", f"scores differ by {facts['parity']:.2%} at most"),
        ("Software", ", ".join(f"{name} {number}" for name, number in facts.get("packages", {}).items())),
    ]
