import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from linewatch.domain import Image, Inspection, Reason, Result, Scored, State
from linewatch.errors import LinewatchError, StorageFull
from linewatch.line.changeover import Changeover
from linewatch.line.commands import Commands
from linewatch.line.inspector import Inspector
from linewatch.line.metrics import Metrics
from linewatch.line.recorder import Latest
from linewatch.line.station import Station
from linewatch.models.bundle import set_active
from linewatch.models.recipe_file import products
from linewatch.models.scoring_worker import ScoringWorker
from linewatch.runtime.stages import Stage
from linewatch.settings import EvidenceSettings, Settings
from linewatch.storage.evidence import Evidence
from linewatch.storage.journal import Journal
from linewatch.storage.journal_reader import JournalGrowth
from linewatch.web.backend import Actual, ImageStatus, Query, Review, StorageForecast
from linewatch.web.office_backend import OfficeBackend
from linewatch.web.station_backend import LIVE_SIDE_PX, StationBackend, storage_forecast
from tests.bundles import models_in, part, png, teach
from tests.fakes import frame, verdict


class Rig:
    """A `StationBackend` with real journal, models and changeover, without camera and broker."""

    def __init__(self, folder: Path, journal: Journal) -> None:
        self.journal = journal
        self.models = models_in(folder)
        self.models.recipes.mkdir()
        self.metrics = Metrics("test")
        self.station = Station("test", journal.boot, "demo", self.metrics)
        self.inspector = Inspector(self.station, self.metrics, frame_age_ms_max=10_000)
        self.changeover = Changeover(
            self.models, self.inspector, self.station, self.metrics, self.journal.audit, live=False
        )
        self.commands = Commands(
            self.station, self.changeover, partial(products, self.models.recipes), None, self.metrics
        )
        self.latest: Latest | None = None
        self.queued: set[str] = set()
        self.forecast: Callable[[JournalGrowth], StorageForecast | None] = lambda _growth: None
        self.worker = ScoringWorker(self.models, "test")
        self.backend = StationBackend(
            self.station,
            journal,
            self.inspector,
            self.commands,
            self.models,
            self.worker,
            latest=lambda: self.latest,
            alive=lambda: True,
            queued=self.queued.__contains__,
            forecast=lambda growth: self.forecast(growth),  # noqa: PLW0108 - replaced later
        )

    def ready(self) -> None:
        """Change over to product demo."""
        self.station.camera_back(0)
        self.changeover.begin("demo")

    def record(self, seq: int, result: Result = Result.PASS, **facts: object) -> None:
        """Journal one verdict of this boot."""
        self.journal.append(verdict(seq, result, **{"boot": self.journal.boot, **facts}))
        self.journal.release(self.journal.boot, seq)

    def record_latest(self, seq: int, image: Image | None, scored: Scored | None = None) -> None:
        """Set the part that was recorded last."""
        exposed = frame(image=image, fault=Reason.NONE if image is not None else Reason.QUEUE_FULL)
        inspected = Inspection(exposed, "demo", 1, "7f3a91c2", 2.0, Result.PASS, Reason.NONE, 3, scored)
        self.latest = Latest(verdict(seq), inspected)

    @contextmanager
    def serving_commands(self) -> Iterator[None]:
        """Execute commands in a thread, as the daemon does."""
        thread = threading.Thread(target=lambda: self.commands.serve(Stage("prepare", self.commands.serve)))
        thread.start()
        try:
            yield
        finally:
            with self.commands:
                pass
            thread.join(10)
            assert not thread.is_alive()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """Return a rig over an empty journal."""
    with Journal.open(tmp_path / "journal.db") as journal:
        yield Rig(tmp_path, journal)


def test_the_state_is_that_of_the_topic(rig: Rig) -> None:
    """The page shows the payload of the topic B/state."""
    rig.station.camera_lost("unplugged")
    rig.record(1)
    state = rig.backend.state()

    assert list(state)[:4] == ["v", "station", "boot", "state"]
    assert (state["station"], state["boot"], state["outbox"], state["camera"]) == ("test", 1, 1, 0)


