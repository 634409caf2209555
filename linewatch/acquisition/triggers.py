"""Trigger modes: which frames of a source are exposures of a part."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from linewatch.acquisition.frame_reader import FrameReader, NotYet
from linewatch.domain import PASSED, Exposure, Frame, Reason, admit
from linewatch.errors import CameraLost
from linewatch.runtime.lane import Lane, LaneClosed
from linewatch.runtime.stages import IDLE_S, Stage

POLL_S = 0.02  # How soon a trigger is noticed while the camera delivers no frames.


@dataclass(frozen=True, slots=True)
class TriggerRequest:
    """One request for one exposure."""

    rid: int
    part: str
    received_ns: int  # Monotonic: a frame older than this does not show the part,
    expires_ns: int | None = None  # and one younger than this may show the next one.


class TriggerMode(Protocol):
    """When to expose: at a fixed rate, or on request."""

    def frames(self, reader: FrameReader, stage: Stage, stop: threading.Event) -> Iterator[Frame]:
        """Yield the frames of one source that are exposures, until it ends or `stop` is set.

        Raises CameraLost.
        """

    def lost(self, stop: threading.Event, wait_s: float) -> Iterator[Frame]:
        """Wait while there is no camera; yield a frame without image for each trigger."""

    def leaves_ns(self) -> int | None:
        """Return from when on a frame may show the part after the one exposed last (monotonic).

        None while that is not known.
        """

    def end(self) -> Iterator[Frame]:
        """Accept no more triggers; yield a frame without image for each one accepted before."""


class FreeRun:
    """Expose at most `fps` frames a second; 0 exposes every frame.

    A recording is read when its next frame is due, and when one of the `places` in the line is free if
    they are limited; the record stage frees one with each verdict. A camera is read continuously, so that no
    stale frame stays in its buffer, and frames between two exposures are discarded. With `every` the
    camera has a hardware trigger and each of its frames is an exposure.
    """

    def __init__(self, fps: float, *, every: bool = False, places: threading.Semaphore | None = None) -> None:
        self._period_s = 1 / fps if fps else 0.0
        self._every = every
        self._places = places

    def frames(self, reader: FrameReader, stage: Stage, stop: threading.Event) -> Iterator[Frame]:
        """Yield frames at the configured rate."""
        due = time.monotonic()
        while not stop.is_set():
            if not reader.live and pause_until(due, stage, stop):
                return
            if self._places and not reader.pending and not self._places.acquire(timeout=IDLE_S):
                stage.beat()
                continue
            try:
                frame = reader.read(IDLE_S)
            except NotYet:
                continue
            if frame is None:
                return
            if reader.live and not self._every and frame.captured_ns / 1e9 < due:
                continue
            yield frame
            # One late frame must not delay all that follow.
            due = max(due + self._period_s, time.monotonic() - self._period_s)

    def lost(self, stop: threading.Event, wait_s: float) -> Iterator[Frame]:
        """Wait: without a camera nothing was exposed."""
        stop.wait(wait_s)
        yield from ()

    def leaves_ns(self) -> int | None:
        """Return None: without triggers it is not known when a part leaves."""
        return None

    def end(self) -> Iterator[Frame]:
        """Yield nothing: there are no triggers."""
        yield from ()


class CommandTriggered:
    """Expose once for each trigger: the first frame captured after it arrived and before the next one did.

    A trigger without a frame within `patience_s` yields a frame without image, so that the PLC gets
    an ERROR for its part in time whatever the camera does.
    """

    def __init__(self, triggers: Lane[TriggerRequest], patience_s: float) -> None:
        self._triggers = triggers
        self._patience_ns = round(patience_s * 1e9)
        self._live = False
        self._exposed: TriggerRequest | None = None  # The last one that got a frame.

    def frames(self, reader: FrameReader, stage: Stage, stop: threading.Event) -> Iterator[Frame]:
        """Yield one frame for each trigger.

        Between triggers a camera's frames are read and discarded: no stale frame stays in its
        buffer, and a lost camera is detected before the next part arrives.
        """
        self._live = reader.live
        if not reader.live:  # A recording is available without being read.
            reader.on_alive()
        trigger: TriggerRequest | None = None
        while not stop.is_set():
            trigger = trigger or self._take(0.0 if reader.live or reader.pending else IDLE_S)
            if trigger is None and not reader.live and not reader.pending:
                stage.beat()
                continue
            try:
                frame = reader.read(POLL_S)
            except NotYet:
                if trigger is not None and time.monotonic_ns() - trigger.received_ns > self._patience_ns:
                    yield _without_image(trigger, Reason.CAMERA_LOST)
                    trigger = None
                continue
            except CameraLost:
                if trigger is not None:
                    yield _without_image(trigger, Reason.CAMERA_LOST)
                raise
            trigger = trigger or self._take(0.0)
            if trigger is not None and (frame is None or frame.captured_ns >= trigger.received_ns):
                self._exposed = trigger
                yield self._exposure(frame, trigger)
                trigger = None
            if frame is None:
                return
        if trigger is not None:  # Its part still needs a verdict.
            yield _without_image(trigger, Reason.NOT_READY)

    def lost(self, stop: threading.Event, wait_s: float) -> Iterator[Frame]:
        """Yield a frame without image for every trigger at once: there is no camera."""
        until = time.monotonic() + wait_s
        while not stop.is_set() and (left := until - time.monotonic()) > 0:
            trigger = self._take(min(left, IDLE_S))
            if trigger is not None:
                yield _without_image(trigger, Reason.CAMERA_LOST)

    def leaves_ns(self) -> int | None:
        """Return when the last trigger expires or the next one arrived; a recording only expires."""
        exposed, following = self._exposed, self._triggers.peek()
        expires_ns = exposed.expires_ns if exposed else None
        arrived_ns = following.received_ns if self._live and following else None
        return min((ns for ns in (expires_ns, arrived_ns) if ns is not None), default=None)

    def end(self) -> Iterator[Frame]:
        """Refuse triggers from now on; yield a frame without image for the one accepted before."""
        self._triggers.close()
        while (accepted := self._take(0.0)) is not None:
            yield _without_image(accepted, Reason.NOT_READY)

    def _exposure(self, frame: Frame | None, trigger: TriggerRequest) -> Frame:
        """Return the frame for one trigger; one captured too late may show the next part."""
        if frame is None:
            return _without_image(trigger, Reason.CAMERA_LOST)
        frame = with_image_in_time(frame, self.leaves_ns())
        return replace(frame, trigger=trigger.rid, part=trigger.part)

    def _take(self, timeout_s: float) -> TriggerRequest | None:
        try:
            return self._triggers.take(timeout_s)
        except LaneClosed:
            return None


def with_image_in_time(frame: Frame, leaves_ns: int | None) -> Frame:
    """Return a frame that shows the part exposed last, without its image if the part may have left."""
    exposure = Exposure(frame.captured_ns, fault=frame.image_fault, leaves_ns=leaves_ns)
    admitted = admit(PASSED, exposure, time.monotonic_ns())
    return frame if admitted is PASSED else frame.without_image(admitted.reason)


def pause_until(due: float, stage: Stage, stop: threading.Event) -> bool:
    """Wait until `due` (monotonic, seconds) with heartbeats of the stage; return whether to stop."""
    while (left := due - time.monotonic()) > 0:
        if stop.wait(min(left, IDLE_S)):
            return True
        stage.beat()
    return False


def _without_image(trigger: TriggerRequest, fault: Reason) -> Frame:
    return Frame(
        image=None,
        captured_ns=trigger.received_ns,
        captured_ms=time.time_ns() // 1_000_000,
        trigger=trigger.rid,
        part=trigger.part,
        fault=fault,
    )
