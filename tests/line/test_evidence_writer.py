"""Frames on their way to disk, beside the line."""

import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from linewatch.domain import Image, Reason, Result, Verdict
from linewatch.errors import StorageFull
from linewatch.line.evidence_writer import QUIET_S, YIELD_S, ErrorSampler, EvidenceWriter
from linewatch.line.metrics import Metrics
from linewatch.line.station import Station
from linewatch.runtime.stages import Stage
from linewatch.settings import EvidenceSettings
from tests.fakes import verdict

FRAME = np.zeros((100, 100, 3), np.uint8)  # 30,000 bytes.


class Clock:
    """Stands still until it is moved."""

    now_s = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now_s


class Disk:
    """Keeps the names of what was written; refuses while `full`."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.full = False
        self.on_write: Callable[[], object] = lambda: None

    def frame_name(self, verdict: Verdict) -> str:
        """Name every frame."""
        return f"{verdict.result}-{verdict.seq}"

    def write(self, name: str, image: Image) -> None:
        """Note the name."""
        if self.full:
            raise StorageFull("evidence", "no room", no_room=True)
        self.written.append(name)
        self.on_write()


class Rig:
    """A writer with room for so many frames, and what is around it."""

    def __init__(
        self, frames: int = 3, line_busy: Callable[["Clock"], bool] = lambda _: False, **settings: object
    ) -> None:
        self.clock, self.disk, self.metrics = Clock(), Disk(), Metrics("test")
        self.station = Station("test", 1, "demo", self.metrics)
        chosen = EvidenceSettings.model_validate({"queue_bytes_max": frames * FRAME.nbytes, **settings})
        self.writer = EvidenceWriter(
            self.disk,
            self.station,
            self.metrics,
            chosen,
            lambda: line_busy(self.clock),
            clock_s=self.clock,
        )
        self._seq = 0

    def part(self, result: Result, reason: Reason = Reason.NONE) -> str:
        """Let one part be recorded; return the path its verdict names."""
        self._seq += 1
        one = verdict(seq=self._seq, result=result, reason=reason)
        name = self.writer.frame_name(one, FRAME.nbytes)
        if name:
            self.writer.offer(result, [(name, FRAME)])
        return name

    def drain(self) -> list[str]:
        """Write what waits and end; return everything that was written."""
        self.writer.close()
        self.writer.run(Stage("evidence", lambda _: None))
        return self.disk.written

    def shed(self, result: Result) -> float:
        """Return how many frames of a result were counted as shed."""
        value = self.metrics.registry.get_sample_value(
            "linewatch_evidence_shed_total", {"station": "test", "result": result}
        )
        assert value is not None
        return value


def test_every_reject_is_written_with_all_its_views() -> None:
    """A FAIL and an UNSURE are kept; two views of a part are two files."""
    rig = Rig()
    name = rig.part(Result.UNSURE)
    rig.writer.offer(Result.FAIL, [("a", FRAME), ("a.view2", FRAME)])

    assert rig.drain() == [name, "a", "a.view2"]


@pytest.mark.parametrize("busy_s", [0.0, YIELD_S / 2, 10.0])
def test_frames_wait_for_a_free_line_but_not_for_long(busy_s: float) -> None:
    """Encoding starts when no part is in the line, or after YIELD_S on a line that is never free."""
    started: list[float] = []

    def line_busy(clock: Clock) -> bool:
        """Let a fifth of the longest wait pass with every call."""
        busy = clock.now_s < busy_s
        clock.now_s += busy * YIELD_S / 5
        return busy

    rig = Rig(line_busy=line_busy)
    rig.part(Result.FAIL)

    def note_start() -> None:
        started.append(rig.clock.now_s)
        rig.writer.close()

    rig.disk.on_write = note_start
    rig.writer.run(Stage("evidence", lambda _: None))

    assert started == [pytest.approx(min(busy_s, YIELD_S), abs=YIELD_S / 5)]


def test_one_pass_in_n_is_kept() -> None:
    """`pass_every` chooses which; 0 keeps none."""
    rig = Rig(frames=10, pass_every=3)
    assert [bool(rig.part(Result.PASS)) for _ in range(6)] == [False, False, True, False, False, True]
    assert not any(Rig(pass_every=0).part(Result.PASS) for _ in range(5))


def test_a_drawn_pass_is_kept_besides() -> None:
    """The draw neither counts as one in n nor moves it; it takes no other result."""
    rig = Rig(frames=10, pass_every=3)
    rig.writer = EvidenceWriter(
        rig.disk,
        rig.station,
        rig.metrics,
        EvidenceSettings(pass_every=3, error_first=1),
        drawn=lambda _boot, seq: seq in (1, 2),
    )
    assert [bool(rig.writer.frame_name(verdict(seq), 100)) for seq in (1, 4, 5, 2, 6, 7)] == [
        True, False, True, True, False, True,
    ]  # fmt: skip
    assert rig.writer.frame_name(verdict(1, Result.ERROR), 100)
    assert not rig.writer.frame_name(verdict(2, Result.ERROR), 100)


def test_errors_of_one_cause_are_sampled() -> None:
    """The first of each cause are kept, then one every so often; another cause has its own first ones."""
    clock = Clock()
    sampler = ErrorSampler(first=2, every_s=60.0, clock_s=clock)

    assert [sampler.take(Reason.NOT_READY) for _ in range(4)] == [True, True, False, False]
    assert sampler.take(Reason.FROZEN)
    clock.now_s = 60.0
    assert [sampler.take(Reason.NOT_READY) for _ in range(2)] == [True, False]
    clock.now_s = 1000.0
    assert [sampler.take(Reason.NOT_READY) for _ in range(3)] == [True, True, False]


def test_an_hour_of_errors_writes_little() -> None:
    """A station that stands for an hour at 10 parts a second keeps some 35 frames."""
    clock = Clock()
    settings = EvidenceSettings()
    sampler = ErrorSampler(settings.error_first, settings.error_every_s, clock)
    kept = 0
    for tick in range(36_000):
        clock.now_s = tick / 10
        kept += sampler.take(Reason.NOT_READY)

    assert kept <= 35


@pytest.mark.parametrize(
    ("waiting", "comes", "left"),
    [
        ([Result.FAIL, Result.ERROR, Result.FAIL], Result.FAIL, ["FAIL-1", "FAIL-3", "FAIL-4"]),
        ([Result.PASS, Result.ERROR, Result.FAIL], Result.UNSURE, ["PASS-1", "FAIL-3", "UNSURE-4"]),
        ([Result.UNSURE, Result.PASS, Result.FAIL], Result.FAIL, ["UNSURE-1", "FAIL-3", "FAIL-4"]),
        ([Result.UNSURE, Result.FAIL, Result.FAIL], Result.FAIL, ["FAIL-2", "FAIL-3", "FAIL-4"]),
        ([Result.ERROR, Result.ERROR, Result.FAIL], Result.ERROR, ["ERROR-1", "ERROR-2", "FAIL-3"]),
    ],
)
def test_a_full_queue_sheds_the_least_valuable_first(
    waiting: list[Result], comes: Result, left: list[str]
) -> None:
    """ERROR before PASS before UNSURE, the oldest first; among equals the newcomer is not kept."""
    rig = Rig(frames=3, pass_every=1)
    for result in waiting:
        rig.part(result)
    rig.part(comes)

    assert rig.drain() == left
    assert sum(rig.shed(result) for result in Result) == 1


def test_a_fail_is_shed_last_and_then_its_verdict_names_no_frame() -> None:
    """With nothing less valuable in the queue the newcomer is not kept, and says so at once."""
    rig = Rig(frames=2)
    kept = [rig.part(Result.FAIL), rig.part(Result.FAIL)]

    assert rig.part(Result.FAIL) == ""
    assert rig.shed(Result.FAIL) == 1
    assert rig.drain() == kept


def test_a_frame_larger_than_the_queue_is_kept_alone() -> None:
    """The bound is on what waits together; a single huge frame must not be shed for ever."""
    rig = Rig(frames=0)
    assert rig.part(Result.FAIL)
    assert rig.part(Result.FAIL) == ""


def test_shedding_shows_in_the_state_until_the_queue_keeps_up() -> None:
    """The station is impaired while frames are shed, and recovers after a quiet while."""
    rig = Rig(frames=1)
    rig.part(Result.FAIL)
    rig.part(Result.FAIL)
    assert "evidence_queue" in rig.station.snapshot().impairments

    rig.clock.now_s = QUIET_S
    rig.drain()

    assert "evidence_queue" not in rig.station.snapshot().impairments


def test_a_full_disk_loses_the_frame_and_nothing_else() -> None:
    """The refusal is counted and makes the station DEGRADED; the next frame that is written restores it."""
    rig = Rig()
    rig.disk.full = True
    rig.part(Result.FAIL)
    rig.drain()
    assert "evidence" in rig.station.snapshot().impairments
    assert (
        rig.metrics.registry.get_sample_value("linewatch_evidence_write_errors_total", {"station": "test"})
        == 1
    )


def test_what_waits_is_known_by_its_path() -> None:
    """The page asks whether a frame that is not on disk yet is still to come."""
    rig = Rig()
    name = rig.part(Result.FAIL)

    assert rig.writer.pending(name)
    assert rig.writer.nbytes == FRAME.nbytes
    rig.drain()
    assert not rig.writer.pending(name)


@pytest.fixture
def running() -> Iterator[Rig]:
    """Run the stage in its thread."""
    rig = Rig(frames=100)
    thread = threading.Thread(target=rig.writer.run, args=(Stage("evidence", lambda _: None),))
    thread.start()
    yield rig
    rig.writer.close()
    thread.join(10)
    assert not thread.is_alive()


def test_the_record_stage_never_waits_for_the_disk(running: Rig) -> None:
    """While one image hangs in the disk, parts go on being recorded."""
    entered, let_go = threading.Event(), threading.Event()
    write = running.disk.write

    def hang(name: str, image: Image) -> None:
        entered.set()
        let_go.wait(10)
        write(name, image)

    running.disk.write = hang  # type: ignore[method-assign]
    names = [running.part(Result.FAIL)]
    assert entered.wait(10)
    names += [running.part(Result.FAIL) for _ in range(20)]
    let_go.set()
    running.writer.close()

    while running.writer.nbytes:
        entered.wait(0.001)
    assert running.disk.written == names
