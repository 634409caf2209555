"""The newest verdict as a client may read it: a PASS only while it stands."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from linewatch.domain import Result, Verdict
from linewatch.mqtt.live import Announcement
from linewatch.mqtt.messages import StateFacts
from linewatch.plc.adapter import Announce

NUMBERS = 0xFFFF  # Blocks are numbered from 1 to this, then from 1 again; 0 is none.
NO_CODE = 0  # No verdict yet, or a PASS that can no longer be read.


@dataclass(frozen=True, slots=True)
class Block:
    """One verdict, numbered, and when it was published (monotonic nanoseconds)."""

    number: int
    verdict: Verdict
    published_ns: int


@dataclass(frozen=True, slots=True)
class Shown:
    """The newest verdict at one moment."""

    number: int
    verdict: Verdict
    code: int  # Of its result; 0 once its PASS was withdrawn.
    age_ms: int  # Since it was published.


class NewestVerdict:
    """Holds the newest verdict for protocols whose clients read it when they like.

    `publish` is called by one thread, `show` by another. A verdict is one reference to something frozen,
    so what is shown is consistent without a lock.
    """

    def __init__(
        self, announce: Announce, pass_s: float, clock_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._announce = announce
        self._pass_ns = round(pass_s * 1e9)
        self._clock_ns = clock_ns
        self._block: Block | None = None
        self._withdrawn: Block | None = None  # The last one whose PASS a client could no longer read.

    def publish(self, verdict: Verdict) -> None:
        """Replace the verdict."""
        number = self._block.number % NUMBERS + 1 if self._block else 1
        self._block = Block(number, verdict, self._clock_ns())

    def show(self) -> tuple[Announcement, Shown | None]:
        """Return the station's announcement and its newest verdict, both of one moment."""
        block = self._block  # Before the state: a changeover that begins in between withdraws its PASS.
        now = self._announce()
        if block is None:
            return now, None
        age_ns = self._clock_ns() - block.published_ns
        code = block.verdict.result.code
        if block.verdict.result is Result.PASS and not self._stands(block, now.facts, age_ns):
            self._withdrawn = block  # For good: it does not come back after a short pause.
            code = NO_CODE
        return now, Shown(block.number, block.verdict, code, age_ns // 1_000_000)

    def _stands(self, block: Block, now: StateFacts, age_ns: int) -> bool:
        """Whether a PASS may be read: it is fresh, and its product still passes parts."""
        same_product = block.verdict.product_index == now.product_index
        fresh = age_ns <= self._pass_ns and block is not self._withdrawn
        return fresh and same_product and now.state.judging
