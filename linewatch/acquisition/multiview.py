"""Several exposures of one part: taken one after the other, judged each, told as one."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace

from linewatch.acquisition.frame_reader import FrameReader, NotYet
from linewatch.acquisition.triggers import LOOK_S, TriggerMode, with_image_in_time
from linewatch.domain import Frame, Reason
from linewatch.errors import CameraLost
from linewatch.runtime.stages import Stage

# A defect that was seen says more than a picture that could not be judged; both are rejects.


class MultiView:
    """Occasions with `views` exposures of each part: the first as without it, the others right after it.

    A view that does not come within `patience_s`, or before the part may have left, has no picture, so
    that its part is an ERROR.
    """

    def __init__(self, occasions: TriggerMode, views: int, patience_s: float) -> None:
        assert views > 1
        self._occasions = occasions
        self._views = views
        self._patience_s = patience_s

    def frames(self, reader: FrameReader, stage: Stage, stop: threading.Event) -> Iterator[Frame]:
        """Yield all views of each part. Raises CameraLost after the last view of the part in hand."""
        for first in self._occasions.frames(reader, stage, stop):
            if first.image is None:  # It is an ERROR already, and nobody need wait for more.
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
        """Do as without views."""
        yield from self._occasions.lost(stop, wait_s)

    def leaves_ns(self) -> int | None:
        """Return what the trigger mode itself does."""
        return self._occasions.leaves_ns()

    def end(self) -> Iterator[Frame]:
        """Do as without views."""
        yield from self._occasions.end()

    def _next(self, reader: FrameReader, stop: threading.Event) -> Frame | None:
        until_s = time.monotonic() + self._patience_s
        while not stop.is_set() and time.monotonic() < until_s:
            try:
                return reader.read(LOOK_S)
            except NotYet:
                continue
        return None
