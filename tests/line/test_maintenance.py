import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from linewatch.domain import State
from linewatch.errors import StorageFull
from linewatch.line import maintenance as housekeeping
from linewatch.line.maintenance import STEP_S, Maintenance
from linewatch.line.metrics import Metrics
from linewatch.line.station import Station
from linewatch.runtime import malloc
from linewatch.runtime.stages import Stage
from linewatch.settings import EvidenceSettings
from linewatch.storage.evidence import Evidence
from linewatch.storage.journal import Journal
from tests.disks import SmallDisk
from tests.fakes import picture, verdict

DAY_MS = 86_400_000


class House:
    """Real journal and evidence with their housekeeping; the journal's clock is moved by the test."""

    def __init__(self, folder: Path, **settings: int) -> None:
        self.folder = folder
        self.now_ms = time.time_ns() // 1_000_000
        self.metrics = Metrics("test")
        self.station = Station("test", 1, "demo", self.metrics)
        self.station.camera_back(0)
        self.station.intend(State.READY)
        self.journal = Journal.open(folder / "journal.db", clock_ms=lambda: self.now_ms, warn=lambda _: None)
        self.evidence = Evidence(
            EvidenceSettings(**{"path": folder / "evidence", "free_bytes_min": 0} | settings)  # type: ignore[arg-type]  # checked by the model
        )
        self.housekeeping = Maintenance(
            self.journal,
            self.evidence,
            self.station,
            self.metrics,
            retention_days=10,
            utc_s=lambda: self.now_ms / 1000,
        )

    def record(self, seq: int) -> None:
        """Journal one verdict."""
        self.journal.append(verdict(seq, boot=self.journal.boot))
        self.journal.release(self.journal.boot, seq)

    def value(self, name: str) -> float | None:
        """Return a metric's value."""
        return self.metrics.registry.get_sample_value(f"linewatch_{name}", {"station": "test"})

    @property
    def troubles(self) -> dict[str, str]:
        """What is impaired, and why."""
        return self.station.snapshot().impairments

    def events(self) -> list[str]:
        """Return the names of the events so far."""
        return [str(event["event"]) for event in self.station.events]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Open a house, and close its journal in the end."""
    opened = House(tmp_path)
    yield opened
    opened.journal.close()


def test_the_outbox_is_measured(house: House) -> None:
    """How many verdicts the history misses, and since when."""
    for seq in (1, 2, 3):
        house.record(seq)
    house.now_ms += 90_000

    house.housekeeping.step()
    assert (house.value("outbox_messages"), house.value("outbox_oldest_age_seconds")) == (3, 90)

    batch = house.journal.reader().undelivered(10)
    assert batch is not None
    house.journal.mark_delivered(batch)
    house.housekeeping.step()
    assert (house.value("outbox_messages"), house.value("outbox_oldest_age_seconds")) == (0, 0)


def test_old_delivered_verdicts_go_and_undelivered_ones_stay(house: House) -> None:
    """Retention never takes what the history still misses."""
    reader = house.journal.reader()
    for seq in (1, 2, 3):
        house.record(seq)
    batch = reader.undelivered(2)
    assert batch is not None
    house.journal.mark_delivered(batch)
    house.now_ms += 11 * DAY_MS
    house.record(4)

    house.housekeeping.step()

    assert [kept.seq for kept in reader.search(10).verdicts] == [4, 3]


def test_pictures_beyond_their_bound_go_and_are_counted(tmp_path: Path) -> None:
    """Bytes and removals show in the metrics."""
    house = House(tmp_path, bytes_max=1)
    name = f"{datetime.now(UTC).date()}/fail/1-1.png"
    house.evidence.write(name, picture())
    house.housekeeping.step()

    assert not (tmp_path / "evidence" / name).exists()
    assert (house.value("evidence_files_deleted_total"), house.value("evidence_bytes")) == (1, 0)
    assert (house.value("disk_free_bytes") or 0) > 0
    house.journal.close()


def test_an_idle_line_pays_what_it_owes(small_disk: SmallDisk) -> None:
    """After the disk took nothing, the station is READY again without another part."""
    house = House(small_disk.folder)
    small_disk.fill()
    with pytest.raises(StorageFull):
        for seq in range(1, 1000):  # The log may have some room left.
            house.record(seq)
    house.housekeeping.step()
    assert "journal" in house.troubles

    small_disk.empty()
    house.housekeeping.step()
    assert house.troubles == {}
    house.journal.close()


def test_a_removed_journal_is_trouble_and_then_new(house: House) -> None:
    """A file deleted under the daemon is reported and replaced, and the line goes on."""
    (house.folder / "journal.db").unlink()

    house.housekeeping.step()
    assert "damaged" in house.troubles["journal"]
    house.housekeeping.step()

    assert house.troubles == {}
    assert house.events() == ["journal_impaired", "audit", "journal_restored"]


def test_trouble_with_pictures_does_not_stop_the_journal_s_chores(house: House) -> None:
    """Each of the two is tried at every step; trouble is one event."""
    (house.folder / "evidence").write_text("not a folder")
    house.record(1)
    for _ in range(3):
        house.housekeeping.step()

    assert list(house.troubles) == ["evidence"]
    assert house.value("outbox_messages") == 1
    assert house.events() == ["evidence_impaired"]

    (house.folder / "evidence").unlink()
    house.housekeeping.step()
    assert house.troubles == {}


def test_evidence_is_not_called_restored_before_it_can_be_written(small_disk: SmallDisk) -> None:
    """A disk that went read-only has room enough: without a proof the state would flap every second."""
    house = House(small_disk.folder.parent)
    evidence = Evidence(EvidenceSettings(path=small_disk.folder, free_bytes_min=0))
    housekeeping = Maintenance(house.journal, evidence, house.station, house.metrics, retention_days=10)
    house.station.impaired("evidence", "read-only")

    with small_disk.read_only():
        housekeeping.step()
        assert "ead-only" in house.troubles["evidence"]

    housekeeping.step()
    assert house.troubles == {}
    assert list(small_disk.folder.iterdir()) == []
    house.journal.close()


def test_too_little_room_keeps_evidence_impaired(tmp_path: Path) -> None:
    """The bound is not a full disk but the room that others need."""
    house = House(tmp_path, free_bytes_min=2**60)
    house.station.impaired("evidence", "short of room")

    house.housekeeping.step()

    assert "bytes are free" in house.troubles["evidence"]
    house.journal.close()


def test_a_healthy_disk_is_not_written_to_for_nothing(house: House) -> None:
    """The proof is made only while there is trouble."""
    house.housekeeping.step()

    assert list((house.folder / "evidence").iterdir()) == []


class Ticks(threading.Event):
    """Time that passes at once: `wait` times out as often as asked, then the event is set."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times
        self.waits: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        """Pass one step."""
        self.waits.append(timeout)
        self.times -= 1
        return self.times < 0


