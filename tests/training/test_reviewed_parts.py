"""Parts that people marked: what they change, foreseen, adopted and taken back."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from linewatch.cli.inspect_files import inspect_files
from linewatch.domain import Reason, Result
from linewatch.errors import LinewatchError, SelfTestFailed
from linewatch.models.bundle import active_version
from linewatch.models.registry import rollback
from linewatch.settings import JournalSettings, Settings
from linewatch.storage.journal import Journal
from linewatch.training.recalibrate import Proposal, adopt, describe, recalibrate
from linewatch.training.reviewed_parts import copy_marked, read_reviews
from linewatch.vision.recipe import judge
from tests.bundles import models_in, part, teach
from tests.fakes import picture, verdict

SCORES = tuple(float(score) for score in np.random.default_rng(0).gumbel(1.2, 0.15, 60))


class Line:
    """A product with a past: its parts are in the journal, some of them marked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.models = models_in(folder)
        self.settings = Settings(models=self.models, journal=JournalSettings(path=folder / "journal.db"))
        self.bundle = teach(self.models, scores=SCORES)
        with Journal.open(self.settings.journal.path) as journal:
            for seq in range(1, 101):
                self._judge(journal, seq, 2.1 if seq % 20 == 0 else 1.0)  # Five false rejects.
            for seq in range(20, 101, 20):
                assert journal.review(journal.boot, seq, "defect", "looked like one", "ada")
                assert journal.review(journal.boot, seq, "good", "it is not", "ada")
            self._judge(journal, 101, 2.6)
            assert journal.review(journal.boot, 101, "defect", "", "ada")

    def _judge(self, journal: Journal, seq: int, raw: float, model: str = "") -> None:
        result, reason = (Result.FAIL, Reason.ABOVE_THRESHOLD) if raw > 2.0 else (Result.PASS, Reason.NONE)
        journal.append(
            verdict(
                seq,
                result,
                boot=journal.boot,
                product="demo",
                model=model or self.bundle.version,
                reason=reason,
                raw=raw,
                threshold=2.0,
                image=f"{seq}.png" if raw > 2.0 else "",
            )
        )
        journal.release(journal.boot, seq)

    def propose(self, false_reject: float = 0.02) -> Proposal:
        """Propose thresholds that heed the marks."""
        return recalibrate(
            "demo",
            false_reject,
            self.models.path,
            self.models.recipes,
            journal=self.settings.journal.path,
            threads=1,
        )

    def score(self, bundle_of: Path) -> list[object]:
        """Return what `linewatch inspect` says of a part near the threshold, but for its times."""
        path = bundle_of / "part.png"
        path.write_bytes(cv2.imencode(".png", part(21))[1].tobytes())
        (said,) = inspect_files("demo", [path], self.models.path, self.models.recipes, threads=1)
        return [said[key] for key in ("model", "result", "score", "raw", "threshold", "box")]


@pytest.fixture
def line(tmp_path: Path) -> Line:
    """Return a line with a past."""
    return Line(tmp_path)


def test_marked_false_rejects_move_the_threshold_as_foreseen_and_a_rollback_takes_it_back(
    line: Line, tmp_path: Path
) -> None:
    """The five are unsure now, the marked defect is still found; then all is as before, bit by bit."""
    before = line.score(tmp_path)
    proposal = line.propose()
    assert active_version(line.models.path, "demo") == line.bundle.version  # Nothing has changed yet.

    fresh, pins = adopt(line.settings, proposal)

    assert 2.1 < proposal.after.threshold < 2.6
    foreseen = {(Result.FAIL, judge(2.1, proposal.after)[0]): 5}
    assert proposal.marks.changes(proposal.after) == foreseen
    assert (proposal.marks.found(proposal.after), pins) == (1, [])
    model, _, _, raw, threshold, _ = after = line.score(tmp_path)
    assert (model, threshold) == (fresh.version, pytest.approx(proposal.after.threshold, rel=1e-5))
    assert raw == before[3] and after[1] != before[1] == Result.FAIL
    told = describe(proposal)
    assert (
        "5 parts marked good" in told and "of the last 101 parts it would have changed: 5 from FAIL" in told
    )
    assert "of 1 parts marked defect it finds 1 (now 1)" in told
    rollback(line.settings, "demo")
    assert line.score(tmp_path) == before


