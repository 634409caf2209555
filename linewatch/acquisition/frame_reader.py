"""Read a source in its own thread, so that a hanging camera driver blocks no other thread."""

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Self

from linewatch.acquisition.sources import AwaitingTrigger, Source
from linewatch.domain import Frame
from linewatch.errors import CameraLost
from linewatch.runtime.stages import Stage

JOIN_S = 1.0  # A source that hangs for longer when closed is left behind.


class NotYet(Exception):
    """No frame within the wait; the read goes on, and the next call may return its frame."""


class FrameReader:
    """Opens a source on entering and reads one frame per call of `read`, in its own thread.

    `on_alive` is called for each frame, and while a camera waits for its own trigger. `on_lost` is called
    when the source fails, and repeatedly while a read takes longer than `silent_s`. `read` beats `stage`
    while it waits.
    """

    def __init__(
        self,
        source: Source,
        stage: Stage,
        *,
        on_alive: Callable[[], None],
        on_lost: Callable[[CameraLost], None],
        silent_s: float,
    ) -> None:
        self.live = source.live
        self._source = source
        self._stage = stage
        self.on_alive = on_alive
        self._on_lost = on_lost
        self._silent_s = silent_s
        self._requests: SimpleQueue[bool] = SimpleQueue()  # True: read a frame; False: close the source.
        self._results: SimpleQueue[Frame | BaseException | None] = SimpleQueue()
        self.pending = False  # A requested frame has not arrived yet.
        self._first = self.live  # A camera's first frame is covered by the time-out for opening.
        self._reading_since: float | None = None  # Monotonic; opening is not reading.
        self._opened = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"source {source.name}", daemon=True)

    def __enter__(self) -> Self:
        """Start opening: a camera may take longer, a recording is open on return. Raises ConfigError."""
        self._thread.start()
        if not self.live:
            self._opened.wait()
            if not self._results.empty():
                self._take(0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the source."""
        self._requests.put(False)
        self._thread.join(JOIN_S)

    def read(self, wait_s: float) -> Frame | None:
        """Return the next frame, None at the end of a recording.

        Raises NotYet after `wait_s`, and what opening or reading raised: CameraLost or ConfigError.
        """
        if not self.pending:
            self.pending = True
            self._requests.put(True)
        try:
            with self._stage.working():
                frame = self._take(wait_s)
        except Empty:
            self._report_silence()
            raise NotYet from None
        self.pending = False
        self._first = False
        if frame is not None:
            self.on_alive()
        return frame

    def _take(self, wait_s: float) -> Frame | None:
        result = self._results.get(timeout=wait_s)
        if isinstance(result, CameraLost):
            self._on_lost(result)
        if isinstance(result, BaseException):
            raise result
        return result

    def _report_silence(self) -> None:
        since = self._reading_since
        if not self._first and since is not None and time.monotonic() - since > self._silent_s:
            self._on_lost(CameraLost(self._source.name, f"no frame for {self._silent_s:g} s"))

    def _read(self, source: Source) -> Frame | None:
        while True:
            self._reading_since = time.monotonic()
            try:
                return source.read()
            except AwaitingTrigger:
                self.on_alive()  # The camera is connected; only the next part has not come.
                if not self._requests.empty():
                    return None  # The reader is closing.
            finally:
                self._reading_since = None

    def _run(self) -> None:
        with ExitStack() as stack:
            try:
                source = stack.enter_context(self._source)
                self._opened.set()
                while self._requests.get():
                    self._results.put(self._read(source))
            except BaseException as error:  # noqa: BLE001 - `read` raises it,
                self._results.put(error)  # before the source is closed, which may take long.
            finally:
                self._opened.set()
