"""What every adapter is to the line, and how its stage outlives its failures."""

import logging
import time
from collections.abc import Callable
from typing import Protocol

from linewatch.domain import Answer, Verdict
from linewatch.errors import LinewatchError
from linewatch.mqtt.live import Announcement
from linewatch.mqtt.messages import Command, InvalidCommand
from linewatch.runtime.backoff import Backoff

log = logging.getLogger(__name__)

BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.5, 10.0
STEADY_S = 10.0  # After serving for so long the back-off starts again at its first wait.
BEAT_S = 0.1

Announce = Callable[[], Announcement]
"""State and status word of the station now; from any thread, never blocks."""

Submit = Callable[[Command | InvalidCommand, Callable[[Answer], None]], None]
"""Take a command without blocking; the callback gets its outcome once, perhaps later, from any thread."""


class SignIn(Protocol):
    """Who clients are; for protocols that have users."""

    def check(self, name: str, password: str, address: str) -> str:
        """Return the name for audit and log if the password, or a machine's token, is right; else ""."""

    def has_users(self) -> bool:
        """Whether there are users, so that commands need a name."""


class Adapter(Protocol):
    """One protocol: takes verdicts from the line and serves them to its clients."""

    @property
    def name(self) -> str:
        """Name of its stage and of its settings."""

    def publish_verdict(self, verdict: Verdict) -> None:
        """Take a verdict. Called by the record stage before the next part: keeps a reference, no more."""

    def serve(self, ended: Callable[[], bool], beat: Callable[[], None]) -> None:
        """Serve clients until `ended`. May raise anything: the adapter is served again."""


def keep_serving(
    adapter: Adapter,
    ended: Callable[[], bool],
    beat: Callable[[], None],
    on_change: Callable[[str], None],
    *,
    backoff_first_s: float = BACKOFF_FIRST_S,
) -> None:
    """Serve until `ended`; after a failure again, with back-off. `on_change` gets the reason of a failure.

    Unlike the stages of the line, an adapter with a bug does not end the process: the line and the other
    protocols go on, and its clients see their connection end.
    """
    backoff = Backoff(backoff_first_s, BACKOFF_MAX_S)
    while not ended():
        started_s = time.monotonic()
        try:
            adapter.serve(ended, beat)
        except LinewatchError as trouble:
            on_change(str(trouble))
        except Exception as error:
            log.exception("adapter_failed name=%s", adapter.name)
            on_change(f"{adapter.name} failed and is started again: {error!r}; report this with the log")
        if time.monotonic() - started_s > STEADY_S:
            backoff.reset()
        until_s = time.monotonic() + backoff.next_s()
        while not ended() and time.monotonic() < until_s:
            beat()
            time.sleep(BEAT_S)
