"""The station's state after any sequence of facts, as one table."""

from dataclasses import replace

import pytest

from linewatch.domain import Result, Standing, State
from linewatch.line.snapshot import (
    NOT_OPENED,
    CameraDelivers,
    CameraSilent,
    ChangeBegun,
    ChangeRequested,
    ChangesStanding,
    Fact,
    ImageExamined,
    ImagesChecked,
    ImagesForgiven,
    Impaired,
    ModeIntended,
    PauseEnded,
    PauseRequested,
    ProductUsed,
    RebirthRequested,
    Restored,
    SelfTestEnded,
    Snapshot,
    VerdictPublished,
    next_snapshot,
)

START = Snapshot(station="test", boot=7, product="demo")
OPENED, LOST = CameraDelivers(), CameraSilent("unplugged")
READY, FAULT = ModeIntended(State.READY), ModeIntended(State.FAULT, "unfit")
SELFTEST, STOPPED = ModeIntended(State.SELFTEST, "self-test"), ModeIntended(State.STOPPED, "stopped")
PAUSE, RESUME = PauseRequested(), PauseEnded()
AWAIT, BEGUN = ChangeRequested("cup"), ChangeBegun()
USED = ProductUsed("cup", 2, "0badcafe")
DARK, FROZEN, FIT, CHECK, FORGIVE = (
    ImageExamined("dark"),
    ImageExamined("frozen"),
    ImageExamined(""),
    ImagesChecked(),
    ImagesForgiven(),
)
JOURNAL, BROKER = Impaired("journal", "disk full"), Impaired("broker", "away")
PAUSED, CHANGING = ["paused by command"], ["changing to product cup"]

EVERY_FACT: list[Fact] = [
    READY, FAULT, SELFTEST, STOPPED, PAUSE, RESUME, AWAIT, BEGUN, USED,
    OPENED, LOST, DARK, FIT, CHECK, FORGIVE, JOURNAL, Restored("journal"),
    SelfTestEnded(True), VerdictPublished(5, Result.FAIL), RebirthRequested(),
]  # fmt: skip


def after(*facts: Fact | float, start: Snapshot = START, at_s: float = 100.0) -> Snapshot:
    """Return the station after these facts; a number lets so many seconds pass."""
    now = start
    for fact in facts:
        if isinstance(fact, float):
            at_s += fact
        else:
            now = next_snapshot(now, fact, at_s)
    return now


@pytest.mark.parametrize(
    ("facts", "state", "reasons"),
    [
        # Nothing is ready before a frame came and a model passed its self-test.
        ([], State.STARTING, [NOT_OPENED]),
        ([READY], State.STARTING, [NOT_OPENED]),
        ([OPENED], State.STARTING, []),
        ([OPENED, READY], State.READY, []),
        # What is intended outweighs every trouble, and all reasons are given.
        ([LOST, BROKER, SELFTEST], State.SELFTEST, ["self-test", "unplugged", "away"]),
        ([LOST, BROKER, STOPPED], State.STOPPED, ["stopped", "unplugged", "away"]),
        # A lost camera, also one that was never there.
        ([OPENED, READY, LOST, CameraSilent("still")], State.FAULT, ["still"]),
        ([READY, LOST], State.FAULT, ["unplugged"]),
        ([READY, LOST, OPENED], State.READY, []),
        # Impairments degrade, and each ends alone.
        ([OPENED, READY, JOURNAL, BROKER], State.DEGRADED, ["disk full", "away"]),
        ([OPENED, READY, JOURNAL, Impaired("journal", "read-only")], State.DEGRADED, ["read-only"]),
        ([OPENED, READY, JOURNAL, BROKER, Restored("journal")], State.DEGRADED, ["away"]),
        ([OPENED, READY, JOURNAL, Restored("journal"), Restored("journal")], State.READY, []),
        # The broker's trouble is given once, not again as the history's.
        ([OPENED, READY, BROKER, Impaired("history", "gone")], State.DEGRADED, ["away"]),
        ([OPENED, READY, BROKER, Impaired("history", "gone"), STOPPED], State.STOPPED, ["stopped", "away"]),
        ([OPENED, READY, Impaired("history", "gone")], State.DEGRADED, ["gone"]),
        # STOPPED is final.
        ([OPENED, READY, STOPPED, READY], State.STOPPED, ["stopped"]),
        ([OPENED, READY, STOPPED, AWAIT, BEGUN, READY], State.STOPPED, ["stopped"]),
        ([OPENED, READY, STOPPED, PAUSE, RESUME], State.STOPPED, ["stopped"]),
        ([OPENED, READY, AWAIT, STOPPED], State.STOPPED, ["stopped"]),
        # While a changeover is awaited nothing else is entered; of two, both must have begun.
        ([OPENED, READY, AWAIT], State.CHANGEOVER, CHANGING),
        ([OPENED, READY, AWAIT, READY], State.CHANGEOVER, CHANGING),
        ([OPENED, READY, AWAIT, FAULT], State.CHANGEOVER, CHANGING),
        ([OPENED, READY, AWAIT, BEGUN], State.CHANGEOVER, CHANGING),
        ([OPENED, READY, AWAIT, BEGUN, READY], State.READY, []),
        ([OPENED, READY, AWAIT, AWAIT, BEGUN, READY], State.CHANGEOVER, CHANGING),
        ([OPENED, READY, AWAIT, AWAIT, BEGUN, BEGUN, READY], State.READY, []),
        # A pause outlives changeovers, self-tests and faults; only `resume` ends it.
        ([OPENED, READY, PAUSE], State.PAUSED, PAUSED),
        ([OPENED, READY, PAUSE, READY], State.PAUSED, PAUSED),
        ([OPENED, READY, PAUSE, AWAIT, BEGUN, READY], State.PAUSED, PAUSED),
        ([OPENED, READY, PAUSE, SELFTEST], State.SELFTEST, ["self-test"]),
        ([OPENED, READY, PAUSE, SELFTEST, READY], State.PAUSED, PAUSED),
        ([OPENED, READY, PAUSE, FAULT, READY], State.PAUSED, PAUSED),
        ([OPENED, READY, PAUSE, RESUME], State.READY, []),
        ([OPENED, READY, AWAIT, PAUSE], State.CHANGEOVER, CHANGING),
        ([OPENED, READY, AWAIT, PAUSE, BEGUN, READY], State.PAUSED, PAUSED),
        ([OPENED, READY, PAUSE, AWAIT, RESUME], State.CHANGEOVER, CHANGING),
        # Images that stay unfit for 1 s are a fault until one is fit; its first reason stays.
        ([OPENED, READY, DARK, DARK, 0.9, CHECK], State.READY, []),
        ([OPENED, READY, DARK, DARK, 1.0, CHECK], State.FAULT, ["dark"]),
        ([OPENED, READY, DARK, FROZEN, 1.0, CHECK, DARK, 9.0, CHECK], State.FAULT, ["frozen"]),
        ([OPENED, READY, DARK, DARK, 1.0, CHECK, FIT], State.READY, []),
        ([OPENED, READY, DARK, 0.9, FIT, DARK, 0.9, CHECK], State.READY, []),
        ([OPENED, READY, DARK, DARK, 1.0, CHECK, FORGIVE, DARK, CHECK], State.READY, []),
        # A single one may be the part's fault: the line goes on.
        ([OPENED, READY, DARK, 1.5, CHECK], State.DEGRADED, ["dark"]),
        ([OPENED, READY, DARK, 1.5, CHECK, DARK], State.FAULT, ["dark"]),
        # They say nothing about another product, which has its own light.
        ([OPENED, READY, DARK, DARK, 2.0, CHECK, USED], State.READY, []),
    ],
)
def test_the_state_follows_from_the_facts(
    facts: list[Fact | float], state: State, reasons: list[str]
) -> None:
    """Mode, camera, images and impairments lead to one state with its reasons."""
    now = after(*facts)

    assert (now.state, now.reasons) == (state, reasons)


