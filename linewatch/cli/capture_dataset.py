"""Saving frames of the configured source, to train with: unlike ones, until enough variety is in."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from linewatch.acquisition.sources import Source, Waiting, open_source
from linewatch.domain import Frame, Image
from linewatch.errors import ImageError, LinewatchError, StorageFull
from linewatch.settings import GigeSettings, SourceSettings
from linewatch.vision.image_io import SUFFIXES, read_image
from linewatch.vision.image_quality import brightness, sharpness

ALIKE = (
    0.5  # Grey levels between two pictures of 32 by 32: what sensor noise makes of a part at rest is less.
)
IDLE_FRAMES_MAX = 500  # Without a new picture a recording has nothing more to give,
IDLE_S_MAX = 120.0  # and a camera shows a line at rest.
BATCH = 20  # Pictures that are compared with those before them.
SATURATED = 0.9  # The last ones lie as near to what is there as the ones before did: more add little.
_SIDE_PX = 32


@dataclass(frozen=True, slots=True)
class Captured:
    """How a session ended."""

    saved: int
    total: int  # In the folder, with those that were there before.
    skipped: int  # Nearly the same as one of these.
    enough: bool  # More pictures would add little.


class Variety:
    """Knows the pictures of a folder, small and grey, and how much each new one adds."""

    def __init__(self) -> None:
        self._known: list[NDArray[np.float32]] = []
        self._distances: deque[float] = deque(maxlen=2 * BATCH)

    def adds(self, image: Image) -> bool:
        """Take a picture unless one like it is known; return whether it was taken."""
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        small = cv2.resize(grey, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_AREA).astype(np.float32)
        if self._known:
            nearest = float(np.abs(np.stack(self._known) - small).mean(axis=(1, 2)).min())
            if nearest < ALIKE:
                return False
            self._distances.append(nearest)
        self._known.append(small)
        return True

    @property
    def enough(self) -> bool:
        """Whether the last pictures were no nearer to the known ones than those before them.

        While variety grows, each batch lies nearer than the one before, because the gaps between
        the known pictures are being filled.
        """
        if len(self._distances) < 2 * BATCH:
            return False
        distances = list(self._distances)
        return fmean(distances[BATCH:]) >= SATURATED * fmean(distances[:BATCH])


def save_frames(
    settings: SourceSettings, out: Path, count: int, gige: GigeSettings | None = None
) -> Captured:
    """Save up to `count` unlike frames as PNG into `out`, showing light and sharpness meanwhile.

    Unlike those in `out`, too: a second session adds what the first one has not seen. Never overwrites:
    numbering goes on after what is there. Ends early when the source does, or gives nothing new for
    long. Raises CameraLost and StorageFull.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageFull(out, f"cannot be made ({error.strerror}); choose another --out") from error
    known = sorted(path for path in out.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    first = 1 + max((int(path.stem) for path in out.glob("*.png") if path.stem.isdecimal()), default=0)
    saved = skipped = 0
    columns = (TextColumn("Capturing"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    console = Console()
    shown = Progress(*columns, console=console, transient=True, disable=not console.is_interactive)
    with open_source(settings, gige) as source, shown as progress:
        task = progress.add_task(f"{len(known)} pictures are there", total=count)
        variety = _variety_of(known)
        idle = _Idle(source.live)
        while saved < count and (frame := _next(source)) is not None:
            if frame.image is not None and variety.adds(frame.image):
                _save(out / f"{first + saved:06d}.png", frame.image)
                saved += 1
                idle.restart()
            else:
                skipped += frame.image is not None
                if idle.too_long(frame):
                    break
            progress.update(task, completed=saved, description=_seen(frame, variety))
    if not saved and not skipped:
        raise LinewatchError(f"source {source.name!r} gave no picture; check source.uri")
    return Captured(saved, len(known) + saved, skipped, variety.enough)


def where_from(settings: SourceSettings) -> str:
    """Return what is captured from, for people. Raises ConfigError."""
    if settings.kind == "simulator":
        return "the simulator, which renders parts, some of them defective: set [source] to your camera"
    return f"{settings.kind} {open_source(settings).name}"


def _variety_of(paths: Sequence[Path]) -> Variety:
    variety = Variety()
    for path in paths:
        try:
            variety.adds(read_image(path))
        except ImageError:
            continue  # Nothing can be like it; training will name it.
    return variety


class _Idle:
    """Since when nothing new has come: by frames of a recording, by time of a camera."""

    def __init__(self, live: bool) -> None:
        self._live = live
        self.restart()

    def restart(self) -> None:
        """Begin anew: something has come."""
        self._frames = 0
        self._since_ns = 0

    def too_long(self, frame: Frame) -> bool:
        """Take a frame that brought nothing; return whether it is time to end."""
        self._frames += 1
        self._since_ns = self._since_ns or frame.captured_ns
        if self._live:
            return (frame.captured_ns - self._since_ns) / 1e9 > IDLE_S_MAX
        return self._frames >= IDLE_FRAMES_MAX


def _next(source: Source) -> Frame | None:
    while True:
        try:
            return source.read()
        except Waiting:
            continue


def _seen(frame: Frame, variety: Variety) -> str:
    """Return what the person at the camera wants to know now."""
    if frame.image is None:
        return "no picture"
    told = f"brightness {brightness(frame.image):.0f}  sharpness {sharpness(frame.image):.0f}"
    return f"{told}  enough variety" if variety.enough else told


def _save(path: Path, image: Image) -> None:
    try:
        path.write_bytes(cv2.imencode(".png", image)[1].tobytes())
    except OSError as error:
        path.unlink(missing_ok=True)  # Half a picture is nothing to learn from.
        raise StorageFull(path, f"{error.strerror}; make room and start again") from error
