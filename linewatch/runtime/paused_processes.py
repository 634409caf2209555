"""Other processes that stand still while this one has urgent work."""

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress

RESTS_MAX_NS = 200_000_000  # At a stretch.
SHARE = 5  # One part in so many of the time they run, however busy this process is.


class PausedProcesses:
    """Stops processes with SIGSTOP while this one is busy; any thread may call, none waits.

    A low priority is not enough: cores share caches, memory bandwidth and often their execution units, so a
    process that computes slows the others down though it never takes a core from them. So that they end
    one day, they get at least a fifth of the time. Each should call `priority.run_when_orphaned`.
    """

    def __init__(self, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock_ns = clock_ns
        self._lock = threading.Lock()
        self._processes: dict[int, int] = {}  # Ids and descriptors, which never mean another process.
        self._stopped = False
        self._since_ns = clock_ns()
        self._owed_ns = 0  # What they have stood still and not made up for.

    def watch(self, pid: int) -> None:
        """Stop this process, too, from now on; it runs until the next piece of work begins."""
        with self._lock, suppress(OSError):  # It has ended, or is another user's.
            self._forget(pid)
            self._processes[pid] = os.pidfd_open(pid)
            self._send(self._processes[pid], signal.SIGCONT)

    def release(self, pid: int) -> None:
        """Let this process run, and stop it no more."""
        with self._lock:
            self._forget(pid)

    def give_way(self, busy: bool) -> None:
        """Stop the processes or let them run; call whenever a piece of work begins or ends."""
        with self._lock:
            if not self._processes:
                return
            now_ns = self._clock_ns()
            passed_ns, self._since_ns = now_ns - self._since_ns, now_ns
            if self._stopped:
                self._owed_ns += passed_ns
                if not busy or self._owed_ns >= RESTS_MAX_NS:
                    self._stop(False)
            else:
                self._owed_ns = max(0, self._owed_ns - passed_ns * (SHARE - 1))
                if busy and self._owed_ns == 0:
                    self._stop(True)

    def _stop(self, stopped: bool) -> None:
        self._stopped = stopped
        for process in self._processes.values():
            self._send(process, signal.SIGSTOP if stopped else signal.SIGCONT)

    def _forget(self, pid: int) -> None:
        if (process := self._processes.pop(pid, -1)) >= 0:
            self._send(process, signal.SIGCONT)
            os.close(process)

    def _send(self, process: int, number: signal.Signals) -> None:
        with suppress(OSError):  # It has ended.
            signal.pidfd_send_signal(process, number)
