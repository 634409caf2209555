"""Whatever single operation fails, of the disk or of the broker: no verdict is lost, wrong or repeated."""

import errno
import os
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import cv2
import numpy as np
import pytest

from linewatch.domain import Image, Inspection, Reason, Result, Scored, State, Verdict
from linewatch.errors import BrokerLost
from linewatch.line.evidence_writer import EvidenceWriter
from linewatch.line.maintenance import Maintenance
from linewatch.line.metrics import Metrics
from linewatch.line.recorder import Recorder
from linewatch.line.recording.disk_writers import build_journal_writer
from linewatch.line.station import Station
from linewatch.mqtt.live import Announcement, LiveLink
from linewatch.mqtt.messages import Message, StateFacts, Topics
from linewatch.runtime.stages import Stage
from linewatch.runtime.wakeup import Wakeup
from linewatch.settings import EvidenceSettings
from linewatch.storage import evidence as evidence_module
from linewatch.storage.evidence import Evidence
from linewatch.storage.heatmap_writer import HeatmapWriter
from linewatch.storage.journal import Journal
from tests.fakes import frame, verdict
from tests.stages import running

PARTS = (Result.PASS, Result.FAIL, Result.FAIL, Result.PASS, Result.FAIL)
EVIDENCE_CALLS = ((Path, "write_bytes"), (Path, "replace"), (Path, "mkdir"), (os, "statvfs"))


class Fault:
    """Counts operations, and lets the k-th one fail; 0: none."""

    def __init__(self, fail_at: int = 0) -> None:
        self.count = 0
        self._fail_at = fail_at

    def strikes(self) -> bool:
        """Count one operation; return whether it is the one."""
        self.count += 1
        return self.count == self._fail_at


class FlakyConnection:
    """SQLite whose disk is full for one statement."""

    def __init__(self, db: sqlite3.Connection, fault: Fault) -> None:
        self._db = db
        self._fault = fault

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)

    def execute(self, *what: Any) -> sqlite3.Cursor:
        """Run one statement."""
        self._strike()
        return self._db.execute(*what)

    def executemany(self, *what: Any) -> sqlite3.Cursor:
        """Run one statement many times."""
        self._strike()
        return self._db.executemany(*what)

    def _strike(self) -> None:
        if self._fault.strikes():
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error


class FlakyWire:
    """A live link that is away for one verdict."""

    def __init__(self, fault: Fault) -> None:
        self._fault = fault
        self.sent: list[Verdict] = []
        self.lost: list[Verdict] = []

    def publish_verdict(self, published: Verdict) -> bool:
        """Send or lose."""
        away = self._fault.strikes()
        (self.lost if away else self.sent).append(published)
        return not away


