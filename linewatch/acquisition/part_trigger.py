"""Trigger an exposure for each part that passes the middle of the image."""

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
from linewatch.acquisition.sources.folder import find_images
from linewatch.acquisition.triggers import pause_until
from linewatch.domain import Frame, Image
from linewatch.errors import ConfigError, ImageError
from linewatch.runtime.stages import IDLE_S, Stage
from linewatch.settings import TriggerSettings
from linewatch.vision.image_io import read_image
from linewatch.vision.image_quality import sharpness

COLUMNS = 160  # Width of the small image, along the belt.
REST_FRAMES = 8  # A part that stands near the middle for so long is exposed.
NEAR = 0.05  # "Near" is within this share of the image's width from its middle.
NOT_LEARNT = (
    "no part is detected until the empty belt has been learnt; let it run empty for a second, "
    "or name images of it in trigger.background"
)
OTHER_SHAPE = (
    "no part is detected: the frames have another shape than the images in trigger.background; "
    "take new ones with this camera"
)
BLURRED = 0.8  # Below this share of the other frame's sharpness a frame counts as blurred.


@dataclass(frozen=True, slots=True)
class _TrackedFrame:
    """One frame, and the offset of each part from its middle, in columns."""

    frame: Frame
    offsets: dict[Part, float]


class PartTriggered:
    """Exposes every part once, when it passes the middle of the image or comes to rest there.

    `axis` is the belt's direction: "x" from side to side, "y" up or down. The empty belt is learnt from
    the images `empty`, or from the camera's first frames; until then nothing is exposed, and `impaired` is
    called with the reason, then with "" once it is learnt. A recording is read at `fps` frames per second;
    0 is as fast as possible.
    """

    def __init__(
        self, axis: str, fps: float, impaired: Callable[[str], None], empty: Sequence[Image] = ()
    ) -> None:
        self._axis = axis
        self._period_s = 1 / fps if fps else 0.0
        self._impaired = impaired
        self._empty = [shrink(image, axis) for image in empty]
        self._background = BeltBackground(self._empty)
        self._shape = self._empty[0].shape if self._empty else None  # Of the last small image.
        self._unfit_background = False  # The images `empty` have another shape than the frames.
        self._tracker = PartTracker(COLUMNS)
        self._before: _TrackedFrame | None = None
        self._rest_frames = 0
        self._until_sample = 0.0  # Columns that the belt moves until the next sample for the background.
        self._rng = random.Random(0)

    def frames(self, reader: FrameReader, stage: Stage, stop: threading.Event) -> Iterator[Frame]:
        """Yield one frame for each part."""
        # The belt may have moved while the camera was lost.
        self._tracker, self._before = PartTracker(COLUMNS), None
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
                yield from self._process(frame, shrink(frame.image, self._axis))

    def lost(self, stop: threading.Event, wait_s: float) -> Iterator[Frame]:
        """Wait: without a camera no part is detected."""
        stop.wait(wait_s)
        yield from ()

    def leaves_ns(self) -> int | None:
        """Return None: the frames that follow at once show the part that was in the middle."""
        return None

    def end(self) -> Iterator[Frame]:
        """Yield nothing: a part that did not reach the middle was not exposed."""
        yield from ()

    def _process(self, frame: Frame, small: Image) -> Iterator[Frame]:
        """Track the parts in a frame; yield the best frame of each part that has reached the middle."""
        if self._shape != small.shape:
            self._change_shape(small)
        if self._unfit_background:
            return
        if not self._background.learnt:
            self._learn(small)
            return
        tracker = self._tracker
        tracker.update(*self._background.compare(small))
        if not self._background.confirmed and tracker.enters_at_border is not None:
            self._background.confirmed = tracker.enters_at_border
            if not tracker.enters_at_border:  # A part stood there and was learnt as belt.
                self._background, self._tracker = BeltBackground(), PartTracker(COLUMNS)
                return
        self._rest_frames = self._rest_frames + 1 if tracker.still else 0
        now = _TrackedFrame(frame, {part: part.middle - COLUMNS / 2 for part in tracker.parts})
        for part in tracker.parts:
            if not part.exposed and tracker.part_length and self._is_due(part, now.offsets[part]):
                part.exposed = True
                yield self._best(part, now)
        self._before = now
        self._until_sample -= abs(tracker.shift)
        if self._until_sample < 0:  # Random: parts may come at even distances.
            self._until_sample = self._rng.uniform(0.5, 1.5) * COLUMNS
            self._background.learn(small)

    def _change_shape(self, small: Image) -> None:
        """Learn the belt again for frames of another shape, unless images of it were given."""
        self._shape, self._background = small.shape, BeltBackground(self._empty)
        self._tracker, self._before = PartTracker(COLUMNS), None
        self._unfit_background = bool(self._empty) and self._empty[0].shape != small.shape
        if self._empty:
            self._impaired(OTHER_SHAPE if self._unfit_background else "")

    def _learn(self, small: Image) -> None:
        self._impaired(NOT_LEARNT)
        self._background.learn(small)
        if self._background.learnt:
            self._impaired("")

    def _is_due(self, part: Part, offset: float) -> bool:
        before = self._before.offsets.get(part) if self._before else None
        if before is not None and before * offset <= 0:
            return True  # It has just passed the middle.
        shift = self._tracker.shift
        if abs(offset) <= min(abs(shift), abs(offset + shift)):
            return True  # In the next frame it would be farther from the middle.
        return self._rest_frames >= REST_FRAMES and abs(offset) <= NEAR * COLUMNS

    def _best(self, part: Part, now: _TrackedFrame) -> Frame:
        """Return the frame in which a part is nearest to the middle, or the other one if that is blurred."""
        before = self._before
        if before is None or part not in before.offsets:
            return now.frame
        near, far = sorted((now, before), key=lambda tracked: abs(tracked.offsets[part]))
        if abs(far.offsets[part]) <= NEAR * COLUMNS and _sharpness(near) < BLURRED * _sharpness(far):
            return far.frame
        return near.frame


def empty_belt(trigger: TriggerSettings) -> list[Image]:
    """Return the images of the empty belt that the settings name, [] if none. Raises ConfigError."""
    if trigger.background is None:
        return []
    try:
        empty = [read_image(path) for path in find_images(trigger.background, "trigger.background")]
    except ImageError as error:
        raise ConfigError(f"trigger.background: {error}") from error
    if len({image.shape for image in empty}) > 1:
        raise ConfigError("trigger.background: its images differ in size; use those of one camera")
    return empty


def shrink(image: Image, axis: str) -> Image:
    """Return a small image, COLUMNS wide, with the belt running along its rows."""
    if axis == "y":
        image = image.swapaxes(0, 1)
    step = max(1, image.shape[1] // (2 * COLUMNS))  # Decimated first: cheap even at 20 megapixels.
    rows = min(max(round(COLUMNS * image.shape[0] / image.shape[1]), 8), COLUMNS)
    sample = np.ascontiguousarray(image[::step, ::step])
    return np.asarray(cv2.resize(sample, (COLUMNS, rows), interpolation=cv2.INTER_AREA), np.uint8)


def _sharpness(tracked: _TrackedFrame) -> float:
    assert tracked.frame.image is not None
    return sharpness(tracked.frame.image)
