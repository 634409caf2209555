"""Let a process beside the line give way to it. Imports nothing else, so that it comes first."""

import ctypes
import os
import signal
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1


def give_way(nice: int) -> None:
    """Lower this process's priority to `nice` (0 to 19), and let it be killed first when memory is short.

    Call it before libraries are imported: their threads inherit the priority. It is not that of an idle
    task, which beside other busy programs would never end.
    """
    os.setpriority(os.PRIO_PROCESS, 0, max(nice, os.getpriority(os.PRIO_PROCESS, 0)))
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def run_when_orphaned() -> None:
    """Have the kernel continue this process, should it be stopped when its parent ends (prctl(2))."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGCONT))


def run_when_idle() -> None:
    """Let this process run only while no other needs a processor: a thread of the line never waits for it."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
