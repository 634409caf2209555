import threading
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from linewatch.domain import Image, Inspection, Reason, Result, Scored, State, Verdict
from linewatch.line.metrics import Metrics
from linewatch.line.recorder import Recorder
from linewatch.line.station import Station
from tests.fakes import FakeLedger, FakePictures, FakeWire, frame


class Rig:
    """A recorder with everything around it in memory, and a clock that the test moves."""

    def __init__(self) -> None:
        self.now_ns = 10**9
        self.journal, self.wire, self.pictures = FakeLedger(), FakeWire(), FakePictures()
        self.metrics = Metrics("test")
        self.station = Station("test", 7, "demo", self.metrics, clock_s=lambda: 0.0)
        self.station.camera_back(0)
        self.station.use("demo", 1, "7f3a91c2")
        self.station.intend(State.READY)
        self.recorder = Recorder(
            self.station,
            self.journal,
            self.wire,
            self.pictures,
            self.pictures,
            self.metrics,
            deadline_ms=200,
            answer_within_ns=180_000_000,
            clock_ns=lambda: self.now_ns,
        )

    def pass_time(self, seconds: float) -> None:
        """Move the clock."""
        self.now_ns += round(1e9 * seconds)

    def record(
        self,
        result: Result = Result.PASS,
        *,
        after_ms: int = 20,
        seq: int = 1,
        picture: Image | None = None,
    ) -> None:
        """Record a part that was exposed `after_ms` ago."""
        raw = 2.0 if result is Result.FAIL else 0.5
        shown = frame(captured_ns=self.now_ns - after_ms * 1_000_000, seq=seq)
        scored = Scored(raw, np.full((4, 4), raw, np.float32), np.eye(2, 3) * 8)
        self.recorder.record(
            Inspection(
                frame=shown if picture is None else replace(shown, image=picture),
                product="demo",
                product_index=1,
                model="7f3a91c2",
                threshold=1.0,
                result=result,
                reason=Reason.ABOVE_THRESHOLD if result is Result.FAIL else Reason.NONE,
                age_ms=3,
                scored=scored,
            )
        )

    def count(self, name: str, **labels: str) -> float:
        """Return a metric's value."""
        return self.metrics.registry.get_sample_value(f"linewatch_{name}", {"station": "test", **labels}) or 0


def test_the_row_is_committed_before_the_wire_hears() -> None:
    """What the PLC reads is in the journal already, and is the same."""
    rig = Rig()
    rig.journal.on_wait = lambda _timeout_s: assert_empty(rig.wire.sent)

    rig.record()

    assert rig.wire.sent == [rig.journal.rows[1]]
    assert rig.journal.released == 1


def assert_empty(sent: Sequence[object]) -> None:
    """Fail if anything was sent."""
    assert not sent


def test_a_fail_names_a_heatmap_that_is_already_there() -> None:
    """The heatmap is written before the verdict goes out, the frame after it."""
    rig = Rig()
    kept_before: list[list[str]] = []
    rig.journal.on_wait = lambda _timeout_s: kept_before.append(list(rig.pictures.kept))

    rig.record(Result.FAIL)

    assert kept_before == [["1.jpg"]]
    assert rig.pictures.kept == ["1.jpg", "1.png"]
    assert (rig.wire.sent[0].image, rig.wire.sent[0].heatmap) == ("1.png", "1.jpg")


def test_a_large_camera_does_not_make_the_plc_wait_for_its_heatmap() -> None:
    """The heatmap is drawn small, the frame is kept as it is."""
    rig = Rig()

    rig.record(Result.FAIL, picture=np.full((1000, 1600, 3), 90, np.uint8))

    assert rig.pictures.shapes == {"1.jpg": (400, 640, 3), "1.png": (1000, 1600, 3)}


def test_a_full_evidence_disk_costs_the_picture_and_not_the_verdict() -> None:
    """The verdict goes out without a heatmap's path, the station is DEGRADED until it works again."""
    rig = Rig()
    rig.pictures.full = True
    rig.record(Result.FAIL)

    assert [(v.result, v.heatmap) for v in rig.wire.sent] == [(Result.FAIL, "")]
    assert rig.station.snapshot().state is State.DEGRADED

    rig.pictures.full = False
    rig.record(Result.FAIL, seq=2)
    assert rig.station.snapshot().state is State.READY


def test_no_pass_goes_out_before_its_row_is_committed() -> None:
    """While the disk hangs a PASS becomes ERROR 30 by its deadline, on both sides."""
    rig = Rig()
    rig.journal.hangs = True
    rig.journal.on_wait = rig.pass_time

    rig.record()

    (sent,) = rig.wire.sent
    assert (sent.result, sent.reason, sent.latency_ms, sent.late) == (Result.ERROR, Reason.LATE, 190, False)
    assert rig.journal.rows == {}
    assert rig.count("journal_rows_late_total") == 1
    assert rig.count("deadline_misses_total") == 0
    rig.journal.hangs = False
    rig.journal.settled(0)
    assert rig.journal.rows == {1: sent}


@pytest.mark.parametrize("result", [Result.FAIL, Result.UNSURE])
def test_a_reject_goes_out_in_time_without_its_row(result: Result) -> None:
    """Its row follows as it was published: the part is a reject in any case."""
    rig = Rig()
    rig.journal.hangs = True
    rig.journal.on_wait = rig.pass_time

    rig.record(result)

    assert [(sent.result, sent.late) for sent in rig.wire.sent] == [(result, False)]
    assert rig.now_ns - 10**9 == 170 * 1_000_000  # 190 ms after the exposure.
    rig.journal.hangs = False
    rig.journal.settled(0)
    assert rig.journal.rows == {1: rig.wire.sent[0]}
    assert rig.count("journal_rows_late_total") == 1


def test_the_row_may_take_until_half_of_what_the_result_leaves_of_the_deadline() -> None:
    """A heatmap has until 90 % of the deadline, the row until 95 %; a part that is late waits for neither."""
    rig = Rig()
    rig.record(Result.FAIL, after_ms=20)
    rig.record(Result.FAIL, after_ms=200, seq=2)

    assert rig.journal.waits_s == [0.17, 0.0]
    assert rig.pictures.waits_s[::2] == [0.16, 0.0]  # Each second one is its frame.


def test_a_disk_that_answers_in_time_delays_a_pass_and_no_more() -> None:
    """A commit that takes long but ends before its time costs nothing but this time."""
    rig = Rig()
    rig.journal.on_wait = lambda _timeout_s: rig.pass_time(0.15)

    rig.record()

    assert [(sent.result, sent.late) for sent in rig.wire.sent] == [(Result.PASS, False)]
    assert rig.count("journal_rows_late_total") == 0


@pytest.mark.parametrize("result", [Result.PASS, Result.FAIL, Result.UNSURE])
def test_a_part_judged_too_late_is_an_error(result: Result) -> None:
    """Past the deadline no PASS exists any more, in the journal or on the wire."""
    rig = Rig()

    rig.record(result, after_ms=201)

    for verdict in (rig.wire.sent[0], rig.journal.rows[1]):
        assert (verdict.result, verdict.reason, verdict.late) == (Result.ERROR, Reason.LATE, True)
    assert rig.count("deadline_misses_total") == 1
    assert rig.count("inspections_total", product="demo", result="ERROR") == 1


def test_a_slow_disk_turns_a_pass_into_an_error_on_both_sides() -> None:
    """When the deadline passes while the row is written, the row is amended before anyone sees it."""
    rig = Rig()

    rig.journal.on_wait = lambda _timeout_s: rig.pass_time(0.5)  # Beyond what was allowed.
    rig.record()

    assert rig.wire.sent[0].result is Result.ERROR
    assert rig.journal.rows[1] == rig.wire.sent[0]
    assert rig.wire.sent[0].latency_ms == 520


def test_no_pass_leaves_a_station_that_is_not_ready() -> None:
    """A PASS in hand when a changeover begins is taken back, even between commit and publishing."""
    rig = Rig()
    rig.journal.on_wait = lambda _timeout_s: rig.station.intend(State.CHANGEOVER)

    rig.record()

    assert (rig.wire.sent[0].result, rig.wire.sent[0].reason) == (Result.ERROR, Reason.NOT_READY)
    assert rig.journal.rows[1] == rig.wire.sent[0]


def test_no_pass_outlives_the_product_that_judged_it() -> None:
    """After a whole changeover, a PASS of the product before is an ERROR: the PLC asked for another."""
    rig = Rig()
    rig.journal.on_wait = lambda _timeout_s: rig.station.use("cup", 2, "0badcafe")

    rig.record()

    assert (rig.wire.sent[0].result, rig.wire.sent[0].reason) == (Result.ERROR, Reason.NOT_READY)


def test_a_changeover_waits_for_a_verdict_that_is_going_out() -> None:
    """Between the last look at the station and the wire nothing can change: no PASS slips through."""
    rig = Rig()
    changed = threading.Thread(target=lambda: rig.station.intend(State.CHANGEOVER))

    def publish(verdict: Verdict) -> bool:
        changed.start()
        changed.join(0.05)
        seen.append((rig.station.snapshot().mode, verdict.result))
        return True

    seen: list[tuple[State, Result]] = []
    rig.wire.publish_verdict = publish  # type: ignore[method-assign]  # looks around while sending
    rig.record()
    changed.join(5)

    assert seen == [(State.READY, Result.PASS)]
    assert rig.station.snapshot().mode is State.CHANGEOVER


def test_a_verdict_that_could_not_go_out_is_not_kept_for_later() -> None:
    """Without a broker the row waits in the journal and is never published live."""
    rig = Rig()
    rig.wire.gone = True
    rig.record()
    rig.wire.gone = False
    rig.record(seq=2)

    assert [v.seq for v in rig.wire.sent] == [2]
    assert sorted(rig.journal.rows) == [1, 2]


def test_an_exposure_without_a_picture_gets_its_error() -> None:
    """A dropped frame is one ERROR verdict with its reason, and no evidence is claimed."""
    rig = Rig()
    dropped = frame(seq=1, captured_ns=rig.now_ns).without_image(Reason.QUEUE_FULL)
    rig.recorder.record(
        Inspection(dropped, "demo", 1, "7f3a91c2", 1.0, Result.ERROR, Reason.QUEUE_FULL, age_ms=0)
    )

    verdict = rig.wire.sent[0]
    assert (verdict.result, verdict.reason, verdict.image, verdict.heatmap) == (
        Result.ERROR,
        Reason.QUEUE_FULL,
        "",
        "",
    )
    assert rig.pictures.kept == []


def test_every_verdict_is_counted_once() -> None:
    """Counters by product and result add up to what was recorded."""
    rig = Rig()
    rig.metrics.know_product("demo")
    for seq, result in enumerate([Result.PASS, Result.FAIL, Result.PASS, Result.UNSURE], 1):
        rig.record(result, seq=seq)

    assert {r: rig.count("inspections_total", product="demo", result=r) for r in Result} == {
        Result.PASS: 2,
        Result.FAIL: 1,
        Result.UNSURE: 1,
        Result.ERROR: 0,
    }
    assert rig.station.snapshot().last_seq == 4
    assert replace(rig.wire.sent[0], latency_ms=0).boot == 7
