"""Signal handling: SIGTERM and SIGINT stop, a second one skips the grace, SIGHUP reloads the recipes."""

import math
import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Self


def ignore_sighup() -> None:
    """Ignore SIGHUP, which by default ends a process, until `Signals` handles it."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


class Signals:
    """Set events on signals while inside the `with` block, and stop after `duration_s`.

    Installs no handlers outside the main thread. After a signal has stopped the run, SIGTERM and SIGINT
    stay ignored when the block ends, so that cleaning up is not interrupted. A handler only sets an event,
    because it may interrupt anything.
    """

    def __init__(
        self,
        stop: threading.Event,
        hurry: threading.Event,
        reload: threading.Event,
        *,
        duration_s: float | None = None,
    ) -> None:
        self._stop = stop
        self._hurry = hurry
        self._reload = reload
        self._ends_s = math.inf if duration_s is None else time.monotonic() + duration_s
        self._before: dict[int, object] = {}
        self._stopped_by_signal = False

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                self._before[number] = signal.signal(number, self._received)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            ending = self._stopped_by_signal and number != signal.SIGHUP
            after = signal.SIG_IGN if ending else handler
            signal.signal(number, after)  # type: ignore[arg-type]  # what signal() itself returned

    def check_duration(self) -> None:
        """Stop when `duration_s` is over; call it from the main loop."""
        if time.monotonic() >= self._ends_s:
            self._stop.set()

    def _received(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self._reload.set()
            return
        self._stopped_by_signal = True
        if self._stop.is_set():
            self._hurry.set()
        else:
            self._stop.set()
