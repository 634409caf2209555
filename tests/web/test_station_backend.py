import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from linewatch.domain import Image, Inspection, Reason, Result, Scored, State
from linewatch.errors import LinewatchError
from linewatch.line.changeover import Changeover
from linewatch.line.commands import Commands
from linewatch.line.inspector import Inspector
from linewatch.line.metrics import Metrics
from linewatch.line.recorder import Latest
from linewatch.line.station import Station
from linewatch.models.recipe_file import products
from linewatch.models.scoring_worker import ScoringWorker
from linewatch.runtime.stages import Stage
from linewatch.storage.journal import Journal
from linewatch.web.backend import Actual, Hour, Query, Review
from linewatch.web.station_backend import LIVE_SIDE_PX, StationBackend
from tests.bundles import models_in, part, png, teach
from tests.fakes import frame, verdict


class OfficeBackend:
    """A backend over a real journal, real models and a changeover; no line runs."""

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
        )

    def ready(self) -> None:
        """Take up product demo."""
        self.station.camera_back(0)
        self.changeover.begin("demo")

    def record(self, seq: int, result: Result = Result.PASS, **facts: object) -> None:
        """Journal one verdict of this boot."""
        self.journal.append(verdict(seq, result, **{"boot": self.journal.boot, **facts}))
        self.journal.release(self.journal.boot, seq)

    def show(self, seq: int, image: Image | None, scored: Scored | None = None) -> None:
        """Let the recorder have recorded a part."""
        exposed = frame(image=image, fault=Reason.NONE if image is not None else Reason.QUEUE_FULL)
        inspected = Inspection(exposed, "demo", 1, "7f3a91c2", 2.0, Result.PASS, Reason.NONE, 3, scored)
        self.latest = Latest(verdict(seq), inspected)

    @contextmanager
    def preparing(self) -> Iterator[None]:
        """Serve commands as the daemon does."""
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
def office(tmp_path: Path) -> Iterator[OfficeBackend]:
    """Open an office, and close its journal in the end."""
    with Journal.open(tmp_path / "journal.db") as journal:
        yield OfficeBackend(tmp_path, journal)


def test_the_state_is_what_mqtt_says(office: OfficeBackend) -> None:
    """The page and the broker tell the same."""
    office.station.camera_lost("unplugged")
    office.record(1)
    state = office.backend.state()

    assert list(state)[:4] == ["v", "station", "boot", "state"]
    assert (state["station"], state["boot"], state["outbox"], state["camera"]) == ("test", 1, 1, 0)


def test_not_ready_says_why(office: OfficeBackend) -> None:
    """Each trouble is a sentence; READY and DEGRADED have none."""
    assert office.backend.not_ready() == ["the source is not opened yet"]
    office.station.camera_back(0)
    assert office.backend.not_ready() == ["the station is STARTING"]

    office.station.intend(State.READY)
    assert office.backend.not_ready() == []
    office.station.impaired("journal", "full")
    assert office.backend.not_ready() == []
    office.station.intend(State.PAUSED, "paused by command")
    assert office.backend.not_ready() == ["paused by command", "full"]


def test_the_journal_is_shown_newest_first_and_filtered(office: OfficeBackend) -> None:
    """Every condition of the page reaches the journal."""
    results = [Result.PASS, Result.FAIL, Result.UNSURE, Result.FAIL]
    for seq, result in enumerate(results, 1):
        office.record(seq, result, product="lid" if seq == 4 else "demo")
    office.backend.review(1, 2, Actual.GOOD, "a reflection")

    def seqs(**conditions: object) -> list[int]:
        query = Query(**{"limit": 10, **conditions})  # type: ignore[arg-type]  # the test names real fields
        return [row.verdict.seq for row in office.backend.verdicts(query)]

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


