"""Golden and challenge samples, and how many made-up defects a model finds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from linewatch.domain import Image, Result
from linewatch.errors import NotRegistered
from linewatch.models.bundle import Calibration, GoldenSample
from linewatch.training.images import Folder
from linewatch.training.synthetic_defects import CRUDE, KINDS, spoil
from linewatch.vision.image_io import encode_sample, read_mask, shrink_to
from linewatch.vision.registration import Registration
from linewatch.vision.scoring import Engine, crop_mask, project_mask, run_engine

SIDE_PX_MAX = 1024  # Samples are kept no larger than this.
GOOD, CHALLENGES = 2, 2
RECALL_SIZE = 0.08  # Of the shorter side: what a person sees at a glance.
_RECALL_IMAGES = 12
_SIZES = (0.06, 0.1, 0.15, 0.22, 0.3, 0.4)
_CLEARLY = 1.3  # Times the threshold: what a challenge has to score.
_PLACES = 20  # Where a mask hides much, a made-up defect is tried at so many.
_ROUNDS = 3  # Made-up defects fall elsewhere in each; without enough challenges there is another one.


@dataclass(frozen=True, slots=True)
class Sample:
    """What is looked at of a frame, cut out and perhaps shrunk."""

    image: Image
    mask: NDArray[np.bool_] | None  # (height, width): False is not looked at.


@dataclass(frozen=True, slots=True)
class Bench:
    """The compiled scorer, before it is a bundle."""

    engine: Engine
    registration: Registration | None

    def score(self, sample: Sample) -> float:
        """Return the raw score of what is looked at; infinite if nothing of the part is."""
        try:
            raw, anomaly_map, placed = run_engine(sample.image, self.registration, self.engine)
        except NotRegistered:
            return float("inf")
        if sample.mask is None:
            return raw
        seen = project_mask(sample.mask, placed, anomaly_map.shape)
        return float(anomaly_map[seen].max()) if seen.any() else float("inf")


def golden_samples(
    content: Path, folder: Folder, calibration: Calibration, bench: Bench, seed: int
) -> tuple[GoldenSample, ...]:
    """Write `golden/*.png` below `content`: typical good parts, and spoilt ones that clearly fail."""
    (content / "golden").mkdir()
    first = replace(folder, paths=folder.paths[:40])
    samples = dict(zip(first.paths, _samples(first), strict=True))
    scored = sorted((bench.score(sample), path) for path, sample in samples.items())
    usual = [path for raw, path in scored if raw < calibration.unsure_threshold]
    middle = usual[len(usual) // 3 :][:GOOD]
    found = []
    for number, path in enumerate(middle, 1):
        found.append(_write(content, f"golden/good{number}.png", samples[path], Result.PASS, bench))
    enough = _CLEARLY * calibration.threshold
    challenges = _challenges([samples[path] for path in middle], bench, enough, seed)
    for number, (kind, spoilt) in enumerate(islice(challenges, CHALLENGES), 1):
        found.append(_write(content, f"golden/{kind}{number}.png", spoilt, Result.FAIL, bench))
    return tuple(found)


def made_up_recall(folder: Folder, calibration: Calibration, bench: Bench, seed: int) -> dict[str, float]:
    """Return per kind the share of made-up defects that are found: what can be said without real ones."""
    step = max(1, len(folder) // _RECALL_IMAGES)
    samples = list(_samples(replace(folder, paths=folder.paths[::step][:_RECALL_IMAGES])))
    return {
        kind: float(
            np.mean(
                [
                    bench.score(_spoilt(sample, kind, seed + number, RECALL_SIZE)) > calibration.threshold
                    for number, sample in enumerate(samples)
                ]
            )
        )
        for kind in KINDS
    }


def _challenges(
    samples: Sequence[Sample], bench: Bench, enough: float, seed: int
) -> Iterator[tuple[str, Sample]]:
    """Yield made-up defects that score above `enough`: of each picture and kind the mildest one.

    Where good pictures differ much, few of the usual kinds reach that: then they come again at other
    places, and after them crude ones that only a blind scorer overlooks.
    """
    for kinds in (KINDS, CRUDE):
        for number in range(_ROUNDS):
            for sample, kind in product(samples, kinds):
                for size in _SIZES:
                    spoilt = _spoilt(sample, kind, seed + number, size)
                    if enough < bench.score(spoilt) < float("inf"):
                        yield kind, spoilt
                        break


def _spoilt(sample: Sample, kind: str, seed: int, size: float) -> Sample:
    """Return the sample with a made-up defect, most of it where the sample is looked at."""
    for again in range(_PLACES):
        image = spoil(sample.image, kind, seed + 1000 * again, size)
        if sample.mask is None:
            break
        changed = (image != sample.image).any(axis=2)
        if np.count_nonzero(changed & sample.mask) > np.count_nonzero(changed) / 2:
            break
    return Sample(image, sample.mask)


def _write(content: Path, name: str, sample: Sample, expected: Result, bench: Bench) -> GoldenSample:
    (content / name).write_bytes(encode_sample(sample.image, sample.mask))
    return GoldenSample(name, expected, bench.score(sample))


def _samples(folder: Folder) -> Iterator[Sample]:
    mask = None if folder.mask is None else read_mask(folder.mask)
    for area in folder:
        image = shrink_to(area, SIDE_PX_MAX)
        yield Sample(image, None if mask is None else crop_mask(image, mask, folder.roi))