def test_it_keeps_house_every_second_until_the_stop(house: House) -> None:
    """Each step is work that the watchdog sees."""
    house.record(1)
    stage = Stage("tidy", lambda _: None)
    ticks = Ticks(3)

    house.housekeeping.run(stage, ticks)

    assert ticks.waits == [STEP_S] * 4
    assert stage.beats == 3
    assert house.value("outbox_messages") == 1


def test_the_product_in_use_is_tested_on_schedule(tmp_path: Path) -> None:
    """Repeatedly, until `stop` is set."""
    house = House(tmp_path)
    stop = threading.Event()
    tested: list[str] = []

    def selftest() -> None:
        tested.append("tested")
        if len(tested) == 2:
            stop.set()

    house.housekeeping = Maintenance(
        house.journal,
        house.evidence,
        house.station,
        house.metrics,
        retention_days=10,
        selftest=selftest,
        selftest_every_s=0.001,
    )
    house.housekeeping.run(Stage("tidy", lambda _: None), stop)

    assert tested == ["tested", "tested"]
    house.journal.close()


def test_the_heap_is_trimmed_on_schedule(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Again and again, for as long as the line runs."""
    trims: list[str] = []
    monkeypatch.setattr(malloc, "trim", lambda: trims.append("trimmed"))
    monkeypatch.setattr(housekeeping, "TRIM_EVERY_S", 0.0)

    house.housekeeping.run(Stage("tidy", lambda _: None), Ticks(2))

    assert trims == ["trimmed", "trimmed"]
