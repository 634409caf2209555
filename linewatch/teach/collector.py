"""Collect frames of the running line for a data set, by a bounded tap that never holds the line up."""

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Self

from linewatch.domain import Frame, Image
from linewatch.errors import LinewatchError, UsageError
from linewatch.runtime.lane import Lane
from linewatch.teach.datasets import IMAGES_MAX, Datasets
from linewatch.teach.derived_images import SIDE_PX
from linewatch.teach.thumbnails import Thumbnails
from linewatch.teach.variety import Variety
from linewatch.teaching import Collecting
from linewatch.vision.image_io import shrink_to

log = logging.getLogger(__name__)

WAITING_MAX = 2  # Frames; further ones are passed over, as more parts follow.
ALIKE_MAX = 2000  # So many frames without a new image end a collection: the line stands.


class Collector:
    """Keeps frames of the line as images of a data set.

    `offer` is called by the capture stage for each exposure, `keep` by the collect stage; any thread may
    call the others.
    """

    def __init__(self, datasets: Datasets, thumbnails: Thumbnails) -> None:
        self.frames: Lane[tuple[Image, int]] = Lane("collected", WAITING_MAX)
        self._datasets = datasets
        self._thumbnails = thumbnails
        self._latest: Frame | None = None
        self._state = Collecting()
        self._variety = Variety()
        self._session = 0  # Grows with each collection, so that frames of an earlier one do not count.
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop collecting: the line's end does not wait for it."""
        self.stop()
        self.frames.abandon()

    @property
    def latest(self) -> Image | None:
        """The newest frame's image, None before the first."""
        frame = self._latest
        return None if frame is None else frame.image

    @property
    def state(self) -> Collecting:
        """How the current or last collection goes."""
        return self._state

    def offer(self, frame: Frame) -> None:
        """Look at an exposure; queue its image while images are wanted and there is room. Never blocks."""
        if frame.image is None:
            return
        self._latest = frame
        if self._state.running:
            self.frames.offer((frame.image, self._session))

    def start(self, product: str, place: str, count: int) -> Collecting:
        """Keep the next `count` frames that differ from those in `place`.

        Raises UsageError while another collection runs.
        """
        if not 1 <= count <= IMAGES_MAX:
            raise UsageError(f"{count} images cannot be collected; ask for 1 to {IMAGES_MAX}")
        with self._lock:
            self._refuse_while_running()
            variety = Variety()
            for name in self._datasets.names(product, place):
                # Without a thumbnail yet: found as a near-duplicate later.
                if (known := self._thumbnails.image(product, place, name)) is not None:
                    variety.add(known)
            self._variety = variety
            self._session += 1
            self._state = Collecting(product, place, count, running=True)
        log.info("collecting product=%s place=%s count=%d", product, place, count)
        return self._state

    def take_one(self, product: str, place: str) -> str:
        """Keep the newest frame now, whether it resembles another or not, and return its name.

        Raises UsageError if there is no frame, and StorageFull.
        """
        image = self.latest
        if image is None:
            raise UsageError("no frame has arrived yet; check the camera")
        name = self._datasets.add(product, place, image)
        self._thumbnails.write(product, place, name, image)
        return name

    def stop(self) -> None:
        """End the collection; what was taken stays."""
        with self._lock:
            self._state = replace(self._state, running=False)

    def keep(self, item: tuple[Image, int]) -> None:
        """Store one queued image unless it resembles another; a disk that refuses it ends the collection."""
        image, session = item
        state = self._state
        if not state.running or session != self._session:
            return
        try:
            if not self._variety.add(shrink_to(image, SIDE_PX)):
                alike = state.alike + 1
                stands = alike - state.taken > ALIKE_MAX
                self._update(session, alike=alike, running=not stands)
                return
            name = self._datasets.add(state.product, state.place, image)
            self._thumbnails.write(state.product, state.place, name, image)
        except LinewatchError as trouble:
            log.warning("collecting_failed product=%s reason=%r", state.product, str(trouble))
            self._update(session, trouble=str(trouble), running=False)
            return
        taken = state.taken + 1
        self._update(session, taken=taken, enough=self._variety.enough, running=taken < state.wanted)

    def _update(self, session: int, **facts: object) -> None:
        with self._lock:
            if session == self._session:
                running = bool(facts.pop("running", True)) and self._state.running
                self._state = replace(self._state, running=running, **facts)  # type: ignore[arg-type]

    def _refuse_while_running(self) -> None:
        if self._state.running:
            raise UsageError(
                f"images of {self._state.product!r} are being collected; wait, or stop that collection first"
            )


def offer_to(*takers: Callable[[Frame], None]) -> Callable[[Frame], None]:
    """Return a function that offers a frame to each of `takers`, in order."""

    def offer(frame: Frame) -> None:
        for taker in takers:
            taker(frame)

    return offer
