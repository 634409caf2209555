"""The capture stage: reads the source, numbers every exposure and reconnects a lost camera."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from linewatch.acquisition.frame_reader import FrameReader
from linewatch.acquisition.sources import Source
from linewatch.acquisition.triggers import TriggerMode
from linewatch.domain import Frame
from linewatch.errors import CameraLost, NotThereYet
from linewatch.line.metrics import Metrics
from linewatch.line.station import Station
from linewatch.runtime.backoff import Backoff
from linewatch.runtime.lane import Lane
from linewatch.runtime.stages import Stage

BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.5, 10.0


class Capture:
    """Keep the source open while the line runs, and put every exposure on the lane."""

    def __init__(
        self,
        open_source: Callable[[], Source],
        trigger_mode: TriggerMode,
        frames: Lane[Frame],
        station: Station,
        metrics: Metrics,
        stop: threading.Event,
        *,
        silent_s: float,
        exposed: Callable[[Frame], None] = lambda _frame: None,
    ) -> None:
        self._open_source = open_source
        self._trigger_mode = trigger_mode
        self._frames = frames
        self._station = station
        self._metrics = metrics
        self._stop = stop
        self._exposed = exposed  # Called before a frame is put on the lane.
        self._silent_s = silent_s  # The camera counts as lost after this long without a frame.
        self._seq = 0
        self._backoff = Backoff(BACKOFF_FIRST_S, BACKOFF_MAX_S)
        self._silent_since = time.monotonic()

    def run(self, stage: Stage) -> None:
        """Capture until the recording ends or the daemon stops; a lost camera is reopened without limit."""
        with self._frames:
            while not self._stop.is_set():
                try:
                    with self._reader(stage) as reader:
                        for frame in self._trigger_mode.frames(reader, stage, self._stop):
                            self._expose(frame)
                    break
                except NotThereYet as error:
                    self._station.camera_lost(str(error))
                except CameraLost:
                    pass  # Reported to the station by the reader.
                stage.beat()
                for frame in self._trigger_mode.lost(self._stop, self._backoff.next_s()):
                    self._expose(frame)
            for frame in self._trigger_mode.end():
                self._expose(frame)

    def _reader(self, stage: Stage) -> FrameReader:
        return FrameReader(
            self._open_source(),
            stage,
            on_alive=self._camera_alive,
            on_lost=lambda error: self._station.camera_lost(str(error)),
            silent_s=self._silent_s,
        )

    def _camera_alive(self) -> None:
        if self._station.snapshot().camera_trouble:
            self._station.camera_back(time.monotonic() - self._silent_since)
        self._silent_since = time.monotonic()
        self._backoff.reset()

    def _expose(self, frame: Frame) -> None:
        self._seq += frame.view == 1
        self._metrics.frames_captured.inc()
        numbered = replace(frame, seq=self._seq)
        self._exposed(numbered)
        self._frames.put(numbered)
