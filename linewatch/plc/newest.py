"""The newest verdicts as a client may read them: a PASS only while it stands."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from linewatch.domain import Result, Verdict
from linewatch.mqtt.live import Announcement
from linewatch.mqtt.messages import StateFacts
from linewatch.plc.adapter import Announce

NUMBERS = 0xFFFF  # Blocks are numbered from 1 to this, then from 1 again; 0 is none.
NO_CODE = 0  # No verdict yet, or a PASS that can no longer be read.
RECENT = 8  # Verdicts that can be read, for clients that read too slowly for each one.


@dataclass(frozen=True, slots=True)
class Block:
    """One verdict, its place among all since the start, and when it was published (monotonic nanoseconds)."""

    place: int  # From 1.
    verdict: Verdict
    published_ns: int

    @property
    def number(self) -> int:
        """The number that clients read: the place, but after 65535 comes 1 again."""
        return (self.place - 1) % NUMBERS + 1


@dataclass(frozen=True, slots=True)
class Shown:
    """A verdict at one moment."""

    number: int
    verdict: Verdict
    code: int  # Of its result; 0 once its PASS was withdrawn.
    age_ms: int  # Since it was published.


class NewestVerdict:
    """Holds the newest verdicts for protocols whose clients read them when they like.

    `publish` is called by one thread, `show` and `recent` by another. The verdicts are one reference to
    something frozen, so what is shown is consistent without a lock.
    """

    def __init__(
        self, announce: Announce, pass_s: float, clock_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._announce = announce
        self._pass_ns = round(pass_s * 1e9)
        self._clock_ns = clock_ns
        self._blocks: tuple[Block, ...] = ()  # The newest first.
        self._withdrawn = 0  # Place of the newest block whose PASS a client could no longer read.

    def publish(self, verdict: Verdict) -> Block:
        """Put a new verdict before the others, and return it with its number; the oldest is dropped."""
        place = self._blocks[0].place + 1 if self._blocks else 1
        block = Block(place, verdict, self._clock_ns())
        self._blocks = (block, *self._blocks[: RECENT - 1])
        return block

    def stands(self, block: Block) -> bool:
        """Whether the PASS of a block, not necessarily one of the last eight, may be announced now."""
        (shown,) = self._shown([block], self._announce().facts)
        return shown.code == Result.PASS.code

    def show(self) -> tuple[Announcement, Shown | None]:
        """Return the station's announcement and its newest verdict, both of one moment."""
        blocks = self._blocks[:1]  # Before the state: a changeover that begins in between withdraws its PASS.
        now = self._announce()
        return now, next(iter(self._shown(blocks, now.facts)), None)

    def recent(self) -> list[Shown]:
        """Return the last verdicts, at most eight, the newest first, all of one moment."""
        blocks = self._blocks  # Before the state, as above.
        return self._shown(blocks, self._announce().facts)

    def _shown(self, blocks: Sequence[Block], now: StateFacts) -> list[Shown]:
        now_ns = self._clock_ns()
        shown = []
        for block in blocks:
            age_ns = now_ns - block.published_ns
            if not self._stands(block, now, age_ns):
                # For good, and with all before it: it does not come back after a short pause.
                self._withdrawn = max(self._withdrawn, block.place)
            passed = block.verdict.result is Result.PASS
            code = NO_CODE if passed and block.place <= self._withdrawn else block.verdict.result.code
            shown.append(Shown(block.number, block.verdict, code, age_ns // 1_000_000))
        return shown

    def _stands(self, block: Block, now: StateFacts, age_ns: int) -> bool:
        """Whether its PASS may be read: it is fresh, and its product still passes parts."""
        same_product = block.verdict.product_index == now.product_index
        return age_ns <= self._pass_ns and same_product and now.state.judging
