"""SIGTERM and SIGINT stop, a second one hurries, SIGHUP reads the recipes again."""

import logging
import math
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Self

log = logging.getLogger(__name__)


def disregard_reload() -> None:
    """Let no SIGHUP end the process before `Signals` listens: it is about to read the recipes anyway."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


class Signals:
    """Turns signals into events while inside the `with` block, and stops after `duration_s`.

    Leaves signals alone outside the main thread. Once a signal has asked for the end, what is cleared up
    after the block is not interrupted by another: SIGTERM and SIGINT are ignored from then on. `reload`
    is not called in the handler, which may interrupt anything, but by `act`.
    """

    def __init__(
        self,
        stop: threading.Event,
        hurry: threading.Event,
        *,
        reload: Callable[[], None],
        duration_s: float | None = None,
    ) -> None:
        self._stop = stop
        self._hurry = hurry
        self._reload = reload
        self._reload_asked = False
        self._ends_s = math.inf if duration_s is None else time.monotonic() + duration_s
        self._before: dict[int, object] = {}
        self._asked = False  # For the end, by a signal.

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                self._before[number] = signal.signal(number, self._received)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            ending = self._asked and number != signal.SIGHUP
            after = signal.SIG_IGN if ending else handler
            signal.signal(number, after)  # type: ignore[arg-type]  # what signal() itself returned

    def act(self) -> None:
        """Do what a signal or the clock asks for."""
        if time.monotonic() >= self._ends_s:
            self._stop.set()
        if self._reload_asked:
            self._reload_asked = False
            log.info("reload: SIGHUP")
            self._reload()

    def _received(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self._reload_asked = True
            return
        self._asked = True
        if self._stop.is_set():
            self._hurry.set()
        else:
            self._stop.set()