def test_a_review_is_kept_with_its_verdict_and_the_last_word_counts(office: OfficeBackend) -> None:
    """Somebody looked at the part again; a part that was never inspected has no review."""
    office.record(1, Result.FAIL)
    assert office.backend.verdict(1, 1) is not None
    assert office.backend.verdict(1, 2) is None
    assert not office.backend.review(1, 2, Actual.GOOD, "")

    assert office.backend.review(1, 1, Actual.DEFECT, "")
    assert office.backend.review(1, 1, Actual.GOOD, "only dust")

    row = office.backend.verdict(1, 1)
    assert row is not None and row.review is not None
    assert (row.review.actual, row.review.note) == (Actual.GOOD, "only dust")
    assert row == replace(row, review=Review(Actual.GOOD, "only dust", row.review.reviewed_ms))
    assert abs(row.review.reviewed_ms - time.time_ns() // 1_000_000) < 60_000
    assert office.journal.reader().reviews(1)[0].who == "page"


def test_a_good_part_to_compare_with_is_the_last_one_kept_before(office: OfficeBackend) -> None:
    """Of the same product, with a picture; if none came before, one that came after."""
    office.record(1, image="a.png")
    office.record(2)
    office.record(3, image="lid.png", product="lid")
    office.record(4, Result.FAIL, image="fail.png")
    office.record(5, image="b.png")

    assert office.backend.good_image(verdict(4, boot=1)) == "a.png"
    assert office.backend.good_image(verdict(1, boot=1)) == "b.png"
    assert office.backend.good_image(verdict(4, boot=1, product="screw")) == ""


def test_hours_are_counted(office: OfficeBackend) -> None:
    """The hour that runs holds what was just journaled."""
    office.record(1)
    office.record(2, Result.FAIL)
    start_ms = time.time_ns() // 1_000_000 // 3_600_000 * 3_600_000

    hours = office.backend.hours(start_ms - 3_600_000)

    assert hours[0] == Hour(start_ms - 3_600_000, {})
    assert hours[1].counts == {Result.PASS: 1, Result.FAIL: 1}


def test_the_live_picture_is_encoded_once_and_fits_a_tablet(office: OfficeBackend) -> None:
    """However many look at it, and however large the camera's picture is."""
    assert office.backend.live_image() is None
    office.show(1, np.full((1200, 1920, 3), 90, np.uint8))

    first, second = office.backend.live_image(), office.backend.live_image()

    assert first is not None and first is second
    shown = cv2.imdecode(np.frombuffer(first.jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert shown is not None and shown.shape == (600, LIVE_SIDE_PX, 3)

    office.show(2, part())
    third = office.backend.live_image()
    assert third is not None and third.verdict.seq == 2
    shown = cv2.imdecode(np.frombuffer(third.jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert shown is not None and shown.shape == (64, 64, 3), "small pictures are not blown up"


def test_the_live_picture_has_its_heatmap_and_stays_when_a_frame_is_lost(office: OfficeBackend) -> None:
    """Colour where the map is high; an exposure without a picture does not blank the view."""
    hot = np.zeros((8, 8), np.float32)
    hot[1:4, 3:6] = 9.0
    office.show(1, part(), Scored(9.0, hot, np.array([[8.0, 0, 3.5], [0, 8.0, 3.5]])))
    first = office.backend.live_image()
    assert first is not None
    shown = cv2.imdecode(np.frombuffer(first.jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert shown is not None
    assert np.ptp(shown[20, 36].astype(int)) > 40, "a colour"
    assert np.ptp(shown[50, 10].astype(int)) < 10, "still grey"

    office.show(2, None)
    assert office.backend.live_image() is first


def test_products_are_listed_by_index_with_their_models(office: OfficeBackend) -> None:
    """Threshold and version as the recipe has them; the one on the line is marked; models newest first."""
    teach(office.models, "lid", index=2)
    old = teach(office.models, "demo", index=1, created="2026-01-01T00:00:00+00:00").version
    new = teach(office.models, "demo", level=101, golden=[], created="2026-02-01T00:00:00+00:00").version
    (office.models.recipes / "screw.toml").write_text("index = 9\n")
    office.ready()

    demo, lid, screw = office.backend.products()

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


def test_a_damaged_model_and_a_nonsense_date_do_not_hide_the_products(office: OfficeBackend) -> None:
    """The page shows what is there, with the trouble in words."""
    bundle = teach(office.models)
    manifest = bundle.folder / "manifest.json"
    text = manifest.read_text()
    manifest.write_text(text.replace(bundle.created, "yesterday"))
    (demo,) = office.backend.products()
    assert (demo.models[0].trained_ms, demo.trouble) == (0, "")

    teach(office.models, "lid", index=2)
    (office.models.path / "lid/active").write_text("nonsense")
    other = StationBackend(
        office.station, office.journal, office.inspector, office.commands, office.models, office.worker,
        latest=lambda: None, alive=lambda: True,
    )  # fmt: skip
    assert [bool(product.trouble) for product in other.products()] == [False, True]


def test_a_broken_recipe_is_shown_at_every_product(office: OfficeBackend) -> None:
    """No number can be trusted then, so no product can be changed to; the page says which file it is."""
    teach(office.models, "demo", index=1)
    (office.models.recipes / "lid.toml").write_text("index = 1\n")

    found = office.backend.products()

    assert [product.name for product in found] == ["demo", "lid"]
    assert all("both have index 1" in product.trouble for product in found)


def test_a_report_is_served_only_for_a_version_on_disk(office: OfficeBackend) -> None:
    """A model without one, an unknown version and a path that climbs out have none."""
    bundle = teach(office.models)
    assert office.backend.report("demo", bundle.version) is None

    (bundle.folder / "report.html").write_bytes(b"<html>")
    assert office.backend.report("demo", bundle.version) == b"<html>"
    assert office.backend.report("demo", "00000000") is None
    assert office.backend.report("demo", f"../demo/{bundle.version}") is None


def test_an_uploaded_picture_leaves_no_trace(office: OfficeBackend) -> None:
    """It is judged, without a row in the journal or a change of the last verdict."""
    version = teach(office.models, index=3).version
    office.ready()

    with office.worker:
        judged = office.backend.inspect("demo", png(part(30)))

    assert (judged.verdict.result, judged.verdict.model) == (Result.FAIL, version)
    assert cv2.imdecode(np.frombuffer(judged.heatmap, np.uint8), cv2.IMREAD_COLOR) is not None
    assert office.backend.verdicts(Query(limit=1)) == []
    assert office.station.snapshot().last_result is None


def test_a_good_golden_sample_stands_in_where_no_good_part_was_kept(office: OfficeBackend) -> None:
    """Of this very model; an unknown or damaged one has none."""
    bundle = teach(office.models)
    golden = office.backend.golden_image("demo", bundle.version)

    assert golden == (bundle.folder / "golden/0.png").read_bytes()
    assert office.backend.golden_image("demo", "00000000") is None
    assert office.backend.golden_image("..", "demo") is None
    (bundle.folder / "golden/0.png").write_bytes(b"damaged")
    assert office.backend.golden_image("demo", bundle.version) is None


def test_a_long_search_holds_up_nobody_else(office: OfficeBackend) -> None:
    """Every thread of the page reads the journal with a connection of its own."""
    mine = office.backend._reader
    with ThreadPoolExecutor(1) as other:
        theirs = other.submit(lambda: office.backend._reader).result()

    assert office.backend._reader is mine and theirs is not mine


def test_switching_returns_when_the_product_is_ready(office: OfficeBackend) -> None:
    """The page shows the new product at once."""
    teach(office.models, "demo", index=1)
    teach(office.models, "lid", index=2)
    office.ready()
    assert [product.resident for product in office.backend.products()] == [True, False]

    with office.preparing():
        office.backend.switch("lid")

    assert office.station.snapshot().product == "lid"
    assert office.station.snapshot().state is State.READY
    assert [product.resident for product in office.backend.products()] == [False, True]


def test_a_switch_that_fails_says_why(office: OfficeBackend) -> None:
    """The page gets the same sentence as the PLC."""
    teach(office.models, "demo", index=1)
    (office.models.recipes / "lid.toml").write_text("index = 2\n")
    office.ready()

    with office.preparing():
        with pytest.raises(LinewatchError, match="has no active model"):
            office.backend.switch("lid")
        with pytest.raises(LinewatchError, match="product 'screw' has no recipe; known are"):
            office.backend.switch("screw")

    assert office.station.snapshot().state is State.FAULT
