"""Thresholds recalibrated on reviewed parts: predicted, activated and rolled back."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from linewatch.cli.inspect_files import inspect_files
from linewatch.domain import Reason, Result
from linewatch.errors import LinewatchError, SelfTestFailed, StorageFull
from linewatch.models.bundle import active_version
from linewatch.models.registry import rollback
from linewatch.settings import JournalSettings, Settings
from linewatch.storage.journal import Journal
from linewatch.training.recalibrate import ThresholdProposal, activate_proposal, describe, recalibrate
from linewatch.training.reviewed_parts import copy_reviewed_images, read_reviews
from linewatch.vision.recipe import comparable_raw, judge
from tests.bundles import models_in, part, teach
from tests.fakes import picture, verdict

SCORES = tuple(float(score) for score in np.random.default_rng(0).gumbel(1.2, 0.15, 60))


class ReviewedProduct:
    """A product whose journal holds judged parts, some of them reviewed."""

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

    def propose(self, false_reject: float = 0.02) -> ThresholdProposal:
        """Propose thresholds that include the reviews."""
        return recalibrate(
            "demo",
            false_reject,
            self.models.path,
            self.models.recipes,
            journal=self.settings.journal.path,
            threads=1,
        )

    def score(self, bundle_of: Path) -> list[object]:
        """Return the verdict of `linewatch inspect` on a part near the threshold, without its times."""
        path = bundle_of / "part.png"
        path.write_bytes(cv2.imencode(".png", part(21))[1].tobytes())
        (judged,) = inspect_files("demo", [path], self.models.path, self.models.recipes, threads=1)
        return [judged[key] for key in ("model", "result", "score", "raw", "threshold", "box")]


@pytest.fixture
def product(tmp_path: Path) -> ReviewedProduct:
    """Return a product with reviewed parts."""
    return ReviewedProduct(tmp_path)


def test_reviewed_false_rejects_move_the_threshold_as_predicted_and_a_rollback_undoes_it(
    product: ReviewedProduct, tmp_path: Path
) -> None:
    """The five false rejects become UNSURE, the defect stays FAIL; a rollback restores every value."""
    before = product.score(tmp_path)
    proposal = product.propose()
    assert active_version(product.models.path, "demo") == product.bundle.version  # Nothing has changed yet.

    activated, pins = activate_proposal(product.settings, proposal)

    assert 2.1 < proposal.after.threshold < 2.6
    predicted = {(Result.FAIL, judge(2.1, proposal.after).result): 5}
    assert proposal.reviews.count_changes(proposal.after) == predicted
    assert (proposal.reviews.count_found(proposal.after), pins) == (1, [])
    model, _, _, raw, threshold, _ = after = product.score(tmp_path)
    assert (model, threshold) == (activated.version, pytest.approx(proposal.after.threshold, rel=1e-5))
    assert raw == before[3] and after[1] != before[1] == Result.FAIL
    text = describe(proposal)
    assert (
        "5 parts marked good" in text and "of the last 101 parts it would have changed: 5 from FAIL" in text
    )
    assert "of 1 parts marked defect it finds 1 (now 1)" in text
    rollback(product.settings, "demo")
    assert product.score(tmp_path) == before


def test_a_wrong_product_verdict_moves_no_threshold(product: ReviewedProduct) -> None:
    """The score of a part judged WRONG_PRODUCT is not used, even if it was reviewed as good."""
    with Journal.open(product.settings.journal.path) as journal:
        journal.append(
            verdict(
                102,
                Result.UNSURE,
                boot=journal.boot,
                product="demo",
                model=product.bundle.version,
                reason=Reason.WRONG_PRODUCT,
                raw=9.0,
                threshold=2.0,
            )
        )
        assert journal.review(journal.boot, 102, "good", "a lid", "ada")

    proposal = product.propose()

    assert max(verdict.raw for verdict in proposal.reviews.good) == 2.1
    assert len(proposal.reviews.last) == 101


def test_calibrating_again_counts_no_review_twice(product: ReviewedProduct) -> None:
    """Thresholds are always computed from the training scores and the current reviews."""
    first = product.propose()
    activate_proposal(product.settings, first)

    again = product.propose()

    assert again.after.threshold == first.after.threshold
    assert again.calibration.scores == SCORES
    assert len(again.reviews.good) == 5  # Includes those of the previous version, which has the same graph.


def test_reviews_of_another_graph_do_not_count(product: ReviewedProduct) -> None:
    """Scores of another graph are not comparable."""
    other = teach(product.models, level=110, golden=[], scores=SCORES)

    reviews = read_reviews(product.settings.journal.path, product.models.path, other, 1000)

    assert (reviews.good, reviews.defects, reviews.last) == ((), (), ())


def test_a_threshold_that_a_challenge_sample_would_pass_is_refused(product: ReviewedProduct) -> None:
    """Nothing is activated, and the recipe is unchanged."""
    recipe = product.models.recipes / "demo.toml"
    recipe.write_text("index = 1\nthreshold = 2.0\n")
    proposal = product.propose(0.0001)
    assert proposal.after.threshold > 3.0  # What its challenge sample scores.

    with pytest.raises(SelfTestFailed, match=r"must fail but scores 3\.000"):
        activate_proposal(product.settings, proposal)

    assert active_version(product.models.path, "demo") == product.bundle.version
    assert recipe.read_text() == "index = 1\nthreshold = 2.0\n"


def test_a_pinned_threshold_becomes_a_comment(product: ReviewedProduct) -> None:
    """Otherwise it would silently override the calibration."""
    (product.models.recipes / "demo.toml").write_text("index = 1\nthreshold = 1.9\n")

    _, pins = activate_proposal(product.settings, product.propose())

    assert pins == ["threshold = 1.9"]


def test_parts_of_a_region_are_counted_by_its_limit(product: ReviewedProduct) -> None:
    """What a calibration would change is told with the region's factor, which it keeps."""
    recipe = product.models.recipes / "demo.toml"
    recipe.write_text(
        "index = 1\nthreshold = 2.0\n\n[[region]]\nname = 'rim'\nroi = [0, 0, 32, 32]\nthreshold = 0.5\n"
    )
    with Journal.open(product.settings.journal.path) as journal:
        facts = {"boot": journal.boot, "product": "demo", "model": product.bundle.version}
        journal.append(verdict(1, Result.FAIL, **facts, raw=0.6, threshold=0.5, region="rim", region_index=1))
        journal.release(journal.boot, 1)

    proposal = product.propose()
    activate_proposal(product.settings, proposal)

    assert proposal.before.regions[0].factor == 0.25
    (last, *_) = proposal.reviews.last
    assert comparable_raw(last, proposal.before) == 2.4
    assert proposal.after.threshold > 2.0
    text = recipe.read_text()
    assert "threshold_factor = 0.25  # threshold = 0.5 until calibrated." in text
    assert "# threshold = 2.0  # Until calibrated." in text


