"""A part that passes the middle of the picture is the trigger: one exposure for each."""

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from linewatch.acquisition.belt_background import BeltBackground
from linewatch.acquisition.frame_reader import FrameReader, NotYet
from linewatch.acquisition.part_tracker import Part, PartTracker
from linewatch.acquisition.sources.folder import find_pictures
from linewatch.acquisition.triggers import pause_until
from linewatch.domain import Frame, Image
from linewatch.errors import ConfigError, ImageError
from linewatch.runtime.stages import IDLE_S, Stage
from linewatch.settings import TriggerSettings
from linewatch.vision.image_io import read_image
from linewatch.vision.image_quality import sharpness

COLUMNS = 160  # Of the small picture, along the belt.
REST_FRAMES = 8  # A part that stands for so long near the middle is seen as well as it will be.
NEAR = 0.05  # Share of the picture that a part may be off its middle to be near.
NOT_LEARNT = (
    "no part is seen before the empty belt is known; let it run empty for a second, "
    "or name pictures of it in trigger.background"
)
BLURRED = 0.8  # A frame that has less of the sharpness of the one before is not the better one.


@dataclass(frozen=True, slots=True)
class _Look:
    """One frame, and how many columns off its middle each part was."""

    frame: Frame
    offsets: dict[Part, float]


class PartTriggered:
    """Every part that passes the middle of the picture, or comes to rest there, is exposed once.

    `axis` says how the belt runs: "x" from side to side, "y" up or down. The empty belt is learnt from
    the images `empty`, or from what the camera shows first; until then nothing is exposed, and
    `impaired` gets the reason, then "" once it is learnt. A recording is read at `fps` frames a second;
    0 is as fast as it comes.
    """

    def __init__(
        self, axis: str, fps: float, impaired: Callable[[str], None], empty: Sequence[Image] = ()
    ) -> None:
        self._axis = axis
        self._period_s = 1 / fps if fps else 0.0
        self._impaired = impaired
        self._empty = [shrink(picture, axis) for picture in empty]
        self._background = BeltBackground(self._empty)
        self._presence = PartTracker(COLUMNS)
        self._before: _Look | None = None
        self._rest_frames = 0
        self._until_lesson = 0.0  # Columns that the belt moves until its picture is taken for learning.
        self._rng = random.Random(0)

    def frames(self, reader: FrameReader, stage: Stage, stop: threading.Event) -> Iterator[Frame]:
        """Yield one frame for each part."""
        self._presence, self._before = PartTracker(COLUMNS), None  # What moved meanwhile, nobody knows.
        due = time.monotonic()
        while not stop.is_set():
            if not reader.live and pause_until(due, stage, stop):
                return
            try:
                frame = reader.read(IDLE_S)
            except NotYet:
                continue
            if frame is None:
                return
            due = max(due + self._period_s, time.monotonic() - self._period_s)
            if frame.image is not None:
                yield from self._look(frame, shrink(frame.image, self._axis))

    def lost(self, stop: threading.Event, wait_s: float) -> Iterator[Frame]:
        """Wait: without a camera no part was seen."""
        stop.wait(wait_s)
        yield from ()

    def gone(self, _captured_ns: int, /) -> bool:
        """Return False: what follows at once shows the part that was in the middle."""
        return False

    def end(self) -> Iterator[Frame]:
        """Yield nothing: a part that did not reach the middle was not exposed."""
        yield from ()

    def _look(self, frame: Frame, small: Image) -> Iterator[Frame]:
        """Yield the best frame of each part that will not be seen better any more."""
        if not self._background.learnt:
            self._learn(small)
            return
        presence = self._presence
        presence.follow(*self._background.compare(small))
        if not self._background.proven and presence.came_along is not None:
            self._background.proven = presence.came_along
            if not presence.came_along:  # It did not come in: it was there, and was taken for belt.
                self._background, self._presence = BeltBackground(), PartTracker(COLUMNS)
                return
        self._rest_frames = self._rest_frames + 1 if presence.still else 0
        look = _Look(frame, {part: part.middle - COLUMNS / 2 for part in presence.parts})
        for part in presence.parts:
            if not part.called and presence.usual and self._is_due(part, look.offsets[part]):
                part.called = True
                yield self._best(part, look)
        self._before = look
        self._until_lesson -= abs(presence.shift)
        if self._until_lesson < 0:  # Never in step with parts that come at even distances.
            self._until_lesson = self._rng.uniform(0.5, 1.5) * COLUMNS
            self._background.learn(small)

    def _learn(self, small: Image) -> None:
        self._impaired(NOT_LEARNT)
        self._background.learn(small)
        if self._background.learnt:
            self._impaired("")

    def _is_due(self, part: Part, offset: float) -> bool:
        before = self._before.offsets.get(part) if self._before else None
        if before is not None and before * offset <= 0:
            return True  # It has just passed.
        shift = self._presence.shift
        if abs(offset) <= min(abs(shift), abs(offset + shift)):
            return True  # The next frame would show it farther from the middle.
        return self._rest_frames >= REST_FRAMES and abs(offset) <= NEAR * COLUMNS

    def _best(self, part: Part, now: _Look) -> Frame:
        """Return the frame in which a part is nearest to the middle, or its neighbour if that is blurred."""
        before = self._before
        if before is None or part not in before.offsets:
            return now.frame
        near, far = sorted((now, before), key=lambda look: abs(look.offsets[part]))
        if abs(far.offsets[part]) <= NEAR * COLUMNS and _sharpness(near) < BLURRED * _sharpness(far):
            return far.frame
        return near.frame


def empty_belt(trigger: TriggerSettings) -> list[Image]:
    """Read the pictures of the empty belt, [] if none are named. Raises ConfigError."""
    if trigger.background is None:
        return []
    try:
        empty = [read_image(path) for path in find_pictures(trigger.background, "trigger.background")]
    except ImageError as error:
        raise ConfigError(f"trigger.background: {error}") from error
    if len({picture.shape for picture in empty}) > 1:
        raise ConfigError("trigger.background: its pictures differ in size; use those of one camera")
    return empty


def shrink(image: Image, axis: str) -> Image:
    """Return a small picture, COLUMNS wide, with the belt running along its rows."""
    if axis == "y":
        image = image.swapaxes(0, 1)
    step = max(1, image.shape[1] // (2 * COLUMNS))  # Cheap, also for a camera of 20 megapixels.
    rows = min(max(round(COLUMNS * image.shape[0] / image.shape[1]), 8), COLUMNS)
    sample = np.ascontiguousarray(image[::step, ::step])
    return np.asarray(cv2.resize(sample, (COLUMNS, rows), interpolation=cv2.INTER_AREA), np.uint8)


def _sharpness(look: _Look) -> float:
    assert look.frame.image is not None
    return sharpness(look.frame.image)
