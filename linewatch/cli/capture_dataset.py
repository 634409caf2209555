"""Save frames of the configured source for training: only those that differ from the ones saved before."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from linewatch.acquisition.sources import AwaitingTrigger, Source, open_source
from linewatch.domain import Frame, Image
from linewatch.errors import ImageError, LinewatchError, StorageFull
from linewatch.settings import GigeSettings, SourceSettings
from linewatch.teach.variety import Variety
from linewatch.vision.image_folders import images_in
from linewatch.vision.image_io import read_image
from linewatch.vision.image_quality import brightness, sharpness

IDLE_FRAMES_MAX = 500  # So many frames without a new image end a recording,
IDLE_S_MAX = 120.0  # and so many seconds end a camera session: the line stands.


@dataclass(frozen=True, slots=True)
class Captured:
    """The outcome of a capture session."""

    saved: int
    total: int  # Images in the folder, earlier ones included.
    skipped: int  # Frames nearly the same as one of these.
    enough: bool  # More images would add little.


def save_frames(
    settings: SourceSettings, out: Path, count: int, gige: GigeSettings | None = None
) -> Captured:
    """Save up to `count` frames as PNG to `out`, and show brightness and sharpness meanwhile.

    Frames that are nearly the same as an image in `out` are skipped, so a second session adds only what is
    new. Never overwrites: numbering continues after the existing files. Ends early at the end of the
    source, or when it shows nothing new for long. Raises CameraLost and StorageFull.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageFull(out, f"cannot be made ({error.strerror}); choose another --out") from error
    existing = images_in(out)
    first = 1 + max((int(path.stem) for path in out.glob("*.png") if path.stem.isdecimal()), default=0)
    saved = skipped = 0
    columns = (TextColumn("Capturing"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    console = Console()
    progress = Progress(*columns, console=console, transient=True, disable=not console.is_interactive)
    with open_source(settings, gige) as source, progress:
        task = progress.add_task(f"{len(existing)} images are there", total=count)
        variety = _variety_of(existing)
        idle = _IdleTimer(source.live)
        while saved < count and (frame := _read(source)) is not None:
            if frame.image is not None and variety.add(frame.image):
                _save(out / f"{first + saved:06d}.png", frame.image)
                saved += 1
                idle.restart()
            else:
                skipped += frame.image is not None
                if idle.expired(frame):
                    break
            progress.update(task, completed=saved, description=_describe(frame, variety))
    if not saved and not skipped:
        raise LinewatchError(f"source {source.name!r} gave no image; check source.uri")
    return Captured(saved, len(existing) + saved, skipped, variety.enough)


def describe_source(settings: SourceSettings) -> str:
    """Return the source as text for the user. Raises ConfigError."""
    if settings.kind == "simulator":
        return "the simulator, which renders parts, some of them defective: set [source] to your camera"
    return f"{settings.kind} {open_source(settings).name}"


def _variety_of(paths: Sequence[Path]) -> Variety:
    variety = Variety()
    for path in paths:
        try:
            variety.add(read_image(path))
        except ImageError:
            continue  # Unreadable: nothing can equal it, and training will name it.
    return variety


class _IdleTimer:
    """Measures how long nothing new has come: in frames for a recording, in seconds for a camera."""

    def __init__(self, live: bool) -> None:
        self._live = live
        self.restart()

    def restart(self) -> None:
        """Start again after a new image."""
        self._frames = 0
        self._since_ns = 0

    def expired(self, frame: Frame) -> bool:
        """Count a frame that was nothing new; return whether the session should end."""
        self._frames += 1
        self._since_ns = self._since_ns or frame.captured_ns
        if self._live:
            return (frame.captured_ns - self._since_ns) / 1e9 > IDLE_S_MAX
        return self._frames >= IDLE_FRAMES_MAX


def _read(source: Source) -> Frame | None:
    while True:
        try:
            return source.read()
        except AwaitingTrigger:
            continue


def _describe(frame: Frame, variety: Variety) -> str:
    """Return brightness and sharpness, for adjusting the camera."""
    if frame.image is None:
        return "no image"
    text = f"brightness {brightness(frame.image):.0f}  sharpness {sharpness(frame.image):.0f}"
    return f"{text}  enough variety" if variety.enough else text


def _save(path: Path, image: Image) -> None:
    try:
        path.write_bytes(cv2.imencode(".png", image)[1].tobytes())
    except OSError as error:
        path.unlink(missing_ok=True)  # Half an image is no use for training.
        raise StorageFull(path, f"{error.strerror}; make room and start again") from error
