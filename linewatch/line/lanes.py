"""The lanes between the stages of the line, and what each does when it is full."""

import threading
from dataclasses import dataclass
from typing import Self

from linewatch.acquisition.triggers import TriggerRequest
from linewatch.domain import Frame, Inspection, Reason
from linewatch.line.inspector import Examined
from linewatch.runtime.lane import Lane
from linewatch.runtime.stages import Heartbeat
from linewatch.settings import Settings

PLACES = 4  # Of a recording at full speed in the line: being examined, ready, being scored, being recorded.


@dataclass(frozen=True)
class Lanes:
    """The lanes between the threads, each with what happens when it is full."""

    frames: Lane[Frame]
    examined: Lane[Examined]  # Full: examining the next frame waits.
    inspections: Lane[Inspection]  # Full: judging waits.
    triggers: Lane[TriggerRequest]  # Full: the trigger is refused as busy.
    places: threading.Semaphore | None  # In the line, if they are limited.

    @classmethod
    def of(cls, settings: Settings, live: bool) -> Self:
        """Return the lanes for a live source, or for a recording at its own pace or at full speed.

        What cannot wait sheds the image of its oldest frame. A recording at full speed waits instead:
        parts that queue would only become late.
        """
        limits = settings.limits
        patient = not live and settings.source.fps == 0
        return cls(
            frames=Lane(
                "frames",
                1 if patient else limits.frames_max,
                shed=None if patient else shed_image,
                bytes_max=limits.frames_bytes_max,
                nbytes=lambda frame: frame.nbytes,
            ),
            examined=Lane("examined", 2),
            inspections=Lane(
                "inspections",
                limits.inspections_max,
                bytes_max=limits.frames_bytes_max,
                nbytes=lambda inspection: inspection.frame.nbytes,
            ),
            triggers=Lane("triggers", 1),
            places=threading.Semaphore(PLACES) if patient and settings.trigger.mode == "free" else None,
        )

    @property
    def parts_waiting(self) -> int:
        """Number of parts between two threads."""
        return len(self.frames) + len(self.examined) + len(self.inspections)

    def busy(self, *stages: Heartbeat) -> bool:
        """Whether a part waits between two threads or is in one of these stages."""
        return self.parts_waiting > 0 or any(stage.busy_s() > 0 for stage in stages)


def shed_image(frame: Frame) -> Frame:
    """Return the exposure without its image: the part gets ERROR 31."""
    return frame.without_image(Reason.QUEUE_FULL)
