"""What stands in for the broker with `mqtt.enabled = false`."""

import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from linewatch.domain import Verdict
from linewatch.mqtt.messages import Message


class DisabledLink:
    """Replaces the live link and the history's connection: sends nothing and keeps nothing pending."""

    def publish_verdict(self, _verdict: Verdict) -> bool:
        """Return False; nothing is counted as failed."""
        return False

    def publish_all(self, messages: Sequence[Message]) -> None:
        """Accept a window of history as delivered."""

    def idle(self, timeout_s: float) -> None:
        """Wait."""
        time.sleep(max(timeout_s, 0))

    def run(self, stop: threading.Event, beat: Callable[[], None]) -> None:
        """Wait for `stop`."""
        while not stop.wait(0.5):
            beat()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass
