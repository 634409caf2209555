from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from linewatch.domain import NO_EMBEDDING, EngineOutput, Frame, Image, Inspection, Reason, Result, State
from linewatch.line.inspector import Inspector
from linewatch.line.metrics import Metrics
from linewatch.line.station import Station
from linewatch.models.bundle import Bundle, Calibration, ImageStatistics
from linewatch.models.loader import Prepared, build_scorer
from linewatch.vision.drift import Drift
from linewatch.vision.image_quality import QualityGate
from linewatch.vision.product_match import QUIET_PARTS, Likeness, OtherProduct
from linewatch.vision.recipe import Recipe
from linewatch.vision.registration import Registration
from tests.fakes import frame, picture

PICTURES = ImageStatistics(brightness=(60.0, 100.0, 140.0), sharpness=(0.0, 1.0, 2.0))
RECIPE = Recipe("bottle", 3, "7f3a91c2", threshold=2.0, unsure_threshold=1.5)
ROUND = Registration(
    bright_part=True, turn=False, length=0.5, width=0.5, ahead=0, aside=0, area_min=0.1, area_max=0.3
)

OWN, LID, CUP = (np.array([place], np.float32) for place in (0.0, 10.0, -10.0))
REFERENCES = (OtherProduct("lid", (LID,)), OtherProduct("cup", (CUP,)))


class FakeEngine:
    """Returns the scripted scores one after the other, then 0, each with `embedding`."""

    input_shape = (32, 32)

    def __init__(self, scores: Sequence[float]) -> None:
        self.scores = list(scores)
        self.embedding = NO_EMBEDDING
        self.runs = 0
        self.during_run: Callable[[], None] = lambda: None

    def run(self, crop: Image) -> EngineOutput:
        """Score one crop."""
        self.runs += 1
        self.during_run()
        raw = self.scores.pop(0) if self.scores else 0.0
        anomaly_map = np.zeros((4, 4), np.float32)
        anomaly_map[1, 2] = raw
        return EngineOutput(raw, anomaly_map, self.embedding)


def prepared(
    engine: FakeEngine,
    recipe: Recipe = RECIPE,
    *,
    live: bool = False,
    registration: Registration | None = None,
) -> Prepared:
    """Return a product that is judged by `engine`."""
    bundle = Bundle(
        folder=Path("nowhere"),
        product=recipe.product,
        version=recipe.model,
        digest="",
        created="",
        input_shape=engine.input_shape,
        registration=registration,
        calibration=Calibration(2.0, 1.5, 0.01, None, "test", ()),
        pictures=PICTURES,
        golden=(),
        training={},
        files={},
        likeness=Likeness(mean=(0.0,), spread=(1.0,), limit=3.0),
    )
    return Prepared(recipe, build_scorer(bundle, engine, REFERENCES), QualityGate(PICTURES, live=live))


class Bench:
    """An inspector of a READY station, and a clock that the test moves."""

    def __init__(
        self,
        *scores: float,
        recipe: Recipe = RECIPE,
        live: bool = False,
        answer_within_ms: int | None = None,
    ) -> None:
        self.metrics = Metrics("test")
        self.now_ns = 10**10
        self.ready_s = 0.0  # When it became READY.
        self.station = Station("test", 7, "demo", self.metrics, clock_s=lambda: self.ready_s)
        self.station.camera_back(0)
        self.station.intend(State.READY)
        self.inspector = Inspector(
            self.station,
            self.metrics,
            frame_age_ms_max=500,
            answer_within_ns=answer_within_ms * 1_000_000 if answer_within_ms else None,
            clock_ns=lambda: self.now_ns,
        )
        self.engine = FakeEngine(scores)
        self.inspector.use(prepared(self.engine, recipe, live=live))

    def frame(self, level: int = 100, *, age_ms: int = 3, seq: int = 1) -> Frame:
        """Return a grey frame of an age."""
        return frame(level, captured_ns=self.now_ns - age_ms * 1_000_000, seq=seq)

    def inspect(self, exposed: Frame) -> Inspection:
        """Inspect one frame: exactly one inspection comes of it."""
        (examined,) = self.inspector.examine(exposed)
        (inspection,) = self.inspector.inspect(examined)
        assert inspection.frame is exposed
        return inspection

    def verdict(self, exposed: Frame) -> tuple[Result, Reason]:
        """Inspect one frame; return result and reason."""
        inspection = self.inspect(exposed)
        return inspection.result, inspection.reason

    def dropped(self, reason: str) -> float | None:
        """Return how often a frame was not judged for a reason."""
        labels = {"station": "test", "reason": reason}
        return self.metrics.registry.get_sample_value("linewatch_frames_dropped_total", labels)


