import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from linewatch.runtime.paused_processes import RESTS_MAX_NS, SHARE, PausedProcesses

MS = 1_000_000


class Clock:
    """A clock that the test turns on."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        """Return its time."""
        return self.now_ns


@pytest.fixture
def clock() -> Clock:
    """Return a clock at 0."""
    return Clock()


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """Return a process that waits."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as found:
        yield found
        found.kill()


@pytest.fixture
def paused(clock: Clock, process: subprocess.Popen[bytes]) -> Iterator[PausedProcesses]:
    """Return what stops the process."""
    found = PausedProcesses(clock)
    found.watch(process.pid)
    yield found
    found.release(process.pid)


def is_stopped(process: subprocess.Popen[bytes]) -> bool:
    """Whether the process stands still; waits until the last signal has reached it."""
    status = Path(f"/proc/{process.pid}/status")
    while True:
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        pending = int(lines["ShdPnd"], 16) | int(lines["SigPnd"], 16)
        if not pending >> (signal.SIGSTOP - 1) & 1:
            return lines["State"].strip().startswith("T")


def test_a_process_stands_still_while_there_is_work(
    paused: PausedProcesses, process: subprocess.Popen[bytes]
) -> None:
    """It stops when the work begins and goes on when it has ended."""
    paused.give_way(True)
    assert is_stopped(process)
    paused.give_way(False)
    assert not is_stopped(process)


def test_a_process_gets_its_share_of_the_time_beside_endless_work(
    paused: PausedProcesses, process: subprocess.Popen[bytes], clock: Clock
) -> None:
    """It never stands still for long, and runs for a fifth of the time."""
    ran, steps = 0, 5_000
    for _ in range(steps):
        paused.give_way(True)
        ran += not is_stopped(process)
        clock.now_ns += MS
    assert steps / SHARE - RESTS_MAX_NS // MS <= ran <= steps / SHARE + RESTS_MAX_NS // MS


def test_a_process_runs_once_it_is_released(
    paused: PausedProcesses, process: subprocess.Popen[bytes]
) -> None:
    """After that nothing stops it."""
    paused.give_way(True)
    paused.release(process.pid)
    paused.give_way(True)
    assert not is_stopped(process)


def test_a_process_that_has_ended_is_no_error(
    paused: PausedProcesses, process: subprocess.Popen[bytes]
) -> None:
    """Neither stopping it nor taking it again raises."""
    process.kill()
    process.wait()
    paused.give_way(True)
    paused.watch(process.pid)
    paused.give_way(False)
    assert process.returncode == -signal.SIGKILL


PARENT = """
import os, signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", '''
import sys
from linewatch.runtime.priority import run_when_orphaned
run_when_orphaned()
print("ready", flush=True)
sys.stdin.read()
print("ended", flush=True)
'''], stdin=subprocess.PIPE, stdout=sys.stdout)
print(child.pid, flush=True)
sys.stdin.read(1)
child.send_signal(signal.SIGSTOP)
os.waitid(os.P_PID, child.pid, os.WSTOPPED)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_stopped_process_goes_on_when_its_parent_was_killed() -> None:
    """A daemon that is killed while it judges a part leaves no process that stands still."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdin and parent.stdout
        assert {parent.stdout.readline(), parent.stdout.readline()} & {"ready\n"}
        parent.stdin.write("x")
        parent.stdin.flush()
        assert parent.wait(30) == -signal.SIGKILL
        assert parent.stdout.readline() == "ended\n"  # Its input ended with its parent.


def test_several_processes_stand_still_together(
    paused: PausedProcesses, process: subprocess.Popen[bytes]
) -> None:
    """One that is released does not run the others."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        paused.watch(other.pid)
        paused.give_way(True)
        both = is_stopped(process), is_stopped(other)
        paused.release(other.pid)
        after = is_stopped(process), is_stopped(other)
        other.kill()

    assert (both, after) == ((True, True), (True, False))