@contextmanager
def flaky_disk(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let one call of the evidence into the file system fail."""

    def flaky(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*what: Any, **how: Any) -> Any:
            if fault.strikes():
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*what, **how)

        return call

    with monkeypatch.context() as patch:
        for owner, name in EVIDENCE_CALLS:
            patch.setattr(owner, name, flaky(getattr(owner, name)))
        yield


def inspection(seq: int, result: Result, image: Image) -> Inspection:
    """Return one judged part."""
    raw = 2.0 if result is Result.FAIL else 0.5
    reason = Reason.ABOVE_THRESHOLD if result is Result.FAIL else Reason.NONE
    scored = Scored(raw, np.full((4, 4), raw, np.float32), np.eye(2, 3) * 8)
    return Inspection(frame(seq=seq, image=image), "demo", 1, "7f3a91c2", 1.0, result, reason, 3, scored)


def run_line(folder: Path, fault: Fault, monkeypatch: pytest.MonkeyPatch) -> tuple[FlakyWire, Station, int]:
    """Record a few parts with a fault among them, keep house after it; return what was sent, and the boot."""
    metrics = Metrics("test")
    wire = FlakyWire(fault)
    with Journal.open(folder / "journal.db", warn=lambda _: None) as journal:
        station = Station("test", journal.boot, "demo", metrics)
        station.camera_back(0)
        station.use("demo", 1, "7f3a91c2")
        station.intend(State.READY)
        settings = EvidenceSettings(path=folder / "evidence", free_bytes_min=0, pass_every=1)
        evidence = Evidence(settings)
        writer = EvidenceWriter(evidence, station, metrics, settings)
        rows = build_journal_writer(journal, station, metrics, lambda _: None)
        heatmaps = HeatmapWriter(evidence)
        parts = station, rows, wire, heatmaps, writer, metrics
        recorder = Recorder(*parts, deadline_ms=60_000, answer_within_ns=54 * 10**9)
        house = Maintenance(journal, evidence, station, metrics, retention_days=10)
        real = journal._db
        journal._db = FlakyConnection(real, fault)  # type: ignore[assignment]  # the disk behind SQLite
        with flaky_disk(fault, monkeypatch), running(rows, heatmaps):
            for seq, result in enumerate(PARTS, 1):
                recorder.record(inspection(seq, result, np.full((32, 32, 3), 10 * seq, np.uint8)))
                house.step()
            writer.close()
            writer.run(Stage("evidence", lambda _: None))
        journal._db = real
        house.step()
        return wire, station, journal.boot


def test_whatever_operation_of_the_disk_or_the_wire_fails_every_part_keeps_its_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each k-th statement, file operation and publish in turn: journal and wire agree, each part once."""
    monkeypatch.setattr(evidence_module, "RETRY_S", 0.0)
    healthy = Fault()
    (tmp_path / "0").mkdir()
    run_line(tmp_path / "0", healthy, monkeypatch)
    assert healthy.count > 40

    for fail_at in range(1, healthy.count + 1):
        folder = tmp_path / str(fail_at)
        folder.mkdir()
        wire, station, boot = run_line(folder, Fault(fail_at), monkeypatch)

        published = sorted([*wire.sent, *wire.lost], key=lambda each: each.seq)
        assert [each.seq for each in published] == [1, 2, 3, 4, 5], fail_at
        assert [each.result for each in published] == list(PARTS), fail_at
        assert [each.seq for each in wire.sent] == sorted(each.seq for each in wire.sent), fail_at
        with Journal.open(folder / "journal.db", warn=lambda _: None) as journal, journal.reader() as reader:
            batch = reader.undelivered(100)
            assert batch is not None
            assert batch.verdicts == published, fail_at
            assert journal.boot == boot + 1
        pictures = [path for path in (folder / "evidence").rglob("*") if path.is_file()]
        assert all(cv2.imread(str(path)) is not None for path in pictures), fail_at
        kept = {path.relative_to(folder / "evidence").as_posix() for path in pictures}
        assert {each.heatmap for each in published if each.heatmap} <= kept, fail_at
        assert station.snapshot().state is State.READY, (fail_at, station.snapshot().reasons)


# --- the live link over a broker in memory


class FlakyBroker:
    """Receives what is published; goes away at the k-th operation, once. `turn` is called in each pump."""

    def __init__(self, fault: Fault, turn: Callable[[], None]) -> None:
        self.received: list[Message] = []
        self.fault = fault
        self.turn = turn
        self.connections = 0

    def connect(self, _on_message: object) -> "FlakySession":
        """Return a fresh session."""
        self.connections += 1
        return FlakySession(self)


class FlakySession:
    """One connection; once it is gone, what is published goes nowhere until `pump` finds out."""

    def __init__(self, broker: FlakyBroker) -> None:
        self._broker = broker
        self._gone = False

    def __enter__(self) -> Self:
        self._step()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._gone = True

    def inflight(self) -> tuple[int, float]:
        """Acknowledge at once."""
        return 0, 0.0

    def publish(self, *messages: Message, **_how: object) -> None:
        """Hear all of it or lose it."""
        self._gone = self._gone or self._broker.fault.strikes()
        if not self._gone:
            self._broker.received += messages

    def subscribe(self, topic_filter: str) -> None:
        """Subscribe."""
        self._step()

    def pump(self, timeout_s: float, *others: Wakeup) -> None:
        """Let the line do something."""
        self._step()
        self._broker.turn()

    def _step(self) -> None:
        if self._gone or self._broker.fault.strikes():
            self._gone = True
            raise BrokerLost("test", "gone")


def publish_all(fault: Fault) -> tuple[FlakyBroker, list[int]]:
    """Offer twenty verdicts to a live link; return the broker and which the link said went out."""
    topics = Topics("t")
    stop = threading.Event()
    out: list[int] = []
    waiting = deque(range(1, 21))

    def turn() -> None:
        if not waiting:
            stop.set()
            return
        seq = waiting.popleft()
        if link.publish_verdict(verdict(seq)):
            out.append(seq)

    broker = FlakyBroker(fault, turn)
    link = LiveLink(
        topics,
        broker.connect,
        deadline_ms=200,
        announce=lambda: Announcement(StateFacts(station="s", boot=7, state=State.READY), 3),
        on_command=lambda _incoming, _reply: None,
        events=deque([{"event": "drift"}]),
        changed=Wakeup(),
        backoff_first_s=0.001,
    )
    link.run(stop)
    return broker, out


def test_whatever_operation_of_the_broker_fails_no_live_verdict_comes_twice_or_late() -> None:
    """Each k-th connect, subscribe, publish and pump in turn: order is kept, what was lost stays lost."""
    healthy = Fault()
    broker, _ = publish_all(healthy)
    assert [message.payload for message in broker.received if message.topic == "t/online"] == ["1", "0"]
    assert healthy.count > 40

    for fail_at in range(1, healthy.count - 2):  # The last ones are the goodbye.
        broker, out = publish_all(Fault(fail_at))
        lines = [
            int(message.payload[6:16]) for message in broker.received if message.topic == "t/plc/verdict"
        ]
        live = [message.payload for message in broker.received if message.topic == "t/verdict"]
        assert lines == sorted(set(lines)), fail_at
        assert len(lines) == len(live) >= 19, fail_at
        assert set(lines) <= set(out), fail_at
        assert broker.connections == 2, fail_at
        assert [message.payload for message in broker.received if message.topic == "t/online"][-1] == "0", (
            fail_at
        )