@pytest.mark.parametrize("mode", State)
def test_only_a_ready_station_judges(mode: State) -> None:
    """In every other mode there is no moment since which a part may pass."""
    standing = after(USED, ModeIntended(mode)).standing

    assert standing == Standing("cup", "0badcafe", 100 * 10**9 if mode is State.READY else None)


@pytest.mark.parametrize(
    ("facts", "since_s"),
    [
        ([READY, 5.0, READY], 100),  # READY again is no new beginning: a reload keeps the parts under way.
        ([READY, 5.0, SELFTEST, READY], 105),
        ([READY, 5.0, AWAIT, BEGUN, READY], 105),
        ([READY, 5.0, PAUSE, 5.0, RESUME], 110),
        ([READY, 5.0, LOST, OPENED, JOURNAL], 100),
    ],
)
def test_a_part_must_be_exposed_after_the_station_became_ready(
    facts: list[Fact | float], since_s: int
) -> None:
    """Whatever interrupted the judging, parts exposed before it ended do not pass."""
    assert after(*facts).standing.judging_since_ns == since_s * 10**9


def test_only_facts_that_wait_for_a_publication_change_what_judges() -> None:
    """All others may be applied while a verdict is published: they leave mode, product and model alone."""
    for start in (START, after(OPENED, READY), after(OPENED, READY, DARK, DARK, 1.0, CHECK, JOURNAL)):
        for fact in EVERY_FACT:
            changed = after(fact, start=start).standing != start.standing
            assert isinstance(fact, ChangesStanding) or not changed, fact


def test_a_fact_that_changes_nothing_returns_the_same_snapshot() -> None:
    """So nothing is announced for it."""
    now = after(OPENED, READY, JOURNAL)

    for fact in (JOURNAL, Restored("broker"), CHECK, FIT, FORGIVE):
        assert after(fact, start=now) is now


def test_facts_are_kept_for_page_and_plc() -> None:
    """Self-test, last verdict, product and rebirths are in the snapshot, and the one before is unchanged."""
    now = after(SelfTestEnded(True), VerdictPublished(5, Result.FAIL), USED, RebirthRequested())

    assert (now.selftest_passed, now.last_seq, now.last_result, now.rebirths) == (True, 5, Result.FAIL, 1)
    assert (now.product, now.product_index, now.model) == ("cup", 2, "0badcafe")
    assert replace(START) == Snapshot(station="test", boot=7, product="demo")
