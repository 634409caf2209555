"""Let a process beside the line give way to it. Imports nothing else, so that it comes first."""

import os
from contextlib import suppress
from pathlib import Path


def give_way(nice: int) -> None:
    """Lower this process's priority to `nice` (0 to 19), and let it be killed first when memory is short.

    Call it before libraries are imported: their threads inherit the priority. It is not that of an idle
    task, which beside other busy programs would never end.
    """
    os.setpriority(os.PRIO_PROCESS, 0, max(nice, os.getpriority(os.PRIO_PROCESS, 0)))
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
