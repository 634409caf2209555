"""Reads a source in a thread of its own, so that nobody waits for a camera longer than they want to."""

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

END_S = 1.0  # A source that works lets go within this; one that hangs is left behind.


class NotYet(Exception):
    """The frame asked for is not here; the same read goes on, and the next call may get it."""


class FrameReader:
    """Opens a source on entering and reads one frame for each that is asked for.

    A call that hangs in the source hangs in this thread only. `seen` hears of every frame, and `lost` of
    a source that gives none: once it fails, and again and again while a read takes longer than `silent_s`.
    `stage` beats all the while.
    """

    def __init__(
        self,
        source: Source,
        stage: Stage,
        *,
        seen: Callable[[], None],
        lost: Callable[[CameraLost], None],
        silent_s: float,
    ) -> None:
        self.live = source.live
        self._source = source
        self._stage = stage
        self.seen = seen
        self._lost = lost
        self._silent_s = silent_s
        self._asked: SimpleQueue[bool] = SimpleQueue()  # True: read a frame; False: let go.
        self._answers: SimpleQueue[Frame | BaseException | None] = SimpleQueue()
        self.pending = False  # A frame was asked for and has not come.
        self._patient = self.live  # Its first frame belongs to the opening, which has its own time-out.
        self._reading_since: float | None = None  # Monotonic; opening is not reading.
        self._opened = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"source {source.name}", daemon=True)

    def __enter__(self) -> Self:
        """Begin to open: a camera may answer later, a recording is there on return, or raises ConfigError."""
        self._thread.start()
        if not self.live:
            self._opened.wait()
            if not self._answers.empty():
                self._take(0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of the source."""
        self._asked.put(False)
        self._thread.join(END_S)

    def read(self, wait_s: float) -> Frame | None:
        """Return the next frame, None at the end of a recording. Raises NotYet after `wait_s`.

        Raises what opening or reading raised, so CameraLost or ConfigError.
        """
        if not self.pending:
            self.pending = True
            self._asked.put(True)
        try:
            with self._stage.working():
                frame = self._take(wait_s)
        except Empty:
            self._complain()
            raise NotYet from None
        self.pending = False
        self._patient = False
        if frame is not None:
            self.seen()
        return frame

    def _take(self, wait_s: float) -> Frame | None:
        answer = self._answers.get(timeout=wait_s)
        if isinstance(answer, CameraLost):
            self._lost(answer)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _complain(self) -> None:
        since = self._reading_since
        if not self._patient and since is not None and time.monotonic() - since > self._silent_s:
            self._lost(CameraLost(self._source.name, f"no frame for {self._silent_s:g} s"))

    def _read(self, source: Source) -> Frame | None:
        while True:
            self._reading_since = time.monotonic()
            try:
                return source.read()
            except AwaitingTrigger:
                self.seen()  # The camera is there; it is the next part that is not.
                if not self._asked.empty():
                    return None  # Nobody wants it any more.
            finally:
                self._reading_since = None

    def _run(self) -> None:
        with ExitStack() as held:
            try:
                source = held.enter_context(self._source)
                self._opened.set()
                while self._asked.get():
                    self._answers.put(self._read(source))
            except BaseException as error:  # noqa: BLE001 - raised where the frame is waited for,
                self._answers.put(error)  # and before the source is let go of, which may take its time.
            finally:
                self._opened.set()
