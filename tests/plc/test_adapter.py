"""An adapter's failures stay its own."""

from collections.abc import Callable

import pytest

from linewatch.domain import Verdict
from linewatch.errors import LinewatchError
from linewatch.plc.adapter import keep_serving


class Faulty:
    """An adapter that fails as its script says, then serves until the end."""

    name = "modbus"

    def __init__(self, *failures: Exception) -> None:
        self._failures = list(failures)
        self.served = 0
        self.has_ended = False

    def publish_verdict(self, verdict: Verdict) -> None:
        """Keep nothing."""

    def serve(self, ended: Callable[[], bool], beat: Callable[[], None]) -> None:
        """Fail, or serve until the end."""
        self.served += 1
        if self._failures:
            raise self._failures.pop(0)
        beat()
        self.has_ended = True


def test_an_adapter_that_fails_is_started_again(caplog: pytest.LogCaptureFixture) -> None:
    """Expected trouble is one sentence; a bug has its traceback in the log; neither leaves the stage."""
    adapter = Faulty(LinewatchError("the port is taken"), ZeroDivisionError("a bug"))
    troubles: list[str] = []
    beats: list[None] = []

    keep_serving(
        adapter, lambda: adapter.has_ended, lambda: beats.append(None), troubles.append, backoff_first_s=0.001
    )

    assert adapter.served == 3
    assert beats
    assert troubles == [
        "the port is taken",
        "modbus failed and is started again: ZeroDivisionError('a bug'); report this with the log",
    ]
    assert "adapter_failed name=modbus" in caplog.text and "Traceback" in caplog.text


def test_the_end_is_not_waited_for() -> None:
    """A station that stops during the back-off ends the adapter without another start."""
    adapter = Faulty(*[LinewatchError("away")] * 9)

    keep_serving(adapter, lambda: adapter.served == 1, lambda: None, lambda _: None, backoff_first_s=10)

    assert adapter.served == 1
