"""What a freshly trained scorer detects: recall over defect size, and the light in which verdicts hold."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

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
LIGHTS = (-0.3, -0.2, -0.1, 0.1, 0.2, 0.3)  # Changes of brightness.
EXAMPLES = 6
_IMAGES = 12
_LIGHT_IMAGES = 6


@dataclass(frozen=True, slots=True)
class DefectExample:
    """One synthetic defect and the score of the image with it."""

    kind: str
    size: float
    image: Image
    score: float


@dataclass(frozen=True, slots=True)
class Detection:
    """Recall on synthetic defects, and the range of brightness in which verdicts do not change."""

    recall: dict[float, dict[str, float]]  # By size, then by kind; 0 to 1.
    light: tuple[float, float]  # Change of brightness: the darkest and the brightest that is safe.
    examples: tuple[DefectExample, ...]  # Of `RECALL_SIZE`, of every kind in turn.


def measure_detection(
    folder: ImageFolder, calibration: Calibration, scorer: CompiledScorer, seed: int
) -> Detection:
    """Score synthetic defects of every kind and size on good images, and some images in other light."""
    step = max(1, len(folder) // _IMAGES)
    samples = list(read_samples(replace(folder, paths=folder.paths[::step][:_IMAGES])))
    examples = [
        DefectExample(kind, size, defective.image, scorer.score(defective))
        for size in SIZES
        for number, sample in enumerate(samples)
        for kind in KINDS
        for defective in [add_visible_defect(sample, kind, seed + number, size, scorer.inspected(sample))]
    ]

    def recall(size: float, kind: str) -> float:
        scores = [example.score for example in examples if (example.size, example.kind) == (size, kind)]
        return float(np.mean(np.array(scores) > calibration.threshold))

    shown = [example for example in examples if example.size == RECALL_SIZE]
    return Detection(
        recall={size: {kind: recall(size, kind) for kind in KINDS} for size in SIZES},
        light=_light_band(samples[:_LIGHT_IMAGES], calibration.threshold, scorer),
        examples=tuple(shown[:EXAMPLES]),
    )


def _light_band(samples: Sequence[Sample], threshold: float, scorer: CompiledScorer) -> tuple[float, float]:
    """Return the range of brightness changes in which all good images that pass still pass."""
    passing = [sample for sample in samples if scorer.score(sample) <= threshold]

    def holds(change: float) -> bool:
        return all(
            scorer.score(replace(sample, image=_relight(sample.image, change))) <= threshold
            for sample in passing
        )

    band = []
    for side in (sorted((c for c in LIGHTS if c < 0), reverse=True), [c for c in LIGHTS if c > 0]):
        reached = 0.0
        for change in side:
            if not holds(change):
                break
            reached = change
        band.append(reached)
    return band[0], band[1]


def _relight(image: Image, change: float) -> Image:
    relit: Image = np.clip(image * np.float32(1 + change), 0, 255).astype(np.uint8)
    return relit
