"""What a freshly trained scorer detects: recall over defect size, and the light in which verdicts hold."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from linewatch.domain import Image
from linewatch.models.bundle import Calibration
from linewatch.training.golden_samples import (
    RECALL_SIZE,
    CompiledScorer,
    Sample,
    add_visible_defect,
    read_samples,
)
from linewatch.training.images import ImageFolder
from linewatch.training.synthetic_defects import KINDS

SIZES = (0.03, 0.05, RECALL_SIZE, 0.15, 0.25)  # Of synthetic defects, as shares of the shorter image side.
PLACES = ("near the edge", "inside")  # Of the inspected area.
LIGHTS = (-0.3, -0.2, -0.1, 0.1, 0.2, 0.3)  # Changes of brightness.
FOUND_MIN = 0.9  # Of the defects found in the usual light, those that other light must not hide.
EXAMPLES = 12
_EDGE_SHARE = 0.25  # Of the largest distance to the edge; less is near the edge: 44 % of a disc or square.
_IMAGES = 12
_LIGHT_IMAGES = 6


@dataclass(frozen=True, slots=True)
class DefectExample:
    """One synthetic defect and the score of the image with it."""

    kind: str
    size: float
    image: Image
    score: float
    place: str = PLACES[1]


@dataclass(frozen=True, slots=True)
class Detection:
    """Recall on synthetic defects, and the range of brightness in which verdicts do not change.

    The shares under other light are those of the good images that pass, and of the defects that are
    found, in the usual light.
    """

    recall: dict[float, dict[str, float]]  # By size, then by kind; 0 to 1.
    light: tuple[float, float]  # Change of brightness: the darkest and the brightest that is safe.
    examples: tuple[DefectExample, ...]  # Of `RECALL_SIZE`, of every kind and place in turn.
    recall_by_place: dict[float, dict[str, float]] = field(default_factory=dict)  # By size, then by place.
    passed_by_light: dict[float, float] = field(default_factory=dict)  # By change of brightness.
    found_by_light: dict[float, float] = field(default_factory=dict)


def measure_detection(
    folder: ImageFolder, calibration: Calibration, scorer: CompiledScorer, seed: int
) -> Detection:
    """Score synthetic defects of every kind, size and place on good images, and some images in other light.

    Every other image gets its defects near the edge of the inspected area, where possible.
    """
    step = max(1, len(folder) // _IMAGES)
    samples = list(read_samples(replace(folder, paths=folder.paths[::step][:_IMAGES])))
    tried = list(_try_defects(samples, scorer, seed))
    examples = [example for example, _ in tried]
    threshold = calibration.threshold
    visible = [(example, sample) for example, sample in tried if example.size == RECALL_SIZE]
    lit = [sample for example, sample in visible[: _LIGHT_IMAGES * len(KINDS)] if example.score > threshold]
    passing = [sample for sample in samples[:_LIGHT_IMAGES] if scorer.score(sample) <= threshold]
    passed = {change: 1 - _share_rejected(passing, change, threshold, scorer, 0.0) for change in LIGHTS}
    found = {change: _share_rejected(lit, change, threshold, scorer, 1.0) for change in LIGHTS}
    return Detection(
        recall={
            size: {
                kind: _recall([e for e in examples if (e.size, e.kind) == (size, kind)], threshold)
                for kind in KINDS
            }
            for size in SIZES
        },
        light=_light_band(passed, found),
        examples=tuple(example for example, _ in visible[:EXAMPLES]),
        recall_by_place=_by_place(examples, threshold),
        passed_by_light=passed,
        found_by_light=found,
    )


def _try_defects(
    samples: Sequence[Sample], scorer: CompiledScorer, seed: int
) -> Iterator[tuple[DefectExample, Sample]]:
    """Yield each synthetic defect, size by size, and the sample that shows it."""
    areas = [_split_by_place(sample, scorer.inspected(sample)) for sample in samples]
    for size in SIZES:
        for number, (sample, (edge, inside)) in enumerate(zip(samples, areas, strict=True)):
            wanted = inside if number % 2 else edge
            for kind in KINDS:
                defective = add_visible_defect(sample, kind, seed + number, size, wanted)
                changed = (defective.image != sample.image).any(axis=2)
                at_edge = np.count_nonzero(changed & edge) > np.count_nonzero(changed & inside)
                yield (
                    DefectExample(
                        kind, size, defective.image, scorer.score(defective), PLACES[0 if at_edge else 1]
                    ),
                    defective,
                )


def _split_by_place(
    sample: Sample, inspected: NDArray[np.bool_] | None
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return two areas (height, width) of the inspected one: near its edge, and the rest."""
    height, width = sample.image.shape[:2]
    area = np.ones((height, width), np.bool_) if inspected is None else inspected
    bordered = np.pad(area.astype(np.uint8), 1)
    distance = cv2.distanceTransform(bordered, cv2.DIST_L2, 3)[1:-1, 1:-1]
    edge = area & (distance < _EDGE_SHARE * distance.max())
    return edge, area & ~edge


def _recall(examples: Sequence[DefectExample], threshold: float) -> float:
    return float(np.mean([example.score > threshold for example in examples]))


def _by_place(examples: Sequence[DefectExample], threshold: float) -> dict[float, dict[str, float]]:
    """Return the recall by size and place; a place without defects of a size is left out."""
    found: dict[float, dict[str, float]] = {}
    for size in SIZES:
        found[size] = {}
        for place in PLACES:
            there = [e for e in examples if (e.size, e.place) == (size, place)]
            if there:
                found[size][place] = _recall(there, threshold)
    return found


def _share_rejected(
    samples: Sequence[Sample], change: float, threshold: float, scorer: CompiledScorer, default: float
) -> float:
    """Return the share of samples above the threshold in other light; `default` if there are none."""
    if not samples:
        return default
    relit = (replace(sample, image=_relight(sample.image, change)) for sample in samples)
    return float(np.mean([scorer.score(sample) > threshold for sample in relit]))


def _light_band(passed: Mapping[float, float], found: Mapping[float, float]) -> tuple[float, float]:
    """Return the range of brightness changes in which good images pass and defects stay found."""
    band = []
    for side in (sorted((c for c in LIGHTS if c < 0), reverse=True), [c for c in LIGHTS if c > 0]):
        reached = 0.0
        for change in side:
            if passed[change] < 1 or found[change] < FOUND_MIN:
                break
            reached = change
        band.append(reached)
    return band[0], band[1]


def _relight(image: Image, change: float) -> Image:
    relit: Image = np.clip(image * np.float32(1 + change), 0, 255).astype(np.uint8)
    return relit
