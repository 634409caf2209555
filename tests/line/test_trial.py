"""A second version beside the line: real process, real journal, real evidence."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from linewatch.domain import Comparison, Inspection, Result, Verdict
from linewatch.errors import LinewatchError, StorageFull, UsageError
from linewatch.line.inspector import Inspector
from linewatch.line.metrics import Metrics
from linewatch.line.station import Station
from linewatch.line.trial import WAITING_MAX, TrialRunner
from linewatch.models.bundle import set_trial
from linewatch.models.judge_file import judge_image
from linewatch.models.loader import prepare
from linewatch.models.scoring_worker import ScoringWorker
from linewatch.settings import EvidenceSettings, JournalSettings, Settings
from linewatch.storage.evidence import Evidence
from linewatch.storage.journal import Journal
from linewatch.teach.trial_report import page, report, table
from tests.bundles import models_in, part, teach
from tests.fakes import frame


class Line:
    """A line whose parts are judged one by one, with a stricter version to try beside it."""

    def __init__(self, folder: Path, journal: Journal, worker: ScoringWorker) -> None:
        self.settings = Settings(
            models=models_in(folder),
            journal=JournalSettings(path=journal.path),
            evidence=EvidenceSettings(path=folder / "evidence", free_bytes_min=0),
        )
        self.models = self.settings.models
        self.journal = journal
        self.metrics = Metrics("test")
        self.station = Station("test", journal.boot, "demo", self.metrics)
        self.inspector = Inspector(self.station, self.metrics, frame_age_ms_max=10_000)
        self.shadow = TrialRunner(
            self.models.path,
            worker,
            Evidence(self.settings.evidence),
            journal.add_comparisons,
            self.metrics,
        )
        self.strict = teach(self.models, level=85, golden=[]).version  # Every part is 1.5 worse for it.
        self.live = teach(self.models).version
        self.prepared, _ = prepare("demo", self.models)
        self.seq = 0

    def judge(self, blob: int) -> Verdict:
        """Judge a part, journal it, and offer it to the trial."""
        image = part(blob)
        self.seq += 1
        verdict, scored = judge_image(
            image, self.prepared.scorer, self.prepared.recipe, station="test", seq=self.seq
        )
        facts = {name: getattr(verdict, name) for name in Verdict.__slots__} | {"boot": self.journal.boot}
        verdict = Verdict(**facts)
        self.journal.append(verdict)
        self.journal.release(verdict.boot, verdict.seq)
        shown = frame(image=image, seq=self.seq)
        self.shadow.offer(
            verdict,
            Inspection(shown, "demo", 1, self.live, 2.0, verdict.result, verdict.reason, 0, scored),
        )
        return verdict

    def compare(self) -> None:
        """Do what the shadow's stage would."""
        while len(self.shadow.trials):
            trial = self.shadow.trials.take()
            assert trial is not None
            self.shadow.compare(trial)

    def disagreements(self) -> float | None:
        """Return the metric."""
        labels = {"station": "test", "product": "demo"}
        return self.metrics.registry.get_sample_value("linewatch_shadow_disagreements_total", labels)


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    """Return a line; its journal and the trial's process end with the test."""
    with (
        Journal.open(tmp_path / "journal.db") as journal,
        ScoringWorker(models_in(tmp_path), "test") as worker,
    ):
        yield Line(tmp_path, journal, worker)


def test_what_a_trial_says_is_compared_and_the_disagreements_are_shown(line: Line) -> None:
    """Counts are those of the journal; each disagreement has its picture and a heatmap."""
    set_trial(line.models.path, "demo", line.strict)
    line.shadow.step("demo")
    judged = []
    for blob in (0, 10, 18, 30):  # Line: 0.0, 1.0, 1.8, 3.0 of 2.0. Trial: 1.5, 2.5, 3.3, 4.5.
        judged.append(line.judge(blob).result)
        line.compare()
    line.shadow.step("demo")

    found = report(line.settings, "demo", line.strict, 100)

    assert judged == [Result.PASS, Result.PASS, Result.UNSURE, Result.FAIL]
    assert found.counts == {
        (Result.PASS, Result.PASS): 1,
        (Result.PASS, Result.FAIL): 1,
        (Result.UNSURE, Result.FAIL): 1,
        (Result.FAIL, Result.FAIL): 1,
    }
    assert (found.parts, found.agreements, found.live) == (4, 2, (line.live,))
    assert line.disagreements() == 2
    assert "PASS on the line, FAIL on trial: 1" in table(found)
    escape = next(one for one in found.disagreements if one.result is Result.PASS)
    row = line.journal.reader().verdict(escape.boot, escape.seq)
    assert row is not None and (row.raw, row.result) == (escape.raw, escape.result)
    assert escape.trial_raw == pytest.approx(2.5)
    for name in (escape.image, escape.heatmap):
        assert (line.settings.evidence.path / name).is_file()
    assert page(found, line.settings.evidence.path).count("data:image/jpeg;base64,") == 4