def test_a_calibration_that_cannot_be_audited_changes_no_recipe(product: ReviewedProduct) -> None:
    """Without an audit entry nothing is activated, and the recipe's pins stay."""
    recipe = product.models.recipes / "demo.toml"
    recipe.write_bytes(b"index = 1\r\nthreshold = 1.9\r\n")
    proposal = product.propose()
    journal = product.settings.journal.model_copy(update={"path": product.models.path})
    broken = product.settings.model_copy(update={"journal": journal})

    with pytest.raises(StorageFull):
        activate_proposal(broken, proposal)

    assert active_version(product.models.path, "demo") == product.bundle.version
    assert recipe.read_text() == "index = 1\nthreshold = 1.9\n"


def test_without_a_journal_there_are_no_reviews(product: ReviewedProduct, tmp_path: Path) -> None:
    """Without a journal there are no reviews, and no journal is created."""
    assert not read_reviews(tmp_path / "none.db", product.models.path, product.bundle, 9).last
    assert not (tmp_path / "none.db").exists()


def test_images_of_reviewed_parts_are_copied(product: ReviewedProduct, tmp_path: Path) -> None:
    """Frames that still exist are copied into one folder for good parts and one for defects."""
    evidence = tmp_path / "evidence"
    evidence.mkdir()
    for name in ("20.png", "40.png", "101.png"):
        (evidence / name).write_bytes(cv2.imencode(".png", picture())[1].tobytes())

    copied = copy_reviewed_images(product.settings.journal.path, evidence, "demo", tmp_path / "out")

    assert copied == {"good": 2, "defect": 1}
    names = sorted(
        path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.png")
    )
    assert names == ["defect/1-101.png", "good/1-20.png", "good/1-40.png"]


def test_without_reviewed_images_the_error_says_where_to_go(product: ReviewedProduct, tmp_path: Path) -> None:
    """The error names the page on which to review parts."""
    with pytest.raises(LinewatchError, match="mark some on the page under Review"):
        copy_reviewed_images(product.settings.journal.path, tmp_path / "evidence", "demo", tmp_path / "out")
