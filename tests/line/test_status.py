from dataclasses import replace

import pytest

from linewatch.domain import Result, State
from linewatch.line.metrics import Metrics
from linewatch.line.station import Station
from linewatch.line.status import Announcer
from tests.fakes import verdict


class Post:
    """An announcer over a real station, with a judging stage and a clock that the test moves."""

    def __init__(self) -> None:
        self.station = Station("test", 7, "demo", Metrics("test"))
        self.station.camera_back(0)
        self.station.intend(State.READY)
        self.now_s = 100.0
        self.beats = 0
        self.busy = False
        self.announcer = Announcer(
            self.station.snapshot,
            outbox=lambda: 12,
            beats=lambda: self.beats,
            busy=lambda: self.busy,
            clock_s=lambda: self.now_s,
        )

    def word(self) -> int:
        """Return the status word now."""
        return self.announcer.announce().word

    def heartbeat(self, *, after_s: float = 0.5, beats: int = 0) -> int:
        """Let time pass and the judging stage move; return the heartbeat then."""
        self.now_s += after_s
        self.beats += beats
        return self.word() >> 12


def bits(word: int) -> set[int]:
    """Return the set bits below the heartbeat."""
    return {bit for bit in range(12) if word >> bit & 1}


def test_the_heartbeat_moves_with_the_judging_stage() -> None:
    """Every half second one further, and after 15 comes 0."""
    post = Post()

    assert [post.heartbeat(beats=2) for _ in range(18)] == [*range(1, 16), 0, 1, 2]


def test_a_hung_judging_stage_stops_the_heartbeat() -> None:
    """The network thread goes on announcing, but the PLC sees that nothing is judged."""
    post = Post()
    before = post.heartbeat(beats=1)

    assert {post.heartbeat(beats=0) for _ in range(20)} == {before}
    assert post.heartbeat(beats=1) == (before + 1) % 16


def test_many_announcements_do_not_hurry_the_heartbeat() -> None:
    """A verdict wakes the announcer at once; the count keeps its pace of half a second."""
    post = Post()
    first = post.heartbeat(beats=1)

    seen = [post.heartbeat(after_s=0.01, beats=1) for _ in range(100)]  # One second.

    assert (seen[-1] - first) % 16 == 2


def test_a_caller_that_wakes_early_and_late_does_not_slow_the_heartbeat() -> None:
    """What a turn comes late is not added up: 15 turns in 7.5 s move it 15 times, or once less."""
    post = Post()
    first = post.heartbeat(beats=1)

    seen = [post.heartbeat(after_s=0.45 if turn % 2 else 0.55, beats=1) for turn in range(15)]

    assert (seen[-1] - first) % 16 in (14, 15)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (State.READY, {0, 1}),
        (State.PAUSED, {0}),
        (State.FAULT, {0, 3}),
        (State.CHANGEOVER, {0, 9}),
        (State.SELFTEST, {0}),
        (State.STOPPED, {0}),
    ],
)
def test_the_word_shows_the_state(state: State, expected: set[int]) -> None:
    """Bit 1 is set only where a part may pass."""
    post = Post()

    post.station.intend(state)

    assert bits(post.word()) == expected


def test_a_degraded_station_is_ready_and_degraded() -> None:
    """Judging goes on: bit 1 stays, bit 4 asks for attention."""
    post = Post()

    post.station.impaired("journal", "disk full")

    assert bits(post.word()) == {0, 1, 4}


@pytest.mark.parametrize(
    ("result", "seq", "expected"),
    [
        (Result.PASS, 2, {0, 1, 5}),
        (Result.FAIL, 2, {0, 1, 6}),
        (Result.UNSURE, 2, {0, 1, 7}),
        (Result.ERROR, 2, {0, 1, 7}),
        (Result.PASS, 3, {0, 1, 5, 8}),
    ],
)
def test_the_word_shows_the_last_verdict_and_toggles(result: Result, seq: int, expected: set[int]) -> None:
    """Two equal verdicts in a row differ in bit 8."""
    post = Post()

    post.station.delivered(verdict(seq, result))

    assert bits(post.word()) == expected


def test_the_word_shows_work_in_hand_and_the_self_test() -> None:
    """Bit 2 while frames or inspections wait or are judged, bit 10 after a passed self-test."""
    post = Post()
    post.busy = True
    post.station.tested(passed=True)

    assert bits(post.word()) == {0, 1, 2, 10}


def test_the_state_tells_the_facts_of_the_snapshot() -> None:
    """Camera and disk are their own facts; a broker that is away is neither."""
    post = Post()
    post.station.use("bottle", 3, "7f3a91c2", "ab" * 32)
    post.station.delivered(verdict(5))
    post.station.impaired("broker", "away")

    facts = post.announcer.announce().facts

    assert (facts.station, facts.boot, facts.state, facts.reason) == ("test", 7, State.DEGRADED, "away")
    assert (facts.product, facts.product_index, facts.model) == ("bottle", 3, "7f3a91c2")
    assert facts.model_sha256 == "ab" * 32
    assert (facts.camera, facts.disk, facts.outbox, facts.last_seq) == (True, True, 12, 5)

    post.station.camera_lost("unplugged")
    post.station.impaired("evidence", "full")
    facts = post.announcer.announce().facts
    assert (facts.camera, facts.disk, facts.reason) == (False, False, "unplugged; away; full")


def test_a_rebirth_makes_the_state_worth_saying_again() -> None:
    """A rebirth publishes the state at once although nothing changed."""
    post = Post()
    before = post.announcer.announce().facts
    assert post.announcer.announce().facts.change_key == before.change_key

    post.station.reborn()

    after = post.announcer.announce().facts
    assert after.change_key != before.change_key
    assert replace(after, rebirths=0, uptime_s=0) == replace(before, rebirths=0, uptime_s=0)
