"""Another process that stands still while this one has urgent work."""

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress

RESTS_MAX_NS = 200_000_000  # At a stretch.
SHARE = 5  # One part in so many of the time it runs, however busy this process is.


class PausedProcess:
    """Stops a process with SIGSTOP while this one is busy; any thread may call, none waits.

    A low priority is not enough: cores share caches, memory bandwidth and often their execution units, so a
    process that computes slows the others down though it never takes a core from them. So that it ends
    one day, it gets at least a fifth of the time. It should call `priority.run_when_orphaned`.
    """

    def __init__(self, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock_ns = clock_ns
        self._lock = threading.Lock()
        self._process = -1  # A descriptor: unlike an id it never means another process.
        self._stopped = False
        self._since_ns = clock_ns()
        self._owed_ns = 0  # What it has stood still and not made up for.

    def watch(self, pid: int) -> None:
        """Take the process to stop from now on, instead of an earlier one; it runs."""
        self.release()
        with self._lock, suppress(OSError):  # It has ended, or is another user's.
            self._process = os.pidfd_open(pid)
            self._send(signal.SIGCONT)

    def release(self) -> None:
        """Let the process run, and stop it no more."""
        with self._lock:
            if self._process >= 0:
                self._send(signal.SIGCONT)
                os.close(self._process)
            self._process, self._stopped, self._owed_ns = -1, False, 0

    def give_way(self, busy: bool) -> None:
        """Stop the process or let it run; call whenever a piece of work begins or ends."""
        with self._lock:
            if self._process < 0:
                return
            now_ns = self._clock_ns()
            passed_ns, self._since_ns = now_ns - self._since_ns, now_ns
            if self._stopped:
                self._owed_ns += passed_ns
                if not busy or self._owed_ns >= RESTS_MAX_NS:
                    self._stopped = False
                    self._send(signal.SIGCONT)
            else:
                self._owed_ns = max(0, self._owed_ns - passed_ns * (SHARE - 1))
                if busy and self._owed_ns == 0:
                    self._stopped = True
                    self._send(signal.SIGSTOP)

    def _send(self, number: signal.Signals) -> None:
        with suppress(OSError):  # It has ended.
            signal.pidfd_send_signal(self._process, number)