def test_without_a_trial_nothing_waits(line: Line) -> None:
    """The line pays one look at a pair of words."""
    line.shadow.step("demo")
    line.judge(0)

    assert len(line.shadow.trials) == 0
    with pytest.raises(UsageError, match=r"nothing was compared with demo/.*; put it on trial"):
        report(line.settings, "demo", line.strict, 100)


def test_parts_that_come_too_fast_are_not_compared_and_hold_up_nobody(line: Line) -> None:
    """The lane is bounded and the oldest keep their turn."""
    set_trial(line.models.path, "demo", line.strict)
    line.shadow.step("demo")
    for _ in range(9):
        line.judge(0)

    assert len(line.shadow.trials) == WAITING_MAX


def test_the_version_on_the_line_is_not_compared_with_itself(line: Line) -> None:
    """Promoted meanwhile: the trial has ended."""
    set_trial(line.models.path, "demo", line.live)
    line.shadow.step("demo")
    line.judge(0)

    assert len(line.shadow.trials) == 0


def test_an_unfit_model_on_trial_is_told_once_and_harms_nobody(
    line: Line, caplog: pytest.LogCaptureFixture
) -> None:
    """Its files were changed after it was put on trial."""
    set_trial(line.models.path, "demo", line.strict)
    (line.models.path / "demo" / line.strict / "scorer.bin").write_bytes(b"")
    line.shadow.step("demo")
    for _ in range(3):
        line.judge(0)
        line.compare()

    logged = [record.getMessage() for record in caplog.records if "trial_failed" in record.getMessage()]
    assert len(logged) == 1 and "was changed after training" in logged[0]
    assert line.disagreements() is None


class Deaf:
    """A judge that says nothing."""

    def inspect(self, product: str, data: bytes, version: str = "") -> tuple[Verdict, bytes]:
        """Refuse."""
        raise LinewatchError("no verdict after 20 s")

    def abort(self) -> None:
        """Nothing is in hand."""


def test_a_stop_during_a_trial_warns_of_nothing(line: Line, caplog: pytest.LogCaptureFixture) -> None:
    """The line's end interrupts the process that judges beside it; that is no failure."""
    set_trial(line.models.path, "demo", line.strict)
    line.shadow.step("demo")
    line.judge(0)
    trial = line.shadow.trials.take()
    assert trial is not None
    with line.shadow:
        pass
    line.shadow.compare(trial)

    assert "trial_failed" not in caplog.text
    assert line.disagreements() is None


def test_what_the_journal_refuses_waits_for_the_next_step(tmp_path: Path) -> None:
    """In order, and nothing is written twice."""
    kept: list[int] = []
    full = True

    def keep(found: object) -> None:
        if full:
            raise StorageFull("journal", "no room")
        assert isinstance(found, list)
        kept.extend(one.seq for one in found)

    shadow = TrialRunner(
        tmp_path, Deaf(), Evidence(EvidenceSettings(path=tmp_path / "e")), keep, Metrics("test")
    )
    for seq in (1, 2):
        shadow._unwritten.append(comparison(seq))
    with pytest.raises(StorageFull):
        shadow.step("demo")
    shadow._unwritten.append(comparison(3))
    full = False

    shadow.step("demo")
    shadow.step("demo")

    assert kept == [1, 2, 3]


def comparison(seq: int) -> Comparison:
    """Return an agreement."""
    return Comparison(
        boot=1,
        seq=seq,
        product="demo",
        model="a",
        result=Result.PASS,
        raw=1.0,
        threshold=2.0,
        latency_ms=10,
        trial_model="b",
        trial_result=Result.PASS,
        trial_raw=1.0,
        trial_threshold=2.0,
        trial_ms=20,
    )


def test_comparisons_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest go first."""
    monkeypatch.setattr("linewatch.storage.journal.COMPARISONS_MAX", 3)
    with Journal.open(tmp_path / "journal.db") as journal:
        journal.add_comparisons([comparison(seq) for seq in range(1, 6)])
        found = journal.reader().comparisons("demo", "b", 10)

    assert [one.seq for one in found] == [5, 4, 3]