@pytest.mark.parametrize(
    ("raw", "result", "reason"),
    [
        (0.4, Result.PASS, Reason.NONE),
        (1.5, Result.PASS, Reason.NONE),
        (1.6, Result.UNSURE, Reason.NEAR_THRESHOLD),
        (2.0, Result.UNSURE, Reason.NEAR_THRESHOLD),
        (2.1, Result.FAIL, Reason.ABOVE_THRESHOLD),
        (float("nan"), Result.FAIL, Reason.ABOVE_THRESHOLD),
    ],
)
def test_a_good_picture_is_judged_by_its_score(raw: float, result: Result, reason: Reason) -> None:
    """The recipe's thresholds decide; what is no number never passes."""
    bench = Bench(raw)

    inspection = bench.inspect(bench.frame())

    assert (inspection.result, inspection.reason, inspection.age_ms) == (result, reason, 3)
    assert (inspection.product, inspection.product_index, inspection.model) == ("bottle", 3, "7f3a91c2")
    assert inspection.threshold == 2.0
    assert inspection.scored is not None


def test_a_part_exposed_before_its_product_was_ready_is_not_judged() -> None:
    """It was on the belt while another product, or none, was asked for; what comes after is judged."""
    bench = Bench()
    before = bench.frame(age_ms=100)
    bench.station.intend(State.CHANGEOVER)
    bench.ready_s = bench.now_ns / 1e9 - 0.05
    bench.station.intend(State.READY)

    assert bench.verdict(before) == (Result.ERROR, Reason.NOT_READY)
    assert bench.verdict(bench.frame(age_ms=10)) == (Result.PASS, Reason.NONE)


def test_a_mask_that_hides_every_part_is_told_once(tmp_path: Path) -> None:
    """The next picture that can be cut out is no sign that its mask leaves something to look at."""
    mask = np.zeros((32, 32), np.uint8)
    mask[0, 0] = 255
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    bench = Bench(recipe=replace(RECIPE, mask=tmp_path / "mask.png"))

    verdicts = [bench.verdict(bench.frame(seq=seq)) for seq in (1, 2, 3)]

    assert verdicts == [(Result.ERROR, Reason.BAD_PICTURE)] * 3
    events = [event["event"] for event in bench.station.events]
    assert [event for event in events if event != "drift"] == ["recipe_impaired"]


def test_a_reload_keeps_the_parts_that_are_on_their_way() -> None:
    """The line goes on meanwhile: READY again is no new beginning."""
    bench = Bench()
    before = bench.frame(age_ms=100)
    bench.ready_s = bench.now_ns / 1e9
    bench.station.intend(State.READY)

    assert bench.verdict(before) == (Result.PASS, Reason.NONE)


def test_a_frame_that_waited_too_long_is_an_error() -> None:
    """The part may be gone: 500 ms are judged, 501 are not, and the engine is not asked."""
    bench = Bench()

    assert bench.verdict(bench.frame(age_ms=500)) == (Result.PASS, Reason.NONE)
    assert bench.verdict(bench.frame(age_ms=501)) == (Result.ERROR, Reason.STALE)
    assert (bench.engine.runs, bench.dropped("stale")) == (1, 1)


def test_a_frame_that_grows_too_old_before_the_graph_is_an_error() -> None:
    """The age when scoring begins counts, not the age when the frame was examined."""
    bench = Bench()
    (examined,) = bench.inspector.examine(bench.frame(age_ms=499))
    bench.now_ns += 2_000_000

    (inspection,) = bench.inspector.inspect(examined)

    assert (inspection.result, inspection.reason) == (Result.ERROR, Reason.STALE)
    assert bench.engine.runs == 0


def test_a_frame_that_was_looked_at_before_a_changeover_names_the_product_that_judged_it() -> None:
    """Recipe, scorer and name travel together: no verdict mixes two products."""
    bench = Bench(1.0)
    (examined,) = bench.inspector.examine(bench.frame())
    bench.inspector.use(None)

    (inspection,) = bench.inspector.inspect(examined)

    assert (inspection.product, inspection.model, inspection.result) == ("bottle", "7f3a91c2", Result.PASS)


@pytest.mark.parametrize("level", [5, 250])
def test_a_dark_or_burnt_out_picture_is_an_error(level: int) -> None:
    """A covered lens shows no defects, so it must not pass."""
    bench = Bench()

    assert bench.verdict(bench.frame(level)) == (Result.ERROR, Reason.BAD_PICTURE)
    assert (bench.engine.runs, bench.dropped("bad_picture")) == (0, 1)


def test_the_same_picture_twice_from_a_camera_is_an_error() -> None:
    """A frozen camera shows the part before; a recording may repeat itself."""
    for live, expected in ((True, Reason.FROZEN), (False, Reason.NONE)):
        bench = Bench(live=live)
        assert bench.verdict(bench.frame()) == (Result.PASS, Reason.NONE)
        assert bench.verdict(bench.frame())[1] is expected


