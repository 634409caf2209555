"""Golden and challenge samples, and how many made-up defects a model finds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path

import cv2
import numpy as np

from linewatch.bundle import Calibration, Golden
from linewatch.domain import Image, Result
from linewatch.engine import Engine
from linewatch.errors import NotRegistered
from linewatch.registration import Registration
from linewatch.scoring import run_engine
from linewatch.training.challenge import CRUDE, KINDS, spoil
from linewatch.training.images import Folder

SIDE_PX_MAX = 1024  # Samples are kept no larger than this.
GOOD, CHALLENGES = 2, 2
RECALL_SIZE = 0.08  # Of the shorter side: what a person sees at a glance.
_RECALL_IMAGES = 12
_SIZES = (0.06, 0.1, 0.15, 0.22, 0.3, 0.4)
_CLEARLY = 1.3  # Times the threshold: what a challenge has to score.
_ROUNDS = 3  # Made-up defects fall elsewhere in each; without enough challenges there is another one.


@dataclass(frozen=True, slots=True)
class Bench:
    """The compiled scorer, before it is a bundle."""

    engine: Engine
    registration: Registration | None

    def score(self, area: Image) -> float:
        """Return the raw score of a picture; infinite if the part is not found."""
        try:
            return run_engine(area, self.registration, self.engine)[0]
        except NotRegistered:
            return float("inf")


def golden_samples(
    content: Path, folder: Folder, calibration: Calibration, bench: Bench, seed: int
) -> tuple[Golden, ...]:
    """Write `golden/*.png` below `content`: typical good parts, and spoilt ones that clearly fail."""
    (content / "golden").mkdir()
    areas = {path: _reduced(area) for path, area in zip(folder.paths[:40], folder, strict=False)}
    scored = sorted((bench.score(area), path) for path, area in areas.items())
    usual = [path for raw, path in scored if raw < calibration.unsure_threshold]
    middle = usual[len(usual) // 3 :][:GOOD]
    found = []
    for number, path in enumerate(middle, 1):
        found.append(_write(content, f"golden/good{number}.png", areas[path], Result.PASS, bench))
    enough = _CLEARLY * calibration.threshold
    challenges = _challenges([areas[path] for path in middle], bench, enough, seed)
    for number, (kind, area) in enumerate(islice(challenges, CHALLENGES), 1):
        found.append(_write(content, f"golden/{kind}{number}.png", area, Result.FAIL, bench))
    return tuple(found)


def made_up_recall(folder: Folder, calibration: Calibration, bench: Bench, seed: int) -> dict[str, float]:
    """Return per kind the share of made-up defects that are found: what can be said without real ones."""
    step = max(1, len(folder) // _RECALL_IMAGES)
    areas = [_reduced(area) for number, area in enumerate(folder) if number % step == 0][:_RECALL_IMAGES]
    return {
        kind: float(
            np.mean(
                [
                    bench.score(spoil(area, kind, seed + number, RECALL_SIZE)) > calibration.threshold
                    for number, area in enumerate(areas)
                ]
            )
        )
        for kind in KINDS
    }


def _challenges(
    areas: Sequence[Image], bench: Bench, enough: float, seed: int
) -> Iterator[tuple[str, Image]]:
    """Yield made-up defects that score above `enough`: of each picture and kind the mildest one.

    Where good pictures differ much, few of the usual kinds reach that: then they come again at other
    places, and after them crude ones that only a blind scorer overlooks.
    """
    for kinds in (KINDS, CRUDE):
        for number in range(_ROUNDS):
            for area, kind in product(areas, kinds):
                for size in _SIZES:
                    spoilt = spoil(area, kind, seed + number, size)
                    if enough < bench.score(spoilt) < float("inf"):
                        yield kind, spoilt
                        break


def _write(content: Path, name: str, area: Image, expected: Result, bench: Bench) -> Golden:
    path = content / name
    cv2.imwrite(str(path), area, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    return Golden(name, expected, bench.score(area))


def _reduced(area: Image) -> Image:
    shrink = SIDE_PX_MAX / max(area.shape[:2])
    if shrink >= 1:
        return area
    size = (round(area.shape[1] * shrink), round(area.shape[0] * shrink))
    return cv2.resize(area, size, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]
