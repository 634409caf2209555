"""Source to frames: the stage that exposes, numbers every exposure and rides out a lost camera."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from linewatch.acquisition.frame_reader import FrameReader, NotYet
from linewatch.domain import PASSED, Exposure, Frame, Reason, admit
from linewatch.errors import CameraLost, ConfigError
from linewatch.runtime.lane import Lane, LaneClosed
from linewatch.runtime.stages import IDLE_S, Stage
from linewatch.settings import Settings

LOOK_S = 0.02  # How soon a trigger is noticed while the camera is silent.


@dataclass(frozen=True, slots=True)
class TriggerRequest:
    """One request for one exposure."""

    rid: int
    part: str
    received_ns: int  # Monotonic: a frame older than this does not show the part,
    expires_ns: int | None = None  # and one younger than this may show the next one.


class TriggerMode(Protocol):
    """When to expose: freely at a pace, or when somebody asks."""

    def frames(self, reader: FrameReader, stage: Stage, stop: threading.Event) -> Iterator[Frame]:
        """Yield the frames of one source that are exposures, until it ends or `stop` is set.

        Raises CameraLost.
        """

    def lost(self, stop: threading.Event, wait_s: float) -> Iterator[Frame]:
        """Wait while there is no camera; yield a pictureless frame for each part asked for."""

    def leaves_ns(self) -> int | None:
        """Return from when on a frame may show the part after the one exposed last (monotonic).

        None while that is not known.
        """

    def end(self) -> Iterator[Frame]:
        """Ask for nothing more; yield a pictureless frame for each part that was asked for already."""


class FreeRun:
    """Every frame is an exposure, at most `fps` a second; 0 is as fast as they come.

    A recording waits for its next turn, and for one of the `places` in the line if they are limited:
    whoever records a part gives its place back. A camera does not wait: frames between two turns are
    read, so that nothing stale stays in its buffer, and are no exposures; unless `every` says that the
    camera has a trigger of its own, and each of its frames shows a part.
    """

    def __init__(self, fps: float, *, every: bool = False, places: threading.Semaphore | None = None) -> None:
        self._period_s = 1 / fps if fps else 0.0
        self._every = every
        self._places = places

    def frames(self, reader: FrameReader, stage: Stage, stop: threading.Event) -> Iterator[Frame]:
        """Yield frames at the pace."""
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
            due = max(
                due + self._period_s, time.monotonic() - self._period_s
            )  # Late once is not late for ever.

    def lost(self, stop: threading.Event, wait_s: float) -> Iterator[Frame]:
        """Wait: without a camera nothing was exposed."""
        stop.wait(wait_s)
        yield from ()

    def leaves_ns(self) -> int | None:
        """Return None: without triggers it is not known when a part leaves."""
        return None

    def end(self) -> Iterator[Frame]:
        """Yield nothing: nobody asked."""
        yield from ()


class CommandTriggered:
    """One exposure for each trigger: the first frame captured after it arrived, and before the next did.

    A trigger that gets no frame within `patience_s` is answered without a picture, so that the PLC
    hears of its part in time whatever the camera does.
    """

    def __init__(self, triggers: Lane[TriggerRequest], patience_s: float) -> None:
        self._triggers = triggers
        self._patience_ns = round(patience_s * 1e9)
        self._live = False
        self._exposed: TriggerRequest | None = None  # The last one that got a frame.

    def frames(self, reader: FrameReader, stage: Stage, stop: threading.Event) -> Iterator[Frame]:
        """Yield one frame for each trigger.

        Between triggers a camera's frames are read and forgotten: nothing stale stays in its
        buffer, and a lost camera is noticed before the next part comes.
        """
        self._live = reader.live
        if not reader.live:  # Nobody need look at a recording to know that it is there.
            reader.on_alive()
        trigger: TriggerRequest | None = None
        while not stop.is_set():
            trigger = trigger or self._take(0.0 if reader.live or reader.pending else IDLE_S)
            if trigger is None and not reader.live and not reader.pending:
                stage.beat()
                continue
            try:
                frame = reader.read(LOOK_S)
            except NotYet:
                if trigger is not None and time.monotonic_ns() - trigger.received_ns > self._patience_ns:
                    yield _pictureless(trigger, Reason.CAMERA_LOST)
                    trigger = None
                continue
            except CameraLost:
                if trigger is not None:
                    yield _pictureless(trigger, Reason.CAMERA_LOST)
                raise
            trigger = trigger or self._take(0.0)
            if trigger is not None and (frame is None or frame.captured_ns >= trigger.received_ns):
                self._exposed = trigger
                yield self._exposure(frame, trigger)
                trigger = None
            if frame is None:
                return
        if trigger is not None:  # Its part waits for a word.
            yield _pictureless(trigger, Reason.NOT_READY)

    def lost(self, stop: threading.Event, wait_s: float) -> Iterator[Frame]:
        """Answer every trigger at once: there is no camera to expose with."""
        until = time.monotonic() + wait_s
        while not stop.is_set() and (left := until - time.monotonic()) > 0:
            trigger = self._take(min(left, IDLE_S))
            if trigger is not None:
                yield _pictureless(trigger, Reason.CAMERA_LOST)

    def leaves_ns(self) -> int | None:
        """Return when the last trigger expires or the next one arrived; a recording only expires."""
        exposed, following = self._exposed, self._triggers.peek()
        expires_ns = exposed.expires_ns if exposed else None
        arrived_ns = following.received_ns if self._live and following else None
        return min((ns for ns in (expires_ns, arrived_ns) if ns is not None), default=None)

    def end(self) -> Iterator[Frame]:
        """Refuse triggers from now on, and answer the one that was accepted before."""
        self._triggers.close()
        while (accepted := self._take(0.0)) is not None:
            yield _pictureless(accepted, Reason.NOT_READY)

    def _exposure(self, frame: Frame | None, trigger: TriggerRequest) -> Frame:
        """Return what one trigger gets; a frame that comes too late may show the next part."""
        if frame is None:
            return _pictureless(trigger, Reason.CAMERA_LOST)
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
    """Wait until `due` on the monotonic clock, showing that the stage is alive; return whether to stop."""
    while (left := due - time.monotonic()) > 0:
        if stop.wait(min(left, IDLE_S)):
            return True
        stage.beat()
    return False


def is_triggered(settings: Settings) -> bool:
    """Return whether somebody asks for each exposure over MQTT. Raises ConfigError."""
    if settings.trigger.mode == "mqtt" and not settings.mqtt.enabled:
        raise ConfigError('trigger.mode "mqtt" needs mqtt.enabled = true; else nobody could ever trigger')
    return settings.trigger.mode == "mqtt"


def _pictureless(trigger: TriggerRequest, fault: Reason) -> Frame:
    return Frame(
        image=None,
        captured_ns=trigger.received_ns,
        captured_ms=time.time_ns() // 1_000_000,
        trigger=trigger.rid,
        part=trigger.part,
        fault=fault,
    )