def test_a_changeover_does_not_thaw_a_frozen_camera() -> None:
    """The part before would pass once more after each reload, also after a product that was unfit."""
    bench = Bench(live=True)
    assert bench.verdict(bench.frame()) == (Result.PASS, Reason.NONE)

    bench.inspector.use(None)
    bench.inspector.use(prepared(bench.engine, live=True))

    assert bench.verdict(bench.frame()) == (Result.ERROR, Reason.FROZEN)
    assert bench.verdict(bench.frame(101)) == (Result.PASS, Reason.NONE)


def test_the_picture_is_compared_with_training() -> None:
    """Light that fades shows in the metrics before it makes errors."""
    bench = Bench()
    bench.inspect(bench.frame(80))

    labels = {"station": "test", "product": "bottle"}
    value = bench.metrics.registry.get_sample_value
    assert value("linewatch_brightness_ratio", labels) == pytest.approx(0.8)
    assert value("linewatch_sharpness_ratio", labels) == 0


def test_before_the_first_product_every_part_is_an_error() -> None:
    """Nothing judges, and the verdict names no model."""
    bench = Bench()
    bench.station.use("screw", 4, "")
    bench.inspector.use(None)

    inspection = bench.inspect(bench.frame())

    assert (inspection.result, inspection.reason) == (Result.ERROR, Reason.NOT_READY)
    assert (inspection.product, inspection.product_index, inspection.model) == ("screw", 4, "")
    assert inspection.threshold == 0.0
    assert bench.dropped("not_ready") == 1


def test_a_degraded_station_judges() -> None:
    """Disk trouble costs evidence and not verdicts."""
    bench = Bench()
    bench.station.impaired("journal", "full")

    assert bench.verdict(bench.frame()) == (Result.PASS, Reason.NONE)


def test_a_part_that_is_not_found_is_unsure() -> None:
    """Whether it is good is unknown; a person must check it."""
    bench = Bench()
    bench.inspector.use(prepared(bench.engine, registration=ROUND))

    inspection = bench.inspect(bench.frame())

    assert (inspection.result, inspection.reason) == (Result.UNSURE, Reason.NOT_REGISTERED)
    assert inspection.scored is None


@pytest.mark.parametrize("raw", [0.4, 1.6, 9.0])
def test_a_part_of_another_product_is_unsure_whatever_it_scores(raw: float) -> None:
    """A score like that of a good part is no PASS, and a defect of this product it is not either."""
    bench = Bench(raw)
    bench.engine.embedding = LID

    inspection = bench.inspect(bench.frame())

    assert (inspection.result, inspection.reason) == (Result.UNSURE, Reason.WRONG_PRODUCT)
    assert inspection.scored is not None and inspection.scored.raw == raw


def test_a_belt_with_another_product_is_told_once() -> None:
    """One event for a thousand lids, one more for cups among them, and news again after a quiet while."""
    bench = Bench()

    for embedding, parts in ((OWN, 3), (LID, 1000), (CUP, 3), (LID, 3), (OWN, QUIET_PARTS), (LID, 3)):
        bench.engine.embedding = embedding
        for _ in range(parts):
            bench.inspect(bench.frame())

    reported = [event for event in bench.station.events if event["event"] == "wrong_product"]
    assert [event["looks_like"] for event in reported] == ["lid", "cup", "lid"]
    assert {event["product"] for event in reported} == {"bottle"}


def test_another_product_is_no_drift_of_this_ones_scores() -> None:
    """It counts as a reject, but its scores do not count as those of good parts."""
    bench = Bench(*[1.0] * 200)
    drift = Drift([0.1] * 50, 2.0)
    bench.inspector.use(replace(prepared(bench.engine), drift=drift))
    bench.engine.embedding = LID

    for _ in range(200):
        bench.inspect(bench.frame())

    assert drift.psi == 0.0
    assert "rejects" in [event.get("signal") for event in bench.station.events]


def test_a_changeover_ends_the_drift_of_the_product_before() -> None:
    """Each drift event with on 1 is followed by one with on 0, also if the product leaves the line."""
    bench = Bench(*[1.0] * 200)
    bench.inspector.use(replace(prepared(bench.engine), drift=Drift([0.1] * 50, 2.0)))
    bench.engine.embedding = LID
    for _ in range(200):
        bench.inspect(bench.frame())

    bench.inspector.use(prepared(bench.engine))

    drifts = [(event["signal"], event["on"]) for event in bench.station.events if event["event"] == "drift"]
    assert drifts
    assert {signal for signal, on in drifts if on} == {signal for signal, on in drifts if not on}
    bench.inspector.use(None)


def test_an_exposure_without_an_image_keeps_its_reason() -> None:
    """It is an ERROR with the frame's own fault, and counted as dropped for it."""
    bench = Bench()

    assert bench.verdict(bench.frame().without_image(Reason.CAMERA_LOST)) == (
        Result.ERROR,
        Reason.CAMERA_LOST,
    )
    assert bench.dropped("camera_lost") == 1


