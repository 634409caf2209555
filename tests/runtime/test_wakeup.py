"""The event that select can wait for."""

import gc
import select
import threading
from pathlib import Path

from linewatch.runtime.wakeup import Wakeup


def test_many_sets_are_one_and_clear_returns_it() -> None:
    """Several sets are cleared at once; clear returns whether there was one."""
    wake = Wakeup()
    assert not wake.clear()
    wake.set()
    wake.set()
    assert wake.clear()
    assert not wake.clear()


def test_select_returns_when_another_thread_sets_it() -> None:
    """A set in one thread ends a select in another."""
    wake = Wakeup()
    threading.Timer(0.01, wake.set).start()

    assert select.select([wake], [], [], 5)[0] == [wake]


def test_its_descriptor_goes_with_it() -> None:
    """No descriptor leaks: the live link makes one event for each connection."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(50):
        Wakeup()
    gc.collect()

    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1
