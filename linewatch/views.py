"""Several exposures of one part: taken one after the other, judged each, told as one."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Generic, TypeVar

from linewatch.capture import LOOK_S, Occasions
from linewatch.domain import Frame, Inspection, Reason, Result
from linewatch.errors import CameraLost
from linewatch.reader import NotYet, Reader
from linewatch.stages import Stage

T = TypeVar("T")

# A defect that was seen says more than a picture that could not be judged; both are rejects.
_WORST_FIRST = (Result.FAIL, Result.ERROR, Result.UNSURE, Result.PASS)


class SeveralViews:
    """Occasions with `views` exposures of each part: the first as without it, the others right after it.

    A view that does not come within `patience_s`, or before the part may have left, has no picture, so
    that its part is an ERROR.
    """

    def __init__(self, occasions: Occasions, views: int, patience_s: float) -> None:
        assert views > 1
        self._occasions = occasions
        self._views = views
        self._patience_s = patience_s

    def frames(self, reader: Reader, stage: Stage, stop: threading.Event) -> Iterator[Frame]:
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
                        frame = self._next(reader, stop) or frame
                        if frame.image is not None and self.gone(frame.captured_ns):
                            frame = frame.without_image(Reason.LATE)
                    except CameraLost as trouble:
                        lost = trouble
                yield replace(frame, view=view, views=self._views, trigger=first.trigger, part=first.part)
            if lost is not None:
                raise lost

    def lost(self, stop: threading.Event, wait_s: float) -> Iterator[Frame]:
        """Do as without views."""
        yield from self._occasions.lost(stop, wait_s)

    def gone(self, captured_ns: int, /) -> bool:
        """Do as without views."""
        return self._occasions.gone(captured_ns)

    def end(self) -> Iterator[Frame]:
        """Do as without views."""
        yield from self._occasions.end()

    def _next(self, reader: Reader, stop: threading.Event) -> Frame | None:
        until_s = time.monotonic() + self._patience_s
        while not stop.is_set() and time.monotonic() < until_s:
            try:
                return reader.read(LOOK_S)
            except NotYet:
                continue
        return None


class Views(Generic[T]):
    """Makes one inspection of a part from those of its views, as `inspect` gives them; the worst counts."""

    def __init__(self, inspect: Callable[[T], Iterable[Inspection]]) -> None:
        self._inspect = inspect
        self._seen: list[Inspection] = []

    def inspect(self, view: T) -> Iterator[Inspection]:
        """Yield the part's inspection with its last view; views come in order."""
        for inspection in self._inspect(view):
            self._seen.append(inspection)
            assert len({seen.frame.seq for seen in self._seen}) == 1, "views of two parts"
            if len(self._seen) == inspection.frame.views:
                yield _joined(self._seen)
                self._seen = []


def _joined(seen: list[Inspection]) -> Inspection:
    if len(seen) == 1:
        return seen[0]
    first = seen[0].frame
    worst = min(
        seen, key=lambda view: (_WORST_FIRST.index(view.result), -(view.scored.raw if view.scored else 0.0))
    )
    if len({(view.product, view.model) for view in seen}) > 1:  # A changeover came between two of them.
        worst = replace(worst, result=Result.ERROR, reason=Reason.NOT_READY, scored=None)
    return replace(
        worst,
        # The part's time runs from its first exposure.
        frame=replace(worst.frame, captured_ns=first.captured_ns, captured_ms=first.captured_ms),
        age_ms=max(view.age_ms for view in seen),
        others=tuple(view.frame for view in seen if view.frame.view != worst.frame.view),
    )