@pytest.mark.parametrize("area", [(0, 0, 33, 32), (30, 0, 8, 8)])
def test_a_recipe_that_does_not_fit_the_picture_is_an_error(area: tuple[int, int, int, int]) -> None:
    """A region of interest outside the frame is an engineer's mistake: the line goes on, with rejects."""
    recipe = Recipe("bottle", 3, "7f3a91c2", threshold=2.0, unsure_threshold=1.5, roi=area)
    bench = Bench(recipe=recipe)

    for _ in range(2):
        assert bench.verdict(bench.frame()) == (Result.ERROR, Reason.BAD_PICTURE)
    assert bench.dropped("bad_picture") == 2
    assert "correct the recipe" in bench.station.snapshot().reasons[0]
    events = [event["event"] for event in bench.station.events]
    assert [event for event in events if event != "drift"] == ["recipe_impaired"]  # Flat pictures drift, too.

    bench.inspector.use(prepared(bench.engine))
    bench.inspect(bench.frame())
    assert bench.station.snapshot().state is State.READY


def test_a_changeover_during_one_inspection_does_not_mix_products() -> None:
    """Recipe, scorer and gate are those that the frame began with."""
    bench = Bench(1.9)
    other = Recipe("screw", 4, "22222222", threshold=0.1, unsure_threshold=0.1)
    bench.engine.during_run = lambda: bench.inspector.use(prepared(FakeEngine([1.9]), other))

    during = bench.inspect(bench.frame())
    after = bench.inspect(bench.frame())

    assert (during.product, during.model, during.result) == ("bottle", "7f3a91c2", Result.UNSURE)
    assert (after.product, after.model, after.result) == ("screw", "22222222", Result.FAIL)


def test_every_age_is_measured_judged_or_not() -> None:
    """The histogram counts each exposure once."""
    bench = Bench()
    bench.inspect(bench.frame())
    bench.inspect(bench.frame(age_ms=9_000))
    bench.inspect(bench.frame().without_image(Reason.QUEUE_FULL))

    assert (
        bench.metrics.registry.get_sample_value("linewatch_frame_age_seconds_count", {"station": "test"}) == 3
    )


def test_a_bug_in_the_engine_is_not_swallowed() -> None:
    """The stage ends, the process with it, and systemd starts it again."""
    bench = Bench()

    def broken() -> None:
        raise AssertionError("injected")

    bench.engine.during_run = broken
    with pytest.raises(AssertionError, match="injected"):
        bench.inspect(bench.frame())


def test_the_picture_itself_is_never_changed() -> None:
    """Evidence shows what the camera saw."""
    bench = Bench(9.0)
    exposed = bench.frame()
    bench.inspect(exposed)

    assert np.array_equal(exposed.image, picture())  # type: ignore[arg-type]  # it has one


def test_a_part_that_cannot_be_judged_in_time_costs_the_engine_nothing() -> None:
    """The engine takes 100 ms a part: what is 120 ms old could not be answered within 190 ms."""
    bench = Bench(answer_within_ms=190)

    def take_100_ms() -> None:
        bench.now_ns += 100 * 1_000_000

    bench.engine.during_run = take_100_ms
    for _ in range(50):
        assert bench.verdict(bench.frame()) == (Result.PASS, Reason.NONE)
    runs = bench.engine.runs

    assert bench.verdict(bench.frame(age_ms=120)) == (Result.ERROR, Reason.QUEUE_FULL)
    assert bench.engine.runs == runs
    assert bench.verdict(bench.frame(age_ms=60)) == (Result.PASS, Reason.NONE)


def test_an_engine_that_was_slow_once_is_tried_again() -> None:
    """Each part that is not begun lowers the expectation, so a stall does not refuse parts for ever."""
    bench = Bench(answer_within_ms=190)

    def stall() -> None:
        bench.now_ns += 5_000 * 1_000_000

    bench.engine.during_run = stall
    bench.inspect(bench.frame())
    bench.engine.during_run = lambda: None

    results = [bench.verdict(bench.frame())[0] for _ in range(40)]
    assert results[0] is Result.ERROR
    assert results[-1] is Result.PASS


def test_a_part_that_is_given_up_is_late() -> None:
    """Its verdict names the product on the line, and why."""
    bench = Bench()
    bench.station.use("bottle", 3, "7f3a91c2")
    given_up = bench.inspector.give_up(bench.frame(age_ms=190))

    assert (given_up.result, given_up.reason, given_up.age_ms) == (Result.ERROR, Reason.LATE, 190)
    assert (given_up.product, given_up.product_index, given_up.scored) == ("bottle", 3, None)
    assert bench.dropped("late") == 1
