"""Several views of one part: exposed one after the other, judged separately, one verdict."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace

from linewatch.acquisition.frame_reader import FrameReader, NotYet
from linewatch.acquisition.triggers import POLL_S, TriggerMode, with_image_in_time
from linewatch.domain import Frame, Reason
from linewatch.errors import CameraLost
from linewatch.runtime.stages import Stage


class MultiView:
    """Expose each part `views` times: first as the trigger mode does, then with the next frames.

    A view without a frame within `patience_s`, or before the part may have left, has no image, so its
    part becomes an ERROR.
    """

    def __init__(self, trigger_mode: TriggerMode, views: int, patience_s: float) -> None:
        assert views > 1
        self._trigger_mode = trigger_mode
        self._views = views
        self._patience_s = patience_s

    def frames(self, reader: FrameReader, stage: Stage, stop: threading.Event) -> Iterator[Frame]:
        """Yield all views of each part. Raises CameraLost after the last view of the current part."""
        for first in self._trigger_mode.frames(reader, stage, stop):
            if first.image is None:  # The part is an ERROR already.
                yield first
                continue
            yield replace(first, views=self._views)
            lost: CameraLost | None = None
            for view in range(2, self._views + 1):
                frame = first.without_image(Reason.CAMERA_LOST)
                if lost is None:
                    try:
                        frame = with_image_in_time(self._next(reader, stop) or frame, self.leaves_ns())
                    except CameraLost as trouble:
                        lost = trouble
                yield replace(frame, view=view, views=self._views, trigger=first.trigger, part=first.part)
            if lost is not None:
                raise lost

    def lost(self, stop: threading.Event, wait_s: float) -> Iterator[Frame]:
        """Delegate to the trigger mode."""
        yield from self._trigger_mode.lost(stop, wait_s)

    def leaves_ns(self) -> int | None:
        """Delegate to the trigger mode."""
        return self._trigger_mode.leaves_ns()

    def end(self) -> Iterator[Frame]:
        """Delegate to the trigger mode."""
        yield from self._trigger_mode.end()

    def _next(self, reader: FrameReader, stop: threading.Event) -> Frame | None:
        until_s = time.monotonic() + self._patience_s
        while not stop.is_set() and time.monotonic() < until_s:
            try:
                return reader.read(POLL_S)
            except NotYet:
                continue
        return None
