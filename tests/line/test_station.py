import logging

import pytest

from linewatch.domain import Result, State
from linewatch.errors import StorageFull
from linewatch.line.metrics import Metrics
from linewatch.line.station import EVENTS_MAX, Station
from tests.fakes import verdict


class Post:
    """A station with its metrics."""

    def __init__(self) -> None:
        self.metrics = Metrics("test")
        self.now_s = 100.0
        self.station = Station("test", 7, "demo", self.metrics, clock_s=lambda: self.now_s)

    @property
    def state(self) -> State:
        """What everyone sees."""
        return self.station.snapshot().state

    @property
    def reasons(self) -> list[str]:
        """Why it is not READY."""
        return self.station.snapshot().reasons

    def ready(self) -> None:
        """Bring it to READY."""
        self.station.camera_back(0)
        self.station.intend(State.READY)

    def expose(self, *faults: str, after_s: float = 0.0) -> None:
        """Examine pictures, then let time pass."""
        for fault in faults:
            self.station.image_examined(fault)
        self.now_s += after_s
        self.station.check_images()

    def shown(self) -> list[str]:
        """Return the states that the one-hot metric shows."""
        return [
            state.value
            for state in State
            if self.metrics.registry.get_sample_value(
                "linewatch_state", {"station": "test", "state": state.value}
            )
        ]

    def events(self) -> list[str]:
        """Return the names of the events so far."""
        return [str(event["event"]) for event in self.station.events]


def test_a_lost_camera_is_a_fault_told_once_each_way() -> None:
    """However often opening it fails, there is one event and one line for the loss and one for the return."""
    post = Post()
    post.ready()

    for why in ("unplugged", "still unplugged"):
        post.station.camera_lost(why)
    assert (post.state, post.reasons) == (State.FAULT, ["still unplugged"])
    post.station.camera_back(12.34)
    post.station.camera_back(0)

    assert post.state is State.READY
    assert post.events() == ["camera_lost", "camera_back"]
    assert post.station.events[-1]["after_s"] == 12.3
    counted = post.metrics.registry.get_sample_value
    assert counted("linewatch_camera_reconnects_total", {"station": "test"}) == 1
    assert counted("linewatch_camera_up", {"station": "test"}) == 1


def test_impairments_degrade_and_each_is_taken_back_alone() -> None:
    """Judging goes on without disk or broker; READY comes back with the last of them."""
    post = Post()
    post.ready()

    post.station.impaired("journal", "disk full")
    post.station.impaired("broker", "away")
    post.station.impaired("broker", "still away")
    assert (post.state, post.reasons) == (State.DEGRADED, ["disk full", "still away"])
    assert post.state.judging

    post.station.restored("journal")
    post.station.restored("journal")
    assert (post.state, post.reasons) == (State.DEGRADED, ["still away"])

    post.station.restored("broker")
    assert post.state is State.READY
    assert post.events() == ["journal_impaired", "broker_impaired", "journal_restored", "broker_restored"]


def test_every_change_of_state_is_shown_logged_and_announced(caplog: pytest.LogCaptureFixture) -> None:
    """Metrics are one-hot, the log has one line per edge, and the announcer is woken."""
    caplog.set_level(logging.INFO)
    post = Post()
    assert post.shown() == ["STARTING"]
    post.ready()
    post.station.changed.clear()

    post.station.intend(State.PAUSED, "paused by command")

    assert post.shown() == ["PAUSED"]
    assert post.station.changed.clear()
    assert "state from=READY to=PAUSED reason='paused by command'" in caplog.text

    lines = len(caplog.records)
    post.station.intend(State.PAUSED, "paused by command")
    assert len(caplog.records) == lines


def test_the_last_verdict_and_the_product_are_in_the_snapshot() -> None:
    """What the status word and the page need is one value that never changes under its reader."""
    post = Post()
    before = post.station.snapshot()
    post.station.use("bottle", 3, "7f3a91c2")
    post.station.tested(passed=True)
    post.station.changed.clear()

    post.station.delivered(verdict(5, Result.FAIL))

    now = post.station.snapshot()
    assert (now.product, now.product_index, now.model, now.selftest_passed) == ("bottle", 3, "7f3a91c2", True)
    assert (now.last_seq, now.last_result) == (5, Result.FAIL)
    assert post.station.changed.clear(), "the PLC's status word must follow at once"
    assert (before.product, before.last_seq) == ("demo", 0)


def test_events_carry_who_and_when_and_are_bounded() -> None:
    """While the broker is away the oldest events go first; memory does not grow."""
    post = Post()

    for number in range(EVENTS_MAX + 10):
        post.station.event("trigger_missed", rid=number)

    assert len(post.station.events) == EVENTS_MAX
    last = dict(post.station.events[-1])
    assert last.pop("ms")
    assert last == {
        "v": 1,
        "station": "test",
        "boot": 7,
        "event": "trigger_missed",
        "rid": EVENTS_MAX + 9,
    }


def test_pictures_that_stay_unfit_are_a_fault_until_one_is_fit() -> None:
    """A frozen or black camera is one event with its reason, and ends with the next fit image."""
    post = Post()
    post.ready()
    post.expose("black", "black", after_s=0.9)
    assert post.state is State.READY
    post.expose("black", after_s=0.2)
    assert (post.state, post.reasons) == (State.FAULT, ["black"])
    post.expose("black", "frozen", after_s=5.0)
    assert post.reasons == ["black"]  # A reason that changes with every picture would flood the topic.

    post.expose("")
    assert (post.state, post.reasons) == (State.READY, [])
    assert post.events() == ["pictures_unfit", "pictures_fit"]


@pytest.mark.parametrize("no_room", [True, False])
def test_a_full_disk_has_an_event_of_its_own(no_room: bool) -> None:
    """Reported once, and not for a disk that is read-only or broken."""
    post = Post()
    post.ready()
    for _ in range(2):
        post.station.storage_failed("evidence", StorageFull("/evidence", "no", no_room=no_room))

    assert post.state is State.DEGRADED
    assert post.events() == ["evidence_impaired", "disk_full"][: 1 + no_room]
