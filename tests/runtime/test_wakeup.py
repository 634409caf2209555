"""An event that stands beside sockets in select."""

import gc
import select
import threading
from pathlib import Path

from linewatch.runtime.wakeup import Wakeup


def test_many_sets_are_one_and_clear_tells() -> None:
    """Whoever waits sees it once, and knows whether anything happened."""
    wake = Wakeup()
    assert not wake.clear()
    wake.set()
    wake.set()
    assert wake.clear()
    assert not wake.clear()


def test_select_returns_when_another_thread_sets_it() -> None:
    """That is what it is for."""
    wake = Wakeup()
    threading.Timer(0.01, wake.set).start()

    assert select.select([wake], [], [], 5)[0] == [wake]


def test_its_descriptor_goes_with_it() -> None:
    """A link makes one for each connection, for years."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(50):
        Wakeup()
    gc.collect()

    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1