def test_not_ready_says_why(rig: Rig) -> None:
    """There is one sentence for each reason, and none in READY and DEGRADED."""
    assert rig.backend.not_ready() == ["the source is not opened yet"]
    rig.station.camera_back(0)
    assert rig.backend.not_ready() == ["the station is STARTING"]

    rig.station.intend(State.READY)
    assert rig.backend.not_ready() == []
    rig.station.impaired("journal", "full")
    assert rig.backend.not_ready() == []
    rig.station.intend(State.PAUSED, "paused by command")
    assert rig.backend.not_ready() == ["paused by command", "full"]


def test_verdicts_are_filtered_newest_first(rig: Rig) -> None:
    """The journal applies every condition of a query."""
    results = [Result.PASS, Result.FAIL, Result.UNSURE, Result.FAIL]
    for seq, result in enumerate(results, 1):
        rig.record(seq, result, product="lid" if seq == 4 else "demo")
    rig.backend.review(1, 2, Actual.GOOD, "a reflection")

    def seqs(**conditions: object) -> list[int]:
        query = Query(**{"limit": 10, **conditions})  # type: ignore[arg-type]  # the test names real fields
        return [row.verdict.seq for row in rig.backend.search(query).rows]

    now_ms = time.time_ns() // 1_000_000
    assert seqs() == [4, 3, 2, 1]
    assert seqs(limit=2) == [4, 3]
    assert seqs(before=(1, 3)) == [2, 1]
    assert seqs(results=frozenset({Result.FAIL})) == [4, 2]
    assert seqs(product="lid") == [4]
    assert seqs(reason=Reason.NEAR_THRESHOLD) == [3]
    assert seqs(reviewed=True) == [2]
    assert seqs(reviewed=False) == [4, 3, 1]
    assert seqs(since_ms=now_ms + 60_000) == []
    assert seqs(until_ms=now_ms - 60_000) == []
    assert seqs(since_ms=now_ms - 60_000, until_ms=now_ms + 60_000) == [4, 3, 2, 1]
    assert seqs(part="") == [4, 3, 2, 1]
    assert seqs(part="X") == []
    assert rig.backend.search(Query(limit=2)).searched_to == (1, 3)
    assert rig.backend.search(Query(limit=4)).searched_to is None


