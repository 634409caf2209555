"""Saving frames of the configured source, to train with."""

from pathlib import Path

import cv2
from rich.progress import track

from linewatch.errors import LinewatchError, StorageFull
from linewatch.settings import GigeSettings, SourceSettings
from linewatch.sources import Source, Waiting, open_source


def save_frames(settings: SourceSettings, out: Path, count: int, gige: GigeSettings | None = None) -> int:
    """Save up to `count` frames as PNG into `out`; return how many there were.

    Never overwrites: numbering goes on after what is there. Raises CameraLost and StorageFull.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageFull(out, f"cannot be made ({error.strerror}); choose another --out") from error
    first = 1 + max((int(path.stem) for path in out.glob("*.png") if path.stem.isdecimal()), default=0)
    saved = 0
    with open_source(settings, gige) as source:
        for _ in track(range(count), description="Capturing", transient=True):
            if not _save_next(source, out / f"{first + saved:06d}.png"):
                break
            saved += 1
    if not saved:
        raise LinewatchError(f"source {source.name!r} gave no picture; check source.uri")
    return saved


def _save_next(source: Source, path: Path) -> bool:
    """Save the next frame that has a picture; return False at the end of the source."""
    while True:
        try:
            frame = source.read()
        except Waiting:
            continue
        if frame is None:
            return False
        if frame.image is None:
            continue
        try:
            path.write_bytes(cv2.imencode(".png", frame.image)[1].tobytes())
        except OSError as error:
            path.unlink(missing_ok=True)  # Half a picture is nothing to learn from.
            raise StorageFull(path, f"{error.strerror}; make room and start again") from error
        return True
