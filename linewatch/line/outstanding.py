"""Exposures whose verdict is still owed, so that each gets one by its deadline whatever holds up the line."""

import threading
import time
from collections import deque
from collections.abc import Callable

from linewatch.domain import Frame, Inspection
from linewatch.runtime.lane import Lane, LaneClosed
from linewatch.runtime.stages import IDLE_S, Stage


class Outstanding:
    """Numbered exposures in order, from capture until their verdict is recorded.

    Capture adds, the record stage settles. Both see them in the order of `seq`, and so of their deadlines.
    """

    def __init__(self, answer_within_ns: int, busy: Callable[[bool], None] = lambda _: None) -> None:
        """Take how long after its exposure a part without a result is answered for, in nanoseconds.

        `busy` is called after each exposure and each recorded verdict with whether a verdict is owed; it must
        not wait.
        """
        self._answer_within_ns = answer_within_ns
        self._busy = busy
        self._lock = threading.Lock()
        self._owed: deque[Frame] = deque()

    def add(self, frame: Frame) -> None:
        """Note one exposure; of several views only the first, because they get one verdict."""
        if frame.view == 1:
            with self._lock:
                self._owed.append(frame)
                self._busy(True)

    def settle(self, seq: int) -> bool:
        """Whether this exposure's verdict is still owed; from now on it is not."""
        with self._lock:
            if not self._owed or self._owed[0].seq > seq:
                return False  # It was answered for when its time was over.
            frame = self._owed.popleft()
        assert frame.seq == seq, f"part {seq} was recorded before part {frame.seq}"
        return True

    def recorded(self) -> None:
        """Note that the verdict settled last is recorded: now the line may be idle."""
        with self._lock:
            self._busy(bool(self._owed))

    def overdue(self, now_ns: int) -> Frame | None:
        """Return the oldest exposure if it must be answered for now, without a result."""
        with self._lock:
            if self._owed and now_ns - self._owed[0].captured_ns >= self._answer_within_ns:
                return self._owed[0]
        return None

    def wait_s(self, now_ns: int, longest_s: float) -> float:
        """Return how long the oldest exposure may still wait, at most `longest_s`."""
        with self._lock:
            if not self._owed:
                return longest_s
            left_s = (self._owed[0].captured_ns + self._answer_within_ns - now_ns) / 1e9
        return min(max(left_s, 0.0), longest_s)


def record_in_time(
    stage: Stage,
    inlet: Lane[Inspection],
    outstanding: Outstanding,
    record: Callable[[Inspection], None],
    give_up: Callable[[Frame], Inspection],
    *,
    clock_ns: Callable[[], int] = time.monotonic_ns,
) -> None:
    """Record every inspection that arrives, and for a part whose time is over what `give_up` makes of it.

    So each exposure gets one verdict by its deadline, however long it waits or is being scored; a result
    that comes after that is dropped.
    """
    try:
        while True:
            try:
                inspection = inlet.take(outstanding.wait_s(clock_ns(), IDLE_S))
            except LaneClosed:
                return
            if inspection is None:
                stage.beat()
                overdue = outstanding.overdue(clock_ns())
                if overdue is None:
                    continue
                inspection = give_up(overdue)
            if outstanding.settle(inspection.frame.seq):
                with stage.working():
                    record(inspection)
                outstanding.recorded()
    finally:
        inlet.abandon()