def test_a_review_is_stored_with_its_verdict_and_the_last_one_counts(rig: Rig) -> None:
    """A second review replaces the first; an unknown verdict cannot be reviewed."""
    rig.record(1, Result.FAIL)
    assert rig.backend.verdict(1, 1) is not None
    assert rig.backend.verdict(1, 2) is None
    assert not rig.backend.review(1, 2, Actual.GOOD, "")

    assert rig.backend.review(1, 1, Actual.DEFECT, "")
    assert rig.backend.review(1, 1, Actual.GOOD, "only dust")

    row = rig.backend.verdict(1, 1)
    assert row is not None and row.review is not None
    assert (row.review.actual, row.review.note) == (Actual.GOOD, "only dust")
    assert row == replace(row, review=Review(Actual.GOOD, "only dust", row.review.reviewed_ms, "page"))
    assert abs(row.review.reviewed_ms - time.time_ns() // 1_000_000) < 60_000
    assert rig.journal.reader().reviews(1)[0].who == "page"


def test_the_good_part_for_comparison_is_the_last_one_before(rig: Rig) -> None:
    """It is of the same product and has an image; without an earlier one the newest is returned."""
    rig.record(1, image="a.png")
    rig.record(2)
    rig.record(3, image="lid.png", product="lid")
    rig.record(4, Result.FAIL, image="fail.png")
    rig.record(5, image="b.png")

    assert rig.backend.good_image(verdict(4, boot=1)) == "a.png"
    assert rig.backend.good_image(verdict(1, boot=1)) == "b.png"
    assert rig.backend.good_image(verdict(4, boot=1, product="screw")) == ""


def test_hours_are_counted(rig: Rig) -> None:
    """The current hour counts what was just journaled."""
    rig.record(1)
    rig.record(2, Result.FAIL)
    start_ms = time.time_ns() // 1_000_000 // 3_600_000 * 3_600_000

    hours = rig.backend.hours(start_ms - 3_600_000)

    assert [hour.start_ms for hour in hours] == [start_ms - 3_600_000, start_ms]
    assert not any(hours[0].counts.values())
    assert {result: count for result, count in hours[1].counts.items() if count} == {
        Result.PASS: 1,
        Result.FAIL: 1,
    }


def test_the_live_image_is_encoded_once_and_shrunk(rig: Rig) -> None:
    """It is shared by all clients and shrunk to LIVE_SIDE_PX; small images are not enlarged."""
    assert rig.backend.live_image() is None
    rig.record_latest(1, np.full((1200, 1920, 3), 90, np.uint8))

    first, second = rig.backend.live_image(), rig.backend.live_image()

    assert first is not None and first is second
    shown = cv2.imdecode(np.frombuffer(first.jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert shown is not None and shown.shape == (600, LIVE_SIDE_PX, 3)

    rig.record_latest(2, part())
    third = rig.backend.live_image()
    assert third is not None and third.verdict.seq == 2
    shown = cv2.imdecode(np.frombuffer(third.jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert shown is not None and shown.shape == (64, 64, 3), "small images are not enlarged"


def test_the_live_image_has_its_heatmap_and_stays_when_a_frame_is_lost(rig: Rig) -> None:
    """Only hot regions of the map are coloured; an exposure without image keeps the last one."""
    hot = np.zeros((8, 8), np.float32)
    hot[1:4, 3:6] = 9.0
    rig.record_latest(1, part(), Scored(9.0, hot, np.array([[8.0, 0, 3.5], [0, 8.0, 3.5]])))
    first = rig.backend.live_image()
    assert first is not None
    shown = cv2.imdecode(np.frombuffer(first.jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert shown is not None
    assert np.ptp(shown[20, 36].astype(int)) > 40, "a colour"
    assert np.ptp(shown[50, 10].astype(int)) < 10, "still grey"

    rig.record_latest(2, None)
    assert rig.backend.live_image() is first


NAME = "2026-11-28/fail/1-2.frame.jpg"


def test_an_image_that_is_not_there_is_queued_expected_gone_or_unknown(rig: Rig) -> None:
    """A frame follows its verdict; what an older one names was shed or removed; other paths are unknown."""
    now_ms = time.time_ns() // 1_000_000
    rig.record(1, Result.FAIL, captured_ms=now_ms, image="2026-11-28/fail/1-1.frame.jpg")
    rig.record(2, Result.FAIL, captured_ms=now_ms - 60_000, image=NAME, heatmap="2026-11-28/fail/1-2.jpg")
    rig.queued.add("2026-11-28/fail/1-3.frame.jpg")

    for path, status in {
        "2026-11-28/fail/1-3.frame.jpg": ImageStatus.QUEUED,
        "2026-11-28/fail/1-1.frame.jpg": ImageStatus.EXPECTED,
        NAME: ImageStatus.GONE,
        "2026-11-28/fail/1-2.frame.view2.jpg": ImageStatus.GONE,
        "2026-11-28/fail/1-2.jpg": ImageStatus.GONE,
        "2026-11-28/pass/1-2.frame.jpg": ImageStatus.UNKNOWN,
        "2026-11-28/fail/1-9.frame.jpg": ImageStatus.UNKNOWN,
        f"2026-11-28/fail/{'9' * 40}-1.jpg": ImageStatus.UNKNOWN,
        "anything.png": ImageStatus.UNKNOWN,
    }.items():
        assert rig.backend.image_status(path) is status, path


def test_the_office_knows_what_is_gone(rig: Rig) -> None:
    """Without a line nothing is queued: a frame that a verdict names is there or gone."""
    rig.record(2, Result.FAIL, captured_ms=time.time_ns() // 1_000_000, image=NAME)
    office = OfficeBackend("test", rig.journal, rig.models, rig.worker)

    assert office.image_status(NAME) is ImageStatus.GONE
    assert office.image_status("anything.png") is ImageStatus.UNKNOWN
    assert office.storage() is None


def test_the_forecast_is_of_evidence_and_journal(rig: Rig, tmp_path: Path) -> None:
    """Days of evidence that fit, and what the journal takes a day; None while the disk cannot be asked."""
    rig.record(1)
    settings = Settings(evidence=EvidenceSettings(path=tmp_path / "evidence", retention_days=7))
    evidence = Evidence(settings.evidence)
    rig.forecast = partial(storage_forecast, evidence, settings)

    forecast = rig.backend.storage()

    assert forecast is not None
    assert (forecast.evidence_days, forecast.evidence_retention_days) == (math.inf, 7)
    assert forecast.journal_bytes_per_day > 100 and forecast.journal_retention_days == 90

    evidence.write("2026-11-28/fail/1-1.frame.jpg", part())
    forecast = rig.backend.storage()
    assert forecast is not None and 0 < forecast.evidence_days < math.inf

    def refuse(_growth: JournalGrowth) -> StorageForecast:
        raise StorageFull(tmp_path, "gone")

    rig.forecast = refuse
    assert rig.backend.storage() is None


def test_products_are_listed_by_index_with_their_models(rig: Rig) -> None:
    """With the recipe's threshold and version; the one on the line is marked, models are newest first."""
    teach(rig.models, "lid", index=2)
    old = teach(rig.models, "demo", index=1, created="2026-01-01T00:00:00+00:00").version
    new = teach(rig.models, "demo", level=101, golden=[], created="2026-02-01T00:00:00+00:00").version
    (rig.models.recipes / "screw.toml").write_text("index = 9\n")
    rig.ready()

    demo, lid, screw = rig.backend.products()

    assert [(p.name, p.index, p.resident) for p in (demo, lid, screw)] == [
        ("demo", 1, True),
        ("lid", 2, False),
        ("screw", 9, False),
    ]
    assert (demo.version, demo.threshold, demo.unsure_threshold, demo.trouble) == (new, 2.0, 1.5, "")
    assert [(m.version, m.trained_ms, m.images) for m in demo.models] == [
        (new, 1_769_904_000_000, 2),
        (old, 1_767_225_600_000, 2),
    ]
    assert "screw" in screw.trouble and "linewatch train" in screw.trouble
    assert (screw.version, screw.models) == ("", ())


def test_a_damaged_model_and_a_nonsense_date_do_not_hide_the_products(rig: Rig) -> None:
    """Every other product is listed; the damaged one shows the error."""
    bundle = teach(rig.models)
    manifest = bundle.folder / "manifest.json"
    text = manifest.read_text()
    manifest.write_text(text.replace(bundle.created, "yesterday"))
    (demo,) = rig.backend.products()
    assert (demo.models[0].trained_ms, demo.trouble) == (0, "")

    teach(rig.models, "lid", index=2)
    (rig.models.path / "lid/active").write_text("nonsense")
    other = StationBackend(
        rig.station, rig.journal, rig.inspector, rig.commands, rig.models, rig.worker,
        latest=lambda: None, alive=lambda: True,
    )  # fmt: skip
    assert [bool(product.trouble) for product in other.products()] == [False, True]


def test_a_product_is_listed_anew_when_one_of_its_files_changes(rig: Rig) -> None:
    """Recipe, active version, mask and model files; a product without changes is not read again."""
    first = teach(rig.models, "demo", index=1)
    teach(rig.models, "lid", index=2)
    office = OfficeBackend("test", rig.journal, rig.models, rig.worker, products_fresh_s=0)
    before = list(office.products())
    assert [product is known for product, known in zip(office.products(), before, strict=True)] == [True] * 2

    second = teach(rig.models, "demo", index=1, level=101, golden=[])
    demo, lid = office.products()
    assert (demo.version, len(demo.models), lid is before[1]) == (second.version, 2, True)

    set_active(rig.models.path, "demo", first.version)
    assert office.products()[0].version == first.version

    mask = rig.models.recipes / "mask.png"
    mask.write_bytes(png(part()))
    recipe = rig.models.recipes / "demo.toml"
    recipe.write_text(f'index = 7\nthreshold = 3.0\nmask = "{mask}"\n')
    lid, demo = office.products()
    assert (demo.index, demo.threshold, demo.trouble) == (7, 3.0, "")
    mask.unlink()
    assert "mask" in office.products()[1].trouble
    recipe.write_text("index = 7\n")

    with first.graph.open("a") as graph:
        graph.write(" ")
    assert "was changed after training" in office.products()[1].trouble


def test_a_broken_recipe_is_shown_at_every_product(rig: Rig) -> None:
    """Two recipes with the same index make every product unusable, and the error names them."""
    teach(rig.models, "demo", index=1)
    (rig.models.recipes / "lid.toml").write_text("index = 1\n")

    found = rig.backend.products()

    assert [product.name for product in found] == ["demo", "lid"]
    assert all("both have index 1" in product.trouble for product in found)


def test_a_report_is_served_only_for_a_version_on_disk(rig: Rig) -> None:
    """A model without a report, an unknown version and a path outside the folder give None."""
    bundle = teach(rig.models)
    assert rig.backend.report("demo", bundle.version) is None

    (bundle.folder / "report.html").write_bytes(b"<html>")
    assert rig.backend.report("demo", bundle.version) == b"<html>"
    assert rig.backend.report("demo", "00000000") is None
    assert rig.backend.report("demo", f"../demo/{bundle.version}") is None


def test_an_uploaded_image_leaves_no_trace(rig: Rig) -> None:
    """Inspecting it adds no row to the journal and does not change the last verdict."""
    version = teach(rig.models, index=3).version
    rig.ready()

    with rig.worker:
        judged = rig.backend.inspect("demo", png(part(30)))

    assert (judged.verdict.result, judged.verdict.model) == (Result.FAIL, version)
    assert cv2.imdecode(np.frombuffer(judged.heatmap, np.uint8), cv2.IMREAD_COLOR) is not None
    assert rig.backend.search(Query(limit=1)).rows == []
    assert rig.station.snapshot().last_result is None


def test_a_good_golden_sample_stands_in_where_no_good_part_was_kept(rig: Rig) -> None:
    """It belongs to the same model version; an unknown or damaged one gives None."""
    bundle = teach(rig.models)
    golden = rig.backend.golden_image("demo", bundle.version)

    assert golden == (bundle.folder / "golden/0.png").read_bytes()
    assert rig.backend.golden_image("demo", "00000000") is None
    assert rig.backend.golden_image("..", "demo") is None
    (bundle.folder / "golden/0.png").write_bytes(b"damaged")
    assert rig.backend.golden_image("demo", bundle.version) is None


def test_a_long_search_blocks_no_other_thread(rig: Rig) -> None:
    """Each thread reads the journal through its own connection."""
    mine = rig.backend._reader
    with ThreadPoolExecutor(1) as other:
        theirs = other.submit(lambda: rig.backend._reader).result()

    assert rig.backend._reader is mine and theirs is not mine


def test_switching_returns_when_the_product_is_ready(rig: Rig) -> None:
    """When `switch` returns, the new product is on the line."""
    teach(rig.models, "demo", index=1)
    teach(rig.models, "lid", index=2)
    rig.ready()
    assert [product.resident for product in rig.backend.products()] == [True, False]

    with rig.serving_commands():
        rig.backend.switch("lid")

    assert rig.station.snapshot().product == "lid"
    assert rig.station.snapshot().state is State.READY
    assert [product.resident for product in rig.backend.products()] == [False, True]


def test_a_switch_that_fails_says_why(rig: Rig) -> None:
    """`switch` raises the sentence that the PLC gets, too."""
    teach(rig.models, "demo", index=1)
    (rig.models.recipes / "lid.toml").write_text("index = 2\n")
    rig.ready()

    with rig.serving_commands():
        with pytest.raises(LinewatchError, match="has no active model"):
            rig.backend.switch("lid")
        with pytest.raises(LinewatchError, match="product 'screw' has no recipe; known are"):
            rig.backend.switch("screw")

    assert rig.station.snapshot().state is State.FAULT
