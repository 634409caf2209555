"""Choose golden and challenge samples."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, product
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from linewatch.domain import Image, Result
from linewatch.errors import NotRegistered
from linewatch.models.bundle import Calibration, GoldenSample
from linewatch.models.training_quality import SIZE
from linewatch.training.images import ImageFolder
from linewatch.training.synthetic_defects import CRUDE, KINDS, add_defect
from linewatch.vision.image_io import encode_sample, read_mask, shrink_to
from linewatch.vision.registration import Registration
from linewatch.vision.scoring import Engine, crop_mask, project_mask, run_engine

SIDE_PX_MAX = 1024  # Longer side of a stored sample.
GOOD_COUNT, CHALLENGE_COUNT = 2, 2
RECALL_SIZE = SIZE  # Visible at a glance.
_SIZES = (0.06, 0.1, 0.15, 0.22, 0.3, 0.4)  # Sizes tried for a challenge, smallest first.
_CHALLENGE_MARGIN = 1.3  # Least score of a challenge, as a multiple of the threshold.
_PLACEMENTS_MAX = 20  # Positions tried until most of a synthetic defect lies outside the mask.
_ROUNDS = 3  # Repetitions with new positions while there are too few challenges.


@dataclass(frozen=True, slots=True)
class Sample:
    """The inspected area of a frame, reduced to at most `SIDE_PX_MAX`."""

    image: Image  # (height, width, 3) uint8 BGR
    mask: NDArray[np.bool_] | None  # (height, width): False where not inspected. None: no mask.


@dataclass(frozen=True, slots=True)
class CompiledScorer:
    """A compiled scorer that is not yet part of a bundle."""

    engine: Engine
    registration: Registration | None
    part_mask: NDArray[np.float32] | None = None  # (rows, columns): 0 where not inspected. None: everywhere.

    def score(self, sample: Sample) -> float:
        """Return the raw score of a sample; infinite if the part is not found or entirely masked."""
        try:
            raw, anomaly_map, placed = run_engine(sample.image, self.registration, self.engine)
        except NotRegistered:
            return float("inf")
        if sample.mask is None:
            return raw
        inspected = project_mask(sample.mask, placed, anomaly_map.shape)
        return float(anomaly_map[inspected].max()) if inspected.any() else float("inf")

    def inspected(self, sample: Sample) -> NDArray[np.bool_] | None:
        """Return (height, width), True where the sample is inspected; None: everywhere, or part not found."""
        if self.part_mask is None:
            return sample.mask
        try:
            _, _, placed = run_engine(sample.image, self.registration, self.engine)
        except NotRegistered:
            return sample.mask
        height, width = sample.image.shape[:2]
        cells = self.part_mask.astype(np.uint8)
        visible = cv2.warpAffine(cells, placed, (width, height), flags=cv2.INTER_NEAREST) > 0
        return np.asarray(visible if sample.mask is None else visible & sample.mask)


def write_golden_samples(
    content: Path, folder: ImageFolder, calibration: Calibration, scorer: CompiledScorer, seed: int
) -> tuple[GoldenSample, ...]:
    """Write `golden/*.png` below `content`: typical good parts, and synthetic defects that clearly fail.

    Good parts must score below the unsure threshold. Where no defect scores high enough, there is no
    challenge sample.
    """
    (content / "golden").mkdir()
    candidates = replace(folder, paths=folder.paths[:40])
    samples = dict(zip(candidates.paths, read_samples(candidates), strict=True))
    scored = sorted((scorer.score(sample), path) for path, sample in samples.items())
    passing = [path for raw, path in scored if raw < calibration.unsure_threshold]
    typical = passing[len(passing) // 3 :][:GOOD_COUNT]
    written = []
    for number, path in enumerate(typical, 1):
        written.append(_write(content, f"golden/good{number}.png", samples[path], Result.PASS, scorer))
    score_min = _CHALLENGE_MARGIN * calibration.threshold
    challenges = _find_challenges([samples[path] for path in typical], scorer, score_min, seed)
    for number, (kind, challenge) in enumerate(islice(challenges, CHALLENGE_COUNT), 1):
        written.append(_write(content, f"golden/{kind}{number}.png", challenge, Result.FAIL, scorer))
    return tuple(written)


def _find_challenges(
    samples: Sequence[Sample], scorer: CompiledScorer, score_min: float, seed: int
) -> Iterator[tuple[str, Sample]]:
    """Yield defects that score above `score_min`: of each image and kind the smallest one.

    Where good images vary much, few realistic defects score that high. They are then repeated at other
    positions, and after them the crude kinds follow.
    """
    for kinds in (KINDS, CRUDE):
        for number in range(_ROUNDS):
            for sample, kind in product(samples, kinds):
                for size in _SIZES:
                    challenge = add_visible_defect(
                        sample, kind, seed + number, size, scorer.inspected(sample)
                    )
                    if score_min < scorer.score(challenge) < float("inf"):
                        yield kind, challenge
                        break


def add_visible_defect(
    sample: Sample, kind: str, seed: int, size: float, inspected: NDArray[np.bool_] | None = None
) -> Sample:
    """Return the sample with a synthetic defect, most of it where `inspected` is True if possible.

    `inspected` (height, width) defaults to the sample's mask.
    """
    visible = sample.mask if inspected is None else inspected
    for attempt in range(_PLACEMENTS_MAX):
        image = add_defect(sample.image, kind, seed + 1000 * attempt, size, visible)
        if visible is None:
            break
        changed = (image != sample.image).any(axis=2)
        if np.count_nonzero(changed & visible) > np.count_nonzero(changed) / 2:
            break
    return Sample(image, sample.mask)


def _write(
    content: Path, name: str, sample: Sample, expected: Result, scorer: CompiledScorer
) -> GoldenSample:
    (content / name).write_bytes(encode_sample(sample.image, sample.mask))
    return GoldenSample(name, expected, scorer.score(sample))


def read_samples(folder: ImageFolder) -> Iterator[Sample]:
    """Yield the inspected area of every image, with its mask."""
    mask = None if folder.mask is None else read_mask(folder.mask)
    for area in folder:
        image = shrink_to(area, SIDE_PX_MAX)
        yield Sample(image, None if mask is None else crop_mask(image, mask, folder.roi))
