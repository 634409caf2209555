"""The stage that keeps signatures beside the line: what it writes, counts and never does."""

import threading
from pathlib import Path
from typing import Any

import numpy as np

from linewatch.domain import Frame, Inspection, Reason, Result, Scored
from linewatch.runtime.stages import Stage
from linewatch.settings import Settings
from linewatch.storage.signature_writer import WAITING_MAX, SignatureWriter
from linewatch.storage.signatures import SignatureStore, folder_of, signature_files
from tests.fakes import verdict


def inspection(scored: bool = True) -> Inspection:
    """Return a part that was scored, or that was not."""
    found = Scored(0.5, np.ones((8, 8), np.float32), np.eye(2, 3), embedding=np.ones(4, np.float32))
    return Inspection(
        frame=Frame(np.zeros((8, 8, 3), np.uint8), captured_ns=0, captured_ms=0),
        product="bottle",
        product_index=3,
        model="7f3a91c2",
        threshold=2.0,
        result=Result.PASS,
        reason=Reason.NONE,
        age_ms=0,
        scored=found if scored else None,
    )


class Rig:
    """A writer, and what it says."""

    def __init__(self, store: SignatureStore | None, **options: Any) -> None:
        self.lost = 0.0
        self.troubles: list[str] = []
        self.writer = SignatureWriter(
            store, 90, lost=self.count, failed=lambda trouble: self.troubles.append(str(trouble)), **options
        )

    def count(self, parts: float) -> None:
        """Add lost parts."""
        self.lost += parts

    def end(self) -> None:
        """Write what is queued, and end."""
        self.writer.close()
        self.writer.run(Stage("signatures", self.writer.run))


def rows(folder: Path) -> int:
    """Return how many signatures are on disk."""
    return sum(file.rows for file in signature_files(folder, "bottle"))


def test_every_scored_part_is_on_disk_at_the_end(tmp_path: Path) -> None:
    """What is queued when the line ends is written; a part without a score has no signature."""
    rig = Rig(SignatureStore(tmp_path))
    for seq in range(1, 6):
        rig.writer.offer(verdict(seq), inspection())
    rig.writer.offer(verdict(6, Result.ERROR), inspection(scored=False))

    rig.end()

    assert rows(tmp_path) == 5
    assert rig.lost == 0


def test_parts_are_on_disk_soon_while_the_line_runs(tmp_path: Path) -> None:
    """The stage writes without waiting for the end."""
    written = threading.Event()
    rig = Rig(SignatureStore(tmp_path), restored=written.set)
    stage = Stage("signatures", rig.writer.run)
    thread = threading.Thread(target=rig.writer.run, args=(stage,))
    thread.start()

    rig.writer.offer(verdict(), inspection())

    assert written.wait(20)
    assert rows(tmp_path) == 1
    rig.writer.close()
    thread.join(20)
    assert not thread.is_alive()


def test_a_full_queue_drops_and_counts_instead_of_waiting(tmp_path: Path) -> None:
    """The record stage is never held up."""
    rig = Rig(SignatureStore(tmp_path))
    for seq in range(1, WAITING_MAX + 4):
        rig.writer.offer(verdict(seq), inspection())

    assert rig.lost == 3


def test_a_disk_that_refuses_costs_the_signatures_alone(tmp_path: Path) -> None:
    """The parts are counted as lost, the trouble is reported, and the stage goes on."""
    rig = Rig(SignatureStore(tmp_path, free_bytes_min=2**62))
    rig.writer.offer(verdict(), inspection())

    rig.end()

    assert rig.lost == 1
    assert "bytes are free" in rig.troubles[0]


def test_nothing_is_kept_when_it_is_switched_off(tmp_path: Path) -> None:
    """With `journal.signatures = false` there is not even a folder."""
    settings = Settings.model_validate({"journal": {"path": tmp_path / "journal.db", "signatures": False}})
    writer = SignatureWriter.beside(settings)
    writer.offer(verdict(), inspection())
    writer.close()

    writer.run(Stage("signatures", writer.run))

    assert not folder_of(settings.journal.path).exists()


def test_nothing_queued_holds_the_frame(tmp_path: Path) -> None:
    """A thousand waiting parts must not keep a thousand images in memory."""
    rig = Rig(SignatureStore(tmp_path))
    part = inspection()
    rig.writer.offer(verdict(), part)

    _, kept = rig.writer._waiting.peek() or (None, None)
    assert isinstance(kept, Scored)
    assert not any(isinstance(getattr(kept, name), Frame) for name in Scored.__slots__)