def test_what_looked_like_another_product_moves_no_threshold(line: Line) -> None:
    """It may well be a good lid: what it scores as demo is no score of a good demo part."""
    with Journal.open(line.settings.journal.path) as journal:
        journal.append(
            verdict(
                102,
                Result.UNSURE,
                boot=journal.boot,
                product="demo",
                model=line.bundle.version,
                reason=Reason.WRONG_PRODUCT,
                raw=9.0,
                threshold=2.0,
            )
        )
        assert journal.review(journal.boot, 102, "good", "a lid", "ada")

    proposal = line.propose()

    assert max(verdict.raw for verdict in proposal.marks.good) == 2.1
    assert len(proposal.marks.last) == 101


def test_calibrating_again_counts_no_mark_twice(line: Line) -> None:
    """What the thresholds rest on stays the pictures of training, and the marks as they are now."""
    first = line.propose()
    adopt(line.settings, first)

    again = line.propose()

    assert again.after.threshold == first.after.threshold
    assert again.calibration.scores == SCORES
    assert len(again.marks.good) == 5  # Also with the version before, whose graph is the same.


def test_marks_of_another_graph_do_not_count(line: Line) -> None:
    """Its scores mean something else."""
    other = teach(line.models, level=110, golden=[], scores=SCORES)

    marks = read_reviews(line.settings.journal.path, line.models.path, other, 1000)

    assert (marks.good, marks.defects, marks.last) == ((), (), ())


def test_a_threshold_that_a_challenge_sample_would_pass_is_refused(line: Line) -> None:
    """Nothing is activated, and a pin in the recipe stays where it is."""
    recipe = line.models.recipes / "demo.toml"
    recipe.write_text("index = 1\nthreshold = 2.0\n")
    proposal = line.propose(0.0001)
    assert proposal.after.threshold > 3.0  # What its challenge sample scores.

    with pytest.raises(SelfTestFailed, match=r"must fail but scores 3\.000"):
        adopt(line.settings, proposal)

    assert active_version(line.models.path, "demo") == line.bundle.version
    assert recipe.read_text() == "index = 1\nthreshold = 2.0\n"


def test_a_pinned_threshold_becomes_a_comment(line: Line) -> None:
    """It would overrule the calibration without a word."""
    (line.models.recipes / "demo.toml").write_text("index = 1\nthreshold = 1.9\n")

    _, pins = adopt(line.settings, line.propose())

    assert pins == ["threshold = 1.9"]


def test_without_a_journal_there_are_no_marks(line: Line, tmp_path: Path) -> None:
    """Thresholds come from the calibration's scores alone."""
    assert not read_reviews(tmp_path / "none.db", line.models.path, line.bundle, 9).last
    assert not (tmp_path / "none.db").exists()


def test_pictures_of_marked_parts_are_copied_to_learn_from(line: Line, tmp_path: Path) -> None:
    """Those that are still kept, good and defect apart."""
    evidence = tmp_path / "evidence"
    evidence.mkdir()
    for name in ("20.png", "40.png", "101.png"):
        (evidence / name).write_bytes(cv2.imencode(".png", picture())[1].tobytes())

    copied = copy_marked(line.settings.journal.path, evidence, "demo", tmp_path / "out")

    assert copied == {"good": 2, "defect": 1}
    names = sorted(
        path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.png")
    )
    assert names == ["defect/1-101.png", "good/1-20.png", "good/1-40.png"]


def test_without_marked_pictures_the_sentence_says_where_to_mark(line: Line, tmp_path: Path) -> None:
    """An empty folder would teach nobody."""
    with pytest.raises(LinewatchError, match="mark some on the page under Review"):
        copy_marked(line.settings.journal.path, tmp_path / "evidence", "demo", tmp_path / "out")
