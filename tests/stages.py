"""Stages of the line as threads of a test."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from linewatch.runtime.stages import Stage


class Writer(Protocol):
    """What writes to the disk in a stage of its own."""

    def run(self, stage: Stage) -> None:
        """Write until `close`."""

    def close(self) -> None:
        """Take no more."""


@contextmanager
def running(*writers: Writer) -> Iterator[None]:
    """Run writers, each in a thread, until the block ends and they have written what waits."""
    threads = [
        threading.Thread(target=writer.run, args=[Stage("test", writer.run)], daemon=True)
        for writer in writers
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for writer in writers:
            writer.close()
        for thread in threads:
            thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
